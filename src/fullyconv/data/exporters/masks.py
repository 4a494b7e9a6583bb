"""Coloured masks in the form of CVAT's Segmentation mask 1.1, which CVAT imports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fullyconv.data.exporters.layout import Labelled
from fullyconv.data.importers.classes import VOID
from fullyconv.data.prepare.layout import VOID_COLOR
from fullyconv.files import write_text
from fullyconv.images import save_image
from fullyconv.labels import Color, LabelSpace, voc_palette


def write(out: Path, samples: list[Labelled], space: LabelSpace, bar: Any) -> list[str]:
    """``labelmap.txt``, ``SegmentationClass/NAME.png`` and the lists of the splits."""
    colors = _colors(space)
    table = np.zeros((space.ignore_index + 1, 3), np.uint8)
    table[: space.num_classes] = colors
    # VOC's own void is its colour of class 255: among so many classes void has that of the next
    void_color = next(c for c in (VOID_COLOR, *voc_palette(len(colors) + 1)) if c not in colors)
    table[space.ignore_index] = void_color
    void = False
    for sample in samples:
        ids = sample.read(space)
        void |= bool((ids == space.ignore_index).any())
        path = out / "SegmentationClass" / f"{sample.name}.png"
        save_image(path, Image.fromarray(table[ids]), "PNG")
        bar.update()
    named = [*zip(space.categories, colors, strict=True), *([(VOID, void_color)] if void else [])]
    lines = [f"{name}:{r},{g},{b}::" for name, (r, g, b) in named]
    write_text(out / "labelmap.txt", "\n".join(["# label:color_rgb:parts:actions", *lines, ""]))
    for split in dict.fromkeys(sample.split for sample in samples):
        names = "".join(f"{sample.name}\n" for sample in samples if sample.split == split)
        write_text(out / "ImageSets" / "Segmentation" / f"{split or 'default'}.txt", names)
    return [] if colors == space.palette else ["two classes had one colour; all have VOC's now"]


def _colors(space: LabelSpace) -> tuple[Color, ...]:
    """The classes' colours if all differ, from void's as well; else VOC's."""
    differ = len({*space.palette, VOID_COLOR}) > space.num_classes
    return space.palette if differ else voc_palette(space.num_classes)
