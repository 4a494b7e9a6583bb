"""Reading photographs and label files of every common kind."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from fullyconv.errors import FullyConvError

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm"}
)
MAX_PIXELS = 200_000_000
"""Pictures of more pixels are refused before they are decoded (a defence against bombs)."""


def read_photo(path: str | os.PathLike[str]) -> NDArray[np.uint8]:
    """Read a photograph as people see it.

    The EXIF orientation is applied; 16-bit pictures are scaled to 8 bits; grey and palette pictures
    become RGB; transparent ones are laid on white.

    Args:
        path: A file of any format Pillow reads.

    Returns:
        (H, W, 3) uint8, RGB.

    Raises:
        FullyConvError: If the file is missing, not a picture, cut short or too large.
    """
    with _opened(path) as image:
        return to_rgb(image)


def to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    """Pixels (H, W, 3) uint8 of a Pillow image, as :func:`read_photo` describes."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        deep = np.asarray(image).astype(np.int64)
        grey = (np.clip(deep, 0, 65535) // 257).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if image.mode == "F":
        raise FullyConvError(
            "a floating-point picture has no fixed range; convert it to 8 or 16 bits first"
        )
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return np.array(image.convert("RGB"))


def read_labels(path: str | os.PathLike[str]) -> NDArray[np.integer[Any]]:
    """Read the ids of a label file: 8- or 16-bit grey, or a palette picture's indices.

    Returns:
        (H, W) integers as stored.

    Raises:
        FullyConvError: If the file is unreadable, or holds colours instead of ids.
    """
    with _opened(path) as image:
        if image.mode == "1":
            return np.asarray(image).astype(np.uint8)
        if image.mode in ("P", "L") or image.mode.startswith("I"):
            return np.array(image)
        colors = image.convert("RGB").getcolors(maxcolors=1 << 24) or []
        grey = all(r == g == b for _, (r, g, b) in colors)  # type: ignore[misc]
        if grey:
            return np.array(image.convert("RGB"))[..., 0]
        raise FullyConvError(
            f"{path}: a label file holds class ids (grey or palette), but this one is "
            f"{image.mode} with {len(colors)} colours; save it as a palette PNG whose indices are "
            "the class ids"
        )


@contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[Image.Image]:
    """The decoded image; whatever Pillow raises becomes one sentence with the path in it."""
    try:
        with warnings.catch_warnings():
            # Pillow's own size limit warns; ours refuses, before any pixel is decoded
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise FullyConvError(
                        f"{path}: {image.width} x {image.height} pixels are more than the "
                        f"{MAX_PIXELS:,} that are read whole; cut the picture into parts"
                    )
                image.load()
                yield image
    except FileNotFoundError as error:
        raise FullyConvError(f"{path}: there is no such file") from error
    except IsADirectoryError as error:
        raise FullyConvError(f"{path}: this is a folder, not a picture") from error
    except PermissionError as error:
        raise FullyConvError(f"{path}: no permission to read this file") from error
    except UnidentifiedImageError as error:
        raise FullyConvError(f"{path}: this is not a picture in any format known here") from error
    except Image.DecompressionBombError as error:
        raise FullyConvError(f"{path}: the picture is too large ({error})") from error
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise FullyConvError(f"{path}: the picture is damaged or cut short ({error})") from error
