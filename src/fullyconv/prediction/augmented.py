"""Labels averaged over mirrored and rescaled copies of a photograph (test-time augmentation)."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fullyconv.errors import UsageError
from fullyconv.prediction.prediction import Prediction
from fullyconv.prediction.predictor import Predictor
from fullyconv.scores import Scores

_LARGEST = 8.0  # scale; 64 times the work of 1


class AugmentedPredictor:
    """A predictor whose answer is the mean of those for several copies of a photograph.

    Probabilities are averaged, not logits: a copy of which the network is unsure then counts
    little, however large its logits are. Logits of the result are the logarithm of the mean.
    Probabilities of all pixels are held in memory, four bytes for each class.

    Args:
        predictor: Labels each copy.
        flip: Take the mirrored photograph too.
        scales: Factors that the photograph is resampled by (bilinear, smoothed where it shrinks);
            the probabilities are resampled back.

    Raises:
        UsageError: If a scale is not above 0 and at most 8.
    """

    def __init__(
        self, predictor: Predictor, flip: bool = False, scales: Sequence[float] = (1.0,)
    ) -> None:
        if not scales or not all(0 < scale <= _LARGEST for scale in scales):
            raise UsageError(
                f"scales are {list(scales)}; each is a number above 0 and at most {_LARGEST:g}, "
                "as in 0.75,1,1.25"
            )
        self.predictor, self.flip, self.scales = predictor, flip, tuple(scales)
        self.labels, self.header = predictor.labels, predictor.header
        self.beside = predictor.beside

    @contextmanager
    def side_by_side(self) -> Iterator[AugmentedPredictor]:
        """The same predictor for several threads at once; see :class:`~fullyconv.Predictor`."""
        with self.predictor.side_by_side() as predictor:
            yield AugmentedPredictor(predictor, self.flip, self.scales)

    def __call__(self, photo: str | os.PathLike[str] | Image.Image | NDArray[Any]) -> Prediction:
        """Label one photograph; see :class:`~fullyconv.Predictor`."""
        image, name = self.predictor.read(photo)
        first: Prediction | None = None
        sums: list[NDArray[np.float32]] = []
        for copy, mirrored in self._copies(image):
            said = self.predictor(copy)
            first = first or said
            parts = [said, *said.heads.values()]
            found = [_on(image.shape[:2], part.probabilities(), mirrored) for part in parts]
            sums = [a + b for a, b in zip(sums, found, strict=True)] if sums else found
        assert first is not None  # there is a scale
        count = len(self.scales) * (1 + self.flip)
        shown = self.header.preprocess.picture(image)
        parts = [
            replace(part, image=shown, scores=_scores(total / np.float32(count)))
            for part, total in zip([first, *first.heads.values()], sums, strict=True)
        ]
        heads = dict(zip(first.heads, parts[1:], strict=True))
        return replace(parts[0], heads=heads).renamed(name)

    def _copies(self, image: NDArray[Any]) -> Iterable[tuple[NDArray[Any], bool]]:
        """Each copy, and whether it is mirrored."""
        height, width = image.shape[:2]
        for scale in self.scales:
            size = max(1, round(height * scale)), max(1, round(width * scale))
            copy = resampled(image, *size)
            yield copy, False
            if self.flip:
                yield np.ascontiguousarray(copy[:, ::-1]), True


def parse_scales(text: str | Sequence[float]) -> tuple[float, ...]:
    """The scales in a comma-separated text.

    Raises:
        UsageError: If one is not a number.

    Example:
        >>> parse_scales("0.75, 1")
        (0.75, 1.0)
    """
    if not isinstance(text, str):
        return tuple(text)
    try:
        scales = tuple(float(part) for part in text.split(","))
    except ValueError:
        scales = (math.nan,)
    if not all(map(math.isfinite, scales)):
        raise UsageError(f"scales are {text!r}; write numbers with commas, as in 0.75,1,1.25")
    return scales


def resampled(image: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    """A picture (H, W, C), of any type, resampled by Pillow's smoothing bilinear filter."""
    if image.shape[:2] == (height, width):
        return image
    if image.shape[2] == 3 and image.dtype == np.uint8:
        small = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
        return np.asarray(small)
    planes = [_resized(plane, height, width) for plane in np.moveaxis(image, 2, 0)]
    made = np.stack(planes, -1)
    return made.round().astype(np.uint8) if image.dtype == np.uint8 else made


def _resized(plane: NDArray[Any], height: int, width: int) -> NDArray[np.float32]:
    image = Image.fromarray(np.ascontiguousarray(plane, np.float32))
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))


def _on(
    size: tuple[int, int], probabilities: NDArray[np.float32], mirrored: bool
) -> NDArray[np.float32]:
    """Probabilities of a copy on the pixels of the photograph."""
    if mirrored:
        probabilities = probabilities[:, :, ::-1]
    if probabilities.shape[1:] == size:
        return probabilities
    return np.stack([_resized(plane, *size) for plane in probabilities])


def _scores(probabilities: NDArray[np.float32]) -> Scores:
    smallest = np.finfo(np.float32).tiny
    return Scores.of(np.log(np.maximum(probabilities, smallest)))
