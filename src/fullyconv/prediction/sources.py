"""The pixels of a still source: a file, an address on the web, the standard input."""

from __future__ import annotations

import sys
from pathlib import Path

from fullyconv.bands import read_bands
from fullyconv.errors import FullyConvError
from fullyconv.images import read_photo
from fullyconv.prediction.photos import kind_of
from fullyconv.preprocess import Pixels


def read_source(path: Path | str, bands: bool = False) -> Pixels:
    """The picture that a source names.

    Args:
        path: A file, an http or https address, or ``-``: one encoded picture on the standard input.
        bands: Read all that a file holds, as it is.

    Returns:
        (H, W, 3) uint8, RGB; of bands (H, W, N) float32.

    Raises:
        FullyConvError: If there is no picture that can be read.
    """
    kind = kind_of(path)
    if bands and kind == "photo":
        return read_bands(path)
    if kind == "url":
        from fullyconv.prediction.web import fetch  # what speaks https takes a while to import

        return read_photo(path, fetch(str(path)))
    if kind == "stdin":
        content = sys.stdin.buffer.read()
        if not content:
            raise FullyConvError("the standard input is empty; write a picture to it")
        return read_photo("standard input", content)
    return read_photo(path)
