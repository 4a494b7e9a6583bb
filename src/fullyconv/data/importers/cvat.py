"""CVAT for images 1.1: one XML file of polygons, masks, boxes and ellipses."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from functools import partial

from fullyconv.data.importers.classes import unique
from fullyconv.data.importers.colors import from_hexadecimal
from fullyconv.data.importers.found import Category, Export, Found, Importer
from fullyconv.data.importers.reading import read_xml
from fullyconv.data.importers.runs import Runs
from fullyconv.data.importers.shapes import Polygon, ellipse, turned
from fullyconv.data.importers.source import Source, split_in_name, split_of

_AREAS = ("polygon", "mask", "box", "ellipse")
_TAGS = "tag"  # of the whole picture


def _files(source: Source) -> list[str]:
    return [
        path for path in source.matching(r"\.xml$") if source.says(path, "<annotations", "<meta")
    ]


def read(source: Source) -> Export:
    """Every picture of every file; regions in the order of ``z_order``, then of the file."""
    export = Export()
    pictures = source.pictures()
    for path in _files(source):
        root = read_xml(source.path(path))
        if root.find("track") is not None:
            export.problems.append(
                f"{path}: CVAT for video, whose tracks are not read; export CVAT for images 1.1"
            )
            continue
        for label in root.iterfind("./meta//label"):
            color = from_hexadecimal(label.findtext("color"))
            export.categories.append(Category(label.findtext("name") or "", color))
        for image in root.iterfind("image"):
            called = image.attrib["name"]
            split = split_of(f"{image.get('subset', '')}/x") or split_of(called)
            if photo := export.photo(path, pictures, called):
                export.add(called, split or split_in_name(path), photo, partial(_found, image))
    export.categories = unique(export.categories)
    return export


def _found(image: ET.Element) -> Found:
    found = Found((int(image.attrib["height"]), int(image.attrib["width"])))
    for region in sorted(image, key=lambda element: int(element.get("z_order", 0))):
        if region.tag in _AREAS:
            _add(found, region.attrib["label"], region)
        elif region.tag != _TAGS:
            found.leave_out(region.get("label", ""), f"a {region.tag} has no area")
    return found


def _add(found: Found, label: str, region: ET.Element) -> None:
    at = region.attrib
    if region.tag == "polygon":
        corners = [corner.split(",") for corner in at["points"].split(";")]
        found.add_polygon(label, [[(float(x), float(y)) for x, y in corners]])
    elif region.tag == "mask":
        counts = [int(count) for count in at["rle"].split(",")]
        box = (int(at["height"]), int(at["width"]))
        place = {"top": int(at["top"]), "left": int(at["left"])}
        found.add(label, Runs.of(counts, *box, **place, by_column=False))
    elif region.tag == "ellipse":
        x, y, rx, ry = (float(at[key]) for key in ("cx", "cy", "rx", "ry"))
        found.add(label, ellipse(x, y, rx, ry, float(at.get("rotation", 0))))
    else:
        x0, y0, x1, y1 = (float(at[key]) for key in ("xtl", "ytl", "xbr", "ybr"))
        x, y, rx, ry = (x0 + x1) / 2, (y0 + y1) / 2, (x1 - x0) / 2, (y1 - y0) / 2
        ring = [(-rx, -ry), (rx, -ry), (rx, ry), (-rx, ry)]
        found.add(label, Polygon.of([turned(ring, float(at.get("rotation", 0)), x, y)]))


IMPORTER = Importer(
    tool="CVAT for images 1.1",
    button="Actions, Export task dataset, CVAT for images 1.1, Save images on",
    structure="annotations.xml with <annotations><meta>",
    recognise=lambda source: bool(_files(source)),
    read=read,
)
