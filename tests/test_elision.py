"""Only what an image can reach is computed, and the answers stay the same."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import fullyconv as fc
from fullyconv.models.backbones import Backbone
from fullyconv.models.fast.background import Background
from fullyconv.models.fast.elision import ElidedBackbone, FixedBackbone, elide
from fullyconv.models.fast.reach import reaches
from fullyconv.models.layers import replaced

NETWORKS = {
    "fcn8s_vgg16": {(8, 17), (16, 24)},
    "fcn32s_vgg16": {(8, 17), (16, 24)},
    "fcn16s_alexnet": {(8, 3), (16, 7)},
    "fcn8s_alexnet_torchvision": {(8, 3), (16, 6)},
    "siftflow-fcn8s": {(8, 17), (16, 24)},  # two heads
    "nyud-fcn32s-color-hha": {(8, 17), (16, 24)},  # two streams
}
SIZES = [(1, 1), (1, 30), (2, 3), (15, 16), (17, 33), (47, 64), (90, 61), (131, 128)]


def network(name: str, **overrides: Any) -> Any:
    """Small, random weights that keep the activations' size, and biases as large."""
    torch.manual_seed(0)
    if "-" not in name:
        overrides = {"geometry": "reference", "num_classes": 5, **overrides}
    model = fc.create_model(name, width=1 / 16, **overrides).eval()
    for key, parameter in model.named_parameters():
        fan_in = parameter[0].numel()
        nn.init.normal_(parameter, std=0.3 if key.endswith("bias") else (2 / fan_in) ** 0.5)
    return model


def picture(name: str, height: int, width: int, count: int = 1) -> Tensor:
    channels = 6 if "hha" in name else 3
    return torch.randn(count, channels, height, width)


def tensors(logits: Tensor | dict[str, Tensor]) -> list[Tensor]:
    return list(logits.values()) if isinstance(logits, dict) else [logits]


def difference(found: Tensor | dict[str, Tensor], right: Tensor | dict[str, Tensor]) -> float:
    """The largest, as a share of the largest value."""
    pairs = zip(tensors(found), tensors(right), strict=True)
    return max(float((a.float() - b).abs().max() / b.abs().max()) for a, b in pairs)


@pytest.mark.parametrize("name", NETWORKS)
def test_logits_are_the_same_at_any_size(name: str) -> None:
    model = network(name)
    elided = elide(model)
    backbones = [part for part in elided.modules() if isinstance(part, ElidedBackbone)]
    assert backbones
    assert all(set(backbone.taps.items()) == NETWORKS[name] for backbone in backbones)
    with torch.inference_mode():
        for height, width in SIZES:
            images = picture(name, height, width)
            assert difference(elided(images), model(images)) < 1e-5
            assert difference(elide(model, (height, width))(images), model(images)) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fcn8s_vgg16", "fcn16s_alexnet"])
def test_logits_are_the_same_at_every_remainder_and_at_large_sizes(name: str) -> None:
    model = network(name)
    elided = elide(model)
    sizes = [(n, 97 - n) for n in range(1, 97)] + [(601, 340), (375, 500), (500, 375), (513, 640)]
    with torch.inference_mode():
        for height, width in sizes:
            images = picture(name, height, width)
            assert difference(elided(images), model(images)) < 1e-5, (height, width)


def test_a_batch_a_repeated_size_and_many_sizes() -> None:
    model = network("fcn8s_vgg16")
    elided = elide(model)
    with torch.inference_mode():
        for size in (*range(20, 88), 20):  # more than are kept
            images = picture("", 2, size, count=2)
            for _ in range(2):
                logits = elided(images)
            assert size % 30 or difference(logits, model(images)) < 1e-5


@pytest.mark.parametrize("size", [(40, 61), (23, 90)])
def test_the_background_is_what_the_image_of_zeros_gives(size: tuple[int, int]) -> None:
    backbone = network("fcn8s_vgg16").backbone
    plain = [layer for stage in backbone.stages.values() for layer in stage]
    places = list(zip(*(reaches(plain, n, axis) for axis, n in enumerate(size)), strict=True))
    with torch.inference_mode():
        right = backbone(torch.zeros(1, 3, *size))
        found = Background(plain)(places, {8: 17, 16: 24}, torch.zeros(1))
    for stride, features in found.items():
        assert difference(features, right[stride]) < 1e-6


def test_less_is_computed() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    counts = []
    for each in (network("fcn8s_vgg16"), elide(network("fcn8s_vgg16"))):
        with torch.inference_mode(), FlopCounterMode(display=False) as counter:
            each(picture("", 94, 125))
        counts.append(counter.get_total_flops())
    assert 0.2 < counts[1] / counts[0] < 0.6


def test_the_model_given_stays_as_it_is() -> None:
    model = network("fcn8s_vgg16")
    before = [id(part) for part in model.modules()]
    elided = elide(model)
    assert [id(part) for part in model.modules()] == before
    assert elided.head is model.head
    assert type(elided) is type(model)
    assert {id(p) for p in elided.parameters()} == {id(p) for p in model.parameters()}
    assert all(key in elided.state_dict() for key in model.state_dict())


@pytest.mark.parametrize(
    ("name", "geometry"),
    [("fcn8s_vgg16", "same"), ("fcn8s_googlenet", "reference"), ("fcn8s_alexnet", "same")],
)
def test_where_nothing_can_be_left_out_the_network_is_returned(name: str, geometry: str) -> None:
    model = network(name, geometry=geometry)
    assert elide(model) is model


def test_an_image_that_meets_the_border_runs_plainly() -> None:
    backbone: Backbone = network("fcn8s_vgg16").backbone
    layers = [layer for stage in backbone.stages.values() for layer in stage.children()]
    assert isinstance(layers[0], nn.Conv2d)
    layers[0].padding = (10, 10)
    elided = ElidedBackbone(backbone)
    images = picture("", 200, 200)
    with torch.inference_mode():
        for stride, features in backbone(images).items():
            torch.testing.assert_close(elided(images)[stride], features)
            torch.testing.assert_close(elided.fixed(200, 200)(images)[stride], features)


def test_gradients_of_the_image_are_the_same() -> None:
    model = network("fcn8s_vgg16")
    gradients = []
    for each in (model, elide(model)):
        images = torch.ones(1, 3, 20, 31, requires_grad=True)
        each(images).square().sum().backward()
        assert images.grad is not None
        gradients.append(images.grad)
    assert difference(gradients[1], gradients[0]) < 1e-4


def test_bfloat16() -> None:
    model = network("fcn8s_vgg16")
    images = picture("", 64, 81)
    with torch.inference_mode():
        right = model(images)
        with torch.autocast("cpu", torch.bfloat16):
            plain, found = model(images), elide(model)(images)
    assert found.dtype == plain.dtype
    assert difference(found, right) < 2 * difference(plain, right)


def test_a_layer_that_nothing_can_replace_ends_it() -> None:
    layers: list[nn.Module] = [nn.Conv2d(3, 4, 3, padding=50), nn.ReLU(), nn.AvgPool2d(2)]
    assert len(list(reaches(layers, 10, 0))) == 2
    assert list(reaches([nn.ReLU()], 10, 0)) == []
    twice = [nn.Conv2d(3, 4, 3, padding=50), nn.MaxPool2d(2, 2), nn.MaxPool2d(3, 2)]
    assert len(list(reaches(twice, 10, 0))) <= 3


@pytest.fixture(scope="module")
def onnx_file(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Tensor, Tensor]:
    """An elided network of one size as ONNX, an image and its logits."""
    pytest.importorskip("onnxscript")
    path = tmp_path_factory.mktemp("onnx") / "elided.onnx"
    model, images = network("fcn8s_vgg16"), picture("", 75, 90)
    with torch.inference_mode():
        logits = model(images)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own
        program = torch.onnx.export(elide(model, (75, 90)), (images,), dynamo=True, verbose=False)
    assert program is not None
    program.save(path)
    return path, images, logits


def test_onnx_runtime_gives_the_same(onnx_file: tuple[Path, Tensor, Tensor]) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    path, images, logits = onnx_file
    session = onnxruntime.InferenceSession(path)
    (found,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
    assert difference(torch.from_numpy(found), logits) < 1e-5


def test_openvino_gives_the_same(onnx_file: tuple[Path, Tensor, Tensor]) -> None:
    openvino = pytest.importorskip("openvino")
    path, images, logits = onnx_file
    exact = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(path, "CPU", exact)
    found = torch.from_numpy(np.array(compiled(images.numpy())[0]))
    assert difference(found, logits) < 1e-5


def test_torch_export_gives_the_same() -> None:
    model, images = network("fcn8s_vgg16"), picture("", 33, 50)
    with torch.inference_mode():
        right = model(images)
    exported = torch.export.export(elide(model, (33, 50)), (images,)).module()
    with torch.no_grad():
        assert difference(exported(images), right) < 1e-5
    assert isinstance(elide(model, (33, 50)).backbone, FixedBackbone)


def test_parts_are_replaced_and_nothing_else() -> None:
    relu, tanh = nn.ReLU(), nn.Sequential(nn.Tanh())
    model = nn.Sequential(nn.Sequential(relu), tanh, relu)
    other = replaced(model, lambda part: nn.SELU() if isinstance(part, nn.ReLU) else part)
    kinds = [type(part) for part in other.modules()]
    assert kinds == [nn.Sequential, nn.Sequential, nn.SELU, nn.Sequential, nn.Tanh]
    assert len({id(part) for part in other.modules() if isinstance(part, nn.SELU)}) == 1
    assert other[1] is tanh
    assert model[2] is relu
