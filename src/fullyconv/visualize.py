"""Pictures of labels: overlays, legends, and input beside truth beside prediction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from fullyconv.labels import Ids, LabelSpace

Pixels = NDArray[np.uint8]


def overlay(image: Pixels, labels: Ids, space: LabelSpace, alpha: float = 0.5) -> Pixels:
    """Blend the classes' colours over a picture; void keeps the picture.

    Args:
        image: (H, W, 3) uint8, RGB.
        labels: (H, W) class ids.
        space: Their colours.
        alpha: Weight of the colours (the authors' vis.py: 0.5).

    Returns:
        (H, W, 3) uint8.
    """
    colors = np.zeros((space.num_classes + 1, 3), np.float32)
    colors[:-1] = space.palette
    # a half is added, so that cutting the fraction off rounds; void has the last colour
    tint = np.take(colors * np.float32(alpha) + np.float32(0.5), labels, axis=0, mode="clip")
    tint += np.multiply(image, np.float32(1 - alpha), dtype=np.float32)
    blended = tint.astype(np.uint8)
    if labels.size and labels.max() >= space.num_classes:
        void = labels >= space.num_classes
        blended[void] = image[void]
    return blended


# Matplotlib's "inferno" (CC0; _cm_listed.py) at eighths of its range: its brightness rises evenly.
_HEAT = (
    (0, 0, 4),
    (33, 12, 74),
    (87, 16, 110),
    (138, 34, 106),
    (188, 55, 84),
    (228, 90, 49),
    (249, 142, 9),
    (249, 203, 53),
    (252, 255, 164),
)


def heat_colors(heat: NDArray[Any]) -> NDArray[np.float32]:
    """Colours of values from 0 (black, over violet and orange) to 1 (light yellow).

    Args:
        heat: Any shape; what is below 0 or above 1 has the colour of 0 or 1.

    Returns:
        The same shape and an axis of R, G, B, float32, 0-255.

    Example:
        >>> heat_colors(np.array([0.0, 0.5, 2.0])).tolist()
        [[0.0, 0.0, 4.0], [188.0, 55.0, 84.0], [252.0, 255.0, 164.0]]
    """
    steps = np.linspace(0, 1, len(_HEAT))
    channels = [np.interp(heat, steps, channel) for channel in np.transpose(_HEAT)]
    return np.stack(channels, -1).astype(np.float32)


def heat_overlay(image: Pixels, heat: NDArray[Any], alpha: float = 0.8) -> Pixels:
    """A picture in dim grey, and over it the colours of a map: the hotter, the more of them.

    Args:
        image: (H, W, 3) uint8, RGB.
        heat: (H, W), 0 to 1.
        alpha: Weight of the colours where it is hottest; elsewhere it goes with the root of the
            map.

    Returns:
        (H, W, 3) uint8.
    """
    grey = np.asarray(Image.fromarray(image).convert("L"), np.float32)[..., None] * _DIM
    weight = alpha * np.sqrt(heat.clip(0, 1), dtype=np.float32)[..., None]
    blended = grey * (1 - weight) + heat_colors(heat) * weight
    return np.asarray(blended.round(), np.uint8)


_DIM = 0.75  # brightness of the picture under the colours


def heat_legend(lines: Sequence[str], highest: str, height: int) -> Pixels:
    """A scale of the colours of heat, from 0 up, under some lines of text.

    Args:
        lines: What to say above it.
        highest: Label of its upper end.
        height: Least height of the result in pixels.

    Returns:
        (at least height, width, 3) uint8, dark text on white.
    """
    size = max(10, height // 26)
    font = ImageFont.load_default(size)
    row, margin = size + size // 2, size // 2
    top = row * (len(lines) + 1)
    height = max(height, top + 6 * row)
    width = max(font.getlength(text) for text in (*lines, f"    {highest}"))
    canvas = Image.new("RGB", (int(width) + 2 * margin, height), "white")
    draw = ImageDraw.Draw(canvas)
    for number, text in enumerate(lines):
        draw.text((margin, margin + number * row), text, fill="black", font=font)
    bottom = min(height - 2 * margin, top + 12 * row)
    bar = heat_colors(np.linspace(1, 0, bottom - top))[:, None].repeat(size, 1)
    canvas.paste(Image.fromarray(bar.round().astype(np.uint8)), (margin, top))
    for text, y in ((highest, top), ("0", bottom)):
        draw.text((2 * margin + size, y), text, fill="black", font=font, anchor="lm")
    return np.asarray(canvas)


def near_boundaries(labels: Ids, width: int) -> NDArray[np.bool_]:
    """The band on both sides of every boundary: the trimap of Kohli et al. 2009.

    Void counts as a label: in VOC it is what lies between objects.

    Args:
        labels: (H, W) class ids.
        width: Pixels on each side, along rows, columns and diagonals.

    Returns:
        (H, W) bool: pixels that have another label at most ``width`` rows and columns away.
    """
    # of 16 bits Pillow's filters know only the signed ones
    image = Image.fromarray(labels if labels.dtype == np.uint8 else labels.astype(np.int32))
    size = 2 * width + 1
    highest = np.asarray(image.filter(ImageFilter.MaxFilter(size)))
    lowest = np.asarray(image.filter(ImageFilter.MinFilter(size)))
    band: NDArray[np.bool_] = highest != lowest
    return band


def legend(
    space: LabelSpace, shares: Sequence[float] | None, height: int, smallest: float = 0.001
) -> Pixels:
    """Table of colours, names and shares of the classes in a picture, largest first.

    Args:
        space: The classes.
        shares: Share of the picture, 0 to 1, of each class; None lists all classes in their own
            order and without shares, as all pictures of a film have them.
        height: Height of the result in pixels; classes that find no room are left out.
        smallest: Share below which a class is left out.

    Returns:
        (height, width, 3) uint8, dark text on white.
    """
    size = int(np.clip(height // 26, 10, 22))
    font = ImageFont.load_default(size)
    row, margin = size + size // 2, size // 2
    if shares is None:
        lines = list(enumerate(space.categories))
    else:
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
    """Pictures in one row, a thin white line between them; white under those that are less high."""
    height = max(picture.shape[0] for picture in pictures)
    line = np.full((height, 4, 3), 255, np.uint8)
    filled = [
        np.pad(p, ((0, height - p.shape[0]), (0, 0), (0, 0)), constant_values=255) for p in pictures
    ]
    parts = [part for picture in filled for part in (line, picture)]
    return np.concatenate(parts[1:], axis=1)
