"""YOLO's text files of polygons from id masks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from fullyconv.data.exporters.layout import Labelled
from fullyconv.data.exporters.outlines import polygons
from fullyconv.data.importers.classes import BACKGROUND
from fullyconv.files import write_text
from fullyconv.labels import LabelSpace

_DIGITS = 7  # of a part of a side: exact to a pixel's hundredth for sides of 100,000


def write(
    out: Path, samples: list[Labelled], space: LabelSpace, bar: Any, tolerance: float = 0
) -> list[str]:
    """``data.yaml`` and ``labels/SPLIT/NAME.txt``; background has no polygons, and void none."""
    names = [name for name in space.categories if name != BACKGROUND]
    void = 0
    for sample in samples:
        ids = sample.read(space)
        void += bool((ids == space.ignore_index).any())
        size = np.array(ids.shape[::-1])
        lines = [
            " ".join([str(number), *(f"{v:.{_DIGITS}g}" for v in (ring / size).ravel())])
            for number, name in enumerate(names)
            for ring in polygons(ids == space.index(name), tolerance)
        ]
        path = out / "labels" / sample.split / f"{sample.name}.txt"
        write_text(path, "".join(f"{line}\n" for line in lines))
        bar.update()
    _write_yaml(out / "data.yaml", names, dict.fromkeys(sample.split for sample in samples))
    return (
        [f"void has no form in YOLO: {void} pictures have some, background there"] if void else []
    )


def _write_yaml(path: Path, names: list[str], splits: dict[str, None]) -> None:
    """JSON's strings are YAML's, whatever is in them."""
    folders = {split or "train": f"images/{split}".rstrip("/") for split in splits}
    folders.setdefault("val", next(iter(folders.values())))  # ultralytics wants both
    lines = [f"{split}: {json.dumps(folder)}" for split, folder in folders.items()]
    lines += ["names:", *(f"  {i}: {json.dumps(name)}" for i, name in enumerate(names))]
    write_text(path, "".join(f"{line}\n" for line in lines))
