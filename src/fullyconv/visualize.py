"""Pictures of labels: overlays, legends, and input beside truth beside prediction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from fullyconv.labels import LabelSpace

Pixels = NDArray[np.uint8]


def first_picture(image: NDArray[Any]) -> Pixels:
    """The picture to show of an input (H, W, C): its first three channels, (H, W, 3) uint8."""
    return image[..., :3].astype(np.uint8, copy=False)


def overlay(image: Pixels, labels: Pixels, space: LabelSpace, alpha: float = 0.5) -> Pixels:
    """Blend the classes' colours over a picture; void keeps the picture.

    Args:
        image: (H, W, 3) uint8, RGB.
        labels: (H, W) uint8 class ids.
        space: Their colours.
        alpha: Weight of the colours (the authors' vis.py: 0.5).

    Returns:
        (H, W, 3) uint8.
    """
    blended = image * (1 - alpha) + space.colorize(labels) * alpha
    known = labels < space.num_classes
    return np.where(known[..., None], blended, image).round().astype(np.uint8)


def near_boundaries(labels: Pixels, width: int) -> NDArray[np.bool_]:
    """The band on both sides of every boundary: the trimap of Kohli et al. 2009.

    Void counts as a label: in VOC it is what lies between objects.

    Args:
        labels: (H, W) uint8.
        width: Pixels on each side, along rows, columns and diagonals.

    Returns:
        (H, W) bool: pixels that have another label at most ``width`` rows and columns away.
    """
    image, size = Image.fromarray(labels), 2 * width + 1
    highest = np.asarray(image.filter(ImageFilter.MaxFilter(size)))
    lowest = np.asarray(image.filter(ImageFilter.MinFilter(size)))
    band: NDArray[np.bool_] = highest != lowest
    return band


def legend(
    space: LabelSpace, shares: Sequence[float], height: int, smallest: float = 0.001
) -> Pixels:
    """Table of colours, names and shares of the classes in a picture, largest first.

    Args:
        space: The classes.
        shares: Share of the picture, 0 to 1, of each class.
        height: Height of the result in pixels; classes that find no room are left out.
        smallest: Share below which a class is left out.

    Returns:
        (height, width, 3) uint8, dark text on white.
    """
    size = int(np.clip(height // 26, 10, 22))
    font = ImageFont.load_default(size)
    row, margin = size + size // 2, size // 2
    order = [i for i in np.argsort(shares)[::-1] if shares[i] >= smallest]
    lines = [(int(i), f"{space.categories[i]}  {100 * shares[i]:.1f} %") for i in order]
    lines = lines[: max(0, (height - margin) // row)]
    text_width = max((font.getlength(text) for _, text in lines), default=0)
    canvas = Image.new("RGB", (int(text_width) + row + 3 * margin, height), "white")
    draw = ImageDraw.Draw(canvas)
    for line, (index, text) in enumerate(lines):
        top = margin + line * row
        draw.rectangle(
            (margin, top, margin + size, top + size), fill=space.palette[index], outline="black"
        )
        draw.text((2 * margin + size, top - 1), text, fill="black", font=font)
    return np.asarray(canvas)


def beside(*pictures: Pixels) -> Pixels:
    """Pictures of equal height in one row, a thin white line between them."""
    line = np.full((pictures[0].shape[0], 4, 3), 255, np.uint8)
    parts = [part for picture in pictures for part in (line, picture)]
    return np.concatenate(parts[1:], axis=1)
