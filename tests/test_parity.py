"""The networks against the real Caffe's answers (tests/data/README.md, ../shared/oracles)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from formula import DATA, ORACLES, input_blob, parameter, sgd_label
from fullyconv.config import RELEASED_MODELS
from fullyconv.losses import cross_entropy
from fullyconv.models.backbones import build_backbone
from fullyconv.models.create import create_model
from fullyconv.models.fcn import FCN
from fullyconv.models.fusion import LateFusion
from fullyconv.models.layers import BilinearUpsample
from fullyconv.optim import sgd
from fullyconv.surgery import caffe_layers, load_caffemodel

NEEDS_ORACLES = pytest.mark.skipif(
    not ORACLES.is_dir(), reason="the real Caffe's files (../shared/oracles) are not here"
)


def fill(model: nn.Module) -> None:
    """Give every layer the oracles' parameters, which follow from its Caffe name alone."""
    for name, layer in caffe_layers(model).items():
        if isinstance(layer, BilinearUpsample):
            continue
        with torch.no_grad():
            for j, p in enumerate(layer.parameters()):
                p.copy_(torch.from_numpy(parameter(name, j, tuple(p.shape))))


def answers(path: Path) -> dict[str, Tensor]:
    with np.load(path) as file:
        return {name: torch.from_numpy(np.array(file[name])) for name in file.files}


def assert_equals_caffe(ours: Tensor, caffe: Tensor) -> None:
    """Within 1e-5 of the largest score, everywhere."""
    assert ours.shape == caffe.shape
    assert (ours - caffe).abs().max() <= 1e-5 * caffe.abs().max()


@torch.inference_mode()
def test_fcn8s_equals_caffe() -> None:
    model = create_model("voc-fcn8s", width=1 / 16).eval()
    fill(model)
    caffe = answers(DATA / "voc-fcn8s-w16.npz")["score"]
    images = torch.from_numpy(input_blob("data", (1, 3, 97, 131)))
    assert_equals_caffe(model(images), caffe)


@torch.inference_mode()
def test_googlenet_from_its_caffemodel_equals_caffe() -> None:
    backbone, classifier = build_backbone("googlenet", width=1 / 8).eval(), nn.Linear(128, 125)
    network = nn.Sequential()
    network.add_module("backbone", backbone)
    network.add_module("loss3/classifier", classifier)
    report = load_caffemodel(network, DATA / "bvlc_googlenet-w8.caffemodel")
    assert len(report.copied) == 58
    assert not report.reshaped
    features = backbone(torch.from_numpy(input_blob("data", (1, 3, 224, 224))))
    caffe = answers(DATA / "bvlc_googlenet-w8.npz")
    for stride, block in ((8, "3b"), (16, "4e"), (32, "5b")):
        assert_equals_caffe(features[stride], caffe[f"inception_{block}.output"])
    assert_equals_caffe(classifier(features[32].mean((2, 3))), caffe["loss3.classifier"])


@NEEDS_ORACLES
@pytest.mark.parametrize("name", ["voc-fcn8s", "voc-fcn32s", "voc-fcn-alexnet"])
@torch.inference_mode()
def test_a_caffemodel_equals_caffe(name: str) -> None:
    model = create_model(name, width=1 / 16).eval()
    report = load_caffemodel(model, ORACLES / f"{name}-w16.caffemodel")
    assert not report.missing
    assert not report.extra
    caffe = answers(ORACLES / f"{name}-w16.npz")["score"]
    assert_equals_caffe(model(torch.from_numpy(input_blob("data", (1, 3, 97, 131)))), caffe)


@NEEDS_ORACLES
def test_six_steps_of_sgd_equal_caffe() -> None:
    caffe = answers(ORACLES / "voc-fcn32s-w16-sgd.npz")
    model = create_model("voc-fcn32s", width=1 / 16).eval()  # dropout ratio 0
    fill(model)
    layers = caffe_layers(model)
    start = {
        f"{name}.{j}": p.detach().clone()
        for name, layer in layers.items()
        for j, p in enumerate(layer.parameters())
    }
    optimizer = sgd(model, lr=1e-9, momentum=0.99, weight_decay=0.0005)
    for t in range(6):
        images = torch.from_numpy(input_blob(f"data/{t}", (1, 3, 97, 131)))
        target = torch.from_numpy(sgd_label(t))[:, 0]
        logits = model(images)
        # Caffe reports no pixel's loss above -ln(FLT_MIN) (softmax_loss_layer.cpp); its gradient,
        # like ours, knows no such limit
        pixels = F.cross_entropy(logits.detach(), target, ignore_index=255, reduction="none")
        reported = pixels.clamp(max=-np.log(np.finfo(np.float32).tiny)).sum().item()
        assert reported == pytest.approx(caffe[f"loss{t}"].item(), rel=1e-4)
        loss = cross_entropy(logits, target, "sum")
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    for name, layer in layers.items():
        for j, p in enumerate(layer.parameters()):
            expected = caffe[f"{name}.{j}"] - start[f"{name}.{j}"]
            change = p.detach() - start[f"{name}.{j}"]
            assert (change - expected).norm() <= 1e-2 * expected.norm(), f"{name}.{j}"


# Parameters that each released net holds, fixed upsampling left out: from the layer table of VGG16
# (13 convolutions, 14,714,688), fc6 and fc7, of CaffeNet's two groups, and 1x1 scores of 4096, 512
# and 256 channels with a bias each.
_VGG16 = 14_714_688 + (7 * 7 * 512 * 4096 + 4096) + (4096 * 4096 + 4096)
_CAFFENET = (
    (11 * 11 * 3 * 96 + 96)
    + (5 * 5 * 48 * 256 + 256)
    + (3 * 3 * 256 * 384 + 384)
    + (3 * 3 * 192 * 384 + 384)
    + (3 * 3 * 192 * 256 + 256)
    + (6 * 6 * 256 * 4096 + 4096)
    + (4096 * 4096 + 4096)
)
_FR, _POOL4, _POOL3 = 4097, 513, 257
PARAMETERS = {
    "voc-fcn32s": _VGG16 + 21 * _FR,
    "voc-fcn16s": _VGG16 + 21 * (_FR + _POOL4),
    "voc-fcn8s": _VGG16 + 21 * (_FR + _POOL4 + _POOL3),
    "voc-fcn8s-atonce": _VGG16 + 21 * (_FR + _POOL4 + _POOL3),
    "voc-fcn-alexnet": _CAFFENET + 21 * _FR,
    "nyud-fcn32s-color": _VGG16 + 40 * _FR,
    "nyud-fcn32s-hha": _VGG16 + 40 * _FR,
    "nyud-fcn32s-color-d": _VGG16 + 3 * 3 * 64 + 40 * _FR,
    "nyud-fcn32s-color-hha": 2 * (_VGG16 + 40 * _FR),
    "pascalcontext-fcn32s": _VGG16 + 60 * _FR,
    "pascalcontext-fcn16s": _VGG16 + 60 * (_FR + _POOL4),
    "pascalcontext-fcn8s": _VGG16 + 60 * (_FR + _POOL4 + _POOL3),
    "siftflow-fcn32s": _VGG16 + 36 * _FR,
    "siftflow-fcn16s": _VGG16 + 36 * (_FR + _POOL4),
    "siftflow-fcn8s": _VGG16 + 36 * (_FR + _POOL4 + _POOL3),
}


def test_every_released_net_is_here() -> None:
    assert PARAMETERS.keys() == RELEASED_MODELS.keys()


@pytest.mark.parametrize("name", RELEASED_MODELS)
def test_released_nets_have_the_published_parameters(name: str) -> None:
    with torch.device("meta"):  # full width, no memory
        model = create_model(name)
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[name]


@pytest.mark.parametrize("name", RELEASED_MODELS)
def test_released_nets_have_caffes_layers(name: str) -> None:
    """Names as in the authors' net.py; each net fed with the oracles' formula, at small width."""
    model = create_model(name, width=1 / 16).eval()
    names = list(caffe_layers(model))
    trunk = [f"conv{b}_{i}" for b, n in enumerate((2, 2, 3, 3, 3), 1) for i in range(1, n + 1)]
    trunk = ["conv1", "conv2", "conv3", "conv4", "conv5"] if "alexnet" in name else trunk
    trunk += ["fc6", "fc7"]
    stride = int(name.split("fcn")[1].split("s")[0]) if "alexnet" not in name else 32
    head = {
        32: ["score_fr", "upscore"],
        16: ["score_fr", "score_pool4", "upscore2", "upscore16"],
        8: ["score_fr", "score_pool4", "score_pool3", "upscore2", "upscore_pool4", "upscore8"],
    }[stride]
    if name.startswith("siftflow"):
        expected = trunk + [f"{n}_{task}" for task in ("sem", "geo") for n in head]
    elif name == "nyud-fcn32s-color-hha":
        both = [n + stream for stream in ("color", "hha") for n in [*trunk, "score_fr"]]
        expected = [*both, "upscore"]
    elif name == "nyud-fcn32s-color-d":
        expected = ["conv1_1_bgrd", *trunk[1:], *head]
    else:
        expected = trunk + head
    assert sorted(names) == sorted(expected)
    fill(model)
    channels = RELEASED_MODELS[name].in_channels
    with torch.inference_mode():
        logits = model(torch.from_numpy(input_blob("data", (1, channels, 33, 47))))
    for scores in logits.values() if isinstance(logits, dict) else [logits]:
        assert scores.shape[2:] == (33, 47)
        assert scores.isfinite().all()


@torch.inference_mode()
def test_late_fusion_averages_the_scores_before_upsampling() -> None:
    """As nyud-fcn32s-color-hha/net.py has it: Eltwise SUM with 0.5 and 0.5, then one upsampling."""
    model = create_model("nyud-fcn32s-color-hha", width=1 / 16).eval()
    fill(model)
    images = torch.from_numpy(input_blob("data", (1, 6, 70, 45)))
    assert isinstance(model, LateFusion)
    color, hha = model.streams["color"], model.streams["hha"]
    assert isinstance(color, FCN)
    assert isinstance(hha, FCN)
    scores = [
        fcn.head.score["32"](fcn.backbone(part)[32])
        for fcn, part in ((color, images[:, :3]), (hha, images[:, 3:]))
    ]
    upsampled = color.head.upsample["1"](0.5 * scores[0] + 0.5 * scores[1])
    expected = upsampled[..., 19 : 19 + 70, 19 : 19 + 45]
    assert_equals_caffe(model(images), expected)


@torch.inference_mode()
def test_the_at_once_net_scales_its_skips() -> None:
    """voc-fcn8s-atonce is voc-fcn8s whose pool4 and pool3 kernels are 0.01 and 0.0001 of theirs."""
    atonce = create_model("voc-fcn8s-atonce", width=1 / 16).eval()
    plain = create_model("voc-fcn8s", width=1 / 16).eval()
    fill(atonce)
    fill(plain)
    for name, factor in (("score_pool4", 0.01), ("score_pool3", 0.0001)):
        next(caffe_layers(plain)[name].parameters()).mul_(factor)
    images = torch.from_numpy(input_blob("data", (1, 3, 40, 60)))
    assert_equals_caffe(atonce(images), plain(images))
