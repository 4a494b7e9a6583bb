"""Layers of our own against PyTorch's."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fullyconv.models.backbones import build_backbone
from fullyconv.models.layers import DepthwiseConv2d, MatrixConv2d, channels_last


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 7), st.integers(0, 3), st.integers(1, 3), st.integers(1, 5), st.integers(0, 9),
    st.booleans(),
)  # fmt: skip
def test_a_matrix_product_is_the_convolution(
    kernel: int, padding: int, pictures: int, channels: int, more: int, last: bool
) -> None:
    """Output and every gradient, in double precision, in both memory layouts."""
    torch.manual_seed(0)
    ours = MatrixConv2d(channels, 4, kernel, padding=padding).double().train()
    theirs = nn.Conv2d(channels, 4, kernel, padding=padding).double()
    if last:
        channels_last(ours)
    theirs.load_state_dict(ours.state_dict())
    side = max(1, kernel - 2 * padding)
    x = torch.randn(pictures, channels, side + more, side + 1, dtype=torch.float64)
    inputs = [x.clone().requires_grad_() for _ in range(2)]
    outputs = [layer(given) for layer, given in zip((ours, theirs), inputs, strict=True)]
    torch.testing.assert_close(*outputs)
    weight = torch.randn_like(outputs[0])
    for output in outputs:
        (output * weight).sum().backward()
    torch.testing.assert_close(inputs[0].grad, inputs[1].grad)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)
    torch.testing.assert_close(ours.eval()(x), outputs[1])


@pytest.mark.parametrize("name", ["vgg16", "alexnet"])
@pytest.mark.parametrize("geometry", ["same", "reference"])
def test_the_classifiers_last_layers_are_the_same_in_training(name: str, geometry: str) -> None:
    backbone = build_backbone(name, 3, 1 / 16, geometry)  # type: ignore[arg-type]
    for part in backbone.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
    images = torch.randn(1, 3, 70, 50)
    with torch.no_grad():
        training, predicting = backbone.train()(images)[32], backbone.eval()(images)[32]
    torch.testing.assert_close(training, predicting, rtol=1e-4, atol=1e-5)


def test_depthwise_convolutions_are_exact_under_autocast() -> None:
    """As in float32, rounded once; the kernel's gradient arrives in float32."""
    torch.manual_seed(0)
    layer = DepthwiseConv2d(8, 8, 5, 2, 1, groups=8, bias=False)
    x = torch.randn(2, 8, 11, 9).bfloat16().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        output = layer(x)
    assert output.dtype == torch.bfloat16
    expected = nn.functional.conv2d(x.float(), layer.weight, None, 2, 1, 1, 8)
    torch.testing.assert_close(output, expected.bfloat16(), rtol=0, atol=0)
    output.float().sum().backward()
    assert layer.weight.grad is not None
    whole = torch.autograd.grad(expected.sum(), layer.weight)[0]
    torch.testing.assert_close(layer.weight.grad, whole, rtol=1e-6, atol=1e-6)
    with torch.no_grad():
        torch.testing.assert_close(layer(x.float()), expected)
