"""Photographs labelled one after the other, and the results written into a folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from fullyconv.errors import FullyConvError
from fullyconv.files import write_json
from fullyconv.photos import list_photos
from fullyconv.prediction import Prediction, parse_outputs
from fullyconv.predictor import Predictor

SUMMARY = "predictions.json"

_Result = TypeVar("_Result")
Report = Callable[[Path, _Result | FullyConvError, Sequence[Path], int, int], object]
"""Told of each photograph that is finished; see :func:`predict`."""


def predict(
    sources: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    model: str | os.PathLike[str] = "camvid",
    out: str | os.PathLike[str] = "predictions",
    save: str = "mask,overlay",
    runtime: str = "auto",
    precision: str = "float32",
    report: Report[Prediction] | None = None,
) -> list[str]:
    """Label photographs and write the results into a folder.

    Args:
        sources: One or several files, folders and patterns; sub-folders are kept.
        model: Name of a shipped model, a checkpoint, or what ``fcn export`` wrote.
        out: Folder for the results and ``predictions.json``.
        save: Any of mask, color, overlay and probs, comma-separated.
        runtime: Engine; ``"auto"`` takes the one that is done first.
        precision: ``"float32"`` or ``"bfloat16"``.
        report: Called after each photograph with its path, its prediction or error, the files
            written, its number and how many there are.

    Returns:
        One sentence for each photograph that could not be labelled; the others were.

    Raises:
        FullyConvError: If the model cannot be read, a source names nothing, or no result can be
            written.
    """
    parse_outputs(save)
    photos = list_photos(sources)
    predictor = Predictor(model, runtime, precision, len(photos))
    summary: list[dict[str, Any]] = []
    failures: list[str] = []
    for number, (path, folder, name) in enumerate(photos, 1):
        try:
            prediction = predictor(path)
        except FullyConvError as error:
            failures.append(str(error))
            summary.append({"photo": str(path), "error": str(error)})
            if report is not None:
                report(path, error, [], number, len(photos))
            continue
        prediction = prediction.renamed(name)
        files = prediction.save(Path(out) / folder, save)
        summary.append(
            {
                "photo": str(path),
                "height": prediction.image.shape[0],
                "width": prediction.image.shape[1],
                "shares": prediction.shares(),
                "heads": {head: p.shares() for head, p in prediction.heads.items()},
                "files": [str(file) for file in files],
            }
        )
        if report is not None:
            report(path, prediction, files, number, len(photos))
    about = {
        "model": os.fspath(model),
        "categories": predictor.labels.categories,
        "palette": predictor.labels.palette,
    }
    write_json(Path(out) / SUMMARY, {**about, "photos": summary})
    return failures
