"""Raster files through rasterio, and TIFF through tifffile where rasterio cannot."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullyconv.errors import FullyConvError
from fullyconv.rasters import Source, gdal

_TIFF = frozenset({".tif", ".tiff", ".btf", ".tf8"})


def open_source(path: Path, settings: Mapping[str, Any]) -> Source:
    """Open a file with the library that can.

    Args:
        path: The file.
        settings: Of GDAL.

    Raises:
        FullyConvError: If none can.
    """
    library = gdal()
    try:
        return RasterioSource(library, path, settings)
    except library.errors.RasterioError as error:
        reason = str(error)
    if path.suffix.lower() in _TIFF:
        try:
            return TiffSource(path)
        except FullyConvError:
            raise
        except Exception as error:  # tifffile raises many kinds
            reason = str(error) or reason
    raise FullyConvError(f"{path}: this is no raster that can be read here ({reason})")


class RasterioSource:
    """A file that GDAL reads; a palette's indices become colours."""

    def __init__(self, library: Any, path: Path, settings: Mapping[str, Any]) -> None:
        self._library, self._settings = library, settings
        with warnings.catch_warnings(), library.Env(**settings):
            warnings.simplefilter("ignore", library.errors.NotGeoreferencedWarning)
            self._file = file = library.open(path)
            enums = library.enums
            if file.count == 0:
                raise library.errors.RasterioIOError("it holds several pictures or none")
            self._masked = any(enums.MaskFlags.all_valid not in f for f in file.mask_flag_enums)
            self._palette = _palette(file, enums)
            self.place = {} if file.transform.is_identity else {"transform": file.transform}
            if file.crs:
                self.place["crs"] = file.crs
        self.height, self.width = file.height, file.width
        self.channels = file.count if self._palette is None else 3
        self.dtype = np.dtype(file.dtypes[0]) if self._palette is None else np.dtype(np.uint8)
        self.block = file.block_shapes[0]
        alphas = [n for n, c in enumerate(file.colorinterp) if c == enums.ColorInterp.alpha]
        self.alpha = alphas[0] if alphas else None
        if self.alpha is None:
            self._read(1, (0, 1), (0, 1))  # a compression that is not known shows only here

    def read(
        self, channels: Sequence[int], rows: tuple[int, int], columns: tuple[int, int]
    ) -> NDArray[Any]:
        """As :class:`fullyconv.rasters.Source`."""
        if self._palette is not None:
            return self._palette[self._read(1, rows, columns)][..., list(channels)]
        different = sorted(set(channels))
        values = self._read([n + 1 for n in different], rows, columns)
        return np.ascontiguousarray(
            values[[different.index(n) for n in channels]].transpose(1, 2, 0)
        )

    def known(self, rows: tuple[int, int], columns: tuple[int, int]) -> NDArray[np.bool_] | None:
        """As :class:`fullyconv.rasters.Source`."""
        if not self._masked:
            return None
        with self._library.Env(**self._settings):
            masks = self._file.read_masks(window=(rows, columns))
        known: NDArray[np.bool_] = (masks != 0).any(0)
        return known

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _read(self, bands: Any, rows: tuple[int, int], columns: tuple[int, int]) -> NDArray[Any]:
        with self._library.Env(**self._settings):
            values: NDArray[Any] = self._file.read(bands, window=(rows, columns))
        return values


def _palette(file: Any, enums: Any) -> NDArray[np.uint8] | None:
    if file.count != 1 or file.colorinterp[0] != enums.ColorInterp.palette:
        return None
    colors = np.zeros((256 if file.dtypes[0] == "uint8" else 65536, 3), np.uint8)
    for index, color in file.colormap(1).items():
        colors[index] = color[:3]
    return colors


class TiffSource:
    """A TIFF read strip by strip, or tile by tile, as they are needed; no georeference."""

    alpha = None

    def __init__(self, path: Path) -> None:
        import tifffile

        self._file = tifffile.TiffFile(path)
        self._page: Any = self._file.pages[0]
        if self._page.imagedepth != 1 or self._page.dtype is None:
            raise FullyConvError(f"{path}: this TIFF is no picture of rows and columns")
        self.height, self.width = self._page.imagelength, self._page.imagewidth
        self.channels = self._page.samplesperpixel
        self.dtype = np.dtype(self._page.dtype)
        tiled = self._page.is_tiled
        self.block = (
            (self._page.tilelength, self._page.tilewidth)
            if tiled
            else (min(self._page.rowsperstrip, self.height), self.width)
        )
        self.place: dict[str, Any] = {}
        self.read([0], (0, 1), (0, 1))

    def read(
        self, channels: Sequence[int], rows: tuple[int, int], columns: tuple[int, int]
    ) -> NDArray[Any]:
        """As :class:`fullyconv.rasters.Source`."""
        tall, wide = self.block
        across, down = -(-self.width // wide), -(-self.height // tall)
        separate = self._page.planarconfig == 2
        part = np.zeros((rows[1] - rows[0], columns[1] - columns[0], self.channels), self.dtype)
        for plane in range(self.channels if separate else 1):
            for y in range(rows[0] // tall, -(-rows[1] // tall)):
                for x in range(columns[0] // wide, -(-columns[1] // wide)):
                    data = self._segment(plane * across * down + y * across + x)
                    top, left = y * tall - rows[0], x * wide - columns[0]
                    to = part[
                        max(top, 0) : top + data.shape[0], max(left, 0) : left + data.shape[1]
                    ]
                    of = data[max(-top, 0) :, max(-left, 0) :][: to.shape[0], : to.shape[1]]
                    to[..., plane if separate else slice(None)] = of[..., 0] if separate else of
        return part[..., list(channels)]

    def known(self, rows: tuple[int, int], columns: tuple[int, int]) -> None:
        """As :class:`fullyconv.rasters.Source`: all."""

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _segment(self, number: int) -> NDArray[Any]:
        """One strip or tile, (rows, columns, samples)."""
        handle = self._file.filehandle
        handle.seek(self._page.dataoffsets[number])
        stored = handle.read(self._page.databytecounts[number])
        decoded, _, shape = self._page.decode(stored, number, jpegtables=self._page.jpegtables)
        if decoded is None:
            return np.zeros((*self.block, shape[-1]), self.dtype)
        values: NDArray[Any] = decoded.reshape(decoded.shape[-3:])
        return values
