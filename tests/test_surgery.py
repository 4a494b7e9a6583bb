"""Weights from file to network, and what is refused on the way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from caffe_files import WIDTH, caffe_net
from formula import bilinear, parameter
from fullyconv.caffe import CaffeLayer, CaffeNet, write_caffemodel
from fullyconv.checkpoint import read_header
from fullyconv.config import RELEASED_MODELS
from fullyconv.conversion import import_caffemodel
from fullyconv.errors import FullyConvError, UsageError
from fullyconv.models.create import create_model
from fullyconv.models.fcn import FCN
from fullyconv.models.fusion import LateFusion
from fullyconv.models.layers import BilinearUpsample, kernel_size
from fullyconv.prediction.predictor import Predictor
from fullyconv.surgery import (
    caffe_layers,
    expand_score,
    load_caffemodel,
    transplant,
    transplant_caffe,
)


@pytest.mark.parametrize("name", RELEASED_MODELS)
def test_every_released_file_fits_its_network(name: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.caffemodel"
    write_caffemodel(path, caffe_net(name))
    model = create_model(name, width=WIDTH)
    report = load_caffemodel(model, path)
    assert not report.missing
    assert not report.extra
    for layer_name, layer in caffe_layers(model).items():
        if not isinstance(layer, BilinearUpsample):
            for j, p in enumerate(layer.parameters()):
                np.testing.assert_array_equal(
                    p.detach().numpy(), parameter(layer_name, j, tuple(p.shape))
                )
    if isinstance(model, LateFusion):  # one upsampling in the file, one in each stream here
        assert report.copied.count("upscore") == 1


def test_fully_connected_weights_become_convolutions() -> None:
    plain, flat = (create_model("voc-fcn32s", width=WIDTH) for _ in range(2))
    transplant_caffe(plain, caffe_net("voc-fcn32s"))
    report = transplant_caffe(flat, caffe_net("voc-fcn32s", flat=True))
    assert report.reshaped == ["fc6"]  # fc7 is 1x1: its numbers have the same shape
    assert str(report) == "16 copied; 1 reshaped: fc6"
    for a, b in zip(plain.parameters(), flat.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_file_of_another_network_is_refused_and_changes_nothing() -> None:
    model = create_model("voc-fcn16s", width=WIDTH)
    before = [p.clone() for p in model.parameters()]
    with pytest.raises(
        FullyConvError, match="does not hold this network .* 1 missing: score_pool4"
    ):
        transplant_caffe(model, caffe_net("voc-fcn32s"))
    with pytest.raises(FullyConvError, match="1 extra: score_pool3"):
        transplant_caffe(create_model("voc-fcn16s", width=WIDTH), _without(caffe_net("voc-fcn8s")))
    with pytest.raises(FullyConvError, match=r"score_fr holds \(40, 256, 1, 1\), which does not"):
        transplant_caffe(create_model("voc-fcn32s", width=WIDTH), caffe_net("nyud-fcn32s-color"))
    stranger = nn.Sequential(nn.Conv2d(1, 1, 1))
    with pytest.raises(FullyConvError, match="not one of its 17 layers .* has the name of a layer"):
        transplant_caffe(stranger, caffe_net("voc-fcn32s"), strict=False)
    one_blob = CaffeNet("x", (CaffeLayer("conv1_1", "Convolution", (np.zeros(3, np.float32),)),))
    with pytest.raises(FullyConvError, match="layer conv1_1 holds 1 blobs, expected 2"):
        transplant_caffe(model, one_blob, strict=False)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def _without(net: CaffeNet) -> CaffeNet:
    """An 8s file whose upsamplings are left out: they are named otherwise in the 16s."""
    return CaffeNet(net.name, tuple(x for x in net.layers if not x.name.startswith("upscore")))


def test_not_strict_takes_what_fits() -> None:
    model = create_model("voc-fcn16s", width=WIDTH)
    net = caffe_net("voc-fcn32s")
    report = transplant_caffe(model, net, strict=False)
    assert report.missing == ["score_pool4"]
    assert report.extra == ["upscore"]


def test_a_learned_upsampling_is_kept_or_refused_with_a_reason() -> None:
    net = caffe_net("voc-fcn8s")
    learned = tuple(
        CaffeLayer(x.name, x.type, (x.blobs[0] + 0.01,)) if x.name == "upscore2" else x
        for x in net.layers
    )
    fixed = create_model("voc-fcn8s", width=WIDTH)
    with pytest.raises(
        FullyConvError, match="upscore2 was learned .* by up to 0.01.*upsample='lea"
    ):
        transplant_caffe(fixed, CaffeNet("x", learned))
    free = create_model("voc-fcn8s", width=WIDTH, upsample="learned")
    transplant_caffe(free, CaffeNet("x", learned))
    weight = next(caffe_layers(free)["upscore2"].parameters())
    np.testing.assert_array_equal(
        weight.detach().numpy(), bilinear((21, 21, 4, 4)) + np.float32(0.01)
    )


def test_an_upsampling_of_another_size_is_refused() -> None:
    layers = (CaffeLayer("upscore", "Deconvolution", (bilinear((21, 21, 63, 63)),)),)
    with pytest.raises(FullyConvError, match=r"upscore holds \(21, 21, 63, 63\), expected"):
        transplant_caffe(
            create_model("voc-fcn32s", width=WIDTH), CaffeNet("x", layers), strict=False
        )


def test_scales_are_checked() -> None:
    with pytest.raises(
        FullyConvError, match="stride-16 skip is scaled by 0.01, in the network by 1"
    ):
        transplant_caffe(create_model("voc-fcn8s", width=WIDTH), caffe_net("voc-fcn8s-atonce"))
    with pytest.raises(FullyConvError, match="scaled by 1, in the network by 0.01"):
        transplant_caffe(create_model("voc-fcn8s-atonce", width=WIDTH), caffe_net("voc-fcn8s"))


@pytest.mark.parametrize(
    ("released", "stride", "score"),
    [("voc-fcn32s", 32, "score_fr"), ("voc-fcn16s", 16, "score_pool4"),
     ("voc-fcn8s", 8, "score_pool3")],
)  # fmt: skip
def test_a_single_layer_takes_its_part_of_a_file(released: str, stride: int, score: str) -> None:
    """The file of the net with skips holds it all, under the names the layers have there."""
    layer = create_model(released, width=WIDTH, skips=False)
    last = caffe_layers(create_model(released, width=WIDTH))
    names = list(caffe_layers(layer))
    assert names[-2:] == [score, list(last)[-1]]
    assert set(names) <= set(last)
    report = transplant_caffe(layer, caffe_net(released), strict=False)
    assert not report.missing
    assert report.copied == names


@pytest.mark.parametrize("stride", [16, 8])
@pytest.mark.parametrize(
    ("backbone", "geometry", "odd"),
    [("alexnet", "reference", True), ("efficientnet_lite0", "same", True),
     ("vgg16", "reference", False)],
)  # fmt: skip
def test_staged_training_starts_from_the_coarser_network(
    backbone: str, geometry: str, odd: bool, stride: int
) -> None:
    """A new net with FCN-32s's weights and zero scores of its skips says what the 32s says."""
    width = 1.0 if backbone.startswith("efficient") else 1 / 16
    coarse, fine = (
        create_model(f"fcn{s}s_{backbone}", width=width, num_classes=21, geometry=geometry).eval()
        for s in (32, stride)
    )
    assert isinstance(coarse, FCN)
    assert isinstance(fine, FCN)
    torch.manual_seed(0)
    nn.init.normal_(coarse.get_parameter("head.score.32.weight"))
    report = transplant(fine, coarse)
    new = [f"head.score.{s}" for s in (16, 8) if s >= stride]
    assert report.missing == [f"{name}.{kind}" for name in new for kind in ("weight", "bias")]
    images = torch.zeros(1, 3, 320, 320)
    with torch.inference_mode():
        shapes = {s: tap.shape for s, tap in fine.backbone(images).items()}
        noise = {s: torch.randn(shape) for s, shape in shapes.items()}  # no cell like the next
        before, after = coarse.head(noise, images), fine.head(noise, images)
    assert all(kernel_size(up) % 2 == odd for up in fine.head.upsample.values())
    if odd:  # interpolated between the same points again
        torch.testing.assert_close(after, before, atol=1e-5, rtol=1e-5)
    else:  # the peak between two finer cells is lost
        changed = (after.argmax(1) != before.argmax(1)).double().mean()
        assert 0.05 < changed < 0.2


def test_transplanting_between_strangers_is_refused() -> None:
    with pytest.raises(FullyConvError, match="no parameter in common"):
        transplant(nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2)))


def test_scores_of_new_classes_start_from_old_ones() -> None:
    old = create_model("voc-fcn16s", width=WIDTH)
    transplant_caffe(old, caffe_net("voc-fcn16s"))
    new = create_model("voc-fcn16s", width=WIDTH, num_classes=3)
    expand_score(new, old, {1: 15, 2: 7})
    for layer in ("score_fr", "score_pool4"):
        weight, bias = (p.detach() for p in caffe_layers(new)[layer].parameters())
        old_weight, old_bias = (p.detach() for p in caffe_layers(old)[layer].parameters())
        assert torch.equal(weight[1], old_weight[15])
        assert torch.equal(bias[2], old_bias[7])
        assert not weight[0].any()
    with pytest.raises(FullyConvError, match="cannot start class 1 of 3 from class 21 of 21"):
        expand_score(new, old, {1: 21})


@pytest.mark.parametrize("name", ["voc-fcn8s", "nyud-fcn32s-color", "siftflow-fcn8s"])
def test_an_imported_file_predicts(name: str, tmp_path: Path) -> None:
    source, out = tmp_path / "x.caffemodel", tmp_path / "x.safetensors"
    write_caffemodel(source, caffe_net(name))
    import_caffemodel(source, name, out, width=WIDTH, licence="of the test")
    header = read_header(out)
    assert header.info["licence"] == "of the test"
    assert header.preprocess.order == "BGR"
    photo = np.random.default_rng(0).integers(0, 256, (40, 50, 3)).astype(np.uint8)
    prediction = Predictor(out)(photo)
    model = create_model(name, width=WIDTH).eval()
    load_caffemodel(model, source)
    images = torch.from_numpy(
        photo[..., ::-1].astype(np.float32) - np.array(header.preprocess.mean, np.float32)
    )
    with torch.inference_mode():
        logits = model(images.permute(2, 0, 1)[None])
    expected = logits["semantic"] if isinstance(logits, dict) else logits
    np.testing.assert_allclose(prediction.logits, expected[0], atol=1e-3 * expected.abs().max())
    assert set(prediction.shares()) <= set(header.labels.categories)


def test_importing_as_an_unknown_network_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'voc-fcn4s' is no network of the authors' release"):
        import_caffemodel(tmp_path / "x", "voc-fcn4s", tmp_path / "y")
