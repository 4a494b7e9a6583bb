"""PASCAL VOC's folders of coloured masks, and CVAT's Segmentation mask 1.1, which has a table."""

from __future__ import annotations

from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

from fullyconv.data.importers.colors import number, read_places, read_table
from fullyconv.data.importers.found import Category, Export, Found, Importer
from fullyconv.data.importers.reading import read_text
from fullyconv.data.importers.source import Source, is_picture
from fullyconv.data.prepare.layout import VOID_COLOR
from fullyconv.images import composed, is_grey, read_labels
from fullyconv.labels import IGNORE_INDEX
from fullyconv.labels import VOC as VOC_CLASSES

_MASKS, _LISTS = "SegmentationClass", "ImageSets/Segmentation"
_TABLE = "labelmap.txt"
_PUBLISHED = [
    *map(Category, VOC_CLASSES.categories, VOC_CLASSES.palette),
    Category("void", VOID_COLOR, void=True),
]


def read(source: Source) -> Export:
    """Every mask; the lists say in which split it is."""
    root = source.folder(_MASKS)
    assert root is not None  # as recognised
    table = root / _TABLE
    categories = read_table(table) if table.is_file() else _PUBLISHED
    export = Export(list(categories), complete=True)
    pictures = source.pictures(without=r"(^|/)Segmentation(Class|Object)/")
    splits = _splits(root)
    inside = root / _MASKS
    for path in sorted(inside.rglob("*.png")):
        name = path.relative_to(inside).with_suffix("").as_posix()
        if photo := export.photo(f"{_MASKS}/{name}.png", pictures, name):
            found = partial(_found, path, export.categories)
            export.add(f"{name}.png", splits.get(composed(name), ""), photo, found)
    return export


def _splits(root: Path) -> dict[str, str]:
    """The split of each name that a list names: train.txt, val.txt, test.txt, in any case."""
    splits: dict[str, str] = {}
    for path in sorted((root / _LISTS).glob("*.txt")):
        split = {"validation": "val"}.get(path.stem.lower(), path.stem.lower())
        if split not in ("train", "val", "test"):
            continue
        for line in read_text(path).splitlines():
            name = line.strip()
            stem = PurePosixPath(name).with_suffix("").as_posix() if is_picture(name) else name
            splits.setdefault(composed(stem), split)
    return splits


def _found(path: Path, categories: list[Category]) -> Found:
    if is_grey(path):  # ids, as some tools make of the colours
        return Found(mask=_ids(path, categories))
    places = {number(c.color): place for place, c in enumerate(categories) if c.color is not None}
    return Found(mask=read_places(path, places))


def _ids(path: Path, categories: list[Category]) -> np.ndarray[tuple[int, ...], np.dtype[np.int16]]:
    """Grey levels as places in the list; void is 255."""
    raw = read_labels(path).astype(np.int16)
    raw[raw == IGNORE_INDEX] = next((i for i, c in enumerate(categories) if c.void), -1)
    if raw.max(initial=-1) >= len(categories):
        raise ValueError(f"{path.name} holds id {raw.max()} of {len(categories)} classes")
    return raw


VOC = Importer(
    tool="PASCAL VOC",
    button="the published archive; CVAT: Export dataset, PASCAL VOC 1.1",
    structure="SegmentationClass/, JPEGImages/, and ImageSets/Segmentation/ where there are splits",
    recognise=lambda source: not source.given and source.folder(_MASKS) is not None,
    read=read,
)
CVAT = Importer(
    tool="CVAT's Segmentation mask 1.1",
    button="Actions, Export task dataset, Segmentation mask 1.1, Save images on",
    structure="labelmap.txt and SegmentationClass/",
    recognise=lambda source: source.may_be(_TABLE) and source.folder(_MASKS, _TABLE) is not None,
    read=read,
)
