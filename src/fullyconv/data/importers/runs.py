"""Masks as run lengths: COCO's, packed into text or not, and CVAT's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullyconv.data.importers.shapes import Bitmap, Patch
from fullyconv.errors import FullyConvError

_LONGEST = 13  # characters of one number: 5 bits each, 64 bits in all


@dataclass(frozen=True)
class Runs:
    """A mask as the lengths of its runs, outside and inside in turn, the first one outside.

    Attributes:
        counts: (n,) int64.
        height: Of the box that the runs fill.
        width: Of the same.
        top: Where the box lies.
        left: Where the box lies.
        by_column: Whether the runs go down the columns (COCO), not along the rows (CVAT).
    """

    counts: NDArray[np.int64]
    height: int
    width: int
    top: int = 0
    left: int = 0
    by_column: bool = True

    @classmethod
    def of(cls, counts: Any, height: Any, width: Any, **more: Any) -> Runs:
        """Runs from a list of numbers or COCO's text.

        Raises:
            FullyConvError: If they do not fill the box, before any pixel is made.
        """
        text = isinstance(counts, str)
        lengths = unpack_counts(counts) if text else np.asarray(counts, np.int64).reshape(-1)
        height, width = int(height), int(width)
        total = sum(lengths.tolist())  # Python's numbers do not overflow
        if height < 0 or width < 0 or total != height * width or (lengths < 0).any():
            raise FullyConvError(
                f"a run-length mask holds {total} pixels, but its box of {height} x {width} has "
                f"{height * width}"
            )
        return cls(lengths, height, width, **more)

    @property
    def area(self) -> float:
        """Pixels."""
        return float(self.counts[1::2].sum())

    def draw(self, height: int, width: int) -> Patch:
        """What of it lies in the picture.

        Raises:
            FullyConvError: If the box is larger than the picture.
        """
        if self.height > height or self.width > width:
            raise FullyConvError(
                f"a run-length mask has {self.height} x {self.width} pixels, but the picture "
                f"{height} x {width}"
            )
        values = np.arange(len(self.counts)) % 2 == 1
        flat = np.repeat(values, self.counts)
        shape = (self.height, self.width)
        mask = flat.reshape(shape[::-1]).T if self.by_column else flat.reshape(shape)
        return Bitmap(mask, self.top, self.left).draw(height, width)

    def leaves(self, height: int, width: int) -> bool:
        """Whether its box reaches outside."""
        right, bottom = self.left + self.width, self.top + self.height
        return min(self.top, self.left) < 0 or right > width or bottom > height


def count_runs(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """COCO's run lengths of a mask (H, W): down the columns, the first run outside."""
    flat = np.concatenate([[False], mask.T.ravel(), [True]])
    flat[-1] = not flat[-2]  # so that the last run ends
    ends = np.flatnonzero(flat[1:] != flat[:-1])
    return np.diff(ends, prepend=0).astype(np.int64)


def pack_counts(counts: NDArray[np.int64]) -> str:
    """COCO's text of run lengths: 5 bits a character; from the third on, what changed.

    Example:
        >>> pack_counts(np.array([6, 1, 40, 4, 5]))
        '61X13mN'
    """
    values = counts.tolist()
    changes = values[:3] + [v - values[i + 1] for i, v in enumerate(values[3:])]
    text = []
    for value in changes:
        more = True
        while more:
            bits, value = value & 31, value >> 5
            more = value != (-1 if bits & 16 else 0)
            text.append(chr(48 + bits + 32 * more))
    return "".join(text)


def unpack_counts(text: str) -> NDArray[np.int64]:
    """Inverse of :func:`pack_counts`.

    Raises:
        FullyConvError: If it is no such text.
    """
    values: list[int] = []
    value = length = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or length >= _LONGEST:
            raise FullyConvError(f"{character!r} does not belong into a run-length text")
        value |= (bits & 31) << (5 * length)
        length += 1
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << (5 * length)
        values.append(value + values[-2] if len(values) > 2 else value)
        value = length = 0
    if length:
        raise FullyConvError("a run-length text is cut short")
    if any(not 0 <= value < 2**40 for value in values):
        raise FullyConvError("a run-length text holds a length below 0 or beyond any picture")
    return np.array(values, np.int64)
