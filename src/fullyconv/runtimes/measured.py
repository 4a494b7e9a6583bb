"""How fast the engines are: the numbers that ``runtime="auto"`` chooses by.

Written by ``python benchmarks/engines.py --write``: the shipped model ``camvid``, float32.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

WHEN, WHERE = "2026-11-26", "2 cores of an AMD EPYC (AVX2)"


@dataclass(frozen=True)
class Speed:
    """What an engine takes.

    Attributes:
        start: Seconds to import the engine, open the model and label a first picture of 1 x 1.
        megapixel: Seconds for a million pixels more, in a folder of pictures of 360 x 480.
    """

    start: float
    megapixel: float


SPEEDS = {
    "onnx": Speed(0.15, 0.194),
    "openvino": Speed(0.42, 0.211),
    "ncnn": Speed(0.0, 0.289),
    "torch": Speed(4.12, 0.567),
}


def quickest(engines: Iterable[str], megapixels: float) -> str:
    """The engine that is done first.

    Args:
        engines: Those to choose from, at least one.
        megapixels: How much there is to label, in millions of pixels.

    Example:
        >>> quickest(["ncnn", "onnx"], 0.2), quickest(["ncnn", "onnx"], 100)
        ('ncnn', 'onnx')
    """
    return min(engines, key=lambda name: SPEEDS[name].start + SPEEDS[name].megapixel * megapixels)
