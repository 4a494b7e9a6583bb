"""What a network, its data and its training are made of: frozen dataclasses, no torch.

The string under each field is its help text on the command line.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from fullyconv.changed import changed
from fullyconv.errors import UsageError, did_you_mean

Geometry = Literal["reference", "same"]
PredictionStride = Literal[32, 16, 8]
Heads = tuple[tuple[str, int], ...]
Precision = Literal["auto", "float32", "bfloat16"]
ClassWeights = Literal["none", "inverse", "median_frequency", "enet"]
Damaged = Literal["stop", "skip"]
_Config = TypeVar("_Config", bound=Any)
Mask = Literal["none", "foreground", "background", "both"]


def with_settings(config: _Config, settings: Mapping[str, Any], at: str = "") -> _Config:
    """A configuration with some settings changed.

    Args:
        config: The dataclass.
        settings: New values by name; of a part of a recipe a mapping of what changes in it.
        at: What stands before a name in messages.

    Raises:
        UsageError: If a setting does not exist or fit.

    Example:
        >>> recipe = Recipe(model=ModelConfig())
        >>> with_settings(recipe, {"seed": 7, "optim": {"lr": 1e-4}}).optim.lr
        0.0001
    """
    known = {field.name: getattr(config, field.name) for field in fields(config)}
    new = dict(settings)
    for name, value in settings.items():
        if name not in known:
            holds = [key for key, part in known.items() if name in getattr(part, "__dict__", ())]
            hint = f"It belongs to {holds[0]}: {holds[0]}={{{name!r}: ...}}" if holds else ""
            raise UsageError(
                f"there is no setting {at}{name}. {hint or did_you_mean(name, list(known))}"
            )
        if is_dataclass(known[name]) and isinstance(value, Mapping):
            new[name] = with_settings(known[name], value, f"{name}.")
    return replace(config, **new)


def _check_choices(config: object) -> None:
    """Refuse values that a field of a few fixed ones does not list; Python itself never does."""
    for name, hint in get_type_hints(type(config)).items():
        value = getattr(config, name)
        if get_origin(hint) is tuple and isinstance(value, str):
            raise UsageError(f"{name} is {value!r}; it must be a tuple, such as ({value!r},)")
        if get_origin(hint) is Literal and value not in get_args(hint):
            known = ", ".join(str(choice) for choice in get_args(hint))
            raise UsageError(f"{name} is {value!r}; it must be one of {known}")


def _check_counts(config: object, *names: str, least: int = 1) -> None:
    for name in names:
        value = getattr(config, name)
        if not isinstance(value, int) or value < least:
            raise UsageError(f"{name} is {value!r}; it must be a whole number, at least {least}")


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """One network. Two of equal configuration have interchangeable weights."""

    backbone: str = "efficientnet_lite0"
    """Classifier that was made fully convolutional; see `fcn info`."""
    stride: PredictionStride = 8
    """Prediction stride: 32 has no skip, 16 adds pool4's, 8 also pool3's (FCN-32s, 16s, 8s)."""
    num_classes: int = 21
    """Classes, background included; where the data set has a classes.json, its number of them."""
    in_channels: int = 3
    """Input channels; more than 3 start as the mean of the colour filters."""
    geometry: Geometry = "same"
    """reference: the image is padded by 100, as the authors did; same: some 60 % of the work."""
    upsample: Literal["fixed", "learned"] = "fixed"
    """Upsampling between skips: bilinear, or learned from it. The last one is always bilinear."""
    skips: bool = True
    """Add finer scores to the coarser; without, the layer at the stride is scored alone, and no
    later one is computed."""
    skip_scale: tuple[float, float] = (1.0, 1.0)
    """Fixed factors on pool4 and pool3 before their scores (the at-once net: 0.01, 0.0001)."""
    width: float = 1.0
    """Factor on every hidden layer's channels; below 1 for small copies."""
    heads: Heads = ()
    """Named outputs with their class counts (SIFT Flow); empty for the usual single one."""
    streams: tuple[str, ...] = ()
    """Late fusion: one network per named group of three input channels, their scores averaged."""

    def __post_init__(self) -> None:
        _check_choices(self)
        _check_counts(self, "num_classes", "in_channels")
        if not 0 < self.width <= 16:
            raise UsageError(f"width is {self.width}; it must be above 0 and at most 16")
        if self.streams and self.in_channels != 3 * len(self.streams):
            raise UsageError(
                f"late fusion of {len(self.streams)} streams needs {3 * len(self.streams)} input "
                f"channels, not {self.in_channels}"
            )
        if self.heads and (self.streams or self.heads[0][1] != self.num_classes):
            raise UsageError(
                f"heads {self.heads} go with one stream, and the first has num_classes "
                f"({self.num_classes}) classes"
            )
        if any(classes < 1 for _, classes in self.heads):
            raise UsageError(f"heads {self.heads} must have at least 1 class each")


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """What a network is trained on, and how the pictures are varied."""

    root: Path | None = None
    """Folder of the data set: train/ and val/, each with images/ and labels/."""
    published: tuple[str, ...] = ()
    """Data sets that the root may also hold as they are published; they are then prepared beside
    it first, as by fcn data prepare."""
    labels: str = "auto"
    """What the ids in the label files mean: auto (classes.json in the root), camvid, voc, ..."""
    preprocess: str = "auto"
    """Mean and channel order: auto (the backbone's), or those of a released net, by its name."""
    inputs: tuple[str, ...] = ("images",)
    """What is stacked into the network's input: folders of the data set: images, hha, depth; or
    bands: all that the files in images/ hold, of any number and kind, as it is."""
    train: tuple[str, ...] = ("train",)
    """Sub-folders of the pictures to train on, or lists of their names (LISTS/train.txt), as
    fcn data split --lists writes them."""
    val: str = "val"
    """Sub-folder of the pictures to score, or a list of their names; empty for none."""
    crop: tuple[int, int] | None = None
    """Height and width cut out of each picture at random."""
    scale: tuple[float, float] = (1.0, 1.0)
    """Range of random enlargement."""
    mirror: bool = False
    """Mirror half of the pictures."""
    jitter: int = 0
    """Largest random shift in pixels, each way (the paper tried 32)."""
    color: float = 0.0
    """Largest relative change of brightness, contrast and saturation."""
    replacement: bool = False
    """Draw each picture from all of them, as the authors do; without it, in shuffled epochs."""
    void: tuple[str, ...] = ()
    """Classes that the network shall not know: their pixels are void, trained on and scored."""
    mask: Mask = "none"
    """What is hidden of each picture, trained on and scored, by its labels: nothing, the foreground
    or the background by the mean colour, or both by a colour each, so that shape alone is seen."""
    foreground: tuple[str, ...] = ()
    """Classes that are foreground; all else, void included, is background."""
    damaged: Damaged = "stop"
    """What a file does that cannot be read: stop the run, or be left out, with a warning."""
    workers: int = 1
    """Processes that read pictures ahead of the network."""

    def __post_init__(self) -> None:
        _check_choices(self)
        _check_counts(self, "workers", "jitter", least=0)
        root: object = self.root
        if isinstance(root, str):
            object.__setattr__(self, "root", Path(root))
        train: object = self.train
        if not train or not isinstance(train, tuple):
            raise UsageError(f"train is {train!r}; it must be a tuple of sub-folders")
        known = ("images", "hha", "depth")  # colours first, bytes before floats: others rely on it
        ordered = tuple(kind for kind in known if kind in self.inputs)
        named = tuple(kind for kind in self.inputs if kind in (*known, "bands"))
        if not self.inputs or named not in (ordered, ("bands",)):
            raise UsageError(
                f"inputs is {self.inputs}; it must name some of {', '.join(known)}, in this order, "
                "or bands alone"
            )
        if self.crop is not None and min(self.crop) < 1:
            raise UsageError(f"crop is {self.crop}; height and width must be at least 1")
        low, high = self.scale
        if not 0 < low <= high < math.inf:
            raise UsageError(f"scale is {self.scale}; it must rise from a number above 0")
        if not 0 <= self.color <= 1:
            raise UsageError(f"color is {self.color}; it must be from 0 to 1")


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """How a network is trained."""

    optimizer: Literal["sgd", "adamw"] = "adamw"
    """sgd is Caffe's, with the authors' multipliers."""
    lr: float = 1e-3
    """Learning rate of the weights, at its highest."""
    momentum: float = 0.9
    """Momentum of sgd."""
    weight_decay: float = 0.01
    """Decay of the kernels; biases and batch norm do not decay."""
    batch_size: int = 8
    """Pictures in one forward and backward pass, over all processes."""
    iter_size: int = 1
    """Passes whose gradients are added up before a step (Caffe's name)."""
    max_iters: int = 1000
    """Steps of the optimiser."""
    epochs: float | None = None
    """Passes over the training pictures; if given, max-iters follows from it."""
    schedule: Literal["fixed", "cosine"] = "cosine"
    """Learning rate: constant, or warm-up and then a cosine down to 0."""
    warmup: float = 0.05
    """Share of the steps over which the cosine schedule warms up."""
    reduction: Literal["sum", "mean"] = "mean"
    """Loss of a picture: summed over its pixels (the authors' heavy regime) or averaged; of several
    pictures the mean of the sums, or the mean over all pixels."""
    bias_lr: float = 2.0
    """sgd: factor on the learning rate of the backbone's biases; the scores' is always 2."""
    bias_decay: float = 0.0
    """sgd: factor on the decay of the backbone's biases; the scores' is always 0."""
    trained: Literal["all", "scores"] = "all"
    """What is trained: everything, or the class scores alone (the paper's FCN-32s-fixed)."""
    keep_pixels: float = 1.0
    """Chance that a pixel's loss counts: below 1, patch sampling as loss sampling (section 3.4)."""
    class_weights: ClassWeights = "none"
    """Factors on each class's loss, from the pixel counts of the training labels."""
    average: float = 0.0
    """Decay of the moving average of the weights that is scored and saved; 0 for none."""
    precision: Precision = "float32"
    """Arithmetic of the forward and backward passes; weights and loss stay float32. auto: bfloat16
    where the processor computes with it, which halves the time."""
    batch_norm: Literal["auto", "trained", "frozen"] = "auto"
    """Batch norm's means and deviations: of each batch, or those that the network came with. auto:
    frozen where a process has fewer than 4 pictures, unless the network starts from scratch."""
    shard: bool = False
    """Under torchrun, split weights, average and optimiser over the processes (FSDP), where a copy
    each would not fit."""

    def __post_init__(self) -> None:
        _check_choices(self)
        _check_counts(self, "batch_size", "iter_size", "max_iters")
        if not 0 < self.lr < math.inf:
            raise UsageError(f"the learning rate is {self.lr}; it must be above 0")
        for name in ("weight_decay", "bias_lr", "bias_decay"):
            if not 0 <= getattr(self, name) < math.inf:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be at least 0")
        if self.epochs is not None and not 0 < self.epochs < math.inf:
            raise UsageError(f"epochs is {self.epochs}; it must be above 0")
        if not 0 <= self.warmup <= 1:
            raise UsageError(f"warmup is {self.warmup}; it is a share of the steps, from 0 to 1")
        if not 0 < self.keep_pixels <= 1:
            raise UsageError(
                f"keep_pixels is {self.keep_pixels}; it is a chance, above 0 and at most 1"
            )
        for name in ("momentum", "average"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(
                    f"{name} is {getattr(self, name)}; it must be at least 0 and below 1"
                )
        if self.reduction == "sum" and self.lr > 1e-7:
            raise UsageError(
                f"a summed loss with learning rate {self.lr} diverges: a picture has some 200,000 "
                "pixels. Use a rate of 1e-10 (the authors') or --optim.reduction mean"
            )

    def for_pictures(self, pictures: int) -> OptimConfig:
        """The same with steps in place of passes over so many pictures.

        Example:
            >>> OptimConfig(epochs=3, batch_size=8).for_pictures(100).max_iters
            38
        """
        if self.epochs is None:
            return self
        steps = self.epochs * pictures / (self.batch_size * self.iter_size)
        return replace(self, epochs=None, max_iters=max(1, math.ceil(steps)))


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A training run: network, data and optimisation. Everything a run's result depends on."""

    model: ModelConfig
    data: DataConfig = DataConfig()
    optim: OptimConfig = OptimConfig()
    seed: int = 1337
    """Source of every random choice (the authors' seed)."""
    eval_interval: int = 250
    """Steps between two scorings of the validation pictures."""
    save_interval: int = 100
    """Steps between two checkpoints to resume from."""
    log_interval: int = 10
    """Steps between two lines of the log."""
    from_scratch: bool = False
    """Start from random weights; without it, a backbone without ImageNet weights is refused."""
    continues: tuple[str, ...] = ()
    """Recipes that this one goes on from, by --init-from (staged training); empty for none."""
    init_from: tuple[str, ...] = ()
    """Checkpoint to start from instead: all layers that fit, also of a net of other classes. For
    late fusion one of each stream, or one of the whole."""
    backbone_weights: str = "auto"
    """ImageNet weights: auto, or a file (.safetensors, .pth, .caffemodel)."""
    partial_weights: bool = False
    """Take ImageNet weights that lack layers of the backbone (VGG16's fc6 and fc7, nine tenths of
    it), which then start at random; without it, such a file is refused."""
    tensorboard: bool = False
    """Also write TensorBoard events into the run folder; pip install "fullyconv[track]"."""
    licence: str = "not stated"
    """What the checkpoint shall say of the terms of its weights and data."""

    def __post_init__(self) -> None:
        _check_choices(self)
        starts = {
            "--from-scratch": self.from_scratch,
            "--init-from": bool(self.init_from),
            "--backbone-weights": self.backbone_weights != "auto",
        }
        given = [option for option, is_given in starts.items() if is_given]
        if len(given) > 1:
            raise UsageError(f"{' and '.join(given)} contradict each other; give one of them")
        if self.init_from and len(self.init_from) not in (1, len(self.model.streams)):
            streams = len(self.model.streams) or 1
            raise UsageError(
                f"{len(self.init_from)} checkpoints to start from are named; this network of "
                f"{streams} {'stream' if streams == 1 else 'streams'} takes "
                f"{'1' if streams == 1 else f'1 or {streams}'}"
            )
        _check_counts(self, "eval_interval", "save_interval", "log_interval")
        if not 0 <= self.seed < 2**32:
            raise UsageError(f"seed is {self.seed}; it must be from 0 to {2**32 - 1}")

    def __str__(self) -> str:
        name = network_name(self.model.backbone, self.model.stride, self.model.skips)
        optim, epochs = self.optim, self.optim.epochs
        length = f"{optim.max_iters:,} steps" if epochs is None else f"{epochs:g} epochs"
        parts = {
            "network": (name, *changed(self.model, "backbone", "stride", "skips")),
            "data": changed(self.data),
            "optimisation": (length, *changed(optim, "max_iters", "epochs")),
            "run": changed(self, "model", "data", "optim"),
        }
        lines = [f"{part}: {', '.join(said)}" for part, said in parts.items() if said]
        return "\n".join([*lines, "and the rest as by default"])

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, numbers and text, for a checkpoint's header and the run folder."""
        values: dict[str, Any] = json.loads(json.dumps(asdict(self), default=str))
        return values


def network_name(backbone: str, stride: int, skips: bool = True) -> str:
    """What a network is called, as far as its configuration tells.

    Example:
        >>> network_name("vgg16", 16), network_name("vgg16", 16, skips=False)
        ('fcn16s_vgg16', 'fcn16s_vgg16 without skips')
    """
    return f"fcn{stride}s_{backbone}{'' if skips else ' without skips'}"


def _vgg16(num_classes: int, stride: PredictionStride, **more: Any) -> ModelConfig:
    return ModelConfig(
        backbone="vgg16", geometry="reference", num_classes=num_classes, stride=stride, **more
    )


_SIFTFLOW_HEADS = (("semantic", 33), ("geometric", 3))  # siftflow-fcn*/net.py

# The networks of the authors' release by folder name (fcn.berkeleyvision.org, */net.py).
RELEASED_MODELS: dict[str, ModelConfig] = {
    "voc-fcn32s": _vgg16(21, 32),
    "voc-fcn16s": _vgg16(21, 16),
    "voc-fcn8s": _vgg16(21, 8),
    "voc-fcn8s-atonce": _vgg16(21, 8, skip_scale=(0.01, 0.0001)),
    "voc-fcn-alexnet": ModelConfig(
        backbone="alexnet", geometry="reference", num_classes=21, stride=32
    ),
    "nyud-fcn32s-color": _vgg16(40, 32),
    "nyud-fcn32s-hha": _vgg16(40, 32),
    "nyud-fcn32s-color-d": _vgg16(40, 32, in_channels=4),
    "nyud-fcn32s-color-hha": _vgg16(40, 32, in_channels=6, streams=("color", "hha")),
    "pascalcontext-fcn32s": _vgg16(60, 32),
    "pascalcontext-fcn16s": _vgg16(60, 16),
    "pascalcontext-fcn8s": _vgg16(60, 8),
    "siftflow-fcn32s": _vgg16(33, 32, heads=_SIFTFLOW_HEADS),
    "siftflow-fcn16s": _vgg16(33, 16, heads=_SIFTFLOW_HEADS),
    "siftflow-fcn8s": _vgg16(33, 8, heads=_SIFTFLOW_HEADS),
}
