"""Before training: the pictures decoded, as far as that is quick; a damaged one would stop it."""

from __future__ import annotations

import random
import time
from pathlib import Path

from fullyconv.data.folder import FolderDataset
from fullyconv.images import opened, read_photo
from fullyconv.progress import progress_bar

SECONDS = 30.0
"""Time after which the decoding of a split's pictures ends: some 30,000 of VOC's size."""


def decode_pictures(
    dataset: FolderDataset, *, seconds: float | None = None, progress: bool = True
) -> str:
    """Decode the pictures of a data set, in an order by chance, until the time is up.

    Headers and label files are read by :func:`~fullyconv.data.statistics.count_classes`; but a
    picture that is cut short has a whole header, and would be found hours later. Of JPEGs an eighth
    of the size is decoded, which reads all of the file in half of the time. Bands are not read: the
    measuring of their statistics read them all.

    Args:
        dataset: Its pictures are read.
        seconds: Time to spend; :data:`SECONDS`, if not given.
        progress: Show a bar.

    Returns:
        A sentence on how many were decoded, if not all; empty otherwise.

    Raises:
        FullyConvError: Of the first damaged picture.
    """
    if dataset.inputs == ("bands",):
        return ""
    seconds = SECONDS if seconds is None else seconds
    begun = time.monotonic()
    samples = list(dataset.files)
    random.Random(0).shuffle(samples)
    for done, files in enumerate(
        progress_bar(samples, "decoding", disable=not progress, leave=False)
    ):
        if time.monotonic() - begun > seconds:
            return (
                f"{done:,} of {len(samples):,} pictures were decoded in {seconds:.0f} s and are "
                f"whole; fcn data check {dataset.root} decodes all"
            )
        for path in files.inputs:
            _decode(path)
    return ""


def _decode(path: Path) -> None:
    with opened(path) as image:
        image.draft(None, (1, 1))
        image.load()
        floating = image.mode == "F"
    if floating:
        read_photo(path)  # says that it cannot be used
