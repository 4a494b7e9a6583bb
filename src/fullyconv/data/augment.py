"""Random scale, crop, mirror and colour; labels only ever take values they already had, or void."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance

from fullyconv.labels import IGNORE_INDEX, WIDE_IGNORE_INDEX, Ids
from fullyconv.preprocess import Pixels


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How training pictures are varied; the defaults change nothing."""

    crop: tuple[int, int] | None = None
    """Height and width cut out at random; smaller pictures are filled up with void."""
    scale: tuple[float, float] = (1.0, 1.0)
    """Range of random enlargement, drawn evenly in its logarithm."""
    mirror: bool = False
    """Mirror left and right, every other time."""
    jitter: int = 0
    """Largest random shift in pixels, each way; what comes in at the edge is void."""
    color: float = 0.0
    """Largest relative change of brightness, contrast and saturation."""
    bands: bool = False
    """The channels are bands, no colours: each is a plane of its own, whose numbers are kept."""

    def __call__(
        self,
        image: Pixels,
        target: Ids,
        rng: np.random.Generator,
    ) -> tuple[Pixels, Ids]:
        """Vary a picture and its labels together.

        Args:
            image: (H, W, C) uint8 or float32, as :class:`~fullyconv.data.folder.Sample` has it;
                the colours of its first three channels alone are varied.
            target: (H, W) or (heads, H, W), uint8 or uint16.
            rng: Source of every random choice.

        Returns:
            The varied image and target, of the crop's size if there is one.
        """
        pictures = _pictures(image, colors=0 if self.bands else image.shape[2] // 3)
        labels = [Image.fromarray(head) for head in target.reshape(-1, *target.shape[-2:])]
        factor = float(np.exp(rng.uniform(*np.log(self.scale))))
        size = self._scaled(labels[0].size, factor)
        window = self._window(size, rng)
        pictures = [_cut(p, size, window, Image.Resampling.BILINEAR, _mean) for p in pictures]
        labels = [_cut(head, size, window, Image.Resampling.NEAREST, _void) for head in labels]
        if self.mirror and rng.random() < 0.5:
            pictures = [p.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for p in pictures]
            labels = [head.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for head in labels]
        if self.color > 0 and pictures[0].mode == "RGB":
            for change in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
                pictures[0] = change(pictures[0]).enhance(1 + rng.uniform(-self.color, self.color))
        varied = np.stack([np.asarray(head) for head in labels])
        return _stacked(pictures, image.dtype), varied if target.ndim == 3 else varied[0]

    @staticmethod
    def _scaled(size: tuple[int, int], factor: float) -> tuple[int, int]:
        width, height = size
        return max(1, round(width * factor)), max(1, round(height * factor))

    def _window(self, size: tuple[int, int], rng: np.random.Generator) -> tuple[int, int, int, int]:
        """Left, top, right, bottom of what is cut out; it may hang over the picture."""
        height, width = self.crop or size[::-1]
        left = int(rng.integers(min(0, size[0] - width), max(0, size[0] - width) + 1))
        top = int(rng.integers(min(0, size[1] - height), max(0, size[1] - height) + 1))
        if self.jitter:
            shift = rng.integers(-self.jitter, self.jitter, size=2, endpoint=True)
            left, top = left + int(shift[0]), top + int(shift[1])
        return left, top, left + width, top + height


def _pictures(image: Pixels, colors: int) -> list[Image.Image]:
    """What Pillow can handle: colours by threes, each further channel on its own as floats."""
    threes = range(0, 3 * colors, 3)
    planes = range(3 * colors, image.shape[2])
    return [
        *(Image.fromarray(image[..., i : i + 3].astype(np.uint8)) for i in threes),
        *(Image.fromarray(image[..., i].astype(np.float32)) for i in planes),
    ]


def _stacked(pictures: list[Image.Image], dtype: np.dtype[Any]) -> Pixels:
    """Inverse of :func:`_pictures`."""
    if len(pictures) == 1 and pictures[0].mode == "RGB":
        return np.asarray(pictures[0], dtype)
    return np.dstack([np.asarray(picture, dtype) for picture in pictures])


Fill = float | tuple[int, ...]


def _mean(picture: Image.Image) -> Fill:
    """What a crop is filled up with where it hangs over the picture."""
    pixels = np.asarray(picture)
    if pixels.ndim == 2:
        known = pixels[np.isfinite(pixels)]  # bands may hold NaN
        return float(known.mean()) if known.size else 0.0
    return tuple(int(v) for v in pixels.mean((0, 1)))


def _void(labels: Image.Image) -> Fill:
    return IGNORE_INDEX if labels.mode == "L" else WIDE_IGNORE_INDEX


def _cut(
    image: Image.Image,
    size: tuple[int, int],
    window: tuple[int, int, int, int],
    resampling: Image.Resampling,
    fill: Callable[[Image.Image], Fill],
) -> Image.Image:
    """Resize to ``size`` and cut out ``window``, without resizing what is cut away."""
    left, top, right, bottom = window
    inside = (max(left, 0), max(top, 0), min(right, size[0]), min(bottom, size[1]))
    width, height = inside[2] - inside[0], inside[3] - inside[1]
    part = None
    if width > 0 and height > 0:  # else it was shifted out of sight
        fx, fy = image.width / size[0], image.height / size[1]
        box = (inside[0] * fx, inside[1] * fy, inside[2] * fx, inside[3] * fy)
        part = image.resize((width, height), resampling, box=box)
        if part.size == (right - left, bottom - top):
            return part
    canvas = Image.new(image.mode, (right - left, bottom - top), fill(image))
    if part is not None:
        canvas.paste(part, (inside[0] - left, inside[1] - top))
    return canvas
