"""A label map as numbers for JSON: runs, COCO's run lengths, polygons."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fullyconv.data.exporters.outlines import polygons
from fullyconv.data.importers.runs import count_runs
from fullyconv.labels import LabelSpace

Form = Literal["runs", "rle", "polygons", "none"]


def regions(labels: NDArray[Any], space: LabelSpace, form: Form) -> dict[str, Any]:
    """Where the classes are, in one of the forms; empty for ``none``.

    Args:
        labels: (H, W) class ids.
        space: Their names.
        form: ``runs`` of the map itself, row by row; ``rle``, COCO's uncompressed lengths of each
            class; ``polygons``, rings of each class that are its pixels' outlines.

    Example:
        >>> space = LabelSpace(categories=("road", "sky"))
        >>> labels = np.array([[1, 1], [1, 0]])
        >>> regions(labels, space, "runs")
        {'runs': {'values': [1, 0], 'counts': [3, 1]}}
        >>> regions(labels, space, "rle")["rle"]["road"]
        {'size': [2, 2], 'counts': [3, 1]}
        >>> regions(labels, space, "polygons")["polygons"]["road"]
        [[[1, 1], [2, 1], [2, 2], [1, 2]]]
    """
    if form == "runs":
        return {"runs": _runs(labels)}
    if form == "rle":
        size = list(labels.shape)
        masks = _masks(labels, space)
        return {"rle": {n: {"size": size, "counts": count_runs(m).tolist()} for n, m in masks}}
    if form == "polygons":
        masks = _masks(labels, space)
        return {"polygons": {n: [ring.tolist() for ring in polygons(m)] for n, m in masks}}
    return {}


def _runs(labels: NDArray[Any]) -> dict[str, list[int]]:
    flat = labels.ravel()
    last = np.flatnonzero(np.append(flat[1:] != flat[:-1], True))
    return {"values": flat[last].tolist(), "counts": np.diff(last, prepend=-1).tolist()}


def _masks(labels: NDArray[Any], space: LabelSpace) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """The mask of each class that occurs."""
    for number in np.unique(labels).tolist():
        if number < space.num_classes:
            yield space.categories[number], labels == number
