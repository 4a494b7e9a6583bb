"""COCO's JSON from id masks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fullyconv.data.exporters.layout import Labelled
from fullyconv.data.exporters.outlines import polygons
from fullyconv.data.importers.classes import BACKGROUND, VOID
from fullyconv.data.importers.runs import count_runs, pack_counts
from fullyconv.files import write_text
from fullyconv.labels import Ids, LabelSpace

Shape = Literal["polygon", "mask"]


def write(
    out: Path,
    samples: list[Labelled],
    space: LabelSpace,
    bar: Any,
    shape: Shape = "polygon",
    tolerance: float = 0,
) -> list[str]:
    """One file for each split: ``annotations/instances_SPLIT.json``.

    A class's id is its place, from 1 on; background, if it is the first, has none. Void is a
    category of that name where it occurs.

    Args:
        out: Folder to write into.
        samples: What to write.
        space: Its classes.
        bar: Told of each picture.
        shape: One polygon for each region of pixels, or one run-length mask for each class.
        tolerance: Pixels that a polygon may be off.
    """
    names = dict(enumerate(space.categories, int(space.categories[0] != BACKGROUND)))
    for split in dict.fromkeys(sample.split for sample in samples):
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        has_void = False
        for sample in (s for s in samples if s.split == split):
            ids = sample.read(space)
            has_void |= bool((ids == space.ignore_index).any())
            images.append(_image(len(images) + 1, sample, ids))
            for id_ in np.unique(ids).tolist():
                category = _category(id_, space)
                for region in _regions(ids == id_, shape, tolerance) if category else ():
                    place = {"id": len(annotations) + 1, "image_id": len(images)}
                    annotations.append({**place, "category_id": category, **region})
            bar.update()
        categories = [{"id": i, "name": name} for i, name in names.items() if i]
        if has_void:
            categories.append({"id": _category(space.ignore_index, space), "name": VOID})
        values = {"images": images, "annotations": annotations, "categories": categories}
        text = json.dumps(values, separators=(",", ":"))
        write_text(out / "annotations" / f"instances_{split or 'default'}.json", text)
    return []


def _category(id_: int, space: LabelSpace) -> int:
    """A class's id in COCO; 0 for a background that has none."""
    first = int(space.categories[0] != BACKGROUND)
    return (space.num_classes if id_ == space.ignore_index else id_) + first


def _image(number: int, sample: Labelled, ids: Ids) -> dict[str, Any]:
    height, width = ids.shape
    return {"id": number, "file_name": sample.image.name, "width": width, "height": height}


def _regions(mask: NDArray[np.bool_], shape: Shape, tolerance: float) -> Iterator[dict[str, Any]]:
    """COCO's fields of each region; a mask is a crowd, as COCO calls what is not told apart."""
    if shape == "mask":
        counts = pack_counts(count_runs(mask))
        segmentation = {"size": list(mask.shape), "counts": counts}
        ys, xs = np.nonzero(mask)
        yield {"segmentation": segmentation, "iscrowd": 1, **_extent(xs, ys, 1, int(mask.sum()))}
        return
    for ring in polygons(mask, tolerance):
        x, y = ring.T
        area = abs(int(x @ np.roll(y, -1) - y @ np.roll(x, -1))) // 2
        yield {"segmentation": [ring.ravel().tolist()], "iscrowd": 0, **_extent(x, y, 0, area)}


def _extent(xs: NDArray[np.int64], ys: NDArray[np.int64], beyond: int, area: int) -> dict[str, Any]:
    left, top = int(xs.min()), int(ys.min())
    box = [left, top, int(xs.max()) + beyond - left, int(ys.max()) + beyond - top]
    return {"bbox": box, "area": area}
