"""The whole image against its patches: where both must agree, and where they cannot."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fullyconv.errors import UsageError
from fullyconv.networks import BACKBONES
from fullyconv.study.dense_inference import Comparison, classifier, dense_inference
from fullyconv.study.result import read_studies

SMALL = 1 / 64


def compared(name: str, padded: bool, height: int, width: int) -> Comparison:
    torch.manual_seed(0)
    net = classifier(name, padded, SMALL)
    net.layers.eval()
    return Comparison(net, torch.randn(1, 3, height, width))


@pytest.mark.parametrize(
    ("name", "padded", "patch"),
    # 227: the size AlexNet was trained on; without padding, Table 1's receptive fields
    [("alexnet", True, 227), ("alexnet", False, 355), ("vgg16", False, 404)],
)
def test_the_patch_is_the_papers(name: str, padded: bool, patch: int) -> None:
    net = classifier(name, padded, SMALL)
    assert (net.patch, net.stride) == (patch, 32)
    with torch.inference_mode():
        assert net.layers.eval()(torch.zeros(1, 3, patch, patch)).shape == (1, 1000, 1, 1)


@pytest.mark.parametrize("name", BACKBONES)
def test_every_backbone_can_be_measured_padded(name: str) -> None:
    net = classifier(name, width=SMALL)
    assert 200 < net.patch < 300
    assert net.stride == 32


def test_500_pixels_are_10_by_10_cells_as_in_the_paper() -> None:
    both = compared("alexnet", True, 500, 500)
    assert both.cells == (10, 10)
    assert both.inside == (9, 9)  # the last pooling windows hang over the edge
    shapes = [scores.shape for scores in both.patches(30)]
    assert shapes == [(30, 1000, 1, 1)] * 3 + [(10, 1000, 1, 1)]


@pytest.mark.parametrize(("height", "width"), [(355, 355), (387, 426), (420, 360)])
def test_without_padding_a_cell_is_the_network_on_its_patch(height: int, width: int) -> None:
    both = compared("alexnet", False, height, width)
    assert both.inside == ((height - 355) // 32 + 1, (width - 355) // 32 + 1)
    assert both.difference(3) < 1e-5


def test_with_padding_it_is_not() -> None:
    both = compared("alexnet", True, 291, 291)
    assert both.inside == both.cells == (3, 3)
    assert both.difference(4) > 1e-3


def test_without_padding_the_gradients_are_the_same() -> None:
    """Section 3.1: a loss that sums over cells has the sum of the patches' gradients."""
    both = compared("alexnet", False, 387, 355)
    assert both.cells == both.inside == (2, 1)
    gradients = []
    for way in (both.at_once(), both.patches(1)):
        both.net.layers.zero_grad()
        for scores in way:
            scores.sum().backward()  # type: ignore[no-untyped-call]
        gradients.append(
            [p.grad.clone() for p in both.net.layers.parameters() if p.grad is not None]
        )
    assert len(gradients[0]) == 16  # of eight layers, kernels and biases
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_a_whole_image_of_one_patch_costs_what_the_patch_does() -> None:
    both = compared("alexnet", False, 355, 355)
    assert both.flop == both.patch_flop
    conv1 = 2 * 3 * 11 * 11 * 2 * 87 * 87  # two filters at this width, over 87 x 87 places
    assert both.flop > conv1


def test_the_study_has_both_forms_and_the_papers_times(tmp_path: Path) -> None:
    study = dense_inference(
        "alexnet", (360, 390), batch=7, repeats=2, width=SMALL, out=tmp_path, progress=False
    )
    ours = {row.name: dict(zip(study.columns, row.values, strict=True)) for row in study.rows}
    assert [name for name in ours if not name.startswith("AlexNet")] == [
        f"{form}, {way}"
        for form in ("padded", "unpadded")
        for way in ("whole image", "patches, 7 at a time", "patches, one by one")
    ]
    padded = ours["padded, patches, 7 at a time"]
    assert (padded["cells"], padded["patch, px"]) == ("6 x 6", 227)
    assert ours["padded, whole image"]["times forward"] == 1
    for row in ours.values():
        if isinstance(row["GFLOP"], float):
            for column in ("forward, ms", "backward, ms", "times forward", "times backward"):
                assert isinstance(row[column], float)
                assert row[column] > 0  # type: ignore[operator]
    unpadded = ours["unpadded, patches, one by one"]["difference"]
    assert isinstance(unpadded, float)
    assert unpadded < 1e-5
    assert ours["AlexNet, whole image of 500 x 500"]["forward, ms"] == 22
    assert ours["AlexNet, patches together"]["times forward"] == "more than 5"
    assert read_studies(tmp_path)[0][1].rows == study.rows


def test_a_network_with_branches_has_one_form() -> None:
    with pytest.raises(UsageError, match="googlenet has branches or shortcuts that meet only whe"):
        classifier("googlenet", False, SMALL)
    study = dense_inference(
        "efficientnet_lite0", (255, 255), repeats=1, width=SMALL, progress=False
    )
    names = [row.name for row in study.rows if not row.source]
    assert len(names) == 3
    assert all(name.startswith("padded") for name in names)


def test_what_cannot_be_measured_is_said() -> None:
    with pytest.raises(UsageError, match="there is no backbone 'alexnett'. Did you mean alexnet"):
        dense_inference("alexnett")
    for height, width in ((354, 500), (500, 300), (-1, 500)):
        told = f"is {height} x {width}, but one patch of alexnet is 355 x 355; give --size"
        with pytest.raises(UsageError, match=told):
            dense_inference("alexnet", (height, width), width=SMALL)
    with pytest.raises(UsageError, match="repeats is 0; it must be at least 1"):
        dense_inference("alexnet", repeats=0)
    with pytest.raises(UsageError, match="batch is -1; it must be at least 1"):
        dense_inference("alexnet", batch=-1)
