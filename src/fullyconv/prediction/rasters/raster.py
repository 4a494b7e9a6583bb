"""Pictures larger than memory, read by rows: GeoTIFF and what else rasterio reads, TIFF, .npy."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullyconv.errors import FullyConvError, UsageError
from fullyconv.images import IMAGE_SUFFIXES, MAX_PIXELS
from fullyconv.prediction.rasters.sources import Source, open_source
from fullyconv.preprocess import Pixels


@dataclass
class Raster:
    """A picture read by rows, as the networks take it.

    Attributes:
        path: The file.
        source: What is read from it.
        bands: Channels that are taken, from 0, in the order red, green, blue.
        scale: Values that become 0 and 255, and between; None for the whole range of the type.
        numbers: Whether they are taken as they are, for networks of bands; NaN where there is none.
        damaged: Blocks that could not be read: rows and columns, from and up to. They are black.
    """

    path: Path
    source: Source
    bands: tuple[int, ...]
    scale: tuple[float, float] | None = None
    numbers: bool = False
    damaged: list[tuple[int, int, int, int]] = field(default_factory=list)
    _unknown: deque[tuple[int, NDArray[np.bool_]]] = field(default_factory=deque, repr=False)

    def read(self, start: int, stop: int) -> Pixels:
        """Rows (stop - start, W, bands), uint8 or, as numbers, float32.

        Called for rising ranges, which may overlap.
        """
        rows, everything = (start, stop), (0, self.source.width)
        unknown = None
        try:
            values = self.source.read(self.bands, rows, everything)
            known = self.source.known(rows, everything)
            unknown = None if known is None else ~known
        except MemoryError:
            raise
        except Exception:  # libraries raise many kinds for what is damaged
            values, unknown = self._blocks(start, stop)
        if unknown is not None and unknown.any():
            self._unknown.append((start, unknown))
        return self._numbers(values, unknown) if self.numbers else self._eight_bits(values)

    def unknown(self, start: int, stop: int) -> NDArray[np.bool_] | None:
        """Which pixels (stop - start, W) of rows read before have no value; None if all have.

        What lies above ``start`` is forgotten.
        """
        while self._unknown and self._unknown[0][0] + len(self._unknown[0][1]) <= start:
            self._unknown.popleft()
        found = None
        for at, mask in self._unknown:
            first, last = max(start, at), min(stop, at + len(mask))
            if first < last:
                if found is None:
                    found = np.zeros((stop - start, self.source.width), np.bool_)
                found[first - start : last - start] |= mask[first - at : last - at]
        return found

    def _blocks(self, start: int, stop: int) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Rows read block by block; those that cannot be read are black and have no value."""
        width, (tall, wide) = self.source.width, self.source.block
        values = np.zeros((stop - start, width, len(self.bands)), self.source.dtype)
        unknown = np.zeros((stop - start, width), np.bool_)
        for top in range(start // tall * tall, stop, tall):
            rows = (max(top, start), min(top + tall, stop))
            inside = slice(rows[0] - start, rows[1] - start)
            for left in range(0, width, wide):
                columns = (left, min(left + wide, width))
                try:
                    values[inside, slice(*columns)] = self.source.read(self.bands, rows, columns)
                    known = self.source.known(rows, columns)
                    if known is not None:
                        unknown[inside, slice(*columns)] = ~known
                except MemoryError:
                    raise
                except Exception:
                    unknown[inside, slice(*columns)] = True
                    whole = (top, min(top + tall, self.source.height), *columns)
                    if whole not in self.damaged:
                        self.damaged.append(whole)
        return values, unknown

    def _numbers(
        self, values: NDArray[Any], unknown: NDArray[np.bool_] | None
    ) -> NDArray[np.float32]:
        numbers = values.astype(np.float32)
        for band, channel in enumerate(self.bands):
            nothing = self.source.nothing[channel]
            if nothing is not None:
                numbers[..., band][values[..., band] == nothing] = np.nan
        if unknown is not None:
            numbers[unknown] = np.nan
        return numbers

    def _eight_bits(self, values: NDArray[Any]) -> NDArray[np.uint8]:
        if self.scale is not None:
            low, high = self.scale
            scaled = (values.astype(np.float32) - low) * (255 / (high - low))
            return np.asarray(np.nan_to_num(scaled).clip(0, 255).round(), np.uint8)
        if values.dtype == np.uint16:
            return (values // 257).astype(np.uint8)  # as images.to_rgb
        return np.asarray(values, np.uint8)


@contextmanager
def open_raster(
    path: str | os.PathLike[str],
    bands: Sequence[int] | None = None,
    scale: tuple[float, float] | None = None,
    wanted: int = 3,
    numbers: bool = False,
) -> Iterator[Raster]:
    """Open a picture to read it by rows.

    Args:
        path: GeoTIFF, COG, JPEG 2000 and whatever rasterio reads; a TIFF that it does not;
            or .npy, (H, W) or (H, W, C).
        bands: Channels to take, from 1; else all there are but opacity, one being taken thrice.
        scale: Values that become 0 and 255. Else 8 bits are taken as they are and 16 by their
            whole range; other types have none, and need it.
        wanted: Channels that the network takes.
        numbers: Take all there are, opacity too, as the numbers they are.

    Yields:
        The picture; it closes the file in the end.

    Raises:
        FullyConvError: If the file is missing or unreadable, a library for it is, its channels are
            not as many as the network takes, or its numbers have no known range.
        UsageError: If there is no such band, or the scale is empty.
    """
    path = Path(path)
    if not path.is_file():
        raise FullyConvError(f"{path}: there is no such file")
    source = open_source(path)
    try:
        if scale is not None and not scale[0] < scale[1]:
            raise UsageError(
                f"scale {scale[0]:g} to {scale[1]:g} is empty; give two rising numbers"
            )
        if numbers and scale is not None:
            raise UsageError(
                f"scale {scale[0]:g} to {scale[1]:g} is for networks of photographs; this one "
                "takes the numbers of bands as they are; leave out --scale"
            )
        if not numbers and scale is None and source.dtype not in (np.uint8, np.uint16):
            raise FullyConvError(
                f"{path}: its numbers are {source.dtype}, which has no range that is black to "
                "white; say it with --scale LOW HIGH"
            )
        chosen = _chosen(path, source, bands, wanted, numbers)
        yield Raster(path, source, chosen, scale, numbers)
    finally:
        getattr(source, "close", lambda: None)()


def _chosen(
    path: Path, source: Source, bands: Sequence[int] | None, wanted: int, numbers: bool
) -> tuple[int, ...]:
    if bands is None:
        there = [n for n in range(source.channels) if numbers or n != source.alpha]
        there = there * wanted if len(there) == 1 and not numbers else there
    else:
        there = [number - 1 for number in bands]
        if not all(0 <= number < source.channels for number in there):
            raise UsageError(
                f"{path}: it has bands 1 to {source.channels}, not {', '.join(map(str, bands))}"
            )
    if len(there) != wanted:
        order = "that it was trained with" if numbers else "red, green, blue"
        raise FullyConvError(
            f"{path}: {len(there)} bands for a network that takes {wanted}; choose them with "
            f"--bands, in the order {order} (it has {source.channels})"
        )
    return tuple(there)


def is_raster(path: str | os.PathLike[str], arrays: bool = True) -> bool:
    """Whether a file is one to read by windows: an array, georeferenced, or too large for Pillow.

    False for what cannot be opened, and without rasterio: then it is a photograph like others.

    Args:
        path: The file.
        arrays: Whether arrays of any size are; else only those that are too large.
    """
    path = Path(path)
    if arrays and path.suffix.lower() == ".npy":
        return path.is_file()
    if not path.is_file() or (path.suffix.lower() in IMAGE_SUFFIXES - _GEO and _small(path)):
        return False
    try:
        source = open_source(path)
    except FullyConvError:
        return False
    getattr(source, "close", lambda: None)()
    return bool(source.place) or source.height * source.width > MAX_PIXELS


_GEO = frozenset({".tif", ".tiff"})


def _small(path: Path) -> bool:
    """Whether a photograph cannot have too many pixels; the best JPEGs take 40 to a byte."""
    return path.stat().st_size * 40 < MAX_PIXELS
