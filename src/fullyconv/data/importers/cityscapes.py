"""Cityscapes' folders: leftImg8bit/ and gtFine/ with ids as PNG, or polygons as JSON."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import numpy as np

from fullyconv.data.importers.colors import read_table
from fullyconv.data.importers.found import Category, Export, Found, Importer
from fullyconv.data.importers.reading import read_json
from fullyconv.data.importers.source import Source, split_of
from fullyconv.errors import FullyConvError
from fullyconv.images import read_labels
from fullyconv.labels import Color

_IDS = "_labelIds.png"
_POLYGONS = "_polygons.json"
_ANNOTATION = rf"(^|/)gt\w+/.*_gt\w+({_IDS}|{_POLYGONS})$"
_PHOTO = "_leftImg8bit"
_TABLE = "label_colors.txt"
_CENTRE = 0.5  # corners are the numbers of pixels, so they lie at their centres
_NO_ID = 255  # -1, the licence plate, in 8 bits
_GROUP = "group"

# cityscapesScripts, helpers/labels.py: name, colour, and whether it is one of the 19 that count.
_PUBLISHED: tuple[tuple[str, Color, bool], ...] = (
    ("unlabeled", (0, 0, 0), False),
    ("ego vehicle", (0, 0, 0), False),
    ("rectification border", (0, 0, 0), False),
    ("out of roi", (0, 0, 0), False),
    ("static", (0, 0, 0), False),
    ("dynamic", (111, 74, 0), False),
    ("ground", (81, 0, 81), False),
    ("road", (128, 64, 128), True),
    ("sidewalk", (244, 35, 232), True),
    ("parking", (250, 170, 160), False),
    ("rail track", (230, 150, 140), False),
    ("building", (70, 70, 70), True),
    ("wall", (102, 102, 156), True),
    ("fence", (190, 153, 153), True),
    ("guard rail", (180, 165, 180), False),
    ("bridge", (150, 100, 100), False),
    ("tunnel", (150, 120, 90), False),
    ("pole", (153, 153, 153), True),
    ("polegroup", (153, 153, 153), False),
    ("traffic light", (250, 170, 30), True),
    ("traffic sign", (220, 220, 0), True),
    ("vegetation", (107, 142, 35), True),
    ("terrain", (152, 251, 152), True),
    ("sky", (70, 130, 180), True),
    ("person", (220, 20, 60), True),
    ("rider", (255, 0, 0), True),
    ("car", (0, 0, 142), True),
    ("truck", (0, 0, 70), True),
    ("bus", (0, 60, 100), True),
    ("caravan", (0, 0, 90), False),
    ("trailer", (0, 0, 110), False),
    ("train", (0, 80, 100), True),
    ("motorcycle", (0, 0, 230), True),
    ("bicycle", (119, 11, 32), True),
    ("license plate", (0, 0, 142), False),
)


def read(source: Source) -> Export:
    """Every picture; its ids where there is such a file, else its polygons in the file's order."""
    by_stem: dict[str, str] = {}
    for path in source.matching(_ANNOTATION):
        by_stem.setdefault(re.sub(rf"({_IDS}|{_POLYGONS})$", "", path), path)  # ids sort first
    export = Export(_categories(source, by_stem))
    pictures = source.pictures(without=r"(^|/)gt\w+/")
    names = {category.name for category in export.categories}
    for stem, path in sorted(by_stem.items()):
        name = re.sub(r"_gt\w+$", "", stem.rpartition("/")[2])
        file = source.path(path)
        if path.endswith(_IDS):
            found = partial(_of_ids, file, len(export.categories))
        else:
            found = partial(_of_polygons, file, names)
        if photo := export.photo(path, pictures, f"{name}{_PHOTO}", name):
            export.add(f"{name}.png", split_of(path), photo, found)
    return export


def _categories(source: Source, by_stem: dict[str, str]) -> list[Category]:
    """The published table, or that of CVAT's export; and names that polygons have besides."""
    tables = source.matching(rf"(^|/){_TABLE}$")
    if tables:
        return read_table(source.path(tables[0]))
    published = [Category(name, color, not counts) for name, color, counts in _PUBLISHED]
    known = {category.name for category in published}
    found: set[str] = set()
    for path in by_stem.values():
        if path.endswith(_POLYGONS):
            found.update(_labels(source.path(path), known) - known)
    return [*published, *(Category(name) for name in sorted(found))]


def _labels(path: Path, known: set[str]) -> set[str]:
    """The labels in a file; none if it is damaged, which is told when its picture is made."""
    try:
        return {_single(str(region["label"]), known) for region in read_json(path)["objects"]}
    except (FullyConvError, KeyError, TypeError):
        return set()


def _single(label: str, known: set[str]) -> str:
    """A label of several things of a kind, such as cargroup, is that of one."""
    single = label.removesuffix(_GROUP)
    return single if label not in known and single in known else label


def _of_ids(path: Path, count: int) -> Found:
    raw = read_labels(path).astype(np.int32)
    raw[raw == _NO_ID] = -1
    if raw.max(initial=-1) >= count or raw.min(initial=0) < -1:
        raise FullyConvError(f"{path}: id {raw.max()} is none of the table's {count}")
    return Found(mask=raw.astype(np.int16))


def _of_polygons(path: Path, names: set[str]) -> Found:
    values = read_json(path)
    found = Found((int(values["imgHeight"]), int(values["imgWidth"])))
    for region in values["objects"]:
        if not region.get("deleted"):
            label = _single(str(region["label"]), names)
            found.add_polygon(label, [region["polygon"]], shift=_CENTRE)
    return found


IMPORTER = Importer(
    tool="Cityscapes",
    button="the published archives, unpacked into one folder; CVAT: Export dataset, Cityscapes 1.0",
    structure="gtFine/SPLIT/CITY/*_gtFine_labelIds.png (or _polygons.json), leftImg8bit/",
    recognise=lambda source: bool(source.matching(_ANNOTATION)),
    read=read,
    unlabelled="void",
)
