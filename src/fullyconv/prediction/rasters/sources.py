"""Files read by windows: through rasterio, TIFF through tifffile where that cannot, and .npy."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fullyconv.bands import gdal_format, mapped
from fullyconv.errors import FullyConvError
from fullyconv.extras import optional

_CACHE_MB = 64  # of decoded blocks; GDAL's own default is a twentieth of the machine's memory
_SAFE = {"GDAL_CACHEMAX": _CACHE_MB, "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR"}
_TIFF = frozenset({".tif", ".tiff", ".btf", ".tf8"})


class Source(Protocol):
    """A file whose rows can be read one part after the other.

    Attributes:
        height: In pixels.
        width: In pixels.
        channels: That there are to choose from.
        dtype: As stored.
        block: Rows and columns that are stored, and so damaged, together.
        alpha: Number, from 0, of the channel that says how opaque pixels are; None without.
        nothing: Of each channel, the number that says that there is no data; None without.
        place: Coordinate system and transform, as rasterio has them; empty if there are none.
    """

    height: int
    width: int
    channels: int
    dtype: np.dtype[Any]
    block: tuple[int, int]
    alpha: int | None
    nothing: Sequence[float | None]
    place: dict[str, Any]

    def read(
        self, channels: Sequence[int], rows: tuple[int, int], columns: tuple[int, int]
    ) -> NDArray[Any]:
        """Values (rows, columns, channels) as stored; raises whatever the library does."""
        ...

    def known(self, rows: tuple[int, int], columns: tuple[int, int]) -> NDArray[np.bool_] | None:
        """(rows, columns): which pixels have a value; None if all have."""
        ...


def open_source(path: Path) -> Source:
    """Open a file with the library that can.

    Raises:
        FullyConvError: If none can.
    """
    if path.suffix.lower() == ".npy":
        return NumpySource(path)
    library = gdal()
    try:
        return RasterioSource(library, path)
    except Exception as error:  # GDAL's kinds have no public base
        reason = str(error)
    if path.suffix.lower() in _TIFF:
        try:
            return TiffSource(path)
        except FullyConvError:
            raise
        except Exception as error:  # tifffile raises many kinds
            reason = str(error) or reason
    raise FullyConvError(f"{path}: this is no raster that can be read here ({reason})")


class NumpySource:
    """An array file, of which only what is read comes into memory."""

    alpha: int | None = None

    def __init__(self, path: Path) -> None:
        array = mapped(path)
        if array.ndim not in (2, 3) or array.dtype.kind not in "uif" or array.size == 0:
            raise FullyConvError(
                f"{path}: a picture is an array (H, W) or (H, W, channels) of numbers; this one is "
                f"{array.dtype} of shape {array.shape}"
            )
        self._array = array if array.ndim == 3 else array[..., None]
        self.height, self.width, self.channels = self._array.shape
        self.dtype = array.dtype
        self.nothing: Sequence[float | None] = [None] * self.channels
        self.block = (256, self.width)
        self.place: dict[str, Any] = {}

    def read(
        self, channels: Sequence[int], rows: tuple[int, int], columns: tuple[int, int]
    ) -> NDArray[Any]:
        """As :class:`Source`."""
        part = np.array(self._array[slice(*rows), slice(*columns)])
        return part if list(channels) == list(range(part.shape[2])) else part[..., list(channels)]

    def known(self, rows: tuple[int, int], columns: tuple[int, int]) -> None:
        """As :class:`Source`: all."""


class RasterioSource:
    """A file that GDAL reads; a palette's indices become colours."""

    def __init__(self, library: Any, path: Path) -> None:
        self._library = library
        with at_work(library):
            self._file = file = library.open(path, driver=gdal_format(path))
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
        self.nothing = file.nodatavals if self._palette is None else [None] * 3
        alphas = [n for n, c in enumerate(file.colorinterp) if c == enums.ColorInterp.alpha]
        self.alpha = alphas[0] if alphas else None
        if self.alpha is None:
            self._read(1, (0, 1), (0, 1))  # a compression that is not known shows only here

    def read(
        self, channels: Sequence[int], rows: tuple[int, int], columns: tuple[int, int]
    ) -> NDArray[Any]:
        """As :class:`Source`."""
        if self._palette is not None:
            colors = self._palette[self._read(1, rows, columns)]
            return np.asarray(colors[..., list(channels)])
        different = sorted(set(channels))
        values = self._read([n + 1 for n in different], rows, columns)
        if list(channels) != different:
            values = values[[different.index(n) for n in channels]]
        return values.transpose(1, 2, 0)  # as planes in memory: networks take them so

    def known(self, rows: tuple[int, int], columns: tuple[int, int]) -> NDArray[np.bool_] | None:
        """As :class:`Source`."""
        if not self._masked:
            return None
        with at_work(self._library):
            colors = [n + 1 for n in range(self._file.count) if n != self.alpha]
            masks = self._file.read_masks(colors, window=(rows, columns))
        known: NDArray[np.bool_] = (masks != 0).any(0)
        return known

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _read(self, bands: Any, rows: tuple[int, int], columns: tuple[int, int]) -> NDArray[Any]:
        with at_work(self._library):
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

    alpha: int | None = None

    def __init__(self, path: Path) -> None:
        import tifffile

        self._file = tifffile.TiffFile(path)
        try:
            self._open(path)
        except Exception:
            self._file.close()
            raise

    def _open(self, path: Path) -> None:
        self._page: Any = self._file.pages[0]
        page: Any = self._page
        if page.imagedepth != 1 or page.dtype is None:
            raise FullyConvError(f"{path}: this TIFF is no picture of rows and columns")
        self.height, self.width = page.imagelength, page.imagewidth
        self.channels = page.samplesperpixel
        self.dtype: np.dtype[Any] = np.dtype(page.dtype)
        self.nothing: Sequence[float | None] = [None] * self.channels
        strip = (min(page.rowsperstrip, self.height), self.width)
        self.block = (page.tilelength, page.tilewidth) if page.is_tiled else strip
        self.place: dict[str, Any] = {}
        self.read([0], (0, 1), (0, 1))

    def read(
        self, channels: Sequence[int], rows: tuple[int, int], columns: tuple[int, int]
    ) -> NDArray[Any]:
        """As :class:`Source`."""
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
        """As :class:`Source`: all."""

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


def gdal() -> Any:
    """The package that reads and writes GeoTIFF.

    Raises:
        FullyConvError: If it is not installed.
    """
    return optional("rasterio", "raster", "for rasters")


@contextmanager
def at_work(library: Any) -> Iterator[None]:
    """GDAL with bounded memory, and no warning about pictures without a place on earth."""
    with warnings.catch_warnings(), library.Env(**_SAFE):
        warnings.simplefilter("ignore", library.errors.NotGeoreferencedWarning)
        yield
