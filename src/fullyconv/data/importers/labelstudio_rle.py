"""Label Studio's brush: the bit format of @thi.ng/rle-pack, of the picture's RGBA bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullyconv.data.importers.shapes import Bitmap, Patch
from fullyconv.errors import FullyConvError
from fullyconv.images import MAX_PIXELS

_HALF = 128  # alpha from which a pixel is painted
_CHANNELS = 4


@dataclass(frozen=True)
class Brush:
    """A brush mask, not unpacked yet.

    Attributes:
        packed: The bytes.
        height: Of the picture that was painted on.
        width: Of the same.
    """

    packed: bytes
    height: int
    width: int

    @classmethod
    def of(cls, rle: Any, height: int, width: int) -> Brush:
        """From the list of numbers in the JSON.

        Raises:
            FullyConvError: If they are no bytes.
        """
        try:
            return cls(bytes(rle), height, width)
        except (TypeError, ValueError) as error:
            raise FullyConvError(f"a brush mask is no list of bytes ({error})") from error

    @property
    def area(self) -> float:
        """Unknown before it is unpacked, and not needed: the order of drawing is the file's."""
        return 0.0

    def draw(self, height: int, width: int) -> Patch:
        """The painted pixels.

        Raises:
            FullyConvError: If it does not unpack to as many pixels as it should.
        """
        alpha = unpack(self.packed, self.height, self.width)
        return Bitmap(alpha >= _HALF).draw(height, width)

    def leaves(self, height: int, width: int) -> bool:
        """Never: it is of the picture's size."""
        return False


def unpack(packed: bytes, height: int, width: int) -> NDArray[np.uint8]:
    """The fourth channel (H, W) uint8 of a packed RGBA picture.

    A header says how many values follow, in how many bits each, and four sizes of lengths. Then
    come blocks: one bit that says whether one value is repeated, two that choose a size, a length
    less one, and the value or values.

    Raises:
        FullyConvError: If it holds another number of values, or is cut short.
    """
    if height < 1 or width < 1 or height * width > MAX_PIXELS:
        raise FullyConvError(f"a brush mask of {height} x {width} pixels is no picture's")
    bits = _Bits(packed)
    count, word = bits.take(32), bits.take(5) + 1
    sizes = [bits.take(4) + 1 for _ in range(4)]
    if count != height * width * _CHANNELS or word != 8:
        raise FullyConvError(
            f"a brush mask holds {count} values of {word} bits; a picture of {height} x {width} "
            f"has {height * width * _CHANNELS} of 8"
        )
    values = np.empty(count, np.uint8)
    done = 0
    while done < count:
        repeated = bits.take(1)
        length = bits.take(sizes[bits.take(2)]) + 1
        if done + length > count:
            raise FullyConvError("a brush mask holds more values than its picture")
        values[done : done + length] = bits.take(8) if repeated else bits.words(length)
        done += length
    return values[3::_CHANNELS].reshape(height, width)


class _Bits:
    """Bits one after the other, the first ones those of most weight."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._at = 0

    def take(self, size: int) -> int:
        """A number of so many bits, at most 32."""
        self._check(size)
        first, end = self._at // 8, (self._at + size + 7) // 8
        number = int.from_bytes(self._content[first:end], "big")
        self._at += size
        return number >> (8 * end - self._at) & ((1 << size) - 1)

    def words(self, count: int) -> NDArray[np.uint8]:
        """So many numbers of 8 bits."""
        self._check(8 * count)
        first, shift = divmod(self._at, 8)
        raw = np.frombuffer(self._content[first : first + count + 1] + b"\0", np.uint8)
        wide = raw[:count].astype(np.uint16) << 8 | raw[1 : count + 1]
        self._at += 8 * count
        return (wide >> (8 - shift)).astype(np.uint8)

    def _check(self, size: int) -> None:
        if self._at + size > 8 * len(self._content):
            raise FullyConvError("a brush mask is cut short")
