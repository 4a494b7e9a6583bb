"""Networks and backbones by name, and the preprocessing that belongs to their weights; no torch."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from typing import Any, cast

from fullyconv.config import RELEASED_MODELS, ModelConfig, PredictionStride, network_name
from fullyconv.errors import UsageError, did_you_mean, nearest
from fullyconv.preprocess import (
    CAFFE,
    CHANNELS,
    EFFICIENTNET_LITE,
    NYUD_COLOR,
    NYUD_COLOR_DEPTH,
    NYUD_COLOR_HHA,
    NYUD_HHA,
    SIFTFLOW_COLOR,
    TORCHVISION,
    Preprocess,
)

BACKBONES: dict[str, Preprocess] = {
    "alexnet": CAFFE,
    "alexnet_torchvision": TORCHVISION,
    "vgg16": CAFFE,
    "vgg16_torchvision": TORCHVISION,
    "googlenet": CAFFE,
    "googlenet_torchvision": TORCHVISION,
    "efficientnet_lite0": EFFICIENTNET_LITE,
    "efficientnet_lite1": EFFICIENTNET_LITE,
    "efficientnet_lite2": EFFICIENTNET_LITE,
}
"""What ``models/backbones`` builds, and what pictures its ImageNet weights know."""

SHIPPED_MODELS = ("camvid", "nyudv2")
"""Models inside the package, by name."""


_OWN = (
    "A backbone of your own is known once the Python file is imported that registers it "
    "(fullyconv.register_backbone; fcn --import FILE.py)"
)


def model_names() -> list[str]:
    """Every name that :func:`model_config` knows: the 15 released nets, then the combinations."""
    return [*RELEASED_MODELS, *(name for backbone in BACKBONES for name in networks_over(backbone))]


def networks_over(backbone: str) -> list[str]:
    """Names of the networks over a backbone.

    Example:
        >>> networks_over("vgg16")
        ['fcn32s_vgg16', 'fcn16s_vgg16', 'fcn8s_vgg16']
    """
    return [network_name(backbone, stride) for stride in (32, 16, 8)]


def named_like(name: str) -> str:
    """Sentence on what a name may have meant that is none of what was asked for.

    Args:
        name: Of another kind, or nearly that of a shipped model, a network or a backbone.

    Example:
        >>> named_like("vgg17")
        'Did you mean vgg16, fcn8s_vgg16?'
        >>> named_like("vgg16")
        'It is a backbone; its networks are fcn32s_vgg16, fcn16s_vgg16 and fcn8s_vgg16'
    """
    if name in SHIPPED_MODELS:
        return f"It is a shipped model, which fullyconv.load_model({name!r}) opens"
    if name in BACKBONES:
        *others, last = networks_over(name)
        return f"It is a backbone; its networks are {', '.join(others)} and {last}"
    if name in RELEASED_MODELS:
        return f"It is a network; fcn weights import {name} MODEL.safetensors fills it"
    if name in model_names():
        stride, _, backbone = name.removeprefix("fcn").partition("s_")
        return (
            "It is a network; fcn train finetune --model.backbone "
            f"{backbone} --model.stride {stride} trains it"
        )
    near = nearest(name, [*SHIPPED_MODELS, *model_names(), *BACKBONES])
    if near and near[0] in BACKBONES:
        near.insert(1, network_name(near[0], 8))
    if near:
        return f"Did you mean {', '.join(near)}?"
    return f"fcn info lists the models, networks and backbones. {_OWN}"


def no_backbone(name: str) -> UsageError:
    """The error where a backbone is named that there is not."""
    return UsageError(
        f"there is no backbone {name!r}. {did_you_mean(name, list(BACKBONES))} {_OWN}"
    )


def model_config(name: str, **overrides: Any) -> ModelConfig:
    """Configuration of a network by name, with any field overridden.

    Args:
        name: A folder name of the authors' release (``voc-fcn8s``) or
            ``fcn{32,16,8}s_{backbone}`` (``fcn8s_vgg16``).
        overrides: Fields of :class:`ModelConfig`.

    Raises:
        UsageError: If the name or a field does not exist.

    Example:
        >>> model_config("fcn16s_vgg16", num_classes=11).stride
        16
    """
    if name in RELEASED_MODELS:
        return changed_config(RELEASED_MODELS[name], **overrides)
    match = re.fullmatch(r"fcn(32|16|8)s_(\w+)", name)
    if match is None or match[2] not in BACKBONES:
        raise UsageError(f"there is no network {name!r}. {named_like(name)}")
    config = ModelConfig(backbone=match[2], stride=cast(PredictionStride, int(match[1])))
    return changed_config(config, **overrides)


def changed_config(config: ModelConfig, **overrides: Any) -> ModelConfig:
    """A configuration with some fields changed.

    Raises:
        UsageError: If a field does not exist.
    """
    known = [field.name for field in fields(ModelConfig)]
    for field in overrides:
        if field in ("pretrained", "weights"):
            raise UsageError(
                f"a network has no setting {field!r}: it begins at random. Fill it by "
                f"fullyconv.load_backbone(model, {config.backbone!r}), whose weights are "
                "ImageNet's, or take a whole trained network by fullyconv.load_model"
            )
        if field not in known:
            raise UsageError(f"a network has no setting {field!r}. {did_you_mean(field, known)}")
    return replace(config, **overrides)


_RELEASED = {
    "nyud-fcn32s-color": NYUD_COLOR,
    "nyud-fcn32s-hha": NYUD_HHA,
    "nyud-fcn32s-color-d": NYUD_COLOR_DEPTH,
    "nyud-fcn32s-color-hha": NYUD_COLOR_HHA,
    "siftflow-fcn32s": SIFTFLOW_COLOR,
    "siftflow-fcn16s": SIFTFLOW_COLOR,
    "siftflow-fcn8s": SIFTFLOW_COLOR,
}


def released_preprocess(name: str) -> Preprocess:
    """Preprocessing of a network of the authors' release, by its folder name."""
    return _RELEASED.get(name, CAFFE)


# Mean of the logarithm of millimetres (nyud_layers.py), and about half of its range in a room:
# depth comes out on the scale of normalised colours. The authors' own nets take it as it is.
_LOG_DEPTH_MEAN, _LOG_DEPTH_STD = 7.844, 0.5


def preprocess_for(
    backbone: str, name: str = "auto", inputs: tuple[str, ...] = ("images",)
) -> Preprocess:
    """Preprocessing of a training run.

    Args:
        backbone: Its backbone.
        name: A released network's folder name, for that network's; or ``"auto"``, for what the
            backbone's ImageNet weights were trained with, HHA being treated as a picture.
        inputs: What the channels are, for ``"auto"``.

    Raises:
        UsageError: If there is no such backbone, the name is neither, or an input is of no kind
            known here.
    """
    if name in RELEASED_MODELS:
        return released_preprocess(name)
    if name != "auto":
        known = ["auto", *RELEASED_MODELS]
        raise UsageError(f"there is no preprocessing {name!r}. {did_you_mean(name, known)}")
    if backbone not in BACKBONES:
        raise no_backbone(backbone)
    base = BACKBONES[backbone]
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    for kind in inputs:
        if kind not in CHANNELS:
            raise UsageError(f"there is no input {kind!r}. {did_you_mean(kind, list(CHANNELS))}")
        depth = kind == "depth"
        mean += (_LOG_DEPTH_MEAN * base.scale,) if depth else base.mean
        std += (_LOG_DEPTH_STD * base.scale,) if depth else base.std
    return replace(base, mean=mean, std=std, inputs=inputs)
