"""The classifiers that can be made into a fully convolutional network, by name."""

from __future__ import annotations

import re
from collections.abc import Callable

import torch

from fullyconv.config import Geometry
from fullyconv.errors import FullyConvError, UsageError
from fullyconv.models.backbones.alexnet import alexnet, alexnet_torchvision
from fullyconv.models.backbones.backbone import Backbone
from fullyconv.models.backbones.efficientnet_lite import (
    efficientnet_lite0,
    efficientnet_lite1,
    efficientnet_lite2,
)
from fullyconv.models.backbones.googlenet import googlenet, googlenet_torchvision
from fullyconv.models.backbones.vgg import vgg16
from fullyconv.networks import BACKBONES, no_backbone
from fullyconv.preprocess import TORCHVISION, Preprocess

__all__ = ["Backbone", "build_backbone", "register_backbone"]

Builder = Callable[[int, float, Geometry], Backbone]

_BUILDERS: dict[str, Builder] = {
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
    name: str, in_channels: int = 3, width: float = 1.0, geometry: Geometry = "same"
) -> Backbone:
    """Build a backbone by name, with PyTorch's random initialisation.

    Raises:
        UsageError: If there is no such backbone, or not in this geometry.
        FullyConvError: If the function that was registered for it fails or returns something else.
    """
    if name not in _BUILDERS:
        raise no_backbone(name)
    if name in _PUBLISHED:
        return _BUILDERS[name](in_channels, width, geometry)
    try:
        with torch.device("cpu"):  # to be sized is not enough for convolutionalize: it is run
            built: object = _BUILDERS[name](in_channels, width, geometry)
    except Exception as error:  # whatever a user's function raises
        what = str(error) if isinstance(error, FullyConvError) else repr(error)
        raise FullyConvError(f"the backbone {name!r} cannot be built: {what}") from error
    if not isinstance(built, Backbone):
        raise FullyConvError(
            f"the function of the backbone {name!r} returned a {type(built).__name__}; it must "
            "return a fullyconv.Backbone"
        )
    return built.to(torch.get_default_device())


def register_backbone(name: str, build: Builder, preprocess: Preprocess = TORCHVISION) -> None:
    """Give a backbone of one's own a name, by which everything knows it that knows the others.

    A configuration, and with it a checkpoint, holds names alone and never code: a program that
    trains such a network or opens its checkpoint calls this first, and a command is given the file
    that calls it by ``--import FILE.py``.

    Args:
        name: Of letters, digits and underscores. One that was registered before is replaced.
        build: Called as ``build(in_channels, width, geometry)`` for each new network. ``width`` is
            a factor on the channels, 1 as a rule, ``geometry`` ``"same"`` or ``"reference"``; a
            backbone that has no other may ignore the first and refuse the second.
        preprocess: What pictures it takes: of the weights that it starts from, if any. Without it
            RGB by ImageNet's mean and deviation, as torchvision's and timm's weights want them.

    Raises:
        UsageError: If the name is not such a one or a published backbone's, or the preprocessing is
            not one of colour pictures.

    Example:
        >>> from torch import nn
        >>> def tiny(in_channels, width, geometry):
        ...     cut = nn.Conv2d(in_channels, 8, 8, stride=8), nn.ReLU()
        ...     half, again = (nn.Conv2d(8, 8, 2, stride=2) for _ in range(2))
        ...     stages = {8: nn.Sequential(*cut), 16: nn.Sequential(half), 32: nn.Sequential(again)}
        ...     return Backbone(stages, {8: 8, 16: 8, 32: 8}, geometry)
    """
    if name in _PUBLISHED or not re.fullmatch(r"\w+", name):
        raise UsageError(
            f"a backbone cannot be called {name!r}; take a name of letters, digits and underscores "
            f"that is none of {', '.join(_PUBLISHED)}"
        )
    if preprocess.inputs != ("images",) or len(preprocess.mean) != 3:
        raise UsageError(
            f"the backbone {name!r} is registered for {preprocess}; register it for colour "
            "pictures, of three channels: what more a training run stacks up is added there"
        )
    _BUILDERS[name] = build
    BACKBONES[name] = preprocess


_PUBLISHED = tuple(_BUILDERS)
