"""Coordinate maps against the release's published numbers and against what layers really do."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from fullyconv.checkpoint import model_path
from fullyconv.config import RELEASED_MODELS, PredictionStride
from fullyconv.errors import FullyConvError, UsageError
from fullyconv.models.backbones import Backbone, build_backbone
from fullyconv.models.convolutionalize import convolutionalize
from fullyconv.models.create import create_model
from fullyconv.models.fcn import FCN, Head
from fullyconv.models.geometry import CoordMap, merge
from fullyconv.models.layers import (
    BilinearUpsample,
    LearnedUpsample,
    bilinear_kernel,
    trace,
)
from fullyconv.network_info import info
from fullyconv.networks import BACKBONES, model_config

# Every crop layer of the release (the authors' */train.prototxt): offset of score, of score_pool4
# and of score_pool3. The last two crop the skip, which is what a negative offset says.
PUBLISHED = {32: {"1": 19}, 16: {"16": -5, "1": 27}, 8: {"16": -5, "8": -9, "1": 31}}


@pytest.mark.parametrize("name", RELEASED_MODELS)
def test_crop_offsets_are_the_published_ones(name: str) -> None:
    model = create_model(name, width=1 / 64)
    expected = {"1": 18} if "alexnet" in name else PUBLISHED[RELEASED_MODELS[name].stride]
    heads = [module for module in model.modules() if isinstance(module, Head)]
    assert heads
    assert all(head.offset == expected for head in heads)


# Paper, Table 1; GoogLeNet's 907 counts its 7x7 average pooling, which the FCN leaves out.
@pytest.mark.parametrize(
    ("name", "field", "with_pooling", "convolutions"),
    [("alexnet", 355, 355, 8), ("vgg16", 404, 404, 16), ("googlenet", 715, 907, 22)],
)
def test_receptive_fields_are_the_papers(
    name: str, field: int, with_pooling: int, convolutions: int
) -> None:
    backbone = build_backbone(name, width=1 / 64, geometry="reference")
    at = backbone.maps[32]
    assert at.receptive_field == field
    assert at.window(backbone.classifier_pool).receptive_field == with_pooling
    assert at.stride == 32
    assert trace(nn.Conv2d(1, 1, 1), at).convolutions == convolutions


# By hand: a 3x3 convolution adds 2 strides, a pooling one, and doubles the stride.
@pytest.mark.parametrize(("stride", "field", "convolutions"), [(16, 100, 11), (8, 44, 8)])
def test_facts_of_a_single_layer_are_of_that_layer(
    stride: PredictionStride, field: int, convolutions: int
) -> None:
    config = model_config("voc-fcn8s", stride=stride, skips=False, width=1 / 16)
    facts = info(config, size=(40, 40))
    assert facts.name == f"fcn{stride}s_vgg16 without skips"
    assert (facts.receptive_field, facts.max_stride) == (field, stride)
    assert facts.classifier_receptive_field == field
    assert facts.convolutions == convolutions
    assert facts.kernels == {"1": 2 * stride}
    assert list(facts.offsets) == ["1"]
    assert str(stride) in str(facts)
    whole = info(model_config("voc-fcn8s", width=1 / 16), size=(40, 40))
    assert facts.parameters < whole.parameters
    assert facts.gflop < whole.gflop


def test_a_network_is_described_by_whatever_names_it(tmp_path: Path) -> None:
    """As the command: a backbone stands for its FCN-32s, a checkpoint for the network inside."""
    of = partial(info, size=(40, 40))
    assert of("vgg16") == of("fcn32s_vgg16")
    shipped = of("camvid")
    assert shipped.name == "fcn8s_efficientnet_lite0"
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(model_path("camvid").read_bytes())
    assert of(copy) == of(str(copy)) == shipped
    with pytest.raises(FullyConvError, match="no network 'fcn32_vgg16'. Did you mean"):
        of("fcn32_vgg16")
    with pytest.raises(FullyConvError, match="cannot be read"):
        of(tmp_path / "none.safetensors")


def test_equal_networks_are_told_apart_by_their_geometry() -> None:
    ours, theirs = (str(info(name, size=(40, 40))) for name in ("fcn32s_vgg16", "voc-fcn32s"))
    assert "geometry                   same" in ours
    assert "kernel 64, offset 48" in ours
    assert "geometry                   reference" in theirs
    assert "kernel 64, offset 19" in theirs  # net.py of the release


def test_a_map_is_printed_in_decimals() -> None:
    pooled = CoordMap().window(kernel_size=2, stride=2)
    assert str(pooled) == "stride 2, cell 0 at pixel 0.5, receptive field 2 px, 0 convolutions"
    deeper = pooled.window(3, padding=100).learned()
    assert str(deeper) == "stride 2, cell 0 at pixel -197.5, receptive field 6 px, 1 convolution"


@pytest.mark.parametrize("name", BACKBONES)
def test_a_cell_sees_exactly_its_receptive_field(name: str) -> None:
    """The gradient of one cell of the coarsest features is non-zero there and nowhere else."""
    backbone = build_backbone(name, width=1 / 16).eval()
    at = backbone.maps[32]
    for module in backbone.modules():
        if isinstance(module, nn.Conv2d):  # positive everywhere: nothing cancels or is cut off
            nn.init.constant_(module.weight, 1 / module.weight[0].numel())
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d) and module.bias is not None:
            nn.init.constant_(module.bias, 0.1)
    _average_for_max(backbone)
    backbone.double()  # the outermost pixels count for some 1e-30
    size = at.receptive_field + 320
    rows = torch.zeros(1, 3, size, 1).double().expand(1, 3, size, 40).clone().requires_grad_()
    features = backbone(rows)[32]
    cell = round((size / 2 - at.start) / at.stride)
    features[0, :, cell, 0].sum().backward()
    assert rows.grad is not None
    seen = rows.grad.abs().sum((0, 1, 3)).nonzero().squeeze(1)
    center = at.start + at.stride * cell
    assert seen.min() == center - (at.receptive_field - 1) / 2
    assert seen.max() == center + (at.receptive_field - 1) / 2


def _average_for_max(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, nn.MaxPool2d):
            average = nn.AvgPool2d(child.kernel_size, child.stride, child.padding, child.ceil_mode)
            setattr(module, name, average)
        elif isinstance(child, nn.LocalResponseNorm | nn.ReLU6):
            setattr(module, name, nn.Identity())
        else:
            _average_for_max(child)


@given(
    st.integers(1, 7), st.integers(1, 4), st.integers(0, 3), st.integers(1, 3), st.integers(0, 30)
)
def test_a_window_is_centred_where_the_map_says(
    kernel_size: int, stride: int, padding: int, dilation: int, cell: int
) -> None:
    """An average of positions is a position: convolve the row numbers and compare."""
    rows = torch.arange(-100.0, 300.0).view(1, 1, -1, 1)
    conv = nn.Conv2d(1, 1, (kernel_size, 1), stride=(stride, 1), dilation=(dilation, 1), bias=False)
    nn.init.constant_(conv.weight, 1 / kernel_size)
    # padding moves cell 0 to -padding: cut the ramp there instead of padding with zeros
    out = conv(rows[:, :, 100 - padding :])[0, 0, cell, 0].item()
    at = CoordMap().window(kernel_size, stride, padding, dilation)
    assert out == pytest.approx(float(at.start + at.stride * cell), abs=1e-3)
    assert at.receptive_field == dilation * (kernel_size - 1) + 1


@pytest.mark.parametrize("kernel_size", [3, 4, 15, 16, 63, 64])
def test_bilinear_upsampling_is_interpolation(kernel_size: int) -> None:
    """A ramp of positions, upsampled, gives every output cell its own position."""
    stride = (kernel_size + 1) // 2
    coarse = CoordMap().window(stride, stride)
    positions = float(coarse.start) + float(coarse.stride) * torch.arange(12.0)
    ramp = positions.view(1, 1, -1, 1).expand(1, 2, 12, 12)
    out = BilinearUpsample(2, kernel_size, stride)(ramp)
    at = coarse.upsample(kernel_size, stride)
    expected = float(at.start) + torch.arange(float(out.shape[2]))
    inside = slice(2 * stride, -2 * stride)
    torch.testing.assert_close(out[0, 1, inside, 6 * stride], expected[inside])
    learned = LearnedUpsample(2, kernel_size, stride)(ramp)
    torch.testing.assert_close(learned[..., inside, inside], out[..., inside, inside])


def test_the_bilinear_kernel_is_the_authors() -> None:
    """surgery.py, upsample_filt, written as there: with ogrid and products."""
    for size in (2, 3, 4, 16, 63, 64):
        factor = (size + 1) // 2
        center = factor - 1 if size % 2 == 1 else factor - 0.5
        rows, columns = torch.arange(size)[:, None], torch.arange(size)[None, :]
        expected = (1 - (rows - center).abs() / factor) * (1 - (columns - center).abs() / factor)
        torch.testing.assert_close(bilinear_kernel(size), expected)


def test_maps_that_cannot_be_aligned_are_refused() -> None:
    image = CoordMap()
    with pytest.raises(ValueError, match="stride 2 and 1 cannot be aligned"):
        image.window(2, 2).offset_of(image)
    with pytest.raises(ValueError, match="different grids"):
        merge([image, image.pad(1)])


def test_layers_of_unknown_geometry_are_refused() -> None:
    with pytest.raises(FullyConvError, match="no geometry is known for a layer of type Adaptive"):
        trace(nn.AdaptiveAvgPool2d(1), CoordMap())


def test_windows_that_are_not_square_are_traced_along_each_axis() -> None:
    layer = nn.Conv2d(1, 1, (1, 3))
    assert [trace(layer, CoordMap(), axis).receptive_field for axis in (0, 1)] == [1, 3]
    with pytest.raises(ValueError, match="different grids: cells at 0 . 1 i and at 1 . 1 i"):
        Backbone({32: nn.Sequential(layer)}, {32: 1}, "same")


@pytest.mark.parametrize("name", ["voc-fcn8s", "nyud-fcn32s-color-hha", "siftflow-fcn16s"])
def test_a_network_in_memory_is_described_as_its_configuration_is(name: str) -> None:
    config = model_config(name, width=1 / 16)
    model = create_model(config)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    described, known = info(model, (40, 50)), info(config, (40, 50))
    assert described.name == f"FCN-{config.stride}s"
    assert replace(described, name="") == replace(known, name="")
    timed = info(model, (40, 50), measure=True).seconds
    assert timed is not None
    assert timed > 0
    assert model.training
    assert all(torch.equal(before[key], t) for key, t in model.state_dict().items())


def test_an_fcn_over_somebodys_classifier_is_described() -> None:
    """Twenty convolutions of 3 x 3 in a ResNet-18; here a small one, its numbers by hand."""
    classifier = nn.Sequential(
        nn.Conv2d(4, 6, 3, 8, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 2)
    )
    model = FCN(convolutionalize(classifier, 64), 5)
    described = info(model, size=(80, 160))
    assert (described.max_stride, described.receptive_field) == (8, 3)
    assert described.parameters == 4 * 6 * 9 + 6 + 6 * 2 + 2 + 6 * 5 + 5
    assert "FCN-8s\n" in str(described)
    # 10 x 20 cells: the convolution, and the scores of cells repeated at the edges or not
    assert described.gflop * 1e9 >= 2 * 200 * (4 * 6 * 9 + 6 * 5)
    for other in (classifier, model.backbone):
        with pytest.raises(
            UsageError, match=r"is no fully convolutional .*fullyconv.FCN\(fullyconv"
        ):
            info(other)


def test_millions_are_printed_without_a_lonely_point() -> None:
    assert re.search(r"parameters +134 M \(134,", str(info("fcn8s_vgg16", size=(8, 8))))
