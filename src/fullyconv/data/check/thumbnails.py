"""Small pictures of the files that a finding names."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from fullyconv.data.check.facts import label_pixels
from fullyconv.data.check.finding import Example
from fullyconv.errors import FullyConvError
from fullyconv.images import IMAGE_SUFFIXES, opened, to_rgb
from fullyconv.labels import LabelSpace

_HEIGHT = 120  # pixels
_STRANGE = (255, 0, 255)  # of ids that are neither a class nor void


def thumbnail(root: Path, example: Example, labels: LabelSpace | None) -> str:
    """The files of an example side by side, as the address of an image that holds itself.

    A label file is shown beside its picture. Empty if none of them can be read.
    """
    tiles = []
    for path in _shown(root, example):
        try:
            is_label = path.parent.name == "labels"
            small = _small_labels(path, labels) if is_label else _small_photo(path)
        except FullyConvError:
            continue
        width = max(1, min(4 * _HEIGHT, round(small.width * _HEIGHT / small.height)))
        tiles.append(small.resize((width, _HEIGHT), Image.Resampling.BICUBIC))
    if not tiles:
        return ""
    strip = Image.new("RGB", (sum(t.width for t in tiles) + 4 * (len(tiles) - 1), _HEIGHT), "white")
    left = 0
    for tile in tiles:
        strip.paste(tile, (left, 0))
        left += tile.width + 4
    file = io.BytesIO()
    strip.save(file, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def _shown(root: Path, example: Example) -> list[Path]:
    paths = [root / file for file in example.files if Path(file).suffix.lower() in IMAGE_SUFFIXES]
    if len(paths) == 1 and paths[0].parent.name == "labels":
        beside = paths[0].parent.parent / "images"
        found = (beside / f"{paths[0].stem}{suffix}" for suffix in sorted(IMAGE_SUFFIXES))
        paths += [path for path in found if path.is_file()][:1]
    return paths


def _small_photo(path: Path) -> Image.Image:
    with opened(path) as image:
        image.draft("RGB", (4 * _HEIGHT, 4 * _HEIGHT))  # of a large JPEG, an eighth is decoded
        if image.mode == "F":
            return image.convert("RGB")
        return Image.fromarray(to_rgb(image))


def _small_labels(path: Path, labels: LabelSpace | None) -> Image.Image:
    with opened(path) as image:
        step = max(1, image.height // (2 * _HEIGHT))
        pixels = label_pixels(ImageOps.exif_transpose(image))[::step, ::step]
    if pixels.ndim == 3 or labels is None:
        return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).convert("RGB")
    return Image.fromarray(_colors(pixels, labels))


def _colors(ids: NDArray[np.integer[Any]], labels: LabelSpace) -> NDArray[np.uint8]:
    values, where = np.unique(ids, return_inverse=True)
    known = dict(zip(labels.raw_ids, labels.palette, strict=True))
    known.update(dict.fromkeys(labels.void, (0, 0, 0)))
    table = np.array([known.get(int(value), _STRANGE) for value in values], np.uint8)
    colors: NDArray[np.uint8] = table[where.reshape(ids.shape)]
    return colors
