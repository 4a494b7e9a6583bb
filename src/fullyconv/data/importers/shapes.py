"""Shapes to pixels. A pixel belongs to a shape if its centre does; holes are even-odd."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from fullyconv.errors import FullyConvError

Points = NDArray[np.float64]

_FARTHEST = 1e6  # pixels: what lies farther out is no coordinate
_CROSSINGS = 2**20  # of edges and rows that are held at a time
_JITTER = 1.0  # pixels by which tools' own rounding may leave the picture


class Patch(NamedTuple):
    """Part of a picture: (h, w) bool, and where it lies."""

    mask: NDArray[np.bool_]
    top: int
    left: int


class Shape(Protocol):
    """Something that covers pixels."""

    @property
    def area(self) -> float:
        """How much it covers, in its own unit."""

    def draw(self, height: int, width: int) -> Patch:
        """The pixels of a picture that it covers."""

    def leaves(self, height: int, width: int) -> bool:
        """Whether part of it lies outside of the picture."""


@dataclass(frozen=True)
class Polygon:
    """An outline and its holes.

    Attributes:
        rings: (n, 2) float64 each, x and y of the corners in pixels; (0, 0) is the outer corner of
            the first pixel and (0.5, 0.5) its centre.
        relative: Whether the unit is the picture's width and height instead.
    """

    rings: tuple[Points, ...]
    relative: bool = False

    @classmethod
    def of(cls, rings: Sequence[Any], relative: bool = False, shift: float = 0.0) -> Polygon:
        """A polygon from lists of numbers.

        Raises:
            FullyConvError: If they are no coordinates.
        """
        return cls(tuple(_points(ring) + shift for ring in rings), relative)

    @property
    def area(self) -> float:
        """Of all rings together, holes counted as if they were none."""
        return float(sum(_area(ring) for ring in self.rings))

    def draw(self, height: int, width: int) -> Patch:
        """The pixels whose centres lie inside of an odd number of rings."""
        return _inside(self._scaled(height, width), height, width)

    def leaves(self, height: int, width: int) -> bool:
        """Whether a corner lies outside by more than a tool's rounding."""
        corners = np.concatenate(self._scaled(height, width))
        low, high = corners.min(0), corners.max(0) - (width, height)
        return bool((low < -_JITTER).any() or (high > _JITTER).any())

    def _scaled(self, height: int, width: int) -> list[Points]:
        scale = np.array((width, height) if self.relative else (1, 1), np.float64)
        return [ring * scale for ring in self.rings]


def rectangle(x0: float, y0: float, x1: float, y1: float, relative: bool = False) -> Polygon:
    """A rectangle between two corners."""
    return Polygon.of([[(x0, y0), (x1, y0), (x1, y1), (x0, y1)]], relative)


def ellipse(
    x: float, y: float, rx: float, ry: float, degrees: float = 0.0, relative: bool = False
) -> Polygon:
    """An ellipse as a polygon of 360 corners: off by 0.2 pixels for a radius of 5,000."""
    angles = np.radians(np.arange(360))
    ring = np.stack([rx * np.cos(angles), ry * np.sin(angles)], 1)
    return Polygon.of([turned(ring, degrees, x, y)], relative)


def turned(ring: Any, degrees: float, x: float, y: float) -> Points:
    """Corners turned around (0, 0), clockwise as y points down, then moved by (x, y)."""
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    around: Points = np.asarray(ring, np.float64) @ np.array([[cos, sin], [-sin, cos]])
    moved: Points = around + np.array([x, y])
    return moved


@dataclass(frozen=True)
class Bitmap:
    """A mask, and where it lies in the picture."""

    mask: NDArray[np.bool_]
    top: int = 0
    left: int = 0

    @property
    def area(self) -> float:
        """Pixels."""
        return float(self.mask.sum())

    def draw(self, height: int, width: int) -> Patch:
        """What of it lies in the picture."""
        top, left = max(0, -self.top), max(0, -self.left)
        bottom, right = max(0, height - self.top), max(0, width - self.left)
        return Patch(self.mask[top:bottom, left:right], max(0, self.top), max(0, self.left))

    def leaves(self, height: int, width: int) -> bool:
        """Whether part of it lies outside."""
        h, w = self.mask.shape
        return min(self.top, self.left) < 0 or self.top + h > height or self.left + w > width


def _points(ring: Any) -> Points:
    points = np.asarray(ring, np.float64)
    if points.ndim != 2 or points.shape[1] != 2:
        raise FullyConvError(f"a polygon of shape {points.shape} is not a list of x and y")
    if not (np.abs(points) <= _FARTHEST).all():  # false for nan as well
        raise FullyConvError(f"a polygon holds a coordinate beyond {_FARTHEST:,.0f}")
    return points


def _area(ring: Points) -> float:
    x, y = (ring - ring[0]).T
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2


def _inside(rings: Sequence[Points], height: int, width: int) -> Patch:
    """Even-odd filling: along each row of centres, every edge flips what lies right of it.

    An edge owns its upper end and not its lower one, and a centre on an edge belongs to the right,
    so of two polygons with a common edge exactly one has each pixel.
    """
    corners = np.concatenate(rings)
    low = np.ceil(corners.min(0) - 0.5).clip(0, (width, height)).astype(int)
    high = np.ceil(corners.max(0) - 0.5).clip(0, (width, height)).astype(int)
    (left, top), (right, bottom) = low, high
    rows, columns = bottom - top, right - left
    flips = np.zeros(rows * (columns + 1), np.uint8)
    ends = np.concatenate([np.roll(ring, -1, 0) for ring in rings])
    for row, x in _crossings(corners, ends, top, bottom):
        column = np.ceil(x - 0.5).clip(left, right).astype(int) - left
        np.add.at(flips, (row - top) * (columns + 1) + column, np.uint8(1))  # modulo 256 is even
    parity = np.bitwise_xor.accumulate(flips.reshape(rows, columns + 1) & 1, axis=1)
    return Patch(parity[:, :-1].astype(bool), int(top), int(left))


def _crossings(
    starts: Points, ends: Points, top: int, bottom: int
) -> Iterator[tuple[NDArray[np.int64], Points]]:
    """Rows whose centres an edge crosses, and where; a part of the edges at a time."""
    downwards = (starts[:, 1] <= ends[:, 1])[:, None]
    upper, lower = np.where(downwards, starts, ends), np.where(downwards, ends, starts)
    first = np.ceil(upper[:, 1] - 0.5).clip(top, bottom).astype(np.int64)
    last = np.ceil(lower[:, 1] - 0.5).clip(top, bottom).astype(np.int64)
    crossed = np.flatnonzero(last > first)
    upper, lower, first = upper[crossed], lower[crossed], first[crossed]
    counts = last[crossed] - first
    for part in np.split(
        np.arange(len(counts)), np.flatnonzero(np.diff(np.cumsum(counts) // _CROSSINGS)) + 1
    ):
        edge = np.repeat(part, counts[part])
        before = np.repeat(np.cumsum(counts[part]) - counts[part], counts[part])
        row = first[edge] + np.arange(len(edge)) - before
        (x0, y0), (x1, y1) = upper[edge].T, lower[edge].T
        yield row, x0 + (row + 0.5 - y0) * ((x1 - x0) / (y1 - y0))
