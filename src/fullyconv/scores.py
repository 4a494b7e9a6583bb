"""Coarse class scores, and from them the labels or logits of every pixel."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullyconv.labels import id_type
from fullyconv.models.fast.plan import Landing

# pixels worked on at once: few enough to stay in the processor's caches
_ROWS, _COLUMNS, _BLOCK = 64, 256, 1024
AS_THEY_ARE = Landing(1, 1, 0, 0)
"""Scores that lie on the pixels already."""


@dataclass(frozen=True)
class Scores:
    """What an engine says of one picture.

    Full-size logits are made only where they are asked for; labels are found in bands of rows.

    Attributes:
        coarse: (classes, h, w) float32, at the prediction stride.
        landing: How they lie on the pixels.
        height: Of the picture, in pixels.
        width: Of the picture, in pixels.
        top: Row of the picture that is row 0 here, where this is a band of a larger one's rows.
        first: Coarse row of the picture that is row 0 of ``coarse``.
        cells: Coarse rows of the picture; 0 if ``coarse`` holds them all.

    Example:
        >>> scores = Scores(np.eye(2, dtype=np.float32)[:, None], AS_THEY_ARE, 1, 2)
        >>> scores.labels().tolist()
        [[0, 1]]
    """

    coarse: NDArray[np.float32] = field(repr=False)
    landing: Landing
    height: int
    width: int
    top: int = 0
    first: int = 0
    cells: int = 0

    @classmethod
    def of(cls, logits: NDArray[np.float32]) -> Scores:
        """Scores (classes, H, W) of every pixel, as they are."""
        return cls(logits, AS_THEY_ARE, *logits.shape[1:])

    def part(self, start: int, stop: int) -> Scores:
        """Those of some of the classes."""
        return replace(self, coarse=self.coarse[start:stop])

    def labels(self) -> NDArray[Any]:
        """(H, W): the class of the highest score of each pixel, the lowest id of equals.

        uint8; uint16 if there are more than 255 classes.
        """
        labels = np.zeros((self.height, self.width), id_type(len(self.coarse)))
        for start in range(0, self.height, _ROWS):
            band = labels[start : start + _ROWS]
            weights, scores = self._band(start, start + len(band))
            for left in range(0, self.width, _BLOCK):
                _highest(weights, scores[:, :, left : left + _BLOCK], band[:, left : left + _BLOCK])
        return labels

    def logits(self) -> NDArray[np.float32]:
        """(classes, H, W) float32: the scores of every pixel."""
        logits = np.empty((len(self.coarse), self.height, self.width), np.float32)
        for start in range(0, self.height, _ROWS):
            band = logits[:, start : start + _ROWS]
            weights, scores = self._band(start, start + band.shape[1])
            np.matmul(weights, scores, out=band)
        return logits

    def _band(self, start: int, stop: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Of some rows: the weights of coarse rows, and those (classes, n, W) at full width."""
        columns = self.coarse.shape[2]
        weights, coarse = self._rows(start, stop)
        if self.landing == AS_THEY_ARE:
            return weights, coarse[:, :, : self.width]
        wide = np.empty((*coarse.shape[:2], self.width), np.float32)
        for left in range(0, self.width, _COLUMNS):
            right = min(left + _COLUMNS, self.width)
            first, across = _weights(self.landing, left, right, columns)
            part = coarse[:, :, first : first + across.shape[1]]
            np.matmul(part, across.T, out=wide[:, :, left:right])
        return weights, wide

    def _rows(self, start: int, stop: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Of some rows: the weights of coarse rows, and those (classes, n, w)."""
        cells = self.cells or self.coarse.shape[1]
        first, weights = _weights(self.landing, self.top + start, self.top + stop, cells)
        first -= self.first
        return weights, self.coarse[:, first : first + weights.shape[1]]


def _highest(
    weights: NDArray[np.float32], scores: NDArray[np.float32], labels: NDArray[Any]
) -> None:
    """Write the class of the highest score of each pixel into ``labels``, which hold 0."""
    best = weights @ scores[0]
    for number in range(1, len(scores)):
        logits = weights @ scores[number]
        np.copyto(labels, labels.dtype.type(number), where=logits > best)
        np.maximum(best, logits, out=best)


@lru_cache(maxsize=1024)  # some kilobytes each; pictures of one size share them
def _weights(
    landing: Landing, start: int, stop: int, cells: int
) -> tuple[int, NDArray[np.float32]]:
    return landing.weights(start, stop, cells)
