"""Small networks as checkpoints and as exported files, each made once for all tests and workers."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import gettempdir, mkdtemp

import torch
from filelock import FileLock
from torch import nn

from fullyconv.checkpoint import Header, load_model, save_model
from fullyconv.config import ModelConfig
from fullyconv.labels import LabelSpace
from fullyconv.models.create import create_model
from fullyconv.networks import model_config
from fullyconv.preprocess import Preprocess
from fullyconv.runtimes.onnx_writer import write_onnx

NETWORKS: dict[str, ModelConfig] = {
    "vgg16": model_config("fcn8s_vgg16", num_classes=3, width=1 / 16),
    "two heads": model_config("siftflow-fcn16s", width=1 / 16),
    "late fusion": model_config("nyud-fcn32s-color-hha", width=1 / 16),
    "alexnet": model_config("fcn8s_alexnet", num_classes=3, width=1 / 8),
    "googlenet": model_config("fcn8s_googlenet", num_classes=3, width=1 / 8),
    "efficientnet": model_config("fcn16s_efficientnet_lite0", num_classes=3, width=1 / 8),
    "at once": model_config("voc-fcn8s-atonce", width=1 / 16),
    "learned": model_config("fcn8s_vgg16", num_classes=3, width=1 / 16, upsample="learned"),
    "scores alone": model_config("fcn8s_vgg16", num_classes=3, width=1 / 16, skips=False),
    "tiny": model_config("fcn8s_alexnet", num_classes=3, width=1 / 8, skips=False),
    "four channels": model_config("nyud-fcn32s-color-d", width=1 / 16),
}
_RUN = os.environ.get("PYTEST_XDIST_TESTRUNUID")  # the same in all workers
_FOLDER = Path(gettempdir(), f"fullyconv-{_RUN}") if _RUN else Path(mkdtemp(prefix="fullyconv-"))


def _once(path: Path, make: Callable[[Path], object]) -> Path:
    """A file, made by whichever worker comes first."""
    _FOLDER.mkdir(exist_ok=True)
    with FileLock(f"{path}.lock"):
        if not path.exists():
            make(path)
    return path


def header_of(config: ModelConfig) -> Header:
    """Classes and preprocessing that fit a network: bytes to about -1 to 1."""
    names = dict(config.heads) or {"": config.num_classes}
    first, *others = (
        LabelSpace(categories=tuple(f"class {i}" for i in range(n))) for n in names.values()
    )
    channels, inputs = config.in_channels, {3: ("images",), 4: ("images", "depth")}
    return Header(
        model=config,
        labels=first,
        preprocess=Preprocess(
            mean=(128.0,) * channels,
            std=(64.0,) * channels,
            inputs=inputs.get(channels, ("images", "hha")),
        ),
        info={"licence": "none: random numbers"},
        heads=dict(zip(list(names)[1:], others, strict=True)),
    )


def _save(name: str, path: Path) -> None:
    torch.manual_seed(0)
    config = NETWORKS[name]
    model = create_model(config)
    for key, parameter in model.named_parameters():
        if "upsample" not in key:
            nn.init.normal_(parameter, std=0.25)
        if "score" in key:  # features are positive: without this, one class is everywhere
            values = parameter.detach()
            values -= values.mean(1, keepdim=True) if values.ndim == 4 else values.clone()
    save_model(model, path, header=header_of(config))


@cache
def checkpoint(name: str) -> Path:
    """A network of random weights."""
    return _once(_FOLDER / f"{name}.safetensors", lambda path: _save(name, path))


@cache
def onnx_file(name: str) -> Path:
    """The same as .onnx."""
    model, header = load_model(checkpoint(name)), header_of(NETWORKS[name])
    return _once(_FOLDER / f"{name}.onnx", lambda path: write_onnx(model, header, path))
