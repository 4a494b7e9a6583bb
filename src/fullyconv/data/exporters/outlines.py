"""Id masks as polygons along the edges of pixels: drawn again, they are the same masks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from fullyconv.errors import FullyConvError

Ring = NDArray[np.int64]

_STEPS = ((1, 0), (0, 1), (-1, 0), (0, -1))  # right, down, left, up


def polygons(mask: NDArray[np.bool_], tolerance: float = 0) -> Iterator[Ring]:
    """One ring for each region of pixels that touch by a side; holes are joined to it by slits.

    Args:
        mask: (H, W).
        tolerance: Pixels that an outline may be off, for fewer corners; 0 for the mask itself.

    Yields:
        (n, 2) int64: x and y of its corners.

    Raises:
        FullyConvError: If scipy is not installed.
    """
    try:
        from scipy import ndimage
    except ImportError as error:
        raise FullyConvError(
            'finding regions needs scipy: pip install "fullyconv[data]"'
        ) from error
    numbered, _ = ndimage.label(mask)
    for number, (rows, columns) in enumerate(ndimage.find_objects(numbered), 1):
        rings = outlines(numbered[rows, columns] == number)
        yield joined([simplified(ring, tolerance) for ring in rings]) + np.array(
            [columns.start, rows.start]
        )


def outlines(mask: NDArray[np.bool_]) -> list[Ring]:
    """Rings around the regions of a mask, the inside at their right; a region's outer one first.

    Each walks along sides of pixels. Where two pixels touch by a corner only, it stays with its
    own, so that no ring meets itself.
    """
    inside = np.pad(mask, 1)
    before = {
        0: inside[1:, 1:] & ~inside[:-1, 1:],  # above a pixel, to the right
        1: ~inside[1:, 1:] & inside[1:, :-1],  # right of a pixel, down
        2: ~inside[1:, 1:] & inside[:-1, 1:],  # below a pixel, to the left
        3: inside[1:, 1:] & ~inside[1:, :-1],  # left of a pixel, up
    }
    sides = set()
    for way, there in before.items():
        ys, xs = np.nonzero(there)
        ends = (xs + (way == 2), ys + (way == 3))  # these walk towards the corner found
        sides |= set(zip(ends[0].tolist(), ends[1].tolist(), [way] * len(xs), strict=True))
    rings = []
    for x, y in np.argwhere(before[0].T).tolist():
        if (x, y, 0) in sides:
            rings.append(_walk(x, y, sides))
    rings.sort(key=lambda ring: (ring[:, 1].min(), ring[ring[:, 1] == ring[:, 1].min(), 0].min()))
    return rings


def _walk(x: int, y: int, sides: set[tuple[int, int, int]]) -> Ring:
    """The ring that begins with its leftmost side to the right, at a corner; takes its sides."""
    corners, way, last = [], 0, -1
    while (x, y, way) in sides:
        sides.remove((x, y, way))
        if way != last:
            corners.append((x, y))
        last = way
        x, y = x + _STEPS[way][0], y + _STEPS[way][1]
        turns = ((way + turn) % 4 for turn in (1, 0, 3))  # right first: around the same pixel
        way = next((turn for turn in turns if (x, y, turn) in sides), way)
    return np.array(corners, np.int64)


def simplified(ring: Ring, tolerance: float) -> Ring:
    """The ring with fewer corners, none of those left out farther off than the tolerance.

    Douglas and Peucker (1973), between the first corner and the one farthest from it.
    """
    far = int(((ring - ring[0]) ** 2).sum(1).argmax())
    if tolerance <= 0:
        return ring
    kept, todo = {0, far}, [(0, far), (far, len(ring))]
    closed = np.concatenate([ring, ring[:1]]).astype(np.float64)
    while todo:
        first, last = todo.pop()
        if last - first < 2:
            continue
        between, chord = closed[first + 1 : last] - closed[first], closed[last] - closed[first]
        along = (between @ chord / (chord @ chord)).clip(0, 1)
        away = np.hypot(*(between - along[:, None] * chord).T)
        worst = int(away.argmax())
        if away[worst] > tolerance:
            middle = first + 1 + worst
            kept.add(middle)
            todo += [(first, middle), (middle, last)]
    return ring[sorted(kept)] if len(kept) > 2 else ring


def joined(rings: list[Ring]) -> Ring:
    """One ring of an outer one and its holes: to each hole and back along the same line.

    Filled by the even-odd rule, or by the non-zero one, it covers what the rings do together: the
    two ways of a slit cancel.
    """
    whole = rings[0]
    for hole in rings[1:]:
        at = int(((whole - hole[0]) ** 2).sum(1).argmin())
        whole = np.concatenate([whole[: at + 1], hole, hole[:1], whole[at:]])
    return whole
