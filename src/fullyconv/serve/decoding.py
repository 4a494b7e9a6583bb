"""The pixels of a picture that somebody sent; what could do harm is refused before it is decoded."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fullyconv.errors import FullyConvError
from fullyconv.images import opened, to_rgb
from fullyconv.serve.form import field_of
from fullyconv.serve.problems import Problem

_FORMATS = frozenset(
    {"JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "PPM", "AVIF", "JPEG2000"}
)
_KNOWN = "JPEG, PNG, WebP, GIF, BMP, TIFF, PPM, AVIF and JPEG 2000"
_MAX_SCANS = 50  # of a progressive JPEG, whose every scan goes over the whole picture; usual is 10
_PICTURE = "the picture"


def check_content_type(content_type: str) -> None:
    """Refuse what is declared to be no picture.

    Raises:
        Problem: If it is.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind not in ("", "application/octet-stream", "multipart/form-data") and not (
        kind.startswith("image/")
    ):
        raise Problem(
            415,
            f"Content-Type is {kind[:100]!r}; send the picture as image/jpeg or another image/..., "
            "application/octet-stream, or multipart/form-data with one field 'image'",
        )


def picture_in(content_type: str, body: bytes) -> bytes:
    """The picture file in a request.

    Raises:
        Problem: If there is none.
    """
    if content_type.strip().lower().startswith("multipart/form-data"):
        body = field_of(content_type, body)
    if not body:
        raise Problem(422, "the request holds no picture: it is empty")
    return body


def decode(content: bytes, max_pixels: int) -> NDArray[np.uint8]:
    """The pixels (H, W, 3) of a picture, as ``fcn predict`` reads them from a file.

    Raises:
        Problem: If it has more pixels than that, or is of a format not taken here.
        FullyConvError: If it is no picture, or damaged.
    """
    with opened(_PICTURE, content) as image:
        if image.format not in _FORMATS:
            raise Problem(415, f"a picture of format {image.format} is not taken here, but {_KNOWN}")
        if image.width * image.height > max_pixels:
            raise Problem(
                413,
                f"{image.width} x {image.height} pixels are more than the {max_pixels:,} that are "
                "taken here; make the picture smaller",
            )
        # the two bytes do not occur in the data of a scan, which has a 0 after each 255
        if image.format in ("JPEG", "MPO") and content.count(b"\xff\xda") > _MAX_SCANS:
            raise FullyConvError(
                f"{_PICTURE}: a JPEG of more than {_MAX_SCANS} scans is not decoded; save it anew"
            )
        try:
            return to_rgb(image)
        except FullyConvError as error:
            raise FullyConvError(f"{_PICTURE}: {error}") from error
