"""From a name or a configuration to a network."""

from __future__ import annotations

from typing import Any

from fullyconv.config import ModelConfig
from fullyconv.models.backbones import Backbone, build_backbone
from fullyconv.models.fcn import FCN, Head
from fullyconv.models.fusion import LateFusion, MultiHead
from fullyconv.networks import changed_config, model_config

Network = FCN | MultiHead | LateFusion


def create_model(name: str | ModelConfig, **overrides: Any) -> Network:
    """Build a network; its weights are random, its class scores zero (paper, section 4.3).

    :func:`~fullyconv.load_backbone` fills it with ImageNet weights.

    Args:
        name: A folder name of the authors' release (``"voc-fcn8s"``),
            ``"fcn{32,16,8}s_{backbone}"`` (``"fcn8s_vgg16"``), or a configuration.
        overrides: Fields of :class:`~fullyconv.config.ModelConfig` to change.

    Returns:
        A module: images (N, C, H, W) float32 in the network's own input units to logits
        (N, num_classes, H, W), or to a dictionary of them for the two-head nets.

    Raises:
        UsageError: If the name, a field or a value does not exist.

    Example:
        >>> import torch
        >>> model = create_model("fcn8s_vgg16", num_classes=5, width=1 / 16)
        >>> tuple(model(torch.zeros(1, 3, 33, 7)).shape)
        (1, 5, 33, 7)
    """
    if isinstance(name, ModelConfig):
        config = changed_config(name, **overrides)
    else:
        config = model_config(name, **overrides)
    if config.streams:
        part = config.in_channels // len(config.streams)
        return LateFusion({stream: _fcn(config, part) for stream in config.streams})
    if config.heads:
        backbone = _backbone(config, config.in_channels)
        heads = {
            task: Head(backbone, classes, config.stride, config.upsample, config.skip_scale)
            for task, classes in config.heads
        }
        return MultiHead(backbone, heads)
    return _fcn(config, config.in_channels)


def _fcn(config: ModelConfig, in_channels: int) -> FCN:
    backbone = _backbone(config, in_channels)
    return FCN(backbone, config.num_classes, config.stride, config.upsample, config.skip_scale)


def _backbone(config: ModelConfig, in_channels: int) -> Backbone:
    backbone = build_backbone(config.backbone, in_channels, config.width, config.geometry)
    return backbone if config.skips else backbone.until(config.stride)
