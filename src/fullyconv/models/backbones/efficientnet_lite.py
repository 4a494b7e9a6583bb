"""EfficientNet-Lite0, 1 and 2 (Tan & Le; Google's lite variant): no squeeze-and-excitation, ReLU6.

Padding follows TensorFlow's SAME rule for even sizes, and so do the ImageNet weights: a window of
stride 2 pads one cell more after the map than before it. One further cell after it changes nothing
at even sizes and keeps ``ceil(size / 2)`` cells at odd ones.
"""

from __future__ import annotations

from math import ceil
from typing import NamedTuple

from torch import nn

from fullyconv.config import Geometry
from fullyconv.errors import UsageError
from fullyconv.models.backbones.backbone import Backbone, scaled
from fullyconv.models.layers import DepthwiseConv2d, Residual


class _Stage(NamedTuple):
    """Settings of one run of inverted residual blocks (EfficientNet paper, table 1)."""

    repeats: int
    kernel_size: int
    stride: int
    expansion: int
    channels: int


_STAGES = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)
_STEM, _HEAD = 32, 1280  # not scaled in the lite variant (efficientnet_lite_builder.py)
_TAPS = {2: 8, 4: 16}  # stage index to the stride of its features


def efficientnet_lite0(
    in_channels: int = 3, width: float = 1.0, geometry: Geometry = "same"
) -> Backbone:
    """Build EfficientNet-Lite0: 3.4 M parameters without its last layer."""
    return _efficientnet_lite(1.0, 1.0, in_channels, width, geometry)


def efficientnet_lite1(
    in_channels: int = 3, width: float = 1.0, geometry: Geometry = "same"
) -> Backbone:
    """Build EfficientNet-Lite1: depth 1.1."""
    return _efficientnet_lite(1.0, 1.1, in_channels, width, geometry)


def efficientnet_lite2(
    in_channels: int = 3, width: float = 1.0, geometry: Geometry = "same"
) -> Backbone:
    """Build EfficientNet-Lite2: width 1.1, depth 1.2."""
    return _efficientnet_lite(1.1, 1.2, in_channels, width, geometry)


def _efficientnet_lite(
    compound_width: float, depth: float, in_channels: int, width: float, geometry: Geometry
) -> Backbone:
    if geometry != "same":
        raise UsageError(
            f"EfficientNet-Lite has no {geometry!r} geometry (the authors never released it); "
            "use geometry 'same'"
        )
    wide = scaled(width)
    channels = wide(_STEM)
    layers = nn.Sequential()
    _add_conv(layers, "stem", in_channels, channels, kernel_size=3, stride=2)
    layers.add_module("stem_relu", nn.ReLU6(inplace=True))
    stages: dict[int, nn.Sequential] = {}
    taps: dict[int, int] = {}
    for index, stage in enumerate(_STAGES):
        out = wide(_divisible(stage.channels * compound_width))
        fixed = index in (0, len(_STAGES) - 1)  # the first and last run are not deepened
        for block in range(stage.repeats if fixed else ceil(stage.repeats * depth)):
            stride = stage.stride if block == 0 else 1
            layers.add_module(
                f"block{index + 1}_{block + 1}",
                _inverted_residual(channels, out, stage.kernel_size, stride, stage.expansion),
            )
            channels = out
        if index in _TAPS:
            stages[_TAPS[index]], taps[_TAPS[index]] = layers, out
            layers = nn.Sequential()
    _add_conv(layers, "head", channels, wide(_HEAD), kernel_size=1)
    layers.add_module("head_relu", nn.ReLU6(inplace=True))
    return Backbone({**stages, 32: layers}, {**taps, 32: wide(_HEAD)}, geometry, classifier_pool=7)


def _inverted_residual(
    channels: int, out: int, kernel_size: int, stride: int, expansion: int
) -> nn.Sequential:
    hidden = channels * expansion
    keeps_shape = stride == 1 and channels == out
    block: nn.Sequential = Residual() if keeps_shape else nn.Sequential()
    if expansion != 1:
        _add_conv(block, "expand", channels, hidden, kernel_size=1)
        block.add_module("expand_relu", nn.ReLU6(inplace=True))
    _add_conv(block, "depthwise", hidden, hidden, kernel_size, stride, groups=hidden)
    block.add_module("depthwise_relu", nn.ReLU6(inplace=True))
    _add_conv(block, "project", hidden, out, kernel_size=1)
    return block


def _add_conv(
    layers: nn.Sequential,
    name: str,
    channels: int,
    out: int,
    kernel_size: int,
    stride: int = 1,
    groups: int = 1,
) -> None:
    """Add a convolution without bias and its batch norm, padded as described at the top."""
    before = (kernel_size - stride) // 2  # half, rounded down, of what SAME pads at even sizes
    padding = before
    if stride > 1:
        after = kernel_size - stride - before + 1
        layers.add_module(f"{name}_pad", nn.ZeroPad2d((before, after, before, after)))
        padding = 0
    kind = DepthwiseConv2d if groups > 1 else nn.Conv2d
    conv = kind(channels, out, kernel_size, stride, padding, groups=groups, bias=False)
    layers.add_module(name, conv)
    # eps and momentum of efficientnet_lite_builder.py (there: momentum 0.99 of the old value)
    layers.add_module(f"{name}_bn", nn.BatchNorm2d(out, eps=1e-3, momentum=0.01))


def _divisible(channels: float, divisor: int = 8) -> int:
    """Round to a multiple of 8, never down by more than a tenth (EfficientNet's round_filters)."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded
