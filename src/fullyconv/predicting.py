"""Photographs and films labelled one after the other, and the results written into a folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from fullyconv.augmented import AugmentedPredictor, parse_scales
from fullyconv.checkpoint import model_path
from fullyconv.errors import FullyConvError, UsageError
from fullyconv.film_reading import open_film
from fullyconv.filming import FilmPrediction, Tick, film_files, label_film
from fullyconv.journal import SUMMARY, Journal, mark_of, stamp
from fullyconv.photos import Photo, Sources, kind_of, list_photos
from fullyconv.pipeline import AHEAD, flow
from fullyconv.prediction import Output, Prediction, file_name, parse_outputs
from fullyconv.predictor import Predictor
from fullyconv.sources import read_source

__all__ = ["SUMMARY", "Report", "encoded", "predict"]

_Result = TypeVar("_Result")
Report = Callable[[Path | str, _Result | FullyConvError, Sequence[Path], int, int], object]
"""Told of each photograph that is finished; see :func:`predict`."""
_MEMORY = 256 * 1024**2  # bytes of decoded pictures before the network, and likewise behind it


def predict(
    sources: Sources,
    *,
    model: str | os.PathLike[str] = "camvid",
    out: str | os.PathLike[str] = "predictions",
    save: str = "mask,overlay",
    runtime: str = "auto",
    flip: bool = False,
    scales: str | Sequence[float] = (1.0,),
    again: bool = False,
    every: int = 1,
    frames: str = "drop",
    report: Report[Prediction | FilmPrediction | None] | None = None,
    tick: Tick | None = None,
) -> list[str]:
    """Label photographs and films, and write the results into a folder.

    Pictures are decoded ahead of the network and written behind it, in threads. What an earlier run
    into the same folder has finished, with the same model and settings, is passed over; what failed
    there is tried again.

    Args:
        sources: One or several files, folders, patterns, list files, addresses, ``camera:0``;
            see :func:`~fullyconv.photos.find_photos`. Sub-folders are kept.
        model: Name of a shipped model, or a checkpoint.
        out: Folder for the results, ``predictions.jsonl``, and ``predictions.json``.
        save: Any of mask, color, overlay and probs, comma-separated.
        runtime: Engine.
        flip: Average with the mirrored photograph; see :mod:`fullyconv.augmented`.
        scales: Average over these scales of the photograph; numbers, or text with commas.
        again: Label what is finished again.
        every: Of films, label each so-manieth frame.
        frames: Of a camera: ``drop`` frames to keep up with it, or ``queue`` them all.
        report: Called after each photograph or film with its path, its prediction, error, or None
            if it was finished before, the files written, its number and how many there are.
        tick: Called after each frame of a film.

    Returns:
        One sentence for each photograph that could not be labelled; the others were.

    Raises:
        FullyConvError: If the model cannot be read, a source names nothing, or no result can be
            written.
        UsageError: If a setting does not exist.
    """
    if frames not in ("drop", "queue"):
        raise UsageError(f"frames is {frames!r}; it is drop or queue")
    if every < 1:
        raise UsageError(f"every is {every}; it is 1 for all frames, 2 for each second one, ...")
    kinds, factors = parse_outputs(save), parse_scales(scales)
    total = 0
    for photo in list_photos(sources, out):  # what is wrong with them is said before work begins
        total += 1
        if _is_film(photo):
            film_files(photo.name, kinds)
    predictor = open_predictor(model, runtime, flip, factors)
    settings = {
        "model": os.fspath(model),
        "file": stamp(Path(model_path(model))),
        "runtime": runtime,
        "save": kinds,
        "flip": flip,
        "scales": factors,
        "every": every,
        "categories": predictor.labels.categories,
        "palette": predictor.labels.palette,
    }
    journal = Journal(Path(out), settings)
    run = _Run(predictor, journal, kinds, total, report, again=again)
    try:
        for is_film, group in groupby(list_photos(sources, out), _is_film):
            if is_film:
                for photo in group:
                    run.film(photo, every, frames == "drop", tick)
            else:
                run.photos(group)
    finally:
        about = ("model", "categories", "palette")
        journal.close({name: settings[name] for name in about})
    return run.failures


def encoded(
    sources: Sources,
    *,
    model: str | os.PathLike[str] = "camvid",
    save: str = "mask",
    runtime: str = "auto",
    flip: bool = False,
    scales: str | Sequence[float] = (1.0,),
) -> bytes:
    """Label one photograph, and return the content of the file that :func:`predict` would write.

    Args:
        sources: One photograph.
        model: See :func:`predict`.
        save: One of mask, color, overlay and probs.
        runtime: See :func:`predict`.
        flip: See :func:`predict`.
        scales: See :func:`predict`.

    Raises:
        FullyConvError: If it cannot be labelled.
        UsageError: If more than one photograph or kind of output is asked for.
    """
    kinds, photos = parse_outputs(save), list_photos(sources)
    photo, second = next(photos), next(photos, None)
    if second is not None or len(kinds) != 1 or _is_film(photo):
        raise UsageError(
            "to the standard output goes one result of one photograph; name a folder by --out for "
            "more, or for films"
        )
    pixels = read_source(photo.path)
    return open_predictor(model, runtime, flip, parse_scales(scales))(pixels).encode(kinds[0])


def open_predictor(
    model: str | os.PathLike[str], runtime: str, flip: bool, scales: tuple[float, ...]
) -> Predictor | AugmentedPredictor:
    """The predictor that settings ask for; see :func:`predict`."""
    predictor = Predictor(model, runtime)
    if flip or scales != (1.0,):
        return AugmentedPredictor(predictor, flip, scales)
    return predictor


def _is_film(photo: Photo) -> bool:
    return kind_of(photo.path) in ("clip", "camera")


class _Entry(NamedTuple):
    """A photograph, its number, and the mark it is recorded by: of before it was read."""

    number: int
    photo: Photo
    mark: str | None


class _Run:
    """One call of :func:`predict`."""

    def __init__(
        self,
        predictor: Predictor | AugmentedPredictor,
        journal: Journal,
        kinds: Sequence[Output],
        total: int,
        report: Report[Prediction | FilmPrediction | None] | None,
        *,
        again: bool,
    ) -> None:
        self.predictor, self.journal, self.kinds, self.total = predictor, journal, kinds, total
        self.report, self.again = report, again
        self.failures: list[str] = []
        self.number = 0
        self.heads = tuple(predictor.header.heads)

    def photos(self, photos: Iterator[Photo]) -> None:
        """Label still pictures."""

        def prepare(entry: _Entry) -> NDArray[np.uint8] | None:
            return None if self._is_finished(entry) else read_source(entry.photo.path)

        def work(pixels: NDArray[np.uint8] | None) -> Prediction | None:
            return None if pixels is None else self.predictor(pixels)

        def finish(entry: _Entry, made: Prediction | None) -> Prediction | None:
            if made is not None:
                made = made.renamed(entry.photo.name)
                made.save(self.journal.out / entry.photo.folder, self.kinds)
            return made

        def room(pixels: NDArray[np.uint8] | None) -> int:
            return AHEAD if pixels is None else _MEMORY // pixels.nbytes

        flow(self._entries(photos), prepare, work, finish, self._photo_done, room=room)

    def film(self, photo: Photo, every: int, drop: bool, tick: Tick | None) -> None:
        """Label a film."""
        (entry,) = self._entries(iter([photo]))
        if self._is_finished(entry):
            self._tell(entry, None, self._files(photo))
            return
        folder = self.journal.out / photo.folder
        try:
            film = open_film(photo.path)
            done = label_film(
                film, self.predictor, folder, photo.name, self.kinds,
                every=every, drop=drop, tick=tick,
            )  # fmt: skip
        except FullyConvError as error:
            self._failed(entry, error)
        else:
            self._film_done(entry, *done)

    def _entries(self, photos: Iterator[Photo]) -> Iterator[_Entry]:
        for photo in photos:
            self.number += 1
            yield _Entry(self.number, photo, mark_of(photo))

    def _is_finished(self, entry: _Entry) -> bool:
        files = self._files(entry.photo)
        return not self.again and self.journal.is_finished(entry.mark, files)

    def _files(self, photo: Photo) -> list[Path]:
        """What is written for a photograph or film."""
        folder = self.journal.out / photo.folder
        names = [photo.name, *(f"{photo.name}-{head}" for head in self.heads)]
        if _is_film(photo):
            return [folder / file for name in names for file in film_files(name, self.kinds)]
        return [folder / file_name(name, kind) for name in names for kind in self.kinds]

    def _photo_done(self, entry: _Entry, made: Prediction | FullyConvError | None) -> None:
        files = self._files(entry.photo)
        if isinstance(made, FullyConvError):
            self._failed(entry, made)
            return
        if made is None:
            self._tell(entry, None, files)
            return
        height, width = made.labels.shape
        said = {
            "height": height,
            "width": width,
            "shares": made.shares(),
            "heads": {head: p.shares() for head, p in made.heads.items()},
            "files": [str(file) for file in files],
        }
        self.journal.add(entry.photo, entry.mark, said)
        self._tell(entry, made, files)

    def _film_done(self, entry: _Entry, film: FilmPrediction, files: list[Path]) -> None:
        said = {
            "height": film.height,
            "width": film.width,
            "frames": film.frames,
            "dropped": film.dropped,
            "damaged": film.damaged,
            "trouble": film.trouble,
            "seconds": film.seconds,
            "shares": film.shares(),
            "files": [str(file) for file in files],
        }
        self.journal.add(entry.photo, entry.mark, said)
        self._tell(entry, film, files)

    def _failed(self, entry: _Entry, error: FullyConvError) -> None:
        self.failures.append(str(error))
        self.journal.fail(entry.photo, error)
        self._tell(entry, error, [])

    def _tell(
        self,
        entry: _Entry,
        result: Prediction | FilmPrediction | FullyConvError | None,
        files: Sequence[Path],
    ) -> None:
        if self.report is not None:
            self.report(entry.photo.path, result, files, entry.number, self.total)
