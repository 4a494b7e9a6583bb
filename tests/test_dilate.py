"""A finer output from the same weights equals the coarse network on every shifted picture."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import fullyconv as fc
from classifiers import Block, ResNet, Squeeze
from fullyconv.cli import run
from fullyconv.errors import UsageError
from fullyconv.models.backbones import build_backbone
from fullyconv.models.convolutionalize import convolutionalize
from fullyconv.study.result import read_studies
from fullyconv.study.shift_and_stitch import interior, shift_and_stitch, stitch_shifts

NAMES = ["vgg16", "alexnet", "alexnet_torchvision", "googlenet", "googlenet_torchvision"]


@pytest.mark.parametrize(
    ("name", "stride"),
    [*((name, 16) for name in NAMES), ("vgg16", 8), ("efficientnet_lite0", 8)],
)
def test_dilation_equals_shift_and_stitch(name: str, stride: int) -> None:
    width = 1 / 16 if name == "alexnet" else 1 / 32  # its groups need 2 channels each
    rows = shift_and_stitch([name], stride=stride, width=width, repeats=1).rows
    coarse, stitched, dilated = rows
    assert float(str(dilated.values[-1])) < 1e-5
    assert dilated.values[-1] == stitched.values[-1]
    assert coarse.values[2] < dilated.values[2] < stitched.values[2]  # type: ignore[operator]


def test_the_command_prints_and_saves_the_comparison(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["alexnet", "--stride", "16", "--width", "0.0625", "--repeats", "1"]
    assert run(["study", "shift-and-stitch", *arguments, "--out", str(tmp_path)]) == 0
    assert "alexnet, stride 32" in capsys.readouterr().out
    ((_, saved),) = read_studies(tmp_path)
    assert [row.name for row in saved.rows] == [
        "alexnet, stride 32", "shift-and-stitch", "dilation",
    ]  # fmt: skip


def test_the_compared_features_differ_among_themselves() -> None:
    torch.manual_seed(0)
    backbone = build_backbone("vgg16", width=1 / 32).eval()
    fine = fc.dilate(backbone, 16)
    images = torch.randn(1, 3, 576, 576)
    with torch.no_grad():
        a, b = fine(images)[32], stitch_shifts(backbone, images, 16)
    inside = interior(fine, 576, 32)
    assert inside.stop - inside.start > 5
    assert (a[..., inside, inside].std((2, 3)) > 0).any()
    torch.testing.assert_close(a[..., inside, inside], b[..., inside, inside])
    assert not torch.allclose(a[..., :8, :8], b[..., :8, :8])  # where shifts push something out


@pytest.mark.parametrize("stride", [5, 0, -8, 64])
def test_a_stride_that_does_not_interlace_is_refused(stride: int) -> None:
    backbone = build_backbone("vgg16", width=1 / 64)
    with pytest.raises(UsageError, match=f"stride is {stride}; it must divide the network's 32"):
        stitch_shifts(backbone, torch.zeros(1, 3, 64, 64), stride)


def test_stride_removed_without_dilation_is_another_network() -> None:
    """It sees less, and gives other features: the reason for the dilation."""
    torch.manual_seed(0)
    coarse = nn.Sequential(nn.Conv2d(1, 1, 3, 2, 1), nn.Conv2d(1, 1, 3, 1, 1))
    plain = nn.Sequential(nn.Conv2d(1, 1, 3, 1, 1), nn.Conv2d(1, 1, 3, 1, 1))
    dilated = nn.Sequential(nn.Conv2d(1, 1, 3, 1, 1), nn.Conv2d(1, 1, 3, 1, 2, dilation=2))
    for other in (plain, dilated):
        other.load_state_dict(coarse.state_dict())
    image = torch.randn(1, 1, 32, 32)
    torch.testing.assert_close(dilated(image)[..., ::2, ::2], coarse(image))
    assert not torch.allclose(plain(image)[..., ::2, ::2], coarse(image), atol=1e-2)


@pytest.mark.parametrize("geometry", ["same", "reference"])
@torch.inference_mode()
def test_a_dilated_fcn_is_aligned_and_labels_every_size(geometry: str) -> None:
    model = fc.create_model("fcn32s_vgg16", num_classes=3, width=1 / 64, geometry=geometry).eval()
    assert isinstance(model, fc.FCN)
    nn.init.normal_(model.head.score["32"].weight)  # type: ignore[arg-type]
    fine = fc.dilate(model, 8)
    assert fine.backbone.maps[32].stride == 8
    assert fine.backbone.maps[32].start == model.backbone.maps[32].start
    for size in (*range(1, 40), 75):
        assert fine(torch.rand(1, 3, size, 50)).shape == (1, 3, size, 50)
    torch.testing.assert_close(fine.head.score.state_dict(), model.head.score.state_dict())
    atonce = fc.create_model("fcn8s_vgg16", num_classes=3, width=1 / 64, skip_scale=(0.1, 0.01))
    assert isinstance(atonce, fc.FCN)
    both = fc.dilate(atonce, 8)
    assert both.head.skip_scale == {32: 1.0, 16: 0.1, 8: 0.01}
    assert both.training
    assert both(torch.rand(1, 3, 33, 65)).shape == (1, 3, 33, 65)


def test_a_converted_classifier_can_be_dilated() -> None:
    torch.manual_seed(0)
    backbone = convolutionalize(ResNet().eval())
    images = torch.randn(1, 3, 640, 640)
    fine = fc.dilate(backbone, 8)
    inside = interior(fine, 640, 32)
    with torch.no_grad():
        a, b = fine(images)[32], stitch_shifts(backbone, images, 8)
    assert inside.stop - inside.start > 3
    torch.testing.assert_close(a[..., inside, inside], b[..., inside, inside])
    squeezed = convolutionalize(Squeeze().eval(), 96, whole_map="local")
    assert fc.dilate(squeezed, 4)(torch.rand(1, 3, 96, 96))[32].shape[-1] == 24


def test_average_poolings_are_dilated_with_the_rest() -> None:
    """Also the global one at the end: each even cell then is the classifier's own answer."""
    torch.manual_seed(0)
    images = torch.rand(1, 3, 224, 224)
    model = ResNet().eval()
    dense = fc.DenseClassifier(fc.dilate(convolutionalize(model, geometry="valid"), 16)).eval()
    with torch.no_grad():
        torch.testing.assert_close(dense(images)[..., 0, 0], model(images))
        assert dense.map.receptive_field == 195 + 32 * 6
        once = fc.dilate(convolutionalize(model, geometry="valid"), 8)
        twice = fc.dilate(fc.dilate(convolutionalize(model, geometry="valid"), 16), 8)
        a, b = (fc.DenseClassifier(network).eval() for network in (once, twice))
        torch.testing.assert_close(a(images), b(images))
        assert a.map == b.map
    end = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    poolings = (nn.AvgPool2d(3, 2, 1), nn.AvgPool2d((2, 4), 2, (0, 1)), nn.Conv2d(4, 4, 3, 1, 1))
    backbone = convolutionalize(nn.Sequential(nn.Conv2d(3, 4, 3, 8, 1), *poolings, *end), 224)
    fine = fc.dilate(backbone, 8)
    assert fine.maps[32].start == backbone.maps[32].start
    with torch.no_grad():
        coarse, finer = backbone(images)[32], fine(images)[32]
    torch.testing.assert_close(finer[..., ::4, ::4][..., 1:6, 1:6], coarse[..., 1:6, 1:6])


@torch.inference_mode()
def test_a_network_that_has_the_stride_stays_what_it_is() -> None:
    """Also one that was dilated to it, whose poolings are padded by more than half their window."""
    images = torch.rand(1, 3, 70, 90)
    for name in ("googlenet", "alexnet_torchvision"):
        fine = fc.dilate(build_backbone(name, width=1 / 16).eval(), 8)
        again = fc.dilate(fine, 8)
        assert again.maps == fine.maps
        torch.testing.assert_close(again(images), fine(images))


def test_what_cannot_be_dilated_is_named() -> None:
    backbone = build_backbone("vgg16", width=1 / 64)
    for stride in (3, 64, 0, -8):
        said = f"stride is {stride}; it must divide the network's 32: one of 1, 2, 4, 8, 16, 32$"
        with pytest.raises(UsageError, match=said):
            fc.dilate(backbone, stride)
    halved = fc.create_model("fcn16s_vgg16", width=1 / 64, skips=False)
    assert isinstance(halved, fc.FCN)
    with pytest.raises(UsageError, match="stride is 32; it must divide the network's 16: one of 1"):
        fc.dilate(halved, 32)
    learned = fc.create_model("fcn16s_vgg16", num_classes=2, width=1 / 64, upsample="learned")
    assert isinstance(learned, fc.FCN)
    with pytest.raises(UsageError, match="learned its upsampling"):
        fc.dilate(learned, 8)
    end = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    own = nn.AvgPool2d(3, 2, 1, count_include_pad=False)
    pooling = nn.Sequential(nn.Conv2d(3, 4, 3, 8, 1), nn.AvgPool2d(3, 2, 1), own)
    with pytest.raises(UsageError, match="average pooling that does not count what it pads"):
        fc.dilate(convolutionalize(nn.Sequential(*pooling, *end), 96), 8)
    slanted = nn.Sequential(nn.Conv2d(3, 4, 3, (8, 8), 1), nn.Conv2d(4, 4, (1, 3), (1, 2), (0, 1)),
                            nn.Conv2d(4, 4, (3, 1), (2, 1), (1, 0)))  # fmt: skip
    with pytest.raises(UsageError, match="strides by 1 and 2"):
        fc.dilate(convolutionalize(nn.Sequential(*slanted, *end), 96), 8)

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.conv = nn.Conv2d(3, 4, 3, 8, 1), nn.Conv2d(4, 4, 3, 2, 1)
            self.end = nn.Sequential(*end)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.end(self.conv(self.conv(self.first(x))))  # type: ignore[no-any-return]

    with pytest.raises(UsageError, match="is used 2 times, with the same"):
        fc.dilate(convolutionalize(Twice(), 96), 8)
    with pytest.raises(UsageError, match="at least 1 and below 32"):
        shift_and_stitch(["vgg16"], stride=32)
    for wrong, said in (
        ({"width": 0}, "width is 0 and repeats 3"),
        ({"repeats": 0}, "repeats 0"),
        ({"width": 0.004}, "alexnet cannot be 0.004 times as wide"),
    ):
        with pytest.raises(UsageError, match=said):
            shift_and_stitch(["alexnet"], **wrong)
    with pytest.raises(UsageError, match="sees 404 pixels: a picture of 300 has no cell"):
        shift_and_stitch(["vgg16"], width=1 / 64, size=300)
    assert Block(2, 2, 1)(torch.rand(1, 2, 4, 4)).shape == (1, 2, 4, 4)
