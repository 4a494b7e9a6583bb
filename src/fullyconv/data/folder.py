"""The plainest data set: a folder of images/ and a folder of labels/, paired by file name.

Which pictures a split has says a folder of its own, or a list of names.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fullyconv.bands import BAND_SUFFIXES, bands_size, read_bands
from fullyconv.data.masking import Masking
from fullyconv.errors import FullyConvError
from fullyconv.images import (
    IMAGE_SUFFIXES,
    composed,
    image_size,
    read_depth,
    read_labels,
    read_photo,
)
from fullyconv.labels import Ids, LabelSpace, void_index
from fullyconv.preprocess import Pixels

LIST = ".txt"
"""How the name of a list of pictures ends."""

# Splits that fcn data prepare makes only if they are asked for; a test holds it to be all of them.
_MADE = {
    split: f"; fcn data prepare {name} DOWNLOADS --out FOLDER --splits {split} makes it"
    for split, name in (("val-official", "voc"), ("sbd-val", "sbd"))
}


@dataclass(frozen=True)
class Sample:
    """One picture and its labels.

    Attributes:
        name: File name without its suffix.
        image: (H, W, 3) uint8, RGB; with other inputs beside it, their channels after its own,
            and float32 if depth is among them; of bands (H, W, N) float32.
        target: (H, W) uint8 of class ids, void 255; (heads, H, W) for a network of several heads.
            If a head has more than 255 classes: uint16, void 65535.
    """

    name: str
    image: Pixels
    target: Ids


@dataclass(frozen=True)
class Files:
    """The files of one sample: of each input, and of each head's labels."""

    inputs: tuple[Path, ...]
    labels: tuple[Path, ...]

    @property
    def name(self) -> str:
        """File name without its suffix."""
        return self.labels[0].stem


class FolderDataset:
    """Pictures in ``images/`` and label files of the same names in ``labels/``.

    Args:
        root: Data set folder.
        splits: Sub-folder (``train``, ``val``) that holds ``images/`` and ``labels/``, or several
            of them; empty if they lie in ``root`` itself. Or a list (``val.txt``, in ``root`` or in
            the working folder) of lines ``NAME`` or ``SUB-FOLDER/NAME``.
        labels: What the ids in the label files mean.
        inputs: Folders whose files of one name are stacked: ``images``, ``hha``, ``depth``; or
            ``bands``, all that the files in ``images/`` hold.
        heads: For a network of several heads, what the ids in further folders of labels mean, by
            the folders' names.
        masking: Hides part of each picture as it is read; None for nothing.

    Attributes:
        spaces: What the ids mean, for each head.
        files: The files of every sample.

    Raises:
        FullyConvError: If a folder or list is missing or empty, a file has no partner, or a name
            in a list no files.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        splits: str | Sequence[str],
        labels: LabelSpace,
        inputs: Sequence[str] = ("images",),
        heads: Mapping[str, LabelSpace] | None = None,
        masking: Masking | None = None,
    ) -> None:
        heads = heads or {}
        self.masking = masking
        self.labels, self.spaces = labels, (labels, *heads.values())
        self.inputs = tuple(inputs)
        self.root = Path(root)
        self.files = [
            files
            for split in ([splits] if isinstance(splits, str) else splits)
            for files in _samples(self.root, split, self.inputs, ("labels", *heads))
        ]

    def __len__(self) -> int:
        return len(self.files)

    @property
    def ignore_index(self) -> int:
        """What void is in the targets: 255; 65535 if a head has more than 255 classes."""
        return void_index(max(space.num_classes for space in self.spaces))

    def __getitem__(self, index: int) -> Sample:
        """Read one sample.

        Raises:
            FullyConvError: If a file is damaged, the sizes differ or a label is out of range; the
                file is named.
        """
        files = self.files[index]
        parts = [_read(kind, path) for kind, path in zip(self.inputs, files.inputs, strict=True)]
        image = _stack(parts, files.inputs)
        target = self.target(index)
        self.check_size(index, target, image.shape[:2])
        if self.masking is not None:
            image = self.masking(image, target)
        return Sample(files.name, image, target)

    def check_size(self, index: int, target: Ids, size: tuple[int, ...] | None = None) -> None:
        """Raise if a picture, whose header says its size, and its labels differ in size.

        Raises:
            FullyConvError: If they do; both files are named.
        """
        files = self.files[index]
        of = bands_size if self.inputs == ("bands",) else image_size
        height, width = size or of(files.inputs[0])
        if (height, width) != target.shape[-2:]:
            raise FullyConvError(
                f"{files.inputs[0]} has {height} x {width} pixels (after its EXIF rotation), but "
                f"{files.labels[0]} {target.shape[-2]} x {target.shape[-1]}; "
                "fcn data check names all such files"
            )

    def target(self, index: int) -> Ids:
        """Read the labels of one sample alone, as :class:`Sample` has them.

        Raises:
            FullyConvError: If a file is damaged, a label is out of range, or the heads' sizes
                differ.
        """
        paths = self.files[index].labels
        targets = [
            space.encode(read_labels(path), path)
            for space, path in zip(self.spaces, paths, strict=True)
        ]
        _check_same_size(targets, paths)
        if len(targets) == 1:
            return targets[0]
        whole = np.stack(targets)  # uint16 if one of them is, whose void then is everybody's
        for head, space in zip(whole, self.spaces, strict=True):
            head[head == space.ignore_index] = self.ignore_index
        return whole


def _samples(root: Path, split: str, inputs: Sequence[str], labels: Sequence[str]) -> list[Files]:
    """The samples of one split, by name."""
    if not is_list(split):
        return _matched(root / split, inputs, labels)
    listed = _listed(root, split, (*inputs, *labels))
    return [Files(paths[: len(inputs)], paths[len(inputs) :]) for paths in listed]


def split_pictures(root: Path, split: str, kind: str) -> list[Path]:
    """The pictures of one kind of input (``images``, ``bands``) in a split, by name.

    Raises:
        FullyConvError: As :class:`FolderDataset` does.
    """
    if is_list(split):
        return [path for (path,) in _listed(root, split, (kind,))]
    return [*_by_stem(root / split, kind).values()]


def is_list(split: str) -> bool:
    """Whether a split is a list of names, and not a folder."""
    return split.lower().endswith(LIST)


def _listed(root: Path, split: str, kinds: Sequence[str]) -> list[tuple[Path, ...]]:
    """The files, one of each kind, of every name in a list, by name."""
    path = root / split if (root / split).is_file() else Path(split)
    folders: dict[str, list[dict[str, Path]]] = {}
    found: dict[tuple[str, str], tuple[Path, ...]] = {}
    lonely = []
    for line in _lines(path, root):
        folder, _, name = line.rpartition("/")
        if folder not in folders:
            _check_folder(root, _inside(folder, path), path, line)
            folders[folder] = [_by_stem(root / folder, kind) for kind in kinds]
        name = composed(name)
        if name not in folders[folder][0]:  # lists of others name files, with their suffix
            name = Path(name).stem
        files = tuple(stems[name] for stems in folders[folder] if name in stems)
        if len(files) < len(kinds):
            lonely.append(line)
        else:
            found[name, folder] = files
    if lonely:
        raise FullyConvError(
            f"{path}: {len(lonely)} names have no file in {root} in each of "
            f"{', '.join(f'{_folder(kind)}/' for kind in kinds)} ({', '.join(lonely[:5])}"
            f"{', ...' if len(lonely) > 5 else ''})"
        )
    return [found[key] for key in sorted(found)]


def _lines(path: Path, root: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError as error:
        raise FullyConvError(
            f"{path}: there is no such list, neither in {root} nor in the working folder; "
            "fcn data split --lists writes some"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise FullyConvError(f"{path}: the list of pictures cannot be read ({error})") from error
    names = [line.strip() for line in lines if line.strip()]
    if not names:
        raise FullyConvError(f"{path}: the list of pictures is empty")
    return names


def _check_folder(root: Path, folder: str, path: Path, line: str) -> None:
    """Raise if a list's line names no folder of pictures; the list is named, not the root alone."""
    if (root / folder / "images").is_dir() or (root / folder / "labels").is_dir():
        return
    splits = sorted(p.parent.name for p in root.glob("*/images"))
    example = f"{splits[-1] if splits else 'val'}/{line.rpartition('/')[2]}"
    what = f"{folder!r} is no folder of {root}" if folder else f"{root} has no images/ of its own"
    held = f", whose sub-folders are {', '.join(splits)}" if splits else ""
    raise FullyConvError(
        f"{path}: its line {line!r} names no picture: {what}{held}; write SUB-FOLDER/NAME, such as "
        f"{example}"
    )


def _inside(folder: str, path: Path) -> str:
    if folder.startswith("/") or ".." in folder.split("/"):
        raise FullyConvError(f"{path}: {folder!r} is no folder of the data set")
    return folder


def _matched(folder: Path, inputs: Sequence[str], labels: Sequence[str]) -> list[Files]:
    """The samples of one split: files of the same name in every folder."""
    found = {kind: _by_stem(folder, kind) for kind in (*inputs, *labels)}
    targets = found[labels[0]]
    for kind, files in found.items():
        if files.keys() != targets.keys():
            raise FullyConvError(
                f"{folder}: files have no partner of the same name: "
                f"{_orphans(files, targets)} in {kind}/, "
                f"{_orphans(targets, files)} in {labels[0]}/"
            )
    return [
        Files(
            tuple(found[kind][stem] for kind in inputs),
            tuple(found[kind][stem] for kind in labels),
        )
        for stem in sorted(targets)
    ]


def _read(kind: str, path: Path) -> Pixels:
    if kind == "bands":
        return read_bands(path)
    return read_depth(path) if kind == "depth" else read_photo(path)


def _stack(parts: Sequence[Pixels], paths: Sequence[Path]) -> Pixels:
    """Pictures of one size as the channels of one; float32 if one of them is."""
    _check_same_size(parts, paths)
    return parts[0] if len(parts) == 1 else np.dstack(parts)  # type: ignore[return-value]


def _check_same_size(parts: Sequence[Pixels], paths: Sequence[Path]) -> None:
    for part, path in zip(parts, paths, strict=True):
        if part.shape[:2] != parts[0].shape[:2]:
            raise FullyConvError(
                f"{path} has {part.shape[0]} x {part.shape[1]} pixels, but {paths[0]} "
                f"{parts[0].shape[0]} x {parts[0].shape[1]}"
            )


def _orphans(files: dict[str, Path], partners: dict[str, Path]) -> str:
    names = [path.name for stem, path in files.items() if stem not in partners]
    shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    return f"{len(names)} of {len(files)}" + (f" ({shown})" if names else "")


def _by_stem(folder: Path, kind: str) -> dict[str, Path]:
    """Pictures in ``folder/kind`` by name without suffix."""
    inside = folder / _folder(kind)
    if not inside.is_dir():
        found = sorted(p.name for p in folder.iterdir())[:8] if folder.is_dir() else None
        made = _MADE.get(folder.name, _held(folder.parent)) if found is None else ""
        expected = "images/" if kind == "labels" else f"{kind}/"
        what = "it does not exist" if found is None else f"it holds {', '.join(found) or 'nothing'}"
        raise FullyConvError(
            f"{folder}: expected the folders {expected} and labels/ in it, but {what}{made}"
        )
    return pictures(inside, BAND_SUFFIXES if kind == "bands" else IMAGE_SUFFIXES)


def usual_split(root: str | os.PathLike[str]) -> str:
    """The split to score where none is named: ``val``, or none where a folder is not split."""
    return "" if _is_split(Path(root)) and not (Path(root) / "val").is_dir() else "val"


def _is_split(folder: Path) -> bool:
    return (folder / "images").is_dir() and (folder / "labels").is_dir()


def _held(root: Path) -> str:
    """What a data set has in place of a split, if anything."""
    if _is_split(root):
        return (
            f"; {root} has its images/ and labels/ in one piece, and fcn data split {root} --out "
            "FOLDER puts some of them aside"
        )
    splits = ", ".join(path.name for path in sorted(root.glob("*")) if _is_split(path))
    return f"; {root} has {splits}" if splits else ""


def _folder(kind: str) -> str:
    return "images" if kind == "bands" else kind


def pictures(inside: Path, suffixes: frozenset[str] = IMAGE_SUFFIXES) -> dict[str, Path]:
    """The files of :func:`picture_names`."""
    return {stem: inside / name for stem, name in picture_names(inside, suffixes).items()}


def picture_names(inside: Path, suffixes: frozenset[str] = IMAGE_SUFFIXES) -> dict[str, str]:
    """Pictures in a folder by :func:`composed` name without suffix; no hidden files (macOS's ._x).

    Args:
        inside: The folder.
        suffixes: Those of pictures, in small letters.

    Returns:
        Names of files, not paths: there may be a million, and a path takes ten times the memory.

    Raises:
        FullyConvError: If there is none, or two have the same name.
    """
    found: dict[str, str] = {}
    with os.scandir(inside) as entries:
        visible = sorted(entry.name for entry in entries if not entry.name.startswith("."))
    for name in visible:
        stem, suffix = os.path.splitext(name)  # noqa: PTH122 - a million of them
        if suffix.lower() not in suffixes:
            continue
        stem = composed(stem)
        if stem in found:
            raise FullyConvError(
                f"{inside}: {found[stem]} and {name} have the same name but for the suffix; keep "
                "one of them"
            )
        found[stem] = name
    if not found:
        held = ", ".join(visible[:5]) or "nothing"
        raise FullyConvError(
            f"{inside}: no picture in this folder; it holds {held}, and pictures end in "
            f"{', '.join(sorted(suffixes))}"
        )
    return found
