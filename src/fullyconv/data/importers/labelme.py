"""LabelMe: a JSON file beside each picture, or with the picture in it."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

from fullyconv.data.importers.found import Category, Export, Found, Importer
from fullyconv.data.importers.reading import Embedded, from_base64, read_json, read_text
from fullyconv.data.importers.shapes import Bitmap, ellipse, rectangle
from fullyconv.data.importers.source import Source, split_of
from fullyconv.errors import FullyConvError
from fullyconv.images import read_mask

_KEYS = ('"shapes"', '"imagePath"')


def _files(source: Source) -> list[str]:
    return [path for path in source.matching(r"\.json$") if source.says(path, *_KEYS)]


def read(source: Source) -> Export:
    """Every file; shapes in its order. Classes in the order of labels.txt, or of the alphabet."""
    export = Export()
    pictures = source.pictures()
    names: set[str] = set()
    for path in _files(source):
        export.speaks_of(pictures, f"{path.removesuffix('.json')}.png")
        try:
            values = read_json(source.path(path))
            names.update(str(shape["label"]) for shape in values["shapes"])
            called = str(values["imagePath"])
        except (FullyConvError, KeyError, TypeError) as error:
            export.problems.append(f"{path}: cannot be read ({error})")
            continue
        beside = path.rpartition("/")[0]
        called = f"{beside}/{called.replace(chr(92), '/').rpartition('/')[2]}"
        embedded = bool(values.get("imageData"))  # it is the very one that was labelled
        photo = None if embedded else export.photo(path, pictures, called)
        if embedded:
            export.speaks_of(pictures, called)
        if photo or embedded:
            found = partial(_found, source.path(path), embedded)
            export.add(path.removesuffix(".json"), split_of(path), photo, found)
    export.categories = [Category(name) for name in _ordered(names, source)]
    return export


def _ordered(names: set[str], source: Source) -> list[str]:
    listed: list[str] = []
    if "labels.txt" in source.files:
        lines = read_text(source.path("labels.txt")).splitlines()
        listed = [line.strip() for line in lines if line.strip()]
    return list(dict.fromkeys([*listed, *sorted(names)]))


def _found(path: Path, embedded: bool) -> Found:
    values = read_json(path)
    found = Found((int(values["imageHeight"]), int(values["imageWidth"])))
    for shape in values["shapes"]:
        _add(found, str(shape["label"]), shape)
    if embedded:
        found.photo = from_base64(values["imageData"])
    return found


def _add(found: Found, label: str, shape: Any) -> None:
    kind, points = shape.get("shape_type") or "polygon", shape["points"]
    if kind in ("polygon", "oriented_rectangle"):
        found.add_polygon(label, [points])
    elif kind == "rectangle":
        (x0, y0), (x1, y1) = points
        found.add(label, rectangle(x0, y0, x1, y1))
    elif kind == "circle":
        (x, y), (rim_x, rim_y) = points
        radius = math.hypot(rim_x - x, rim_y - y)
        found.add(label, ellipse(x, y, radius, radius))
    elif kind == "mask":
        mask = read_mask(Embedded(from_base64(shape["mask"]), f"the mask {label!r}"))
        left, top = (round(value) for value in points[0])
        found.add(label, Bitmap(mask, top, left))
    else:
        found.leave_out(label, f"a {kind} has no area")


IMPORTER = Importer(
    tool="LabelMe",
    button="Save, beside the pictures (or with imageData in the file)",
    structure='.json files with "shapes" and "imagePath"',
    recognise=lambda source: bool(_files(source)),
    read=read,
)
