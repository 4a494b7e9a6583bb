"""A backbone of one's own, in a stranger's folder: registered, trained, saved, refused."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import fullyconv as fc
from command import fcn
from fullyconv import networks, pretrained
from fullyconv.config import Geometry, ModelConfig
from fullyconv.errors import FullyConvError, UsageError
from fullyconv.files import write_json
from fullyconv.labels import VOC
from fullyconv.models import backbones
from fullyconv.models.backbones import build_backbone
from fullyconv.models.fast.stages import Stages
from fullyconv.own_code import import_named
from fullyconv.preprocess import CAFFE, NYUD_COLOR_DEPTH, TORCHVISION
from fullyconv.pretrained import read_state

OWN = Path(__file__).resolve().parents[1] / "examples" / "own_backbone.py"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stranger's: the example under a name of theirs, and pictures with a box in each."""
    monkeypatch.chdir(tmp_path)
    Path("own_backbone.py").write_text(OWN.read_text())
    rng = np.random.default_rng(0)
    for split, count in (("train", 3), ("val", 1)):
        for kind in ("images", "labels"):
            Path("MINE", split, kind).mkdir(parents=True)
        for number in range(count):
            image = rng.integers(0, 60, (40, 48, 3), np.uint8)
            label = np.zeros((40, 48), np.uint8)
            image[5:30, 8 : 20 + number], label[5:30, 8 : 20 + number] = 200, 1
            name = f"{split}{number}.png"
            Image.fromarray(image).save(Path("MINE", split, "images", name))
            Image.fromarray(label).save(Path("MINE", split, "labels", name))
    write_json(Path("MINE", "classes.json"), {"categories": ["ground", "box"]})
    return tmp_path


def test_the_command_takes_it_from_a_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train = "train finetune --data.root MINE --model.backbone small --from-scratch --out run"
    train += " --optim.max-iters 2 --data.crop 32 32"
    assert fcn(monkeypatch, *train.split()) == 2
    assert "no backbone 'small'" in capsys.readouterr().err
    assert not Path("run").exists()
    assert fcn(monkeypatch, "--import", "own_backbone.py", *train.split()) == 0
    model = "run/best.safetensors"
    header = fc.read_header(model)
    assert (header.model.backbone, header.preprocess) == ("small", TORCHVISION)
    assert fcn(monkeypatch, "predict", "MINE/val/images", "--model", model, "--out", "p") == 0
    with Image.open("p/val0-mask.png") as mask:
        assert mask.size == (48, 40)
    capsys.readouterr()
    assert fcn(monkeypatch, "info", "small") == 0
    # 1 + 3 x (3 x 3 kernel's 2 x strides 1, 2, 4, ...) and the poolings' strides, by hand
    field = 1 + sum(2 * 2**i + 2**i for i in range(5))
    assert f"receptive field            {field} px" in capsys.readouterr().out


def test_a_checkpoint_of_one_that_is_not_registered_says_what_to_do(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fcn(monkeypatch, "--import=own_backbone.py", "info", "fcn8s_small") == 0
    config = ModelConfig(backbone="small")
    header = fc.Header(model=config, labels=VOC, preprocess=CAFFE)
    model = fc.create_model(config).eval()
    fc.save_model(model, "a.safetensors", header=header)
    again = fc.load_model("a.safetensors")
    image = torch.rand(1, 3, 33, 70)
    torch.testing.assert_close(again(image), model(image))

    del networks.BACKBONES["small"], backbones._BUILDERS["small"]
    with pytest.raises(UsageError, match=r"a.safetensors: there is no backbone 'small'.*FILE"):
        fc.load_model("a.safetensors")
    capsys.readouterr()
    assert fcn(monkeypatch, "predict", "MINE/val/images", "--model", "a.safetensors") == 2
    assert "fullyconv.register_backbone; fcn --import FILE.py" in capsys.readouterr().err


def test_its_weights_are_read_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a run of two streams too; the file is looked at before the data is prepared."""
    import_named(["--import", "own_backbone.py"])
    given = build_backbone("small").state_dict()
    torch.save(given, "weights.pth")
    read: list[Path] = []

    def counted(path: Path) -> dict[str, torch.Tensor]:
        read.append(path)
        return read_state(path)

    monkeypatch.setattr(pretrained, "read_state", counted)
    model = ModelConfig(backbone="small", streams=("color", "hha"), in_channels=6, num_classes=2)
    recipe = replace(fc.recipe("finetune"), model=model, backbone_weights="weights.pth")
    data = replace(recipe.data, root=Path("MINE"), crop=(32, 32), inputs=("images", "hha"))
    for split in ("train", "val"):
        shutil.copytree(Path("MINE", split, "images"), Path("MINE", split, "hha"))
    optim = replace(recipe.optim, max_iters=1, lr=1e-12, batch_norm="frozen")
    best = fc.train(replace(recipe, data=data, optim=optim), "run", progress=False)
    assert read == [Path("weights.pth")]
    trained = fc.load_model(best).state_dict()
    for stream in ("color", "hha"):
        for name, tensor in given.items():
            found = trained[f"streams.{stream}.backbone.{name}"]
            torch.testing.assert_close(found.float(), tensor.float(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("text", "words", "status", "sentence"),
    [
        ("", ["--import", "other.py"], 2, "--import other.py: there is no such Python file; name"),
        ("", ["--import"], 2, "--import : there is no such Python file"),
        ("", ["--import=own"], 2, "--import own: there is no such Python file"),
        ("1 / 0", ["--import", "own.py"], 1, "own.py: it ended in ZeroDivisionError: division by"),
        ("x = (", ["--import", "own.py"], 1, "own.py: it ended in SyntaxError"),
        (
            "import fullyconv as fc; fc.register_backbone('vgg16', None)",
            ["--import", "own.py"],
            2,
            "a backbone cannot be called 'vgg16'",
        ),
    ],
)
def test_files_that_cannot_be_imported(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    text: str,
    words: list[str],
    status: int,
    sentence: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text(text)
    Path("own").mkdir()
    assert fcn(monkeypatch, "info", *words) == status
    assert sentence in capsys.readouterr().err


def test_a_file_sees_its_neighbours_and_stands_in_nobodys_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "beside_it.py").write_text("NAME = 'beside'")
    (tmp_path / "torch.py").write_text(
        "import beside_it, fullyconv as fc\nfc.register_backbone(beside_it.NAME, None)"
    )
    assert fcn(monkeypatch, "info", "--import", tmp_path / "torch.py") == 0
    assert "beside" in networks.BACKBONES
    assert sys.modules["torch"] is torch


def _three(pool: Callable[[], nn.Module]) -> Callable[[int, float, Geometry], fc.Backbone]:
    def build(in_channels: int, width: float, geometry: Geometry) -> fc.Backbone:
        def block(channels: int, out: int) -> list[nn.Module]:
            return [nn.Conv2d(channels, out, 3, padding=1), nn.ReLU(), pool()]

        first = nn.Sequential(*block(in_channels, 4), *block(4, 4), *block(4, 4))
        stages = {8: first, 16: nn.Sequential(*block(4, 4)), 32: nn.Sequential(*block(4, 4))}
        return fc.Backbone(stages, channels={8: 4, 16: 4, 32: 4}, geometry=geometry)

    return build


def _nothing() -> None:
    """No backbone's function: it takes nothing."""


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (
            _three(lambda: nn.MaxPool2d(2)),
            "'mine' cannot be built: this backbone gives 0 cells at stride 8 for a picture of 1 ",
        ),
        (_three(lambda: nn.AdaptiveAvgPool2d(5)), "no geometry is known for a layer of type Adap"),
        (_nothing, r"cannot be built: TypeError\('_nothing\(\) takes 0 positional"),
        (lambda *_: nn.Identity(), "'mine' returned a Identity; it must return a fullyconv.Backb"),
    ],
)
def test_functions_that_make_no_backbone(build: Any, sentence: str) -> None:
    fc.register_backbone("mine", build)
    with pytest.raises(FullyConvError, match=sentence):
        build_backbone("mine")


@pytest.mark.parametrize("name", ["", "my net", "vgg16", "a-b", "x/../y"])
def test_names_that_are_taken_or_none(name: str) -> None:
    with pytest.raises(UsageError, match="cannot be called .*none of alexnet,"):
        fc.register_backbone(name, _three(nn.Identity))


def test_preprocessing_is_of_colour_pictures() -> None:
    with pytest.raises(UsageError, match="register it for colour pictures, of three channels"):
        fc.register_backbone("mine", _three(nn.Identity), NYUD_COLOR_DEPTH)


def test_a_name_of_ones_own_can_be_given_again() -> None:
    for pool in (lambda: nn.MaxPool2d(2, ceil_mode=True), lambda: nn.MaxPool2d(3, 2, 1)):
        fc.register_backbone("mine", _three(pool), CAFFE)
        assert build_backbone("mine").maps == _three(pool)(3, 1, "same").maps
    assert networks.preprocess_for("mine") == CAFFE
    assert "fcn16s_mine" in fc.model_names()


def test_a_stage_may_be_a_pooling_alone() -> None:
    def build(in_channels: int, width: float, geometry: Geometry) -> fc.Backbone:
        first = nn.Sequential(nn.Conv2d(in_channels, 6, 9, 8, 4))
        pools = (nn.MaxPool2d(2, ceil_mode=True) for _ in range(2))
        stages = {8: first, **{s: nn.Sequential(p) for s, p in zip((16, 32), pools, strict=True)}}
        return fc.Backbone(stages, channels={8: 6, 16: 6, 32: 6}, geometry=geometry)

    fc.register_backbone("mine", build)
    plan = Stages(fc.create_model("fcn8s_mine").eval()).plan
    assert [piece.channels for piece in plan.pieces] == [6, 6, 6]


def test_a_convolutionalized_classifier_has_a_name_too(tmp_path: Path) -> None:
    def build(in_channels: int, width: float, geometry: Geometry) -> fc.Backbone:
        layers: list[nn.Module] = []
        for channels, out in ((3, 4), (4, 4), (4, 8), (8, 8), (8, 8)):
            layers += [nn.Conv2d(channels, out, 3, 2, 1), nn.ReLU()]
        last = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
        return fc.convolutionalize(nn.Sequential(*layers, *last), 64)

    fc.register_backbone("mine", build)
    config = fc.model_config("fcn8s_mine", num_classes=21)
    model = fc.create_model(config).eval()
    header = fc.Header(model=config, labels=VOC, preprocess=CAFFE)
    fc.save_model(model, tmp_path / "a.safetensors", header=header)
    image = torch.rand(1, 3, 45, 70)
    torch.testing.assert_close(fc.load_model(tmp_path / "a.safetensors")(image), model(image))
    assert fc.info(tmp_path / "a.safetensors", (64, 64)).convolutions == 6  # five and the scores
