"""A network run piece by piece against the whole; coarse scores against PyTorch's upsampling."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from classifiers import ResNet
from fullyconv.errors import FullyConvError
from fullyconv.models.backbones import build_backbone
from fullyconv.models.convolutionalize import convolutionalize
from fullyconv.models.create import create_model
from fullyconv.models.dilate import dilate
from fullyconv.models.fast.plan import Landing, Plan
from fullyconv.models.fast.stages import Stages
from fullyconv.models.fcn import FCN
from fullyconv.models.layers import BilinearUpsample
from fullyconv.runtimes.torch import TorchRuntime
from fullyconv.scores import Scores

NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "vgg16": lambda: create_model("fcn8s_vgg16", num_classes=3, width=1 / 16),
    "voc-fcn16s": lambda: create_model("voc-fcn16s", width=1 / 16),
    "alexnet": lambda: create_model("fcn8s_alexnet", num_classes=3, width=1 / 8),
    "googlenet": lambda: create_model("fcn8s_googlenet", num_classes=3, width=1 / 8),
    "googlenet, reference": lambda: create_model(
        "fcn8s_googlenet", num_classes=3, width=1 / 8, geometry="reference"
    ),
    "efficientnet": lambda: create_model("fcn16s_efficientnet_lite0", num_classes=3, width=1 / 8),
    "learned": lambda: create_model("fcn8s_vgg16", num_classes=3, width=1 / 16, upsample="learned"),
    "two heads": lambda: create_model("siftflow-fcn8s", width=1 / 16),
    "late fusion": lambda: create_model("nyud-fcn32s-color-hha", width=1 / 16),
    "scores alone": lambda: create_model("fcn8s_vgg16", num_classes=3, width=1 / 16, skips=False),
    "a classifier": lambda: FCN(convolutionalize(ResNet()), 3, stride=8),
    "dilated": lambda: dilate(FCN(build_backbone("vgg16", width=1 / 16), 3), 8),
}


@pytest.fixture(params=NETWORKS)
def network(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(0)
    network = NETWORKS[request.param]().eval()
    for name, parameter in network.named_parameters():
        if "upsample" not in name:
            nn.init.normal_(parameter, std=0.25)
    return network


def logits(network: nn.Module, images: Tensor) -> np.ndarray:
    with torch.inference_mode():
        said = network(images)
    return (torch.cat(list(said.values()), 1) if isinstance(said, dict) else said)[0].numpy()


@pytest.mark.parametrize(("height", "width"), [(1, 1), (65, 97), (130, 41)])
def test_piece_by_piece_and_as_a_whole_give_the_networks_logits(
    network: nn.Module, height: int, width: int
) -> None:
    channels = 6 if hasattr(network, "streams") else 3
    images = torch.randn(1, channels, height, width)
    expected = logits(network, images)
    runtime = TorchRuntime(network, "cpu")
    maps = {"images": images.numpy()}
    whole = runtime.run(maps, ["scores"])["scores"]
    for piece in runtime.plan.pieces:
        maps |= runtime.run({piece.source: maps[piece.source]}, [piece.target])
        for along, axis in ((height, 2), (width, 3)):
            source = maps[piece.source].shape[axis]
            if along > 64:
                assert maps[piece.target].shape[axis] == piece.cells(source)
    features = {p.target: maps[p.target] for p in runtime.plan.pieces}
    scored = runtime.run(features, runtime.plan.scored)
    parts = runtime.run(scored, ["scores"])["scores"]
    scale = abs(expected).max()
    for coarse in (whole, parts):
        scores = Scores(coarse[0], runtime.plan.landing, height, width)
        np.testing.assert_allclose(scores.logits(), expected, atol=1e-5 * scale)


def test_a_part_of_a_map_is_what_its_cells_see(network: nn.Module) -> None:
    """Whatever lies outside of what Piece.sees says has no influence."""
    stages = Stages(network)
    for piece in stages.plan.pieces:
        size = 2 * piece.receptive_field + 2 * piece.period + 64
        source = torch.zeros(1, source_channels(stages, piece.source), 32, size)
        cell = piece.cells(size) // 2
        start, stop = piece.sees(cell, cell + 1)
        noise = torch.randn_like(source)
        outside = noise.clone()
        outside[..., start:stop] = 0
        with torch.inference_mode():
            plain = stages.run({piece.source: source}, [piece.target])[piece.target]
            changed = stages.run({piece.source: source + outside}, [piece.target])[piece.target]
        assert torch.equal(plain[..., cell], changed[..., cell])
        assert not torch.equal(plain, changed)


def source_channels(stages: Stages, name: str) -> int:
    if name == "images":
        return 3 * len(stages.streams)
    return next(piece.channels for piece in stages.plan.pieces if piece.target == name)


def test_plan_survives_json(network: nn.Module) -> None:
    plan = Stages(network).plan
    assert Plan.from_dict(json.loads(json.dumps(plan.to_dict()))) == plan


@pytest.mark.parametrize(
    "damage",
    [
        lambda v: v.pop("taps"),
        lambda v: v["pieces"][0].update(start="1/0"),
        lambda v: v["landing"].update(x=1),
    ],
)
def test_a_plan_that_is_not_one(damage: Callable[[dict[str, object]], object]) -> None:
    values = Stages(create_model("fcn8s_vgg16", num_classes=2, width=1 / 32)).plan.to_dict()
    damage(values)
    with pytest.raises(FullyConvError, match="plan of the network is not readable"):
        Plan.from_dict(values)


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from([1, 2, 8, 16, 32]),
    st.booleans(),
    st.integers(0, 1),
    st.integers(1, 40),
    st.integers(1, 400),
    st.integers(0, 2**31),
)
def test_scores_against_a_transposed_convolution(
    factor: int, odd: bool, edge: int, cells: int, height: int, seed: int
) -> None:
    """All rows that the upsampled map has, for any kernel, offset and size."""
    rng = np.random.default_rng(seed)
    kernel = 2 * factor - odd
    coarse = rng.normal(size=(3, cells, 5)).astype(np.float32)
    padded = F.pad(torch.from_numpy(coarse)[None], [edge] * 4, mode="replicate")
    upsampled = BilinearUpsample(3, kernel, factor)(padded)[0].numpy()
    offset = int(rng.integers(0, factor + 1))
    landing = Landing(factor, kernel, offset, edge)
    height = min(height, upsampled.shape[1] - offset)
    width = upsampled.shape[2] - offset
    scores = Scores(coarse, landing, height, width)
    expected = upsampled[:, offset : offset + height, offset : offset + width]
    np.testing.assert_allclose(scores.logits(), expected, atol=1e-5)
    sure = np.sort(expected, 0)[-1] - np.sort(expected, 0)[-2] > 1e-5
    assert np.array_equal(scores.labels()[sure], expected.argmax(0)[sure])


def test_more_classes_than_a_byte_holds() -> None:
    """300 classes, the last of them the most probable."""
    one = np.zeros((300, 2, 2), np.float32)
    one[299] = 1
    assert Scores.of(one).labels().tolist() == [[299, 299], [299, 299]]
    assert Scores.of(one[:256]).labels().dtype == np.uint16  # 255 is void, and no class of a byte
    assert Scores.of(one[:255]).labels().dtype == np.uint8
