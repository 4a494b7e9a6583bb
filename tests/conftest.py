"""What many tests share: the folder beside the checkout, and a small data set made on the spot."""

from __future__ import annotations

import ctypes
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fullyconv import networks
from fullyconv.checkpoint import Header, save_model
from fullyconv.labels import CAMVID, SIFTFLOW, SIFTFLOW_GEOMETRIC
from fullyconv.models import backbones
from fullyconv.models.create import create_model
from fullyconv.networks import model_config
from fullyconv.preprocess import EFFICIENTNET_LITE, SIFTFLOW_COLOR

SHARED = Path(__file__).resolve().parents[2] / "shared"


class _SignalStack(ctypes.Structure):
    _fields_ = (("start", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


_STACK = ctypes.create_string_buffer(1 << 20)


@pytest.fixture(autouse=True)
def _room_for_signals() -> Iterator[None]:
    """A signal stack of our own, and none of SIGCHLD's handlers that data loaders leave behind.

    pytest sets a signal stack (faulthandler). In long test runs that use AMX (bfloat16 on new
    processors) Linux could not put a signal's frame there, and a child that ended or an interrupt
    ended the tests. Without faulthandler, as in the command, there is no such stack.
    """
    if sys.platform == "linux":
        own = _SignalStack(ctypes.addressof(_STACK), 0, len(_STACK))
        ctypes.CDLL(None).sigaltstack(ctypes.byref(own), None)
    yield
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)


@pytest.fixture(autouse=True)
def _own_backbones_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a test, or a document's command, registers and imports is gone after it."""
    monkeypatch.setattr(backbones, "_BUILDERS", dict(backbones._BUILDERS))
    kept = dict(networks.BACKBONES)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield
    networks.BACKBONES.clear()
    networks.BACKBONES.update(kept)
    sys.modules.pop("imported_own_backbone", None)


@pytest.fixture
def shared() -> Path:
    """The folder beside the checkout with data and weights, where there is one."""
    if not SHARED.is_dir():
        pytest.skip("the folder ../shared with data and weights is not here")
    return SHARED


def write_scenes(root: Path) -> Path:
    """A data set in the form of CamVid: coloured blocks whose colour tells their class."""
    rng = np.random.default_rng(0)
    palette = np.array(CAMVID.palette, np.uint8)
    for split, count in (("train", 6), ("val", 3)):
        for kind in ("images", "labels"):
            (root / split / kind).mkdir(parents=True)
        for number in range(count):
            cells = rng.integers(0, 12, (3, 4)).astype(np.uint8)
            labels = cells.repeat(16, 0).repeat(16, 1)
            image = palette[labels % 11]
            Image.fromarray(image).save(root / split / "images" / f"{split}{number}.png")
            Image.fromarray(labels).save(root / split / "labels" / f"{split}{number}.png")
    return root


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a small network of random weights that knows CamVid's classes."""
    config = model_config("fcn8s_vgg16", num_classes=11, width=1 / 32)
    torch.manual_seed(0)
    network = create_model(config)
    for p in network.parameters():
        torch.nn.init.normal_(p, std=0.2)
    path = tmp_path_factory.mktemp("model") / "small.safetensors"
    header = Header(model=config, labels=CAMVID, preprocess=EFFICIENTNET_LITE)
    save_model(network, path, header=header)
    return path


@pytest.fixture(scope="session")
def two_heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a small network that says two things of each pixel."""
    config = model_config("siftflow-fcn16s", width=1 / 64)
    path = tmp_path_factory.mktemp("model") / "two-heads.safetensors"
    heads = {"geometric": SIFTFLOW_GEOMETRIC}
    header = Header(model=config, labels=SIFTFLOW, heads=heads, preprocess=SIFTFLOW_COLOR)
    save_model(create_model(config), path, header=header)
    return path


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    """A small data set to train on; see :func:`write_scenes`."""
    return write_scenes(tmp_path)
