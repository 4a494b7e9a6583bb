"""Photographs and films labelled one after the other, and the results written into a folder."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from fullyconv.bands import BAND_SUFFIXES
from fullyconv.checkpoint import model_path
from fullyconv.errors import FullyConvError, UsageError
from fullyconv.images import IMAGE_SUFFIXES
from fullyconv.networks import SHIPPED_MODELS
from fullyconv.prediction.augmented import AugmentedPredictor, parse_scales
from fullyconv.prediction.films.labelling import FilmPrediction, Tick, film_files
from fullyconv.prediction.journal import Journal, stamp
from fullyconv.prediction.labelling import Labelling, Manner, Report, Say, is_film, is_read_by_rows
from fullyconv.prediction.photos import SUMMARY, Photo, Sources, kind_of, list_photos
from fullyconv.prediction.prediction import Output, Prediction, parse_outputs
from fullyconv.prediction.predictor import Predictor
from fullyconv.prediction.rasters.labelling import RasterOptions, RasterResult
from fullyconv.prediction.sources import read_source

_USUAL = 500_000  # bytes of a photograph; a larger file is as much work as several
MANY = 1000
"""Photographs for which it no longer matters that engines differ in how fast they start."""
__all__ = ["SUMMARY", "Report", "encoded", "predict"]  # some are from other files


def predict(
    sources: Sources,
    *,
    model: str | os.PathLike[str] = "camvid",
    out: str | os.PathLike[str] = "predictions",
    save: str = "mask,overlay",
    runtime: str = "auto",
    precision: str = "float32",
    flip: bool = False,
    scales: str | Sequence[float] = (1.0,),
    again: bool = False,
    every: int = 1,
    frames: str = "drop",
    tiles: bool = False,
    raster: RasterOptions | None = None,
    report: Report[Prediction | FilmPrediction | RasterResult | None] | None = None,
    tick: Tick | None = None,
    say: Say | None = None,
) -> list[str]:
    """Label photographs and films, and write the results into a folder.

    What an earlier run into the same folder has finished, with the same model and settings, is
    passed over; what failed there is tried again.

    Args:
        sources: One or several files, folders, patterns, list files, addresses, ``camera:0``;
            see :func:`~fullyconv.prediction.photos.find_photos`. Sub-folders are kept.
        model: Name of a shipped model, a checkpoint, a run folder, or what ``fcn export`` wrote.
        out: Folder for the results, ``predictions.jsonl``, and ``predictions.json``.
        save: Any of mask, color, overlay and probs, comma-separated.
        runtime: Engine; ``"auto"`` takes the one that is done first.
        precision: ``"float32"`` or ``"bfloat16"``.
        flip: Average with the mirrored photograph; see :mod:`fullyconv.prediction.augmented`.
        scales: Average over these scales of the photograph; numbers, or text with commas.
        again: Label what is finished again.
        every: Of films, label every so-manieth frame only.
        frames: Of a camera: ``drop`` frames to keep up with it, or ``queue`` them all.
        tiles: Read all photographs by windows, as rasters are: those with a georeference, and
            those too large for memory.
        raster: Of those: which bands, and what to write.
        report: Called after each photograph or film with its path, its prediction, error, or None
            if it was finished before, the files written, its number and how many there are.
        tick: Called after each frame of a film, and after some rows of a raster.
        say: Told of what will be done, before it is.

    Returns:
        One sentence for each photograph that could not be labelled; the others were.

    Raises:
        FullyConvError: If the model cannot be read, a source names nothing, or no result can be
            written.
        UsageError: If a setting does not exist.
    """
    _check_request(out, frames, every)
    kinds, factors = parse_outputs(save), parse_scales(scales)
    options = replace(raster or RasterOptions(), probabilities="probs" in kinds)
    predictor = open_predictor(
        model, runtime, precision, flip, factors, about_how_many(sources), options.memory, say
    )
    suffixes = BAND_SUFFIXES if predictor.header.preprocess.bands else IMAGE_SUFFIXES
    photos = partial(list_photos, sources, out, suffixes)
    total = _count(photos(), kinds)
    about = {
        "model": os.fspath(model),
        "categories": predictor.labels.categories,
        "palette": predictor.labels.palette,
    }
    settings = {"runtime": runtime, "precision": precision, "flip": flip, "scales": factors}
    settings |= {"file": stamp(Path(model_path(model))), "save": kinds}
    journal = Journal(Path(out), about | settings)
    manner = Manner(again, every, frames == "drop", tiles, options, tick, say)
    run = Labelling(predictor, journal, kinds, total, report, manner)
    try:
        run.label(photos())
    except BaseException:
        with suppress(FullyConvError):  # the same disk may be full
            journal.close(about)
        raise
    journal.close(about)
    return run.failures


def _check_request(out: str | os.PathLike[str], frames: str, every: int) -> None:
    if "://" in str(out):
        raise UsageError(f"{out} is no path of this machine; --engine ray takes addresses")
    if Path(out).is_file():
        raise UsageError(f"{out} is a file; --out names the folder of the results")
    if frames not in ("drop", "queue"):
        raise UsageError(f"frames is {frames!r}; it is drop or queue")
    if every < 1:
        raise UsageError(f"every is {every}; it is 1 for all frames, 2 for each second one, ...")


def _count(photos: Iterable[Photo], kinds: Sequence[Output]) -> int:
    """How many there are; what is wrong with them is said before any work begins."""
    total = 0
    for photo in photos:
        total += 1
        _refuse_model(photo)
        if is_film(photo):
            film_files(photo.name, kinds)
    return total


def encoded(
    sources: Sources,
    *,
    model: str | os.PathLike[str] = "camvid",
    save: str = "mask",
    runtime: str = "auto",
    precision: str = "float32",
    flip: bool = False,
    scales: str | Sequence[float] = (1.0,),
) -> bytes:
    """Label one photograph, and return the content of the file that :func:`predict` would write.

    Args:
        sources: One photograph.
        model: See :func:`predict`.
        save: One of mask, color, overlay and probs.
        runtime: See :func:`predict`.
        precision: See :func:`predict`.
        flip: See :func:`predict`.
        scales: See :func:`predict`.

    Raises:
        FullyConvError: If it cannot be labelled.
        UsageError: If more than one photograph or kind of output is asked for.
    """
    kinds, photos = parse_outputs(save), list_photos(sources)
    photo, second = next(photos), next(photos, None)
    if second is not None or len(kinds) != 1 or is_film(photo):
        raise UsageError(
            "to the standard output goes one result of one photograph; name a folder by --out for "
            "more, or for films"
        )
    _refuse_model(photo)
    predictor = open_predictor(model, runtime, precision, flip, parse_scales(scales))
    if is_read_by_rows(photo, predictor):
        raise UsageError(
            f"{photo.path} is read by windows and becomes a GeoTIFF, which is not written to the "
            "standard output; name a folder by --out"
        )
    pixels = read_source(photo.path, predictor.header.preprocess.bands)
    return predictor(pixels).encode(kinds[0])


def open_predictor(
    model: str | os.PathLike[str],
    runtime: str,
    precision: str,
    flip: bool,
    scales: tuple[float, ...],
    photos: int = 1,
    memory: int | None = None,
    say: Say | None = None,
) -> Predictor | AugmentedPredictor:
    """The predictor that settings ask for; see :func:`predict`."""
    predictor = Predictor(model, runtime, precision, photos, memory, say)
    if flip or scales != (1.0,):
        return AugmentedPredictor(predictor, flip, scales)
    return predictor


def about_how_many(sources: Sources) -> int:
    """How many photographs sources may name, at a glance: of files by size, many for all else."""
    total = 0
    for source in [sources] if isinstance(sources, str | os.PathLike) else sources:
        is_photo = kind_of(os.fspath(source)) == "photo" and Path(source).is_file()
        total += max(1, Path(source).stat().st_size // _USUAL) if is_photo else MANY
    return total


def _refuse_model(photo: Photo) -> None:
    """Say so where a model stands among the photographs: fcn predict camvid street.jpg."""
    path = Path(photo.path)
    shipped = str(path) in SHIPPED_MODELS and not path.exists()
    if shipped or path.suffix in (".safetensors", ".caffemodel", ".onnx", ".pt", ".pth"):
        raise UsageError(
            f"{path} is a model, not a photograph; write --model {path}, and name photographs"
        )
