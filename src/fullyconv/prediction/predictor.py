"""From photographs to labels: one predictor for the command, Python and the server."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fullyconv.bands import read_bands
from fullyconv.checkpoint import Header
from fullyconv.errors import FullyConvError
from fullyconv.images import take_photo
from fullyconv.labels import LabelSpace
from fullyconv.prediction.prediction import Prediction
from fullyconv.prediction.tiling import picture_scores
from fullyconv.preprocess import Pixels
from fullyconv.runtimes.open import open_runtime
from fullyconv.runtimes.runtime import Runtime
from fullyconv.scores import Scores


class Predictor:
    """A model ready to label photographs of any size.

    Args:
        model: Name of a shipped model (``"camvid"``), or path of a checkpoint, a run folder
            or what ``fcn export`` wrote.
        runtime: Engine: torch, torch-compiled, onnx, openvino or ncnn; ``"auto"`` takes the one
            that is done first (:func:`~fullyconv.runtimes.open.open_runtime`).
        precision: ``"float32"`` or ``"bfloat16"``.
        photos: About how many pictures there are to label.
        memory: Bytes that labelling one may take; a larger picture is labelled in tiles, with the
            same result. None for half of what is free then.
        say: Told of the tiles of such a picture, before the work starts.

    Attributes:
        header: What the model says about itself.
        runtime: The engine.
        engine: Its name.
        beside: How many pictures it labels at once: more than 1 of :meth:`side_by_side` alone.

    Raises:
        FullyConvError: If the model cannot be read, or the engine is not installed or cannot open
            it.
        UsageError: If there is no such engine, or it has no such precision.

    Example:
        >>> predictor = Predictor("camvid")
        >>> predictor(np.zeros((40, 30, 3), np.uint8)).labels.shape
        (40, 30)
    """

    def __init__(
        self,
        model: str | os.PathLike[str],
        runtime: str = "auto",
        precision: str = "float32",
        photos: int = 1,
        memory: int | None = None,
        say: Callable[[str], object] | None = None,
    ) -> None:
        opened = open_runtime(model, runtime, precision, photos)
        self.runtime: Runtime = opened.runtime
        self.header: Header = opened.header
        self.engine = opened.engine
        self.memory, self.say, self.beside = memory, say, 1

    @classmethod
    def of(cls, runtime: Runtime, header: Header) -> Predictor:
        """Predictor of a network that is already in memory."""
        predictor = cls.__new__(cls)
        predictor.runtime, predictor.header, predictor.engine = runtime, header, ""
        predictor.memory, predictor.say, predictor.beside = None, None, 1
        return predictor

    @contextmanager
    def side_by_side(self) -> Iterator[Predictor]:
        """The same predictor for several threads at once, ``runtime.streams`` at the best.

        See :meth:`~fullyconv.runtimes.runtime.Runtime.side_by_side`; ``beside`` of it says how
        many, among which its memory is shared.

        Example:
            >>> from concurrent.futures import ThreadPoolExecutor
            >>> with Predictor("camvid").side_by_side() as predictor:
            ...     with ThreadPoolExecutor(predictor.beside) as threads:
            ...         made = list(threads.map(predictor, 2 * [np.zeros((8, 8, 3), np.uint8)]))
        """
        with self.runtime.side_by_side() as runtime:
            predictor = copy.copy(self)
            predictor.runtime, predictor.beside = runtime, self.runtime.streams
            yield predictor

    @property
    def labels(self) -> LabelSpace:
        """The classes the model knows."""
        return self.header.labels

    def __call__(self, photo: str | os.PathLike[str] | Image.Image | Pixels) -> Prediction:
        """Label one photograph.

        Args:
            photo: A path, a Pillow image, or an (H, W, 3) uint8 RGB array; for a network of
                several inputs an array (H, W, C) of them all.

        Raises:
            FullyConvError: If the photograph cannot be read or has another form, or the network
                gives no numbers for it.
        """
        return self._prediction(*self.read(photo))

    def read(
        self, photo: str | os.PathLike[str] | Image.Image | NDArray[Any]
    ) -> tuple[NDArray[Any], str]:
        """The pixels of a photograph as the network takes them, and its name.

        Raises:
            FullyConvError: If it cannot be read.
        """
        if self.header.preprocess.bands and isinstance(photo, str | os.PathLike):
            return read_bands(photo), Path(photo).stem
        return take_photo(photo)

    def _prediction(self, image: Pixels, name: str) -> Prediction:
        spaces = [self.labels, *self.header.heads.values()]
        coarse = picture_scores(
            self.runtime,
            self.header.preprocess,
            image,
            classes=sum(space.num_classes for space in spaces),
            budget=self.memory,
            beside=self.beside,
            say=self.say,
        )
        if not np.isfinite(coarse).all():
            raise FullyConvError(
                f"{name or 'image'}: the network's scores are NaN or infinite; its weights are "
                "damaged, or this precision is too low for it"
            )
        scores = Scores(coarse, self.runtime.plan.landing, *image.shape[:2])
        shown, first = self.header.preprocess.picture(image), self.labels.num_classes
        heads, at = {}, first
        for head, space in self.header.heads.items():
            said = scores.part(at, at + space.num_classes)
            heads[head] = Prediction(shown, said, space, f"{name or 'image'}-{head}")
            at += space.num_classes
        return Prediction(shown, scores.part(0, first), self.labels, name, heads)
