"""COCO's JSON, as COCO itself, CVAT, Label Studio, Roboflow and many others write it."""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from typing import Any

from fullyconv.data.importers.classes import unique
from fullyconv.data.importers.found import Category, Export, Found, Importer
from fullyconv.data.importers.reading import read_json
from fullyconv.data.importers.runs import Runs
from fullyconv.data.importers.shapes import Polygon, rectangle
from fullyconv.data.importers.source import Source, split_in_name

_KEYS = ('"images"', '"annotations"', '"categories"')


def _files(source: Source) -> list[str]:
    files = [path for path in source.matching(r"\.json$") if source.says(path, *_KEYS)]
    instances = [path for path in files if "instances" in path]
    return instances or files  # not the key points and captions beside them


def read(source: Source) -> Export:
    """Every picture of every file; its regions are drawn the large ones first."""
    export = Export()
    pictures = source.pictures()
    for path in _files(source):
        values = read_json(source.path(path))
        by_id = sorted(values["categories"], key=lambda category: int(category["id"]))
        names = {int(category["id"]): str(category["name"]) for category in by_id}
        export.categories += [Category(name) for name in names.values()]
        regions = defaultdict(list)
        for annotation in values["annotations"]:
            regions[annotation["image_id"]].append(annotation)
        for image in values["images"]:
            called, own = str(image["file_name"]), regions.pop(image["id"], [])
            split = split_in_name(path)  # its folder decides between pictures of one name
            if photo := export.photo(path, pictures, f"{split}/{called}".lstrip("/")):
                export.add(called, split, photo, partial(_found, image, own, names))
        for image_id in regions:
            export.problems.append(f"{path}: annotations are of a picture {image_id} it lacks")
    export.categories = unique(export.categories)
    return export


def _found(image: Any, annotations: list[Any], names: dict[int, str]) -> Found:
    found = Found((int(image["height"]), int(image["width"])))
    for annotation in annotations:
        category = int(annotation["category_id"])
        _add(found, names.get(category, f"category {category}"), annotation)
    return found.largest_first()


def _add(found: Found, label: str, annotation: Any) -> None:
    """One region: its polygons are united, as in COCO's own tools, so they cannot be holes."""
    segmentation = annotation.get("segmentation")
    if isinstance(segmentation, dict):
        found.add(label, Runs.of(segmentation["counts"], *segmentation["size"]))
    elif segmentation:
        rings = [list(zip(flat[::2], flat[1::2], strict=True)) for flat in segmentation]
        usable = [Polygon.of([ring]) for ring in rings if len(ring) > 2]
        if len(usable) < len(rings):
            found.leave_out(label, "a polygon of fewer than 3 points has no area")
        if usable:
            found.add(label, *usable)
    elif annotation.get("bbox"):
        x, y, width, height = annotation["bbox"]
        found.add(label, rectangle(x, y, x + width, y + height))
        found.notes.append(f"a box {label!r} without an outline is drawn as a rectangle")
    else:
        found.leave_out(label, "it has neither an outline nor a box")


IMPORTER = Importer(
    tool="COCO",
    button="CVAT: COCO 1.0. Label Studio: Export, COCO. Roboflow: COCO Segmentation",
    structure='a .json with "images", "annotations" and "categories"',
    recognise=lambda source: bool(_files(source)),
    read=read,
)
