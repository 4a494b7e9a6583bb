"""AlexNet: the Caffe model the authors used (CaffeNet's order) and torchvision's variant."""

from __future__ import annotations

from torch import nn

from fullyconv.config import Geometry
from fullyconv.models.backbones.backbone import REFERENCE_PADDING, Backbone, scaled
from fullyconv.models.backbones.vgg import fully_convolutional

_FULLY_CONNECTED = 4096


def alexnet(in_channels: int = 3, width: float = 1.0, geometry: Geometry = "same") -> Backbone:
    """Build AlexNet as the authors did: two groups, LRN after pooling (voc-fcn-alexnet/net.py)."""
    return _alexnet((96, 256, 384, 384, 256), 2, in_channels, width, geometry, normalise=True)


def alexnet_torchvision(
    in_channels: int = 3, width: float = 1.0, geometry: Geometry = "same"
) -> Backbone:
    """Build torchvision's AlexNet ("one weird trick"): fewer filters, no groups, no LRN."""
    return _alexnet((64, 192, 384, 256, 256), 1, in_channels, width, geometry, normalise=False)


def _alexnet(
    filters: tuple[int, ...],
    groups: int,
    in_channels: int,
    width: float,
    geometry: Geometry,
    normalise: bool,
) -> Backbone:
    wide = scaled(width)
    c1, c2, c3, c4, c5 = (wide(c) for c in filters)
    hidden = wide(_FULLY_CONNECTED)
    padding = REFERENCE_PADDING if geometry == "reference" else 5
    first = nn.Sequential()
    first.add_module("conv1", nn.Conv2d(in_channels, c1, 11, 4, padding))
    first.add_module("relu1", nn.ReLU(inplace=True))
    add_pool(first, "pool1", geometry)
    second = nn.Sequential()
    if normalise:
        second.add_module("norm1", nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75))
    second.add_module("conv2", nn.Conv2d(c1, c2, 5, padding=2, groups=groups))
    second.add_module("relu2", nn.ReLU(inplace=True))
    add_pool(second, "pool2", geometry)
    third = nn.Sequential()
    if normalise:
        third.add_module("norm2", nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75))
    third.add_module("conv3", nn.Conv2d(c2, c3, 3, padding=1))
    third.add_module("relu3", nn.ReLU(inplace=True))
    third.add_module("conv4", nn.Conv2d(c3, c4, 3, padding=1, groups=groups))
    third.add_module("relu4", nn.ReLU(inplace=True))
    third.add_module("conv5", nn.Conv2d(c4, c5, 3, padding=1, groups=groups))
    third.add_module("relu5", nn.ReLU(inplace=True))
    add_pool(third, "pool5", geometry)
    for name, layer in fully_convolutional(c5, hidden, 6, geometry).named_children():
        third.add_module(name, layer)
    return Backbone({8: first, 16: second, 32: third}, {8: c1, 16: c2, 32: hidden}, geometry)


def add_pool(layers: nn.Sequential, name: str, geometry: Geometry) -> None:
    """Add the 3x3 pooling of stride 2; in "same" geometry it takes a map of any size.

    Caffe's pooling lets the last window hang over the edge (ceil mode) but needs two cells. Two
    cells of zero beyond the end, under which no rectified value can hide, give the same cells for
    even sizes, one more for odd ones, and work down to a single cell.
    """
    if geometry == "same":
        layers.add_module(f"pad_{name}", nn.ZeroPad2d((0, 2, 0, 2)))
    layers.add_module(name, nn.MaxPool2d(3, 2, ceil_mode=geometry == "reference"))
