"""Supervisely: meta.json, and in each data set ann/ with a JSON file for each picture of img/."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from fullyconv.data.importers.colors import from_hexadecimal
from fullyconv.data.importers.found import Category, Export, Found, Importer
from fullyconv.data.importers.reading import Embedded, from_base64, inflate, read_json
from fullyconv.data.importers.shapes import Bitmap, Polygon
from fullyconv.data.importers.source import Source, split_of
from fullyconv.errors import FullyConvError
from fullyconv.images import read_mask

_META = "meta.json"
_ANNOTATION = r"(^|/)ann/[^/]+\.json$"
_CENTRE = 0.5  # its coordinates are the numbers of pixels, so they lie at their centres


def read(source: Source) -> Export:
    """Every annotation; objects in the order of the file."""
    root = source.folder(_META)
    assert root is not None  # as recognised
    classes = read_json(root / _META)["classes"]
    export = Export([Category(str(c["title"]), from_hexadecimal(c.get("color"))) for c in classes])
    pictures = source.pictures(within=r"(^|/)img/")
    for path in source.matching(_ANNOTATION):
        folder, _, name = path.removesuffix(".json").rpartition("/")
        called = f"{folder.removesuffix('ann')}img/{name}"
        if photo := export.photo(path, pictures, called):
            export.add(name, split_of(path), photo, partial(_found, source.path(path)))
    return export


def _found(path: Path) -> Found:
    values = read_json(path)
    found = Found((int(values["size"]["height"]), int(values["size"]["width"])))
    for region in values["objects"]:
        _add(found, str(region["classTitle"]), region)
    return found


def _add(found: Found, label: str, region: Any) -> None:
    kind = region.get("geometryType") or ("bitmap" if region.get("bitmap") else "polygon")
    if kind == "polygon":
        points = region["points"]
        rings = [points["exterior"], *points.get("interior", [])]
        found.add_polygon(label, rings, shift=_CENTRE)
    elif kind == "bitmap":
        left, top = region["bitmap"]["origin"]
        png = inflate(from_base64(region["bitmap"]["data"]))
        mask = read_mask(Embedded(png, f"the mask {label!r}"))
        found.add(label, Bitmap(mask, int(top), int(left)))
    elif kind == "rectangle":
        (x0, y0), (x1, y1) = region["points"]["exterior"]
        left, top, right, bottom = min(x0, x1), min(y0, y1), max(x0, x1) + 1, max(y0, y1) + 1
        ring = [
            (left, top),
            (right, top),
            (right, bottom),
            (left, bottom),
        ]  # both ends belong to it
        found.add(label, Polygon.of([ring]))
    elif kind == "any":
        raise FullyConvError("a region of geometry 'any' says nothing of its shape")
    else:
        found.leave_out(label, f"a {kind} has no area")


def _recognise(source: Source) -> bool:
    return bool(source.matching(_ANNOTATION)) and source.folder(_META) is not None


IMPORTER = Importer(
    tool="Supervisely",
    button="the project's menu, Download as, .json + images",
    structure="meta.json, and DATASET/ann/NAME.json with DATASET/img/NAME",
    recognise=_recognise,
    read=read,
)
