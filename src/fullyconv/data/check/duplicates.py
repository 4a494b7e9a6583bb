"""Pictures that are the same, or nearly: in two splits they make a score worthless."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fullyconv.errors import FullyConvError
from fullyconv.images import read_photo

NEAR = 0.07
"""Difference, in standard deviations, below which two pictures are copies of one.

Of 39 of CamVid's pictures, copies of quality 30, half and one and a half times the size, with noise
or a third brighter differ by at most 0.04 (a gamma of 0.8: half of them by less than 0.062); the
468 frames of its videos, a fifteenth of a second apart at the least, by 0.109 and more.
"""
NEAR_BITS = 7
"""Of 64 bits, those in which the looks of two copies may differ: one of eight bytes is the same."""

MOST_COMPARED = 2000
"""Pairs that look alike and are decoded again to compare them."""

_CELLS = 32  # along each side of the small pictures that are compared


def look_of(image: Image.Image) -> int:
    """64 bits of how a picture looks: where brightness rises from one of 9 x 8 cells to the next.

    0 for a picture with hardly anything on it, which looks like any other of that kind.
    """
    small = np.asarray(image.convert("L").resize((9, 8), Image.Resampling.BOX), np.int16)
    if small.std() < 2:
        return 0
    bits = np.packbits(small[:, 1:] > small[:, :-1])
    return int.from_bytes(bits.tobytes(), "little")


class Seen:
    """Looks and contents of all pictures: 18 bytes of each."""

    def __init__(self) -> None:
        self._content, self._look = array("Q"), array("Q")
        self._split = array("H")

    def add(self, content: int, look: int, split: int) -> None:
        """Remember the next picture; 0 for a content or a look that says nothing."""
        self._content.append(content)
        self._look.append(look)
        self._split.append(split)

    def same(self) -> Iterator[tuple[int, int]]:
        """Pairs of pictures with the same pixels: each with the first of its kind, in order."""
        content = np.frombuffer(self._content, np.uint64)
        order = np.argsort(content, kind="stable")
        ranked = content[order]
        first = np.arange(len(order))
        again = np.flatnonzero((ranked[1:] == ranked[:-1]) & (ranked[1:] != 0)) + 1
        for k in again:
            first[k] = first[k - 1]
        yield from sorted((int(order[first[k]]), int(order[k])) for k in again)

    def alike(self) -> Iterator[tuple[int, int]]:
        """Pairs of pictures of two splits that look alike and are not the same."""
        content, look = (np.frombuffer(a, np.uint64) for a in (self._content, self._look))
        split = np.frombuffer(self._split, np.uint16)
        told = [np.flatnonzero((split == s) & (look != 0)) for s in np.unique(split)]
        for ours, theirs in combinations(told, 2):
            pairs: set[tuple[int, int]] = set()
            for a, b in _near_pairs(look, ours, theirs):
                if content[a] != content[b] and (a, b) not in pairs:
                    pairs.add((a, b))
                    yield a, b


def _near_pairs(
    look: NDArray[np.uint64], ours: NDArray[np.intp], theirs: NDArray[np.intp]
) -> Iterator[tuple[int, int]]:
    """Pairs whose looks differ in at most ``NEAR_BITS`` bits; some several times.

    Of eight bytes at least one is then the same: only pictures that share one are compared.
    """
    bytes_ = look.view(np.uint8).reshape(-1, 8)
    for position in range(8):
        column = bytes_[:, position]
        order = theirs[np.argsort(column[theirs], kind="stable")]
        starts = np.searchsorted(column[order], np.arange(257))
        for index in ours.tolist():
            byte = int(column[index])
            bucket = order[starts[byte] : starts[byte + 1]]
            differing = _bit_counts(look[bucket] ^ look[index])
            yield from ((index, int(b)) for b in bucket[differing <= NEAR_BITS])


def _bit_counts(values: NDArray[np.uint64]) -> NDArray[np.int64]:
    bits = _BITS[values.view(np.uint8).reshape(-1, 8)]
    counts: NDArray[np.int64] = bits.sum(1, dtype=np.int64)
    return counts


_BITS = np.array([value.bit_count() for value in range(256)], np.uint8)


def is_copy(one: Path, other: Path) -> bool:
    """Whether two pictures are the same but for encoding, size, brightness and contrast.

    The larger is brought to the size of the smaller, both to 32 x 32 cells of mean brightness;
    cells with black or white pixels are left out, as brightening cuts those off. What is compared
    is freed of mean and deviation: brightness and contrast.
    """
    try:
        photos = [Image.fromarray(read_photo(path)) for path in (one, other)]
    except FullyConvError:  # gone since it was read
        return False
    size = min((photo.size for photo in photos), key=lambda size: size[0] * size[1])
    if any(abs(p.width * size[1] / (p.height * size[0]) - 1) > 0.03 for p in photos):
        return False  # another shape
    cells, usable = zip(*(_cells(photo, size) for photo in photos), strict=True)
    both = usable[0] & usable[1]
    if both.sum() < both.size / 4:
        return False
    a, b = (values[both] for values in cells)
    if min(a.std(), b.std()) < 2:
        return False
    difference = (a - a.mean()) / a.std() - (b - b.mean()) / b.std()
    return bool(np.sqrt((difference**2).mean()) < NEAR)


def _cells(
    photo: Image.Image, size: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Mean brightness of each cell, and whether none of its pixels is black or white."""
    photo = photo if photo.size == size else photo.resize(size, Image.Resampling.BICUBIC)
    pixels = np.asarray(photo)
    cut = (pixels >= 250).any(-1) | (pixels <= 2).all(-1)
    target, box = (_CELLS, _CELLS), Image.Resampling.BOX
    grey = np.asarray(photo.convert("L").convert("F").resize(target, box))
    touched = Image.fromarray(cut.astype(np.uint8) * np.uint8(255)).resize(target, box)
    return grey, np.asarray(touched) == 0
