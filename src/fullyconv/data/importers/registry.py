"""Every tool whose exports can be imported, by name."""

from __future__ import annotations

from fullyconv.data.importers import (
    cityscapes,
    coco,
    cvat,
    labelme,
    labelstudio,
    labelstudio_png,
    masks,
    supervisely,
    voc,
    yolo,
)
from fullyconv.data.importers.found import Importer
from fullyconv.data.importers.source import Source
from fullyconv.errors import FullyConvError, UsageError, did_you_mean

IMPORTERS: dict[str, Importer] = {
    "cvat-masks": voc.CVAT,
    "voc": voc.VOC,
    "cityscapes": cityscapes.IMPORTER,
    "supervisely": supervisely.IMPORTER,
    "labelstudio-png": labelstudio_png.IMPORTER,
    "cvat": cvat.IMPORTER,
    "labelstudio": labelstudio.IMPORTER,
    "coco": coco.IMPORTER,
    "labelme": labelme.IMPORTER,
    "yolo": yolo.IMPORTER,
    "masks": masks.IMPORTER,
}
"""How each is read. In the order of guessing: the ones that are hard to mistake first."""


def importer(name: str) -> Importer:
    """How a tool's exports are read, by its name.

    Raises:
        UsageError: If there is none of that name.
    """
    if name not in IMPORTERS:
        raise UsageError(f"no format {name!r} is known. {did_you_mean(name, list(IMPORTERS))}")
    return IMPORTERS[name]


def guess(source: Source) -> str:
    """The format of an export.

    Raises:
        FullyConvError: If it is of none; says what was looked for.
    """
    for name, known in IMPORTERS.items():
        if known.recognise(source):
            return name
    looked = "; ".join(f"{name}: {known.structure}" for name, known in IMPORTERS.items())
    holds = ", ".join(source.files[:5]) or "nothing"
    raise FullyConvError(
        f"{source.root / source.given}: of no format known here. It holds {holds}"
        f"{', ...' if len(source.files) > 5 else ''}. Looked for {looked}"
    )
