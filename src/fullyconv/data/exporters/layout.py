"""The pictures and labels of a data set or of predictions, one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fullyconv.checkpoint import read_header
from fullyconv.data.folder import picture_names
from fullyconv.data.importers.source import Pictures, is_picture, walk
from fullyconv.data.sources import CLASSES, read_label_space
from fullyconv.errors import FullyConvError, UsageError, did_you_mean
from fullyconv.images import image_size, read_labels
from fullyconv.labels import LABEL_SPACES, Ids, LabelSpace

_PREDICTED = "-mask"  # what fcn predict puts behind the name of the picture


@dataclass(frozen=True, slots=True)
class Labelled:
    """A picture and its label file; small, as there may be a million.

    Attributes:
        split: Sub-folder of the data set; empty if it has none.
        name: File name without suffix.
        folders: Those of the picture and of its label file; shared by all of a split.
        files: The names of both.
    """

    split: str
    name: str
    folders: tuple[Path, Path]
    files: tuple[str, str]

    @property
    def image(self) -> Path:
        """The picture."""
        return self.folders[0] / self.files[0]

    @property
    def labels(self) -> Path:
        """Its label file."""
        return self.folders[1] / self.files[1]

    def read(self, space: LabelSpace) -> Ids:
        """Its class ids (H, W), as :meth:`~fullyconv.labels.LabelSpace.encode` has them.

        Raises:
            FullyConvError: If the file cannot be used or is not of the picture's size.
        """
        ids = space.encode(read_labels(self.labels), self.labels)
        if (size := image_size(self.image)) != ids.shape:
            raise FullyConvError(
                f"{self.labels} has {ids.shape[0]} x {ids.shape[1]} pixels, but {self.image} "
                f"{size[0]} x {size[1]}"
            )
        return ids


def labelled(root: Path, images: Path | None = None) -> list[Labelled]:
    """The pictures of a data set, or of a folder of predicted masks.

    Args:
        root: Data set (``images/`` and ``labels/`` in it or in its sub-folders); or masks, named
            as their pictures, or as ``fcn predict`` names them.
        images: Folder of the pictures; needed for masks only.

    Raises:
        FullyConvError: If there are none, or a file has no partner.
    """
    if not root.is_dir():
        raise FullyConvError(f"{root}: there is no such folder")
    if images is not None:
        return _predicted(root, images)
    splits = [
        folder.relative_to(root).as_posix().removeprefix(".")
        for folder in (root, *sorted(path for path in root.iterdir() if path.is_dir()))
        if (folder / "labels").is_dir() and (folder / "images").is_dir()
    ]
    if not splits:
        raise FullyConvError(
            f"{root}: expected images/ and labels/ in it or in its sub-folders; for a folder of "
            "masks, give the folder of the pictures with --images"
        )
    return [sample for split in splits for sample in _in_split(root, split)]


def _in_split(root: Path, split: str) -> Iterator[Labelled]:
    folders = root / split / "images", root / split / "labels"
    photos, labels = map(picture_names, folders)
    if photos.keys() != labels.keys():
        lonely = sorted(photos.keys() ^ labels.keys())
        raise FullyConvError(
            f"{root / split}: {len(lonely)} files have no partner of the same name "
            f"({', '.join(lonely[:5])})"
        )
    for name in sorted(labels):
        yield Labelled(split, name, folders, (photos[name], labels[name]))


def _predicted(root: Path, images: Path) -> list[Labelled]:
    masks = picture_names(root)
    if any(name.endswith(_PREDICTED) for name in masks):  # overlays may lie beside them
        masks = {n.removesuffix(_PREDICTED): p for n, p in masks.items() if n.endswith(_PREDICTED)}
    photos = Pictures(images / path for path in walk(images) if is_picture(path))
    found = []
    for name, mask in sorted(masks.items()):
        photo = photos.find(name)
        if photo is None:
            raise FullyConvError(f"{root / mask}: its picture {name!r} is not in {images}")
        found.append(Labelled("", name, (photo.parent, root), (photo.name, mask)))
    return found


def classes_of(root: Path, classes: str | None) -> LabelSpace:
    """The classes of a data set: its own ``classes.json``, or what is named.

    Args:
        root: Data set.
        classes: A ``classes.json``, a model's .safetensors, a known label space; None for the data
            set's own.

    Raises:
        FullyConvError: If there is no such file.
        UsageError: If there is no such label space.
    """
    if classes is None:
        return read_label_space(root / CLASSES, "--classes")
    if classes in LABEL_SPACES:
        return LABEL_SPACES[classes]
    path = Path(classes)
    if path.suffix == ".safetensors" or path.is_dir():
        return read_header(path).labels
    if path.suffix == ".json":
        return read_label_space(path)
    raise UsageError(
        f"--classes {classes!r} is neither a .json, a .safetensors nor a known label space. "
        f"{did_you_mean(classes, list(LABEL_SPACES))}"
    )
