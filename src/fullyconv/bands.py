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
        return _check(np.array(_mapped(path)), path).astype(np.float32)
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
        height, width = _mapped(path).shape[:2]
        return height, width
    with _raster(path) as raster:
        if raster is not None:
            return raster.height, raster.width
    with opened(path) as image:
        return image.height, image.width


def _mapped(path: str | os.PathLike[str]) -> NDArray[Any]:
    """A NumPy file, read when it is looked at; nothing in it is unpickled."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        raise FullyConvError(f"{path}: there is no such file") from error
    except (OSError, ValueError, EOFError) as error:
        raise FullyConvError(f"{path}: cannot be read as a NumPy array ({error})") from error
    if not isinstance(array, np.ndarray) or array.ndim not in (2, 3) or not array.size:
        shape = getattr(array, "shape", None)
        raise FullyConvError(f"{path}: a picture is (H, W) or (H, W, bands); this array is {shape}")
    if array.ndim == 3 and array.shape[2] > min(array.shape[:2]):
        raise FullyConvError(
            f"{path}: an array of shape {array.shape} has more bands than rows or columns; bands "
            "come last: save array.transpose(1, 2, 0)"
        )
    return array


@contextmanager
def _raster(path: str | os.PathLike[str]) -> Iterator[Any]:
    """A TIFF opened by rasterio; None if that is not installed or does not read it."""
    if Path(path).suffix.lower() not in (".tif", ".tiff"):
        yield None
        return
    try:
        import rasterio
        from rasterio.errors import NotGeoreferencedWarning, RasterioError
    except ImportError:
        yield None
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        try:
            source = rasterio.open(path, driver="GTiff")
        except RasterioError:  # Pillow may read it, or has better words
            yield None
            return
        with source:
            try:
                yield source
            except RasterioError as error:
                raise FullyConvError(f"{path}: the picture is damaged ({error})") from error


def _check(array: NDArray[Any], path: str | os.PathLike[str]) -> NDArray[Any]:
    """(H, W, N) of real numbers."""
    if array.dtype.kind not in "uifb":
        raise FullyConvError(f"{path}: bands hold real numbers; these are {array.dtype}")
    return array if array.ndim == 3 else array[..., None]
