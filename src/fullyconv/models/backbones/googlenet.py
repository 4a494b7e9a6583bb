"""GoogLeNet (Szegedy et al.): BVLC's Caffe model, and torchvision's variant with batch norm."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import nn

from fullyconv.config import Geometry
from fullyconv.models.backbones.alexnet import add_pool
from fullyconv.models.backbones.backbone import REFERENCE_PADDING, Backbone, scaled
from fullyconv.models.layers import Parallel


class _Widths(NamedTuple):
    """Output channels of an Inception block's convolutions (GoogLeNet paper, table 1)."""

    one: int
    three_reduce: int
    three: int
    five_reduce: int
    five: int
    pool: int


_BLOCKS = {
    "3a": _Widths(64, 96, 128, 16, 32, 32),
    "3b": _Widths(128, 128, 192, 32, 96, 64),
    "4a": _Widths(192, 96, 208, 16, 48, 64),
    "4b": _Widths(160, 112, 224, 24, 64, 64),
    "4c": _Widths(128, 128, 256, 24, 64, 64),
    "4d": _Widths(112, 144, 288, 32, 64, 64),
    "4e": _Widths(256, 160, 320, 32, 128, 128),
    "5a": _Widths(256, 160, 320, 32, 128, 128),
    "5b": _Widths(384, 192, 384, 48, 128, 128),
}

# (name, in, out, kernel, stride, padding) to a convolution with its activation
_Conv = Callable[[str, int, int, int, int, int], nn.Sequential]


def googlenet(in_channels: int = 3, width: float = 1.0, geometry: Geometry = "same") -> Backbone:
    """Build BVLC's GoogLeNet without its average pooling and classifiers."""
    return _googlenet(in_channels, width, geometry, _conv_relu, normalise=True, five=5, pool4=3)


def googlenet_torchvision(
    in_channels: int = 3, width: float = 1.0, geometry: Geometry = "same"
) -> Backbone:
    """Build torchvision's GoogLeNet: batch norm, 3x3 for 5x5, a 2x2 fourth pooling, no LRN."""
    return _googlenet(in_channels, width, geometry, _conv_bn_relu, normalise=False, five=3, pool4=2)


def _googlenet(
    in_channels: int,
    width: float,
    geometry: Geometry,
    conv: _Conv,
    normalise: bool,
    five: int,
    pool4: int,
) -> Backbone:
    wide = scaled(width)
    padding = REFERENCE_PADDING if geometry == "reference" else 3
    stem = conv("conv1/7x7_s2", in_channels, wide(64), 7, 2, padding)
    add_pool(stem, "pool1/3x3_s2", geometry)
    if normalise:
        stem.add_module("pool1/norm1", nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75))
    _extend(stem, conv("conv2/3x3_reduce", wide(64), wide(64), 1, 1, 0))
    _extend(stem, conv("conv2/3x3", wide(64), wide(192), 3, 1, 1))
    if normalise:
        stem.add_module("conv2/norm2", nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75))
    add_pool(stem, "pool2/3x3_s2", geometry)
    stages = {8: stem, 16: nn.Sequential(), 32: nn.Sequential()}
    taps = {}
    channels = wide(192)
    pooling = {"3b": ("pool3/3x3_s2", 16, 3), "4e": ("pool4/3x3_s2", 32, pool4)}
    stride = 8
    for name, widths in _BLOCKS.items():
        block, out = _inception(name, channels, _Widths(*map(wide, widths)), conv, five)
        stages[stride].add_module(f"inception_{name}", block)
        channels = taps[stride] = out
        if name in pooling:
            pool_name, stride, kernel_size = pooling[name]
            if kernel_size == 3:
                add_pool(stages[stride], pool_name, geometry)
            else:
                stages[stride].add_module(pool_name, nn.MaxPool2d(2, 2, ceil_mode=True))
    return Backbone(stages, taps, geometry, classifier_pool=7)


def _inception(
    name: str, channels: int, widths: _Widths, conv: _Conv, five: int
) -> tuple[Parallel, int]:
    prefix = f"inception_{name}/"
    three = conv(f"{prefix}3x3_reduce", channels, widths.three_reduce, 1, 1, 0)
    _extend(three, conv(f"{prefix}3x3", widths.three_reduce, widths.three, 3, 1, 1))
    wider = conv(f"{prefix}5x5_reduce", channels, widths.five_reduce, 1, 1, 0)
    _extend(wider, conv(f"{prefix}5x5", widths.five_reduce, widths.five, five, 1, five // 2))
    pool = nn.Sequential()
    pool.add_module(f"{prefix}pool", nn.MaxPool2d(3, 1, 1))
    _extend(pool, conv(f"{prefix}pool_proj", channels, widths.pool, 1, 1, 0))
    one = conv(f"{prefix}1x1", channels, widths.one, 1, 1, 0)
    block = Parallel({"1x1": one, "3x3": three, "5x5": wider, "pool": pool})
    return block, widths.one + widths.three + widths.five + widths.pool


def _conv_relu(
    name: str, channels: int, out: int, kernel_size: int, stride: int, padding: int
) -> nn.Sequential:
    layers = nn.Sequential()
    layers.add_module(name, nn.Conv2d(channels, out, kernel_size, stride, padding))
    folder, _, leaf = name.partition("/")
    layers.add_module(f"{folder}/relu_{leaf}", nn.ReLU(inplace=True))
    return layers


def _conv_bn_relu(
    name: str, channels: int, out: int, kernel_size: int, stride: int, padding: int
) -> nn.Sequential:
    layers = nn.Sequential()
    layers.add_module(name, nn.Conv2d(channels, out, kernel_size, stride, padding, bias=False))
    folder, _, leaf = name.partition("/")
    layers.add_module(f"{folder}/bn_{leaf}", nn.BatchNorm2d(out, eps=0.001))
    layers.add_module(f"{folder}/relu_{leaf}", nn.ReLU(inplace=True))
    return layers


def _extend(layers: nn.Sequential, more: nn.Sequential) -> None:
    for name, layer in more.named_children():
        layers.add_module(name, layer)
