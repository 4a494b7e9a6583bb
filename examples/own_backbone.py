"""A backbone of one's own: fcn --import own_backbone.py info small."""

from torch import nn

import fullyconv as fc


def block(channels: int, out: int) -> list[nn.Module]:
    """Half as many rows and columns: of 5 cells, 3."""
    convolution = nn.Conv2d(channels, out, 3, padding=1)
    return [convolution, nn.BatchNorm2d(out), nn.ReLU(), nn.MaxPool2d(2, ceil_mode=True)]


def small(in_channels: int, width: float, geometry: str) -> fc.Backbone:
    """Five blocks, tapped at strides 8, 16 and 32; width and geometry are as they are."""
    stages = {
        8: nn.Sequential(*block(in_channels, 16), *block(16, 16), *block(16, 32)),
        16: nn.Sequential(*block(32, 32)),
        32: nn.Sequential(*block(32, 64)),
    }
    return fc.Backbone(stages, channels={8: 32, 16: 32, 32: 64}, geometry="same")


fc.register_backbone("small", small)
