"""What a folder holds to look at, found by the names of its files alone."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from fullyconv.data.exporters.layout import classes_of
from fullyconv.data.importers.source import Pictures, is_picture, walk
from fullyconv.data.sources import CLASSES, classes_file, read_label_space
from fullyconv.errors import FullyConvError
from fullyconv.images import IMAGE_SUFFIXES, opened, read_labels
from fullyconv.labels import LABEL_SPACES, LabelSpace, refuse_other_classes
from fullyconv.prediction.photos import LINES
from fullyconv.serve.view_folder import File, Folder, Item

_MASK = "-mask.png"  # what fcn predict puts behind the name of the picture


def open_folder(
    root: Path, truth: Path | None = None, images: Path | None = None, classes: str | None = None
) -> Folder:
    """List a folder by its files' names alone; nothing is decoded.

    Args:
        root: What ``fcn predict`` wrote, other masks, or a data set.
        truth: Data set with the true labels of the predicted pictures, or the predictions of
            another run.
        images: Folder of the photographs, where they are not found by themselves.
        classes: ``classes.json``, checkpoint or known label space; None for the folder's own.

    Raises:
        FullyConvError: If there is no such folder, or nothing to see in it, or its classes are
            not those of the truth.
        UsageError: If there are no such classes.
    """
    _refuse_others(root)
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
    _refuse_colours(items[0])
    true_space, reference = None, "Truth"
    if truth is not None:
        items, true_space, reference = _with_truth(items, truth, classes)
    space = _predicted_space(root, items[0], classes, true_space)
    if true_space is not None:
        refuse_other_classes(space, root, true_space, truth)
    shown = _with_photos(root, items, names, images)
    return _listed(root, shown, space, true_space or space, reference)


def _refuse_others(root: Path) -> None:
    """Say what to open instead where something else than a folder of pictures was given."""
    if root.is_file():
        instead = "a film plays in a player, a page or a picture opens in a browser"
        raise FullyConvError(f"{root}: is a file; give the folder that holds the masks; {instead}")
    if not root.is_dir():
        raise FullyConvError(f"{root}: there is no such folder; give the one that holds the masks")
    page = root / "report.html"
    if page.is_file() and (root / "recipe.json").is_file():
        raise FullyConvError(f"{root}: is the folder of a training run; open {page} in a browser")


def _refuse_colours(first: Item) -> None:
    """Refuse masks of another tool whose colours are their classes, by the first of them."""
    assert first.prediction is not None
    if first.prediction.path.name.endswith(_MASK):
        return
    try:
        read_labels(first.prediction.checked())
    except FullyConvError as error:
        raise FullyConvError(
            f"{error}; of what a labelling tool wrote fcn data import makes a data set to look at"
        ) from error


def _listed(
    root: Path,
    items: Iterator[Item],
    space: LabelSpace,
    truth_space: LabelSpace,
    reference: str = "Truth",
) -> Folder:
    ordered = tuple(sorted(items, key=lambda item: item.name))
    return Folder(root, ordered, space, truth_space, reference)


def _splits(root: Path) -> list[Path]:
    """The folders that hold images/ and labels/, itself or its sub-folders."""
    folders = [root, *sorted(path for path in root.iterdir() if path.is_dir())]
    return [f for f in folders if (f / "images").is_dir() and (f / "labels").is_dir()]


def _classes_near(root: Path) -> LabelSpace:
    """The classes of a data set, also if one of its splits was given."""
    if path := classes_file(root):
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


def _with_truth(
    items: list[Item], truth: Path, classes: str | None
) -> tuple[list[Item], LabelSpace, str]:
    """Predictions with their truth, its classes, and how it is called.

    Raises:
        FullyConvError: If there is no truth for any of them.
    """
    if not truth.is_dir():
        raise FullyConvError(f"{truth}: there is no such folder; give the data set of the pictures")
    if splits := _splits(truth):
        space = classes_of(truth, classes) if classes else _classes_near(truth)
        photos, labels = (_pictures(s / kind for s in splits) for kind in ("images", "labels"))
        paths = [(photos.find(item.name), labels.find(item.name)) for item in items]
        reference = "Truth"
    else:
        names = [name for name in walk(truth) if is_picture(name)]
        others = {item.name: item for item in _predicted(truth, names)}
        found = [others.get(item.name) for item in items]
        paths = [
            (None, other.prediction.path if other and other.prediction else None) for other in found
        ]
        first = next((other for other in found if other), items[0])
        space = _predicted_space(truth, first, classes, None)
        reference = truth.absolute().name
    if not any(label for _, label in paths):
        raise FullyConvError(
            f"{truth}: no label file is named as one of the {len(items)} predictions, such as "
            f"{items[0].name}; give the data set that they are of, or another run's predictions"
        )
    files = [tuple(File(path, truth) if path else None for path in pair) for pair in paths]
    pairs = zip(items, files, strict=True)
    return (
        [replace(item, photo=photo, truth=label) for item, (photo, label) in pairs],
        space,
        reference,
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
        return LabelSpace.from_dict({**settings[-1], "raw_ids": ids, "void": None})
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
        yield replace(item, photo=photo)


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
