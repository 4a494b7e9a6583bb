"""Label Studio's JSON and JSON-MIN: brushes, polygons, rectangles and ellipses."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

from fullyconv.data.importers.found import Category, Export, Found, Importer
from fullyconv.data.importers.labelstudio_rle import Brush
from fullyconv.data.importers.reading import read_json
from fullyconv.data.importers.shapes import Polygon, ellipse, turned
from fullyconv.data.importers.source import Source, is_picture

_UPLOADED = re.compile(r"^[0-9a-f]{8}-")  # what Label Studio puts before the name of an upload
_LABELS = re.compile(r"labels$")
Result = dict[str, Any]


def task_files(source: Source) -> list[str]:
    """The JSON files of tasks in an export."""
    return [
        path
        for path in source.matching(r"\.json$")
        if source.says(path, '"id"')
        and (
            source.says(path, '"annotations"', '"data"')
            or source.says(path, '"original_width"', '"annotator"')
        )
    ]


def read(source: Source) -> Export:
    """Every task; regions in the order of the file."""
    export = Export()
    pictures = source.pictures()
    names: set[str] = set()
    for path in task_files(source):
        for task in read_json(source.path(path)):
            results, others = results_of(task)
            names.update(label for result in results for label in result["labels"])
            where = f"task {task.get('id')}"
            if photo := export.photo(where, pictures, *picture_names(task)):
                export.add(picture_names(task)[-1], "", photo, partial(_found, results))
            if others:
                export.notes.append(f"{where}: of {others} annotations, the last one counts")
    export.categories = [Category(name) for name in sorted(names)]
    return export


def picture_names(task: Result) -> tuple[str, str]:
    """What a task calls its picture, and the name that it had before it was uploaded."""
    values = [value for value in task.get("data", task).values() if isinstance(value, str)]
    paths = [
        value.split("?")[0] if "?d=" not in value else value.split("?d=")[1] for value in values
    ]
    called = next((path for path in paths if is_picture(path)), paths[0] if paths else "")
    name = called.replace("\\", "/").rsplit("/", 1)[-1]
    return called, _UPLOADED.sub("", name)


def results_of(task: Result) -> tuple[list[Result], int]:
    """The regions of a task's last annotation that counts, and how many there are if several.

    Each has ``labels``, ``width``, ``height`` (of the picture) and ``value``.
    """
    if "annotations" in task:
        valid = [a for a in task["annotations"] if not a.get("was_cancelled")]
        raw = valid[-1]["result"] if valid else []
        results = [r for r in (_of_json(r) for r in raw) if r]
        return results, len(valid) if len(valid) > 1 else 0
    lists = [value for value in task.values() if isinstance(value, list)]
    entries = [entry for values in lists for entry in values if isinstance(entry, dict)]
    return [r for r in (_of_value(e, e) for e in entries) if r], 0


def _of_json(result: Result) -> Result | None:
    return _of_value(result, result["value"]) if isinstance(result.get("value"), dict) else None


def _of_value(sizes: Result, value: Result) -> Result | None:
    """None for what says something of the whole picture."""
    labels = next((value[key] for key in value if _LABELS.search(key)), None)
    if not labels or "original_width" not in sizes:
        return None
    return {
        "labels": [str(label) for label in labels],
        "width": int(sizes["original_width"]),
        "height": int(sizes["original_height"]),
        "value": value,
    }


def _found(results: list[Result]) -> Found:
    found = Found()
    for result in results:
        size = (result["height"], result["width"])
        found.size = found.size or size
        _add(found, result["labels"][0], result["value"], size)
        if len(result["labels"]) > 1:
            found.notes.append(f"a region has {len(result['labels'])} labels; the first one counts")
    return found


def _add(found: Found, label: str, value: Result, size: tuple[int, int]) -> None:
    """One region; coordinates are in percent of the picture's width and height."""
    turn = float(value.get("rotation") or 0)
    if value.get("format") == "rle":
        found.add(label, Brush.of(value["rle"], *size))
    elif "points" in value:
        ring = [(x / 100, y / 100) for x, y in value["points"]]
        found.add_polygon(label, [ring], relative=True)
    elif "radiusX" in value:
        x, y, rx, ry = (_pixels(value, key, size) for key in ("x", "y", "radiusX", "radiusY"))
        found.add(label, ellipse(x, y, rx, ry, turn))
    elif "width" in value and "x" in value:
        x, y, width, height = (_pixels(value, key, size) for key in ("x", "y", "width", "height"))
        box = [(0, 0), (width, 0), (width, height), (0, height)]  # turned around its first corner
        found.add(label, Polygon.of([turned(box, turn, x, y)]))
    else:
        found.leave_out(label, "it has no area")


def _pixels(value: Result, key: str, size: tuple[int, int]) -> float:
    along = size[1] if key in ("x", "width", "radiusX") else size[0]
    return float(value[key]) / 100 * along


IMPORTER = Importer(
    tool="Label Studio",
    button="Export, JSON; the pictures are given with --images",
    structure='a .json list of tasks with "annotations" and "data" (JSON), or JSON-MIN',
    recognise=lambda source: bool(task_files(source)),
    read=read,
)
