"""Convolutions by tiles give what convolutions give."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import fullyconv as fc
from fullyconv.models.create import create_model
from fullyconv.models.fast.elision import elide
from fullyconv.models.fast.winograd import _SCHEMES, WinogradConv2d, with_winograd
from fullyconv.models.layers import MatrixConv2d
from fullyconv.runtimes.torch import TorchRuntime


def difference(found: Tensor, right: Tensor) -> float:
    return float((found.detach() - right.detach()).abs().max() / right.detach().abs().max())


@pytest.mark.parametrize("kind", [nn.Conv2d, MatrixConv2d])
@pytest.mark.parametrize("size", [(7, 7), (8, 11), (13, 30), (41, 18)])
@pytest.mark.parametrize("padding", [0, 1, 2])
def test_tiles_give_what_the_convolution_gives(
    kind: type[nn.Conv2d], size: tuple[int, int], padding: int
) -> None:
    torch.manual_seed(0)
    scheme = _SCHEMES[kind]
    conv = kind(5, 7, scheme.kernel, padding=padding, bias=padding > 0).eval()
    images = torch.randn(2, 5, *size)
    right = nn.functional.conv2d(
        images.double(),
        conv.weight.double(),
        None if conv.bias is None else conv.bias.double(),
        padding=padding,
    )
    with torch.inference_mode():
        found = WinogradConv2d(conv, scheme)(images)
    assert found.shape == right.shape
    assert difference(found, right) < 1e-5


def test_a_network_and_its_elided_copy() -> None:
    torch.manual_seed(0)
    model = fc.create_model("fcn8s_vgg16", width=0.25, geometry="reference", num_classes=3).eval()
    for key, parameter in model.named_parameters():
        scale = 0.3 if key.endswith("bias") else (2 / parameter[0].numel()) ** 0.5
        nn.init.normal_(parameter, std=scale)
    fast = with_winograd(elide(model))
    tiled = [part for part in fast.modules() if isinstance(part, WinogradConv2d)]
    assert {part.kernel_size for part in tiled} == {(3, 3), (7, 7)}
    assert not any(isinstance(part, WinogradConv2d) for part in model.modules())
    images = torch.randn(1, 3, 50, 37)
    with torch.inference_mode():
        right = model(images)
        assert difference(fast(images), right) < 1e-5
        with torch.autocast("cpu", torch.bfloat16):
            assert difference(fast(images), right) < 0.05
    with_gradient = images.clone().requires_grad_()
    fast(with_gradient).sum().backward()
    assert with_gradient.grad is not None


def test_what_does_not_suit_stays() -> None:
    layers = nn.Sequential(
        nn.Conv2d(96, 96, 3, stride=2),
        nn.Conv2d(96, 96, 3, dilation=2),
        nn.Conv2d(96, 96, 3, groups=2),
        nn.Conv2d(96, 96, 3, padding="same"),
        nn.Conv2d(96, 96, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(96, 96, 5),
        nn.Conv2d(32, 32, 3),
        MatrixConv2d(96, 96, 6),
    )
    assert with_winograd(layers) is layers


def test_a_runtime_goes_over_to_fewer_multiplications_when_they_pay() -> None:
    """A few pictures are done before the kernels would be transformed; the scores stay the same."""
    torch.manual_seed(0)
    model = create_model("fcn8s_vgg16", num_classes=3, width=0.4, geometry="reference").eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.05)
    images = {"images": np.random.default_rng(0).normal(size=(1, 3, 40, 56)).astype(np.float32)}
    expected = TorchRuntime(model, "cpu").run(images, ["scores"])["scores"]
    quick = TorchRuntime(model, "cpu", quick=True)
    kinds = []
    for _ in range(8):
        found = quick.run(images, ["scores"])["scores"]
        np.testing.assert_allclose(found, expected, atol=1e-5 * abs(expected).max())
        kinds.append(any(isinstance(m, WinogradConv2d) for m in quick.stages.modules()))
    assert kinds == [False] * 5 + [True] * 3
