"""The pixels of a picture that somebody sent; what could do harm is refused before decoding."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fullyconv.errors import FullyConvError
from fullyconv.images import opened, read_photo
from fullyconv.serve.form import field_of
from fullyconv.serve.problems import RequestError

_FORMATS = frozenset(
    {"JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "PPM", "AVIF", "JPEG2000"}
)
_KNOWN = "JPEG, PNG, WebP, GIF, BMP, TIFF, PPM, AVIF and JPEG 2000"
_MAX_SCANS = 50  # of a progressive JPEG, whose every scan goes over the whole picture; usual is 10
_PICTURE = "the picture"


def check_content_type(content_type: str) -> None:
    """Refuse what is declared to be no picture.

    Raises:
        RequestError: If it is.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind not in ("", "application/octet-stream", "multipart/form-data") and not (
        kind.startswith("image/")
    ):
        raise RequestError(
            415,
            f"Content-Type is {kind[:100]!r}; send the picture as image/jpeg or another image/... "
            "(curl -H 'Content-Type: image/jpeg'), application/octet-stream, or "
            "multipart/form-data with one field 'image'",
        )


def picture_in(content_type: str, body: bytes) -> bytes:
    """The picture file in a request.

    Raises:
        RequestError: If there is none.
    """
    if content_type.strip().lower().startswith("multipart/form-data"):
        body = field_of(content_type, body)
    if not body:
        raise RequestError(422, "the request holds no picture: it is empty")
    return body


def decode(content: bytes, max_pixels: int) -> NDArray[np.uint8]:
    """The pixels (H, W, 3) of a picture, as ``fcn predict`` reads them from a file.

    Raises:
        RequestError: If it has more pixels than that, or is of a format not taken here.
        FullyConvError: If it is no picture, or damaged.
    """
    try:
        with opened(_PICTURE, content) as image:
            _check_header(image, content, max_pixels)
    except FullyConvError as error:
        if isinstance(error.__cause__, Image.DecompressionBombError):  # more than we ever read
            raise _too_many_pixels(str(error.__cause__), max_pixels) from error
        raise
    return read_photo(_PICTURE, content)


def _check_header(image: Image.Image, content: bytes, max_pixels: int) -> None:
    if image.format not in _FORMATS:
        raise RequestError(
            415, f"a picture of format {image.format} is not taken here, but {_KNOWN}"
        )
    if image.width * image.height > max_pixels:
        raise _too_many_pixels(f"{image.width} x {image.height} pixels", max_pixels)
    # the two bytes do not occur in the data of a scan, which has a 0 after each 255
    if image.format in ("JPEG", "MPO") and content.count(b"\xff\xda") > _MAX_SCANS:
        raise FullyConvError(
            f"{_PICTURE}: a JPEG of more than {_MAX_SCANS} scans is not decoded; save it anew"
        )


def _too_many_pixels(found: str, most: int) -> RequestError:
    return RequestError(
        413, f"{found}: more than the {most:,} that are taken here; make the picture smaller"
    )
