"""The classifiers that can be made into a fully convolutional network, by name."""

from __future__ import annotations

from fullyconv import config
from fullyconv.models.backbones.alexnet import alexnet, alexnet_torchvision
from fullyconv.models.backbones.backbone import Backbone
from fullyconv.models.backbones.efficientnet_lite import (
    efficientnet_lite0,
    efficientnet_lite1,
    efficientnet_lite2,
)
from fullyconv.models.backbones.googlenet import googlenet, googlenet_torchvision
from fullyconv.models.backbones.vgg import vgg16
from fullyconv.networks import no_backbone

__all__ = ["Backbone", "build_backbone"]

_BUILDERS = {
    "alexnet": alexnet,
    "alexnet_torchvision": alexnet_torchvision,
    "vgg16": vgg16,
    "vgg16_torchvision": vgg16,  # the same network; its weights want other preprocessing
    "googlenet": googlenet,
    "googlenet_torchvision": googlenet_torchvision,
    "efficientnet_lite0": efficientnet_lite0,
    "efficientnet_lite1": efficientnet_lite1,
    "efficientnet_lite2": efficientnet_lite2,
}


def build_backbone(
    name: str, in_channels: int = 3, width: float = 1.0, geometry: config.Geometry = "same"
) -> Backbone:
    """Build a backbone by name, with PyTorch's random initialisation.

    Raises:
        UsageError: If there is no such backbone, or not in this geometry.
    """
    if name not in _BUILDERS:
        raise no_backbone(name)
    return _BUILDERS[name](in_channels, width, geometry)
