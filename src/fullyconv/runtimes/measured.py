"""How fast the engines are: the numbers that ``runtime="auto"`` chooses by.

Written by ``python benchmarks/engines.py --write``: the shipped model ``camvid``, float32.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

WHEN, WHERE = "2026-11-24", "2 cores of an Intel Xeon with AMX"


@dataclass(frozen=True)
class Speed:
    """What an engine takes.

    Attributes:
        start: Seconds to import the engine, open the model and label a first picture of 1 x 1.
        megapixel: Seconds for a million pixels more, pictures of 360 x 480 one by one.
    """

    start: float
    megapixel: float


SPEEDS = {
    "onnx": Speed(0.07, 0.097),
    "openvino": Speed(0.27, 0.093),
    "ncnn": Speed(0.0, 0.164),
    "torch": Speed(1.76, 0.275),
}


def quickest(engines: Iterable[str], megapixels: float) -> str:
    """The engine that is done first.

    Args:
        engines: Those to choose from, at least one.
        megapixels: How much there is to label, in millions of pixels.

    Example:
        >>> quickest(["onnx", "openvino"], 0.2), quickest(["onnx", "openvino"], 100)
        ('onnx', 'openvino')
    """
    return min(engines, key=lambda name: SPEEDS[name].start + SPEEDS[name].megapixel * megapixels)
