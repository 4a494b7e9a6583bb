"""Pictures of any number of bands and any number type: multispectral TIFFs, NumPy arrays."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullyconv.errors import FullyConvError
from fullyconv.images import IMAGE_SUFFIXES, MAX_PIXELS, opened

BAND_SUFFIXES = IMAGE_SUFFIXES | {".npy"}


def read_bands(path: str | os.PathLike[str]) -> NDArray[np.float32]:
    """Read every band of a picture, its numbers as they are.

    Args:
        path: A TIFF of any bands (several need rasterio), a NumPy file of (H, W) or (H, W, N) with
            no more bands than rows or columns, or any picture that Pillow reads.

    Returns:
        (H, W, N) float32; NaN where the file says that there is no data.

    Raises:
        FullyConvError: If the file is missing, damaged, too large, or holds no real numbers.
    """
    if Path(path).suffix.lower() == ".npy":
        return _check(np.array(_picture(path)), path).astype(np.float32)
    with _raster(path) as raster:
        if raster is not None:
            if raster.width * raster.height > MAX_PIXELS:
                raise FullyConvError(
                    f"{path}: a picture of more than {MAX_PIXELS:,} pixels is not read whole"
                )
            bands = raster.read(masked=True).astype(np.float32).filled(np.nan)
            return _check(bands.transpose(1, 2, 0), path)
    with opened(path) as image:
        if image.mode in ("P", "1", "CMYK", "LAB", "HSV", "YCbCr"):
            image = image.convert("RGB" if image.mode != "1" else "L")
        return _check(np.array(image), path).astype(np.float32)


def bands_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Height and width of a picture of bands, from its header alone.

    Raises:
        FullyConvError: As :func:`read_bands`.
    """
    if Path(path).suffix.lower() == ".npy":
        height, width = _picture(path).shape[:2]
        return height, width
    with _raster(path) as raster:
        if raster is not None:
            return raster.height, raster.width
    with opened(path) as image:
        return image.height, image.width


def _picture(path: str | os.PathLike[str]) -> NDArray[Any]:
    """A NumPy file with the shape of a picture."""
    array = mapped(path)
    if array.ndim not in (2, 3) or not array.size:
        raise FullyConvError(
            f"{path}: a picture is (H, W) or (H, W, bands); this array is {array.shape}"
        )
    if array.ndim == 3 and array.shape[2] > min(array.shape[:2]):
        raise FullyConvError(
            f"{path}: an array of shape {array.shape} has more bands than rows or columns; bands "
            "come last: save array.transpose(1, 2, 0)"
        )
    return array


def mapped(path: str | os.PathLike[str]) -> NDArray[Any]:
    """The array in a NumPy file, read when it is looked at; nothing in it is unpickled.

    Raises:
        FullyConvError: If the file is missing, damaged, or holds several arrays.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        raise FullyConvError(f"{path}: there is no such file") from error
    except Exception as error:  # its header is Python: the parser raises kinds of its own
        raise FullyConvError(f"{path}: cannot be read as a NumPy array ({error})") from error
    if not isinstance(array, np.ndarray):
        raise FullyConvError(
            f"{path}: is an archive of arrays (.npz) under the name of one; write it by numpy.save"
        )
    return array


def gdal_format(path: str | os.PathLike[str]) -> str | None:
    """The format as which GDAL shall open a file, by its name; None where GDAL may choose.

    GDAL goes by content, and knows formats that are but a reference to other files or to addresses
    of the web. What is called a picture must be one.
    """
    return _FORMATS.get(Path(path).suffix.lower())


_FORMATS = {
    **dict.fromkeys((".tif", ".tiff"), "GTiff"),
    **dict.fromkeys((".jpg", ".jpeg"), "JPEG"),
    **dict.fromkeys((".ppm", ".pgm"), "PNM"),
    **{f".{name.lower()}": name for name in ("PNG", "WEBP", "GIF", "BMP")},
}


@contextmanager
def _raster(path: str | os.PathLike[str]) -> Iterator[Any]:
    """A TIFF opened by rasterio; None if that is not installed or does not read it."""
    if Path(path).suffix.lower() not in (".tif", ".tiff"):
        yield None
        return
    try:
        import rasterio
        from rasterio.errors import NotGeoreferencedWarning
    except ImportError:
        yield None
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        try:
            source = rasterio.open(path, driver="GTiff")
        except Exception:  # GDAL's kinds have no public base; Pillow may read it, or say more
            yield None
            return
        with source:
            try:
                yield source
            except FullyConvError:
                raise
            except Exception as error:
                raise FullyConvError(f"{path}: the picture is damaged ({error})") from error


def _check(array: NDArray[Any], path: str | os.PathLike[str]) -> NDArray[Any]:
    """(H, W, N) of real numbers."""
    if array.dtype.kind not in "uifb":
        raise FullyConvError(f"{path}: bands hold real numbers; these are {array.dtype}")
    return array if array.ndim == 3 else array[..., None]
