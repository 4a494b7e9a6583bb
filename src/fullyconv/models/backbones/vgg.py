"""VGG16 (Simonyan & Zisserman), with fc6 and fc7 as convolutions, named as in the Caffe release."""

from __future__ import annotations

from torch import nn

from fullyconv.config import Geometry
from fullyconv.models.backbones.backbone import REFERENCE_PADDING, Backbone, scaled
from fullyconv.models.layers import MatrixConv2d

# Channels of each block's 3x3 convolutions; a 2x2 pooling follows each block.
_BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
_FULLY_CONNECTED = 4096


def vgg16(in_channels: int = 3, width: float = 1.0, geometry: Geometry = "same") -> Backbone:
    """Build VGG16 without its last layer (voc-fcn32s/net.py; paper, section 4.1)."""
    wide = scaled(width)
    padding = REFERENCE_PADDING if geometry == "reference" else 1
    blocks: list[nn.Sequential] = []
    channels = in_channels
    for number, block_channels in enumerate(_BLOCKS, 1):
        block = nn.Sequential()
        for index, out in enumerate(block_channels, 1):
            block.add_module(f"conv{number}_{index}", nn.Conv2d(channels, wide(out), 3, 1, padding))
            block.add_module(f"relu{number}_{index}", nn.ReLU(inplace=True))
            channels, padding = wide(out), 1
        block.add_module(f"pool{number}", nn.MaxPool2d(2, 2, ceil_mode=True))
        blocks.append(block)
    classifier = fully_convolutional(
        channels, wide(_FULLY_CONNECTED), kernel_size=7, geometry=geometry
    )
    stages = {8: _join(*blocks[:3]), 16: blocks[3], 32: _join(blocks[4], classifier)}
    taps = {8: wide(_BLOCKS[2][-1]), 16: wide(_BLOCKS[3][-1]), 32: wide(_FULLY_CONNECTED)}
    return Backbone(stages, taps, geometry)


def fully_convolutional(
    channels: int, hidden: int, kernel_size: int, geometry: Geometry
) -> nn.Sequential:
    """fc6 and fc7 of VGG16 and AlexNet as convolutions (paper, section 3.1 and figure 2)."""
    layers = nn.Sequential()
    padding = 0 if geometry == "reference" else kernel_size // 2
    layers.add_module("fc6", MatrixConv2d(channels, hidden, kernel_size, padding=padding))
    layers.add_module("relu6", nn.ReLU(inplace=True))
    layers.add_module("drop6", nn.Dropout(0.5))
    layers.add_module("fc7", MatrixConv2d(hidden, hidden, 1))
    layers.add_module("relu7", nn.ReLU(inplace=True))
    layers.add_module("drop7", nn.Dropout(0.5))
    return layers


def _join(*parts: nn.Sequential) -> nn.Sequential:
    joined = nn.Sequential()
    for part in parts:
        for name, layer in part.named_children():
            joined.add_module(name, layer)
    return joined
