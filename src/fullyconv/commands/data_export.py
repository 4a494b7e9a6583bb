"""``fcn data export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import tyro


def export(
    root: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")],
    to: Literal["masks", "coco", "yolo"],
    out: Path,
    images: Path | None = None,
    classes: str | None = None,
    shape: Literal["polygon", "mask"] = "polygon",
    tolerance: float = 0.0,
    pictures: bool = True,
) -> int:
    """Write a data set, or predicted masks to be corrected, for a labelling tool to import.

    Args:
        root: Data set; or a folder of masks from fcn predict, with --images.
        to: masks (CVAT's Segmentation mask 1.1), coco or yolo.
        out: Folder or .zip file to make.
        images: Folder of the pictures that were predicted on.
        classes: A classes.json, the model's .safetensors, or a known label space such as voc; the
            data set's own classes.json if not given.
        shape: For coco: a polygon for each region, or a mask for each class.
        tolerance: Pixels that polygons may be off, for fewer corners to drag; 1 is a good start. 0
            goes around every pixel.
        pictures: Put the pictures in as well.
    """
    from fullyconv.data.exporters import export_data

    print(
        export_data(
            root,
            out,
            to,
            images=images,
            classes=classes,
            shape=shape,
            tolerance=tolerance,
            pictures=pictures,
            progress=True,
        )
    )
    return 0
