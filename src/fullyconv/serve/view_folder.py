"""What a folder of results or of a data set holds to look at: pictures, predictions, truth."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullyconv.data.exporters.layout import classes_of
from fullyconv.data.importers.source import Pictures, is_picture, walk
from fullyconv.data.sources import CLASSES, read_label_space
from fullyconv.errors import FullyConvError
from fullyconv.images import IMAGE_SUFFIXES, opened, read_labels
from fullyconv.labels import IGNORE_INDEX, LABEL_SPACES, LabelSpace
from fullyconv.prediction.journal import LINES

_MASK = "-mask.png"  # what fcn predict puts behind the name of the picture


@dataclass(frozen=True)
class File:
    """A file that may be shown.

    Attributes:
        path: The file.
        home: The folder that it was found in; a link that leads out of it is not followed.
    """

    path: Path
    home: Path

    def checked(self) -> Path:
        """The path, if it leads to where it says.

        Raises:
            FullyConvError: If it is a link out of its folder.
        """
        if not self.path.resolve().is_relative_to(self.home.resolve()):
            raise FullyConvError(
                f"{self.path}: is a link out of {self.home}, and is not followed; put the file "
                "itself there"
            )
        return self.path


@dataclass(frozen=True)
class Item:
    """One picture, and what there is of it.

    Attributes:
        name: How it is called in the list; sub-folders are part of it.
        photo: The photograph.
        prediction: A mask of predicted ids.
        truth: A label file of a data set.
    """

    name: str
    photo: File | None = None
    prediction: File | None = None
    truth: File | None = None


@dataclass(frozen=True)
class Folder:
    """What is looked through.

    Attributes:
        root: The folder as it was given.
        items: The pictures, by name.
        space: The classes, and what ids in predicted masks mean.
        truth_space: What ids in label files mean.
    """

    root: Path
    items: tuple[Item, ...] = field(repr=False)
    space: LabelSpace
    truth_space: LabelSpace

    @property
    def kind(self) -> str:
        """``predictions``, ``data``, or ``comparison`` of predictions with the truth."""
        has_truth = any(item.truth for item in self.items)
        if not any(item.prediction for item in self.items):
            return "data"
        return "comparison" if has_truth else "predictions"

    def prediction(self, item: Item) -> NDArray[np.uint8] | None:
        """The predicted class ids (H, W) of a picture, void 255; None if there are none.

        Raises:
            FullyConvError: If the file cannot be used.
        """
        return _ids(item.prediction, self.space)

    def truth(self, item: Item) -> NDArray[np.uint8] | None:
        """The true class ids, as :meth:`prediction`."""
        return _ids(item.truth, self.truth_space)


def _ids(file: File | None, space: LabelSpace) -> NDArray[np.uint8] | None:
    if file is None:
        return None
    path = file.checked()
    return space.encode(read_labels(path), path)


def open_folder(
    root: Path, truth: Path | None = None, images: Path | None = None, classes: str | None = None
) -> Folder:
    """List a folder by its files' names alone; nothing is decoded.

    Args:
        root: What ``fcn predict`` wrote, other masks, or a data set.
        truth: Data set with the true labels of the predicted pictures.
        images: Folder of the photographs, where they are not found by themselves.
        classes: ``classes.json``, checkpoint or known label space; None for the folder's own.

    Raises:
        FullyConvError: If there is no such folder, or nothing to see in it, or its classes are
            not those of the truth.
        UsageError: If there are no such classes.
    """
    if not root.is_dir():
        raise FullyConvError(f"{root}: there is no such folder; give the one that holds the masks")
    if _splits(root):
        if truth is not None:
            raise FullyConvError(
                f"{root}: holds images/ and labels/, so it is a data set; --truth is for a folder "
                "of predictions, such as fcn predict writes"
            )
        space = classes_of(root, classes) if classes else _classes_near(root)
        return _listed(root, _data_items(root), space, space)
    names = [name for name in walk(root) if is_picture(name)]
    items = list(_predicted(root, names))
    if not items:
        raise FullyConvError(
            f"{root}: neither images/ and labels/ of a data set nor a mask as fcn predict writes "
            "them; give the folder that holds them"
        )
    true_space = None
    if truth is not None:
        true_space = classes_of(truth, classes) if classes else _classes_near(truth)
        items = list(_with_truth(items, truth))
    space = _predicted_space(root, items[0], classes, true_space)
    if true_space is not None and true_space.categories != space.categories:
        raise FullyConvError(
            f"{root} has the classes {', '.join(space.categories[:5])}, ..., but {truth} "
            f"{', '.join(true_space.categories[:5])}, ...; the truth must have the model's classes"
        )
    return _listed(root, _with_photos(root, items, names, images), space, true_space or space)


def _listed(
    root: Path, items: Iterator[Item], space: LabelSpace, truth_space: LabelSpace
) -> Folder:
    return Folder(root, tuple(sorted(items, key=lambda i: i.name)), space, truth_space)


def _splits(root: Path) -> list[Path]:
    """The folders that hold images/ and labels/, itself or its sub-folders."""
    folders = [root, *sorted(path for path in root.iterdir() if path.is_dir())]
    return [f for f in folders if (f / "images").is_dir() and (f / "labels").is_dir()]


def _classes_near(root: Path) -> LabelSpace:
    """The classes of a data set, also if one of its splits was given."""
    for path in (root / CLASSES, root.absolute().parent / CLASSES):
        if path.is_file():
            return read_label_space(path)
    raise FullyConvError(
        f"{root}: no {CLASSES} says what its labels mean; name the classes with --classes: a "
        f"classes.json, a checkpoint or one of {', '.join(LABEL_SPACES)}"
    )


def _data_items(root: Path) -> Iterator[Item]:
    for split in _splits(root):
        photos, labels = (_by_stem(split / kind) for kind in ("images", "labels"))
        prefix = "" if split == root else f"{split.name}/"
        for stem in photos.keys() | labels.keys():
            photo, label = (
                File(found[stem], root) if stem in found else None for found in (photos, labels)
            )
            yield Item(prefix + stem, photo=photo, truth=label)


def _by_stem(folder: Path) -> dict[str, Path]:
    return {Path(name).stem: folder / name for name in walk(folder) if is_picture(name)}


def _pictures(folders: Iterable[Path]) -> Pictures:
    return Pictures(
        folder / name for folder in folders for name in walk(folder) if is_picture(name)
    )


def _predicted(root: Path, names: list[str]) -> Iterator[Item]:
    masks = {n.removesuffix(_MASK): n for n in names if n.endswith(_MASK)}
    if not masks:  # of another tool, named as their pictures
        masks = {n[:-4]: n for n in names if n.lower().endswith(".png")}
    for name, file in masks.items():
        yield Item(name, prediction=File(root / file, root))


def _with_truth(items: list[Item], truth: Path) -> Iterator[Item]:
    splits = _splits(truth)
    if not splits:
        raise FullyConvError(f"{truth}: expected the folders images/ and labels/ of a data set")
    labels, photos = (_pictures(split / kind for split in splits) for kind in ("labels", "images"))
    found = 0
    for item in items:
        label, photo = labels.find(item.name), photos.find(item.name)
        found += label is not None
        yield Item(
            item.name,
            File(photo, truth) if photo else None,
            item.prediction,
            File(label, truth) if label else None,
        )
    if not found:
        raise FullyConvError(
            f"{truth}: no label file is named as one of the {len(items)} predictions, such as "
            f"{items[0].name}; give the data set that they are of"
        )


def _predicted_space(
    root: Path, first: Item, classes: str | None, truth: LabelSpace | None
) -> LabelSpace:
    """The classes of masks: named, as recorded beside them, the truth's, or the palette's."""
    if classes:
        named = classes_of(root, classes)
        return LabelSpace(categories=named.categories, palette=named.palette)
    settings = [
        line["settings"] for line in _record(root) if isinstance(line.get("settings"), dict)
    ]
    if settings:
        names = settings[-1].get("categories")
        ids = list(range(len(names))) if isinstance(names, list) else []
        return LabelSpace.from_dict({**settings[-1], "raw_ids": ids, "void": [IGNORE_INDEX]})
    if truth is not None:
        return LabelSpace(categories=truth.categories, palette=truth.palette)
    return _palette_space(first)


def _palette_space(item: Item) -> LabelSpace:
    """Classes without names, in the colours of a mask."""
    assert item.prediction is not None
    with opened(item.prediction.checked()) as image:
        colors = image.getpalette() or []
    palette = tuple(zip(colors[0::3], colors[1::3], colors[2::3], strict=False))[:255]
    while len(palette) > 1 and palette[-2:] == ((0, 0, 0), (0, 0, 0)):  # filled up to 256
        palette = palette[:-1]
    count = len(palette) or 255
    return LabelSpace(categories=tuple(f"class {i}" for i in range(count)), palette=palette)


def _with_photos(
    root: Path, items: list[Item], names: list[str], images: Path | None
) -> Iterator[Item]:
    """Photographs where they were said to be, beside the masks, or where they were labelled."""
    given = None if images is None else _pictures([images])
    beside = set(names)
    recorded = _recorded_photos(root) if given is None else {}
    for item in items:
        photo = item.photo
        if given is not None and images is not None:
            path = given.find(item.name)
            photo = File(path, images) if path else photo
        elif photo is None:
            near = (item.name + suffix for suffix in IMAGE_SUFFIXES)
            found = next((name for name in near if name in beside), None)
            assert item.prediction is not None
            if found is not None and root / found != item.prediction.path:
                photo = File(root / found, root)
            elif item.name in recorded:
                path = recorded[item.name]
                photo = File(path, path.parent)
        yield Item(item.name, photo, item.prediction, item.truth)


def _recorded_photos(root: Path) -> dict[str, Path]:
    """By the name of their results, the photographs that are still where they were labelled."""
    photos = {}
    for line in _record(root):
        path, files = Path(str(line.get("photo"))), line.get("files")
        if path.suffix.lower() not in IMAGE_SUFFIXES or not path.is_file():
            continue
        for file in files if isinstance(files, list) else ():
            if str(file).endswith(_MASK):
                parts = PurePosixPath(str(file).replace("\\", "/").removesuffix(_MASK)).parts
                for first in range(len(parts)):  # wherever the folder lies now
                    photos["/".join(parts[first:])] = path
    return photos


def _record(root: Path) -> Iterator[dict[str, Any]]:
    """The lines that ``fcn predict`` wrote; what is not one of them is passed over."""
    path = root / LINES
    if not path.is_file():
        return
    with path.open(encoding="utf-8", errors="replace") as lines:
        for text in lines:
            try:
                line = json.loads(text)
            except ValueError:  # cut off by a kill
                continue
            if isinstance(line, dict):
                yield line
