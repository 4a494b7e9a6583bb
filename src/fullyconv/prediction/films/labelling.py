"""A film labelled frame by frame, and written as films."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullyconv.errors import UsageError
from fullyconv.labels import LabelSpace
from fullyconv.prediction.films.reading import Film, Frame
from fullyconv.prediction.films.writing import FilmWriter
from fullyconv.prediction.pipeline import ahead_of, flow
from fullyconv.prediction.prediction import Output, Prediction
from fullyconv.visualize import beside, legend

Tick = Callable[[int, int, str], object]
"""Told after each frame how many are done and how many there are, 0 where that is not known."""
SUFFIXES: dict[Output, str] = {"mask": "mkv", "color": "mp4", "overlay": "mp4"}


@dataclass(frozen=True)
class FilmPrediction:
    """What was labelled of a film.

    Attributes:
        height: Of the frames, in pixels.
        width: Of the frames, in pixels.
        frames: How many were labelled.
        dropped: How many of a camera were left out to keep up with it.
        damaged: How many could not be decoded, or not well.
        trouble: Why the film ended before its end; empty otherwise.
        seconds: From the first to the last frame.
        mean_shares: Mean share of each class, 0 to 1, largest first; see :meth:`shares`.
    """

    height: int
    width: int
    frames: int
    dropped: int
    damaged: int
    trouble: str
    seconds: float
    mean_shares: dict[str, float]

    def shares(self) -> dict[str, float]:
        """Mean share of the frames, 0 to 1, of each class that occurs, largest first."""
        return self.mean_shares


def film_files(name: str, kinds: Sequence[Output]) -> list[str]:
    """Names of the films that are written for one.

    Raises:
        UsageError: For probabilities, which would fill any disk.

    Example:
        >>> film_files("drive", ["mask", "overlay"])
        ['drive-mask.mkv', 'drive-overlay.mp4']
    """
    if "probs" in kinds:
        raise UsageError("probs are not written of films; save any of mask, color and overlay")
    return [f"{name}-{kind}.{SUFFIXES[kind]}" for kind in kinds]


def label_film(
    film: Film,
    predictor: Callable[[NDArray[np.uint8]], Prediction],
    folder: Path,
    name: str,
    kinds: Sequence[Output],
    *,
    every: int = 1,
    drop: bool = True,
    beside: int = 1,
    tick: Tick | None = None,
) -> tuple[FilmPrediction, list[Path]]:
    """Label the frames of a film and write them as films with the same time stamps.

    Args:
        film: The frames.
        predictor: Labels one.
        folder: Of the results.
        name: Of the results: ``NAME-overlay.mp4``, ``NAME-mask.mkv`` (class ids, lossless).
        kinds: What to write.
        every: Label, and write, every so-manieth frame only.
        drop: Of a live film: leave frames out to keep up with it; up to a hundred of them wait
            otherwise.
        beside: Threads that may call the predictor at once.
        tick: Called after each frame.

    Returns:
        What was labelled, and the files. Ctrl-C ends a live film; it is complete then.

    Raises:
        FullyConvError: If the film cannot be read, or nothing be written. What was written so far
            is kept, with ``.part`` in its name.
    """
    film_files(name, kinds)
    newest = film.live and drop
    size = 1 if newest else 8
    with ExitStack() as open_films:
        labelled = _Labelled(film, folder, name, kinds, every, open_films, tick)
        frames = ahead_of(film.frames(every), QUEUE if film.live and not drop else size, newest)
        try:
            flow(
                frames,
                lambda frame: frame,
                lambda frame, _: predictor(frame.pixels),
                labelled.write,
                lambda *_: labelled.done(),
                workers=1,
                beside=beside,
                ahead=size,
                strict=True,  # the next frame would fail, too
                room=lambda frame: max(1, _MEMORY // frame.pixels.nbytes),
            )
        except KeyboardInterrupt:
            if not film.live:
                raise
        finally:
            frames.close()
    return labelled.result(), labelled.files


QUEUE = 100
"""Frames of a camera that wait at most, where none is dropped; then the camera has to."""
_MEMORY = 128 * 1024**2  # bytes of frames on each side of the network


class _Labelled:
    """The films that are being written, and what is counted of them."""

    def __init__(
        self,
        film: Film,
        folder: Path,
        name: str,
        kinds: Sequence[Output],
        every: int,
        open_films: ExitStack,
        tick: Tick | None,
    ) -> None:
        self.film, self.folder, self.name, self.kinds = film, folder, name, kinds
        self.every, self.open_films, self.tick = every, open_films, tick
        self.writers: dict[str, FilmWriter] = {}
        self.legends: dict[str, NDArray[np.uint8]] = {}
        self.files: list[Path] = []
        self.frames, self.told, self.shape = 0, 0, (0, 0)
        self.shares: NDArray[np.float64] = np.zeros(0)
        self.space: LabelSpace | None = None
        self.first = self.last = Fraction(0)

    def write(self, frame: Frame, prediction: Prediction) -> None:
        """Write one frame of each film; in the one thread that does so."""
        prediction = prediction.renamed(self.name)
        for said in (prediction, *prediction.heads.values()):
            for kind, file in zip(self.kinds, film_files(said.name, self.kinds), strict=True):
                self._writer(file).write(self._picture(said, kind), frame.time)
        labels, classes = prediction.labels, prediction.space.num_classes
        if not self.frames:
            self.first, self.shape, self.space = frame.time, labels.shape, prediction.space
            self.shares = np.zeros(classes)
        self.shares += np.bincount(labels.ravel(), minlength=classes)[:classes] / labels.size
        self.frames, self.last = self.frames + 1, frame.time

    def _writer(self, file: str) -> FilmWriter:
        if file not in self.writers:
            path = self.folder / file
            writer = FilmWriter(path, self.film.rate, self.film.unit)
            self.writers[file] = self.open_films.enter_context(writer)
            self.files.append(path)
        return self.writers[file]

    def _picture(self, said: Prediction, kind: Output) -> NDArray[Any]:
        if kind == "mask":
            return said.labels
        if kind == "color":
            return said.space.colorize(said.labels)
        picture = said.overlay()
        if said.name not in self.legends:
            self.legends[said.name] = legend(said.space, None, picture.shape[0])
        return beside(picture, self.legends[said.name])

    def done(self) -> None:
        """Say that a frame is done."""
        self.told += 1
        if self.tick is not None:
            self.tick(self.told, self.film.count, "frame")

    def result(self) -> FilmPrediction:
        """What was counted."""
        mean = self.shares / max(1, self.frames)
        order = [int(i) for i in np.argsort(-mean, kind="stable") if mean[i] > 0]
        names = self.space.categories if self.space else ()
        return FilmPrediction(
            *self.shape,
            frames=self.frames,
            dropped=-(-self.film.made // self.every) - self.frames if self.film.live else 0,
            damaged=self.film.damaged,
            trouble=self.film.trouble,
            seconds=float(self.last - self.first),
            mean_shares={names[i]: float(mean[i]) for i in order},
        )
