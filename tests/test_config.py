"""Networks and recipes as data: the paper's, by name, and what is refused."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from typing import Any

import pytest

from fullyconv.config import RELEASED_MODELS, DataConfig, ModelConfig, OptimConfig, Recipe
from fullyconv.errors import FullyConvError, UsageError, did_you_mean
from fullyconv.labels import LABEL_SPACES
from fullyconv.networks import BACKBONES, model_config, model_names
from fullyconv.recipes import RECIPES, recipe

NAN, INFINITY = float("nan"), float("inf")


# the released networks ----------------------------------------------------------------------------


def test_the_release_has_fifteen_networks() -> None:
    assert len(RELEASED_MODELS) == 15
    for name, config in RELEASED_MODELS.items():
        data, net = name.split("-", 1)
        assert config.num_classes == LABEL_SPACES[data].num_classes, name
        stride = 32 if net == "fcn-alexnet" else int(net.removeprefix("fcn").split("s")[0])
        assert config.stride == stride, name
        assert config.backbone == ("alexnet" if "alexnet" in name else "vgg16"), name
        # as released: padded by 100, upsampling fixed, whole width
        assert (config.geometry, config.upsample, config.width) == ("reference", "fixed", 1), name


def test_what_sets_single_networks_apart() -> None:
    """Section 3 of the reference notes: Scale layers, first layers, fusion and heads."""
    usual = ModelConfig(backbone="vgg16", geometry="reference")
    for name, changes in {
        "voc-fcn8s": {"stride": 8},
        "voc-fcn8s-atonce": {"stride": 8, "skip_scale": (0.01, 0.0001)},
        "nyud-fcn32s-color-d": {"stride": 32, "num_classes": 40, "in_channels": 4},
        "nyud-fcn32s-color-hha": {
            "stride": 32,
            "num_classes": 40,
            "in_channels": 6,
            "streams": ("color", "hha"),
        },
        "siftflow-fcn16s": {
            "stride": 16,
            "num_classes": 33,
            "heads": (("semantic", 33), ("geometric", 3)),
        },
    }.items():
        assert model_config(name) == replace(usual, **changes)  # type: ignore[arg-type]


# names --------------------------------------------------------------------------------------------


def test_every_name_is_a_network() -> None:
    names = model_names()
    assert len(set(names)) == len(names) == 15 + 3 * len(BACKBONES)
    for name in names:
        config = model_config(name)
        if name not in RELEASED_MODELS:
            assert name == f"fcn{config.stride}s_{config.backbone}"


def test_the_listed_backbones_are_those_that_can_be_built() -> None:
    from fullyconv.models.backbones import _BUILDERS, build_backbone

    assert list(_BUILDERS) == list(BACKBONES)
    with pytest.raises(UsageError, match="there is no backbone '\u2205'. Known: ") as raised:
        build_backbone("\u2205")
    listed = str(raised.value).split("Known: ")[1].split(". ")[0].split(", ")
    assert listed == sorted(BACKBONES)


def test_fields_can_be_overridden() -> None:
    config = model_config("fcn16s_vgg16", num_classes=5, geometry="reference")
    assert config == ModelConfig(
        backbone="vgg16", stride=16, num_classes=5, geometry="reference", in_channels=3
    )
    assert model_config("voc-fcn8s", width=0.5) == replace(RELEASED_MODELS["voc-fcn8s"], width=0.5)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("voc-fcn8", r"there is no network 'voc-fcn8'\. Did you mean voc-fcn8s"),
        ("fcn8s_vgg19", r"there is no network 'fcn8s_vgg19'\. Did you mean fcn8s_vgg16"),
        ("fcn4s_vgg16", r"there is no network 'fcn4s_vgg16'\. Did you mean fcn.*s_vgg16"),
        ("fcn8s_vgg16\n", "there is no network"),
        ("", "there is no network ''. fcn info lists the models, networks and backbones"),
        ("vgg17", r"there is no network 'vgg17'\. Did you mean vgg16, fcn8s_vgg16\?"),
        ("vgg16", "It is a backbone; its networks are fcn32s_vgg16, fcn16s_vgg16 and fcn8s_vgg16"),
        ("camvid", r"It is a shipped model, which fullyconv.load_model\('camvid'\) opens"),
        ("camvit", r"Did you mean camvid\?"),
    ],
)
def test_other_names_are_refused(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        model_config(name)


def test_other_settings_are_refused() -> None:
    with pytest.raises(UsageError, match=r"no setting 'classes'\. Did you mean num_classes"):
        model_config("voc-fcn8s", classes=5)


def test_suggestions_are_at_most_three_and_nearest_first() -> None:
    assert did_you_mean("aaax", ["aaab", "aaay", "aaaz", "aaaax"]).startswith("Did you mean aaaax")
    assert did_you_mean("aaax", ["aaab", "aaay", "aaaz", "aaaw"]).count("aaa") == 3
    assert did_you_mean("VOC-FCN8s", model_names()).startswith("Did you mean voc-fcn8s,")
    assert did_you_mean("caR", ["Car", "car", "tree"]) == "Did you mean Car, car?"
    assert issubclass(UsageError, FullyConvError)


# values -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_classes": 0}, "num_classes is 0; it must be a whole number, at least 1"),
        ({"num_classes": 2.5}, r"num_classes is 2\.5; it must be a whole number, at least 1"),
        ({"in_channels": -3}, "in_channels is -3; it must be a whole number, at least 1"),
        ({"width": 0}, "width is 0; it must be above 0 and at most 16"),
        ({"width": 16.5}, r"width is 16\.5; it must be above 0 and at most 16"),
        ({"width": NAN}, "width is nan; it must be above 0"),
        ({"stride": 4}, "stride is 4; it must be one of 32, 16, 8"),
        ({"geometry": "valid"}, "geometry is 'valid'; it must be one of reference, same"),
        ({"upsample": "nearest"}, "upsample is 'nearest'; it must be one of fixed, learned"),
        ({"streams": ("a", "b")}, "late fusion of 2 streams needs 6 input channels, not 3"),
        ({"heads": (("a", 5),)}, r"the first has num_classes \(21\) classes"),
        ({"heads": (("a", 21), ("b", 0))}, "must have at least 1 class each"),
        ({"heads": (("a", 21),), "streams": ("a",)}, "go with one stream"),
    ],
)
def test_networks_that_cannot_be(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ModelConfig(**fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"workers": -1}, "workers is -1; it must be a whole number, at least 0"),
        ({"inputs": ()}, r"inputs is \(\); it must name some of images, hha, depth, in this order"),
        ({"inputs": ("depth", "images")}, "in this order"),
        ({"inputs": ("images", "images")}, "in this order"),
        ({"crop": (0, 5)}, r"crop is \(0, 5\); height and width must be at least 1"),
        ({"crop": (5, -1)}, r"crop is \(5, -1\); height and width must be at least 1"),
        ({"scale": (0, 1)}, r"scale is \(0, 1\); it must rise from a number above 0"),
        ({"scale": (2, 1)}, r"scale is \(2, 1\); it must rise from a number above 0"),
        ({"scale": (1, INFINITY)}, r"scale is \(1, inf\); it must rise from a number above 0"),
        ({"scale": (NAN, 1)}, r"scale is \(nan, 1\); it must rise from a number above 0"),
        ({"color": -0.1}, r"color is -0\.1; it must be from 0 to 1"),
        ({"color": 1.5}, r"color is 1\.5; it must be from 0 to 1"),
        ({"color": NAN}, "color is nan; it must be from 0 to 1"),
    ],
)
def test_data_that_cannot_be(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        DataConfig(**fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0; it must be a whole number, at least 1"),
        ({"iter_size": 0}, "iter_size is 0; it must be a whole number, at least 1"),
        ({"max_iters": -5}, "max_iters is -5; it must be a whole number, at least 1"),
        ({"lr": 0}, "the learning rate is 0; it must be above 0"),
        ({"lr": NAN}, "the learning rate is nan; it must be above 0"),
        ({"lr": INFINITY}, "the learning rate is inf; it must be above 0"),
        ({"weight_decay": -1e-4}, "weight_decay is -0.0001; it must be at least 0"),
        ({"bias_lr": -1}, "bias_lr is -1; it must be at least 0"),
        ({"bias_decay": INFINITY}, "bias_decay is inf; it must be at least 0"),
        ({"keep_pixels": 0}, "keep_pixels is 0; it is a chance, above 0 and at most 1"),
        ({"keep_pixels": 1.5}, r"keep_pixels is 1\.5; it is a chance, above 0 and at most 1"),
        ({"trained": "head"}, "trained is 'head'; it must be one of all, scores"),
        ({"batch_norm": "off"}, "batch_norm is 'off'; it must be one of auto, trained, frozen"),
        ({"warmup": 5}, "warmup is 5; it is a share of the steps, from 0 to 1"),
        ({"momentum": 1}, "momentum is 1; it must be at least 0 and below 1"),
        ({"momentum": -0.9}, r"momentum is -0\.9; it must be at least 0 and below 1"),
        ({"average": 1.0}, r"average is 1\.0; it must be at least 0 and below 1"),
        ({"average": NAN}, "average is nan; it must be at least 0 and below 1"),
        ({"epochs": 0.0}, "epochs is 0.0; it must be above 0"),
        ({"optimizer": "adam"}, "optimizer is 'adam'; it must be one of sgd, adamw"),
        ({"schedule": "poly"}, "schedule is 'poly'; it must be one of fixed, cosine"),
        ({"reduction": "none"}, "reduction is 'none'; it must be one of sum, mean"),
        ({"class_weights": "square"}, "class_weights is 'square'; it must be one of none, inve"),
        ({"precision": "float16"}, "precision is 'float16'; it must be one of auto, float32, bf"),
        ({"reduction": "sum", "lr": 1e-4}, r"a summed loss with learning rate 0\.0001 diverges"),
    ],
)
def test_optimisation_that_cannot_be(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        OptimConfig(**fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"eval_interval": 0}, "eval_interval is 0; it must be a whole number, at least 1"),
        ({"save_interval": 0}, "save_interval is 0; it must be a whole number, at least 1"),
        ({"log_interval": 0}, "log_interval is 0; it must be a whole number, at least 1"),
        ({"seed": -1}, "seed is -1; it must be from 0 to 4294967295"),
        ({"seed": 2**32}, "seed is 4294967296; it must be from 0 to 4294967295"),
    ],
)
def test_recipes_that_cannot_be(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Recipe(model=ModelConfig(), **fields)


def test_values_at_the_edge_are_taken() -> None:
    ModelConfig(num_classes=1, width=16)
    ModelConfig(heads=(("a", 21), ("b", 1)))
    Recipe(model=ModelConfig(), seed=0)
    DataConfig(crop=(1, 1), scale=(0.5, 0.5), color=1, workers=0)
    for warmup in (0, 1):
        OptimConfig(reduction="sum", lr=1e-7, momentum=0, average=0, warmup=warmup, weight_decay=0)
    Recipe(model=ModelConfig(), seed=2**32 - 1, eval_interval=1)


def test_configurations_do_not_change() -> None:
    for config in (ModelConfig(), DataConfig(), OptimConfig(), Recipe(model=ModelConfig())):
        with pytest.raises(FrozenInstanceError):
            config.seed = 5  # type: ignore[misc, union-attr]
        assert hash(config) == hash(replace(config))


# recipes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_fit_their_data(name: str) -> None:
    what, run = RECIPES[name]
    assert recipe(name) == run
    if run.data.labels != "auto":
        assert run.model.num_classes == LABEL_SPACES[run.data.labels].num_classes
    assert what
    assert not what.endswith(".")
    for before in run.continues:
        assert recipe(before).model.stride == (1 if run.model.streams else 2) * run.model.stride
        assert recipe(before).data.labels == run.data.labels


def test_other_recipes_are_refused() -> None:
    name = next(iter(RECIPES))
    with pytest.raises(UsageError, match=f"no recipe '{name[:-1]}'. Did you mean {name}"):
        recipe(name[:-1])
    with pytest.raises(UsageError, match=r"Did you mean camvid-fcn8s-efficientnet_lite0\?$"):
        recipe("camvid")
    with pytest.raises(
        UsageError, match=r"Did you mean siftflow-fcn32s, siftflow-.*, siftflow-fcn8s\?"
    ):
        recipe("siftflow")


def test_a_folder_is_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"a folder without a recipe.json; fcn new .* writes one"):
        recipe(str(tmp_path))
    (tmp_path / "recipe.json").touch()
    with pytest.raises(UsageError, match=r"is a folder with one in it: fcn train .*/recipe.json$"):
        recipe(str(tmp_path))


def test_a_recipes_settings_are_changed_by_name() -> None:
    run = recipe("finetune", seed=7, data={"root": "photos", "crop": (8, 9)}, optim={"lr": 0.5})
    base = recipe("finetune")
    data = replace(base.data, root=Path("photos"), crop=(8, 9))
    assert run == replace(base, seed=7, data=data, optim=replace(base.optim, lr=0.5))
    assert recipe("finetune", data=DataConfig(crop=(8, 9))).data == DataConfig(crop=(8, 9))
    assert recipe("finetune", model={}) == base


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lr": 1}, r"no setting lr. It belongs to optim: optim=\{'lr': ...\}$"),
        ({"sed": 1}, r"no setting sed. Did you mean seed"),
        ({"optim": {"momentun": 0.9}}, r"no setting optim.momentun. Did you mean momentum"),
        ({"optim": {"momentum": 9}}, "momentum is 9; it must be at least 0 and below 1"),
        ({"init_from": "camvid"}, r"init_from is 'camvid'; it must be a tuple, such as \('camvid'"),
        ({"data": {"train": "train"}}, r"train is 'train'; it must be a tuple, such as \('train',"),
        ({"data": {"train": ()}}, r"train is \(\); it must be a tuple of sub-folders"),
    ],
)
def test_settings_that_do_not_exist_or_fit_are_refused(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        recipe("finetune", **settings)


def test_configuration_needs_no_torch() -> None:
    code = (
        "import sys, fullyconv.config, fullyconv.recipes, fullyconv.images, fullyconv.metrics\n"
        "import fullyconv.data.folder, fullyconv.data.augment, fullyconv.visualize\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_a_recipe_prints_what_it_changes() -> None:
    """Its network and steps, and whatever is not the default: nothing else, so that it is short."""
    plain = Recipe(model=ModelConfig())
    lines = ["network: fcn8s_efficientnet_lite0", "optimisation: 1,000 steps"]
    assert str(plain) == "\n".join([*lines, "and the rest as by default"])
    text = str(
        replace(plain, seed=7, data=DataConfig(crop=(96, 128), scale=(0.5, 2.0), mirror=True))
    )
    assert "\ndata: crop 96 128, scale 0.5 2, mirror True\n" in text
    assert "\nrun: seed 7\n" in text
    in_epochs = replace(plain, optim=OptimConfig(epochs=2.5, momentum=0.99))
    assert "\noptimisation: 2.5 epochs, momentum 0.99\n" in str(in_epochs)
