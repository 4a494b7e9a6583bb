"""``fcn data import``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import tyro


def import_(
    source: Annotated[Path, tyro.conf.Positional],
    out: Path,
    form: Annotated[str | None, tyro.conf.arg(name="from")] = None,
    images: list[Path] | None = None,
    classes: str | None = None,
    unlabelled: Literal["background", "void"] | None = None,
    workers: int | None = None,
) -> int:
    """Turn what a labelling tool exports into folders of pictures and labels to train on.

    Args:
        source: Folder, .zip or .tar archive, or annotation file.
        out: Folder to make.
        form: coco, cvat, cvat-masks, labelstudio, labelstudio-png, labelme, voc, cityscapes, yolo,
            supervisely or masks; guessed if not given. See fcn data formats.
        images: Folders of the pictures, where the export does not hold them.
        classes: Those to keep, renamed or merged, in this order: road,car=vehicle,bus=vehicle;
            sky=void makes one void. All if not given.
        unlabelled: What pixels without a label are; background if not given, and void for
            Cityscapes.
        workers: Processes; as many as there are processors, if not given.
    """
    from fullyconv.data.importers import import_data

    report = import_data(
        source,
        out,
        form=form,
        images=images or (),
        classes=classes,
        unlabelled=unlabelled,
        workers=workers,
        progress=True,
    )
    print(report)
    return 0


def formats() -> int:
    """Which tools' exports can be imported, what to press in them, and what comes out."""
    from fullyconv.data.importers import IMPORTERS

    for name, importer in IMPORTERS.items():
        print(f"{name}: {importer.tool}\n  press: {importer.button}")
        print(f"  expected: {importer.structure}")
    return 0
