"""Reading photographs and label files of every common kind."""

from __future__ import annotations

import io
import os
import unicodedata
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from fullyconv.errors import FullyConvError
from fullyconv.files import write_whole

File = str | os.PathLike[str] | IO[bytes]

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm"}
)
MAX_PIXELS = 178_956_970
"""Larger pictures are refused before they are decoded, a defence against bombs (Pillow's limit)."""


def composed(name: str) -> str:
    """A file's name in Unicode's composed form, by which names are compared.

    macOS and some archives write an umlaut as a letter and a mark of its own, which looks the same.

    Example:
        >>> len("u\N{COMBINING DIAERESIS}"), len(composed("u\N{COMBINING DIAERESIS}"))
        (2, 1)
    """
    return unicodedata.normalize("NFC", name)


def read_photo(path: File, content: bytes | None = None) -> NDArray[np.uint8]:
    """Read a photograph as people see it.

    The EXIF orientation is applied; 16-bit pictures are scaled to 8 bits; grey and palette pictures
    become RGB; transparent ones are laid on white.

    Args:
        path: A file of any format Pillow reads, or one that is open for reading bytes.
        content: The bytes of the file, where it is none on this machine; ``path`` then only says
            in errors where they come from.

    Returns:
        (H, W, 3) uint8, RGB.

    Raises:
        FullyConvError: If the file is missing, not a picture, cut short, too large, or holds
            floating-point numbers.
    """
    with opened(path, content) as image:
        try:
            return to_rgb(image)
        except FullyConvError as error:
            raise FullyConvError(f"{path}: {error}") from error


def take_photo(
    photo: str | os.PathLike[str] | Image.Image | NDArray[Any],
) -> tuple[NDArray[Any], str]:
    """A photograph in any of the forms that it may be given in.

    Args:
        photo: A path, a Pillow image, or an array, which is left as it is.

    Returns:
        Its pixels, and its file name without the suffix; an empty one where there is no file.

    Raises:
        FullyConvError: As :func:`read_photo`; or if it is anything else.
    """
    if isinstance(photo, np.ndarray):
        return photo, ""
    if isinstance(photo, Image.Image):
        return to_rgb(photo), ""
    if not isinstance(photo, str | os.PathLike):
        raise FullyConvError(
            f"a photograph is a path, a Pillow image or an array (H, W, 3) of uint8, but a "
            f"{type(photo).__name__} was given"
        )
    return read_photo(photo), Path(photo).stem


def save_image(
    path: str | os.PathLike[str], image: Image.Image, kind: str, quality: int = 90
) -> None:
    """Write a picture whole or not at all.

    It is encoded in memory first: Pillow's encoders overlook a full disk.

    Raises:
        FullyConvError: If the file cannot be written.
    """
    content = encode_image(image, kind, quality=quality)
    write_whole(path, lambda file: file.write(content))


def encode_image(image: Image.Image, kind: str, **options: int) -> bytes:
    """The content of a picture file; ``options`` are those of Pillow's encoder of that kind."""
    encoded = io.BytesIO()
    image.save(encoded, kind, **options)
    return encoded.getvalue()


def image_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Height and width of a photograph as people see it, from its header alone.

    Raises:
        FullyConvError: If the file is missing, not a picture, or too large.
    """
    with opened(path) as image:
        if image.format == "TIFF":
            image.load()  # turns it; what Pillow says before depends on its version
        turned = image.getexif().get(ORIENTATION, 1) in (5, 6, 7, 8)
        return (image.width, image.height) if turned else (image.height, image.width)


ORIENTATION = 0x0112
"""EXIF's tag of how a picture is to be turned: 1 not at all, 5 to 8 by a quarter."""


def read_depth(path: str | os.PathLike[str]) -> NDArray[np.float32]:
    """Read a depth picture as the logarithm of its millimetres.

    Args:
        path: 16-bit grey, in millimetres; or 8-bit grey, 25.5 to a metre, up to 10 m. 0 means not
            measured, and is read as the smallest depth above 0 that the picture holds.

    Returns:
        (H, W, 1) float32.

    Raises:
        FullyConvError: If the file is unreadable or holds no depth.
    """
    raw = read_labels(path)
    unit = 1000 / 25.5 if raw.dtype == np.uint8 else 1.0
    millimetres = raw.astype(np.float32) * np.float32(unit)
    if not (millimetres > 0).any():
        raise FullyConvError(f"{path}: this depth picture holds nothing but 0")
    nearest = millimetres[millimetres > 0].min()
    logarithm: NDArray[np.float32] = np.log(np.maximum(millimetres, nearest))[..., None]
    return logarithm


def to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    """Pixels (H, W, 3) uint8 of a Pillow image, as :func:`read_photo` describes.

    Raises:
        FullyConvError: If it holds floating-point numbers.
    """
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
    """Read the ids of a label file: 1-, 8- or 16-bit grey, or a palette picture's indices.

    An EXIF orientation is applied, as it is to photographs.

    Returns:
        (H, W) integers as stored.

    Raises:
        FullyConvError: If the file is unreadable, or holds something else than ids.
    """
    with opened(path) as image:
        unusable = no_ids(image)
        if not unusable:
            image = ImageOps.exif_transpose(image)
            if image.mode == "1":
                return np.asarray(image).astype(np.uint8)
            if image.mode in ("P", "L") or image.mode.startswith("I"):
                return np.array(image)
            colors = np.array(image.convert("RGB"))
            if (colors == colors[..., :1]).all():
                return colors[..., 0]
            count = len(np.unique(colors.reshape(-1, 3) @ np.array([1 << 16, 1 << 8, 1])))
            unusable = f"is {image.mode} with {count} colours"
        raise FullyConvError(
            f"{path}: a label file holds class ids (grey or palette), but this one {unusable}; "
            "save it as a palette PNG whose indices are the class ids"
        )


def read_colors(path: File) -> NDArray[np.uint8]:
    """Read a mask whose colours are its classes.

    Returns:
        (H, W, 3) uint8, RGB; what is transparent is black.

    Raises:
        FullyConvError: If the file is unreadable, a JPEG, or of numbers rather than colours.
    """
    with opened(path) as image:
        if image.format in ("JPEG", "MPO"):
            unusable = "is a JPEG, which does not keep colours as they were"
        elif image.mode == "F" or image.mode.startswith("I"):
            unusable = "holds numbers of more than 8 bits"
        else:
            image = ImageOps.exif_transpose(image)
            if not image.has_transparency_data:
                return np.array(image.convert("RGB"))
            colors = np.array(image.convert("RGBA"))
            colors[colors[..., 3] == 0] = 0
            return colors[..., :3]
        raise FullyConvError(f"{path}: a coloured mask is needed, but this one {unusable}")


def read_mask(path: File) -> NDArray[np.bool_]:
    """Read what a mask of one thing covers: what is not transparent, or not black.

    Returns:
        (H, W) bool.

    Raises:
        FullyConvError: If the file is unreadable.
    """
    with opened(path) as image:
        if image.has_transparency_data:
            return np.asarray(np.asarray(image.convert("RGBA"))[..., 3] > 0)
        values = np.asarray(image.convert("RGB") if image.mode == "P" else image)
        covered: NDArray[np.bool_] = values > 0
        return np.asarray(covered.any(-1)) if covered.ndim == 3 else covered


def is_grey(path: File) -> bool:
    """Whether a picture has one channel of 8 bits and no palette.

    Raises:
        FullyConvError: If the file is unreadable.
    """
    with opened(path) as image:
        return image.mode == "L"


def no_ids(image: Image.Image) -> str:
    """Why the numbers in a picture, not decoded yet, cannot be class ids; empty if they may be."""
    if image.format in ("JPEG", "MPO"):
        return "is a JPEG, which does not keep numbers as they were"
    if image.mode == "F":
        return "holds floating-point numbers"
    tile = getattr(image, "tile", None)  # how the pixels lie in the file
    depth = str(tile[0][3]) if tile else ""
    if depth in ("L;2", "L;4"):  # Pillow spreads them over 0-255; others keep them
        return f"has {depth[-1]} bits of grey, which may be ids or shades"
    return ""


def _check_undecoded(image: Image.Image) -> None:
    """Refuse what decoding could do harm with."""
    if image.format == "EPS":  # a program, which Pillow hands to Ghostscript
        raise UnidentifiedImageError("PostScript is not a picture")
    # Pillow's own check, which an application may have switched off
    if image.width * image.height > MAX_PIXELS:
        raise Image.DecompressionBombError(f"{image.width} x {image.height} pixels")


def is_tiff(path: File, content: bytes | None = None) -> bool:
    """Whether a file begins as TIFFs and BigTIFFs do; by its content, where that was read."""
    if content is None:
        if not isinstance(path, str | os.PathLike):
            return False
        with Path(path).open("rb") as file:
            content = file.read(4)
    return content[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


@contextmanager
def opened(path: File, content: bytes | None = None) -> Iterator[Image.Image]:
    """The image, not decoded yet; whatever Pillow raises becomes one sentence with the path.

    Args:
        path: The file.
        content: Its bytes, where they were read already.

    Raises:
        FullyConvError: If the file is missing, not a picture, cut short, or too large.
    """
    try:
        with warnings.catch_warnings():
            # Pillow's own size limit warns; ours refuses, before any pixel is decoded
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            file = Image.open(path if content is None else io.BytesIO(content))
        with file as image:
            _check_undecoded(image)
            yield image
    except FullyConvError:
        raise
    except FileNotFoundError as error:
        raise FullyConvError(f"{path}: there is no such file") from error
    except IsADirectoryError as error:
        raise FullyConvError(f"{path}: this is a folder, not a picture") from error
    except PermissionError as error:
        raise FullyConvError(f"{path}: no permission to read this file") from error
    except UnidentifiedImageError as error:
        if is_tiff(path, content):
            raise FullyConvError(
                f"{path}: this TIFF has a compression or layout that is not known here; save it "
                "anew with another, such as deflate"
            ) from error
        raise FullyConvError(f"{path}: this is not a picture in any format known here") from error
    except Image.DecompressionBombError as error:
        raise FullyConvError(
            f"{path}: a picture of more than {MAX_PIXELS:,} pixels is not read whole; cut it into "
            "parts"
        ) from error
    except MemoryError as error:
        raise FullyConvError(f"{path}: too little memory to read this picture") from error
    except OSError as error:
        what = "cannot be read" if error.errno else "the picture is damaged or cut short"
        raise FullyConvError(f"{path}: {what} ({error.strerror or error})") from error
    except Exception as error:  # Pillow's plug-ins raise nearly every kind
        raise FullyConvError(f"{path}: the picture is damaged or cut short ({error})") from error
