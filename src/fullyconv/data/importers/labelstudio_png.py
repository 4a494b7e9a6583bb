"""Label Studio's brush labels to PNG, whose names hold only the number of the task."""

from __future__ import annotations

import re
from collections import defaultdict
from functools import partial
from pathlib import Path

from fullyconv.data.importers.found import Category, Export, Found, Importer
from fullyconv.data.importers.labelstudio import picture_names, task_files
from fullyconv.data.importers.reading import read_json
from fullyconv.data.importers.shapes import Bitmap
from fullyconv.data.importers.source import Source
from fullyconv.errors import FullyConvError
from fullyconv.images import read_labels

# task-12-annotation-3-by-1-tag-Airplane-0.png: who drew it, the control's name, the label, a count
_NAME = r"(^|/)task-(\d+)-annotation-(\d+)-by-[^-/]*-([^-/]+)-([^/]+)-(\d+)\.png$"
_HALF = 128  # as in labelstudio_rle.py


def read(source: Source) -> Export:
    """Every task that has masks; they are drawn in the order of their counts, label by label."""
    masks: dict[int, list[tuple[int, str, int, str]]] = defaultdict(list)
    for path in source.matching(_NAME):
        found = re.search(_NAME, path, re.IGNORECASE)
        assert found is not None
        masks[int(found[2])].append((int(found[3]), found[5], int(found[6]), path))
    export = Export(
        [Category(name) for name in sorted({m[1] for ms in masks.values() for m in ms})]
    )
    tasks = {
        int(task["id"]): task
        for path in task_files(source)
        for task in read_json(source.path(path))
    }
    if not tasks:
        raise FullyConvError(
            f"{source.root}: the PNG files name only the numbers of tasks; put the same project's "
            "JSON export beside them, which says what the pictures are (and holds the brushes)"
        )
    pictures = source.pictures(without=_NAME)
    for number, drawn in sorted(masks.items()):
        names = picture_names(tasks.get(number, {}))
        last = max(annotation for annotation, *_ in drawn)
        layers = [(label, source.path(p)) for a, label, _, p in sorted(drawn) if a == last]
        if photo := export.photo(f"task {number}", pictures, *names):
            export.add(names[-1], "", photo, partial(_found, layers))
    return export


def _found(layers: list[tuple[str, Path]]) -> Found:
    found = Found()
    for label, path in layers:
        mask = read_labels(path) >= _HALF
        found.size = (mask.shape[0], mask.shape[1])
        found.add(label, Bitmap(mask))
    return found


IMPORTER = Importer(
    tool="Label Studio (PNG)",
    button="Export, Brush labels to PNG; and Export, JSON into the same folder",
    structure="task-N-annotation-N-by-N-NAME-LABEL-N.png beside the project's JSON",
    recognise=lambda source: bool(source.matching(_NAME)),
    read=read,
)
