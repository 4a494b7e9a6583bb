"""YOLO's segmentation labels: data.yaml, and a text file of polygons for each picture."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from fullyconv.data.importers.found import Category, Export, Found, Importer
from fullyconv.data.importers.reading import read_text, read_yaml
from fullyconv.data.importers.shapes import rectangle
from fullyconv.data.importers.source import Source, is_picture, split_of
from fullyconv.errors import FullyConvError
from fullyconv.images import composed

_YAML = r"(^|/)(data|dataset)\.ya?ml$"
_BOX = 4  # numbers


def _folder(path: str, kind: str, other: str) -> str:
    """The partner of a path: the last folder ``labels`` as ``images``, or the reverse."""
    parts = path.split("/")
    for place in range(len(parts) - 2, -1, -1):
        if parts[place] == kind:
            parts[place] = other
            break
    return "/".join(parts)


def _stem(path: str) -> str:
    return composed(path.rpartition(".")[0])


def read(source: Source) -> Export:
    """Every picture in images/ and every file in labels/; the large polygons are drawn first."""
    names = _names(source)
    export = Export([Category(name) for name in names.values()])
    inside = {_stem(path): path for path in source.files if path.endswith(".txt")}
    labels = {stem: path for stem, path in inside.items() if "labels" in stem.split("/")[:-1]}
    images = {
        _stem(_folder(path, "images", "labels")): path
        for path in source.files
        if is_picture(path) and "images" in path.split("/")[:-1]
    }
    export.offered = pictures = source.pictures()
    for stem in sorted({*labels, *images}):
        here = source.path(images[stem]) if stem in images else None
        path = source.path(labels[stem]) if stem in labels else None
        if photo := here or export.photo(labels[stem], pictures, stem):
            export.add(f"{stem}.png", split_of(stem), photo, partial(_found, path, names))
    return export


def _names(source: Source) -> dict[int, str]:
    path = source.path(source.matching(_YAML)[0])
    values = read_yaml(path)
    names: Any = values.get("names") if isinstance(values, dict) else None
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not names:
        raise FullyConvError(f"{path}: it has no names of classes, as in names: [crack, hole]")
    return {int(key): str(name) for key, name in sorted(names.items())}


def _found(path: Path | None, names: dict[int, str]) -> Found:
    """No file means a picture without objects, as in YOLO."""
    found = Found()
    boxes = 0
    for number, line in enumerate(read_text(path).splitlines() if path else [], 1):
        if not line.strip():
            continue
        kind, *rest = line.split()
        label = names.get(int(kind), f"class {kind}")
        values = [float(value) for value in rest]
        if len(values) == _BOX:
            x, y, w, h = values
            found.add(label, rectangle(x - w / 2, y - h / 2, x + w / 2, y + h / 2, relative=True))
            boxes += 1
        elif len(values) % 2:
            raise FullyConvError(f"line {number} holds {len(values)} numbers; polygons have pairs")
        else:
            ring = list(zip(values[::2], values[1::2], strict=True))
            found.add_polygon(label, [ring], relative=True)
    if boxes:
        found.notes.append(f"{boxes} boxes are drawn as rectangles; the export is one of detection")
    return found.largest_first()


IMPORTER = Importer(
    tool="YOLO",
    button="CVAT: Ultralytics YOLO Segmentation 1.0. Roboflow: YOLOv8. Label Studio: YOLO",
    structure="data.yaml with names, images/ and labels/ with .txt files",
    recognise=lambda source: bool(source.matching(_YAML)),
    read=read,
)
