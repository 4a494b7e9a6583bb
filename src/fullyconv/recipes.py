"""Named training runs. A recipe is data: what differs from another stands here and nowhere else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from fullyconv.config import RELEASED_MODELS, DataConfig, OptimConfig, Recipe, with_settings
from fullyconv.errors import UsageError, did_you_mean
from fullyconv.labels import LABEL_SPACES
from fullyconv.networks import BACKBONES, model_config, model_names, named_like, released_preprocess
from fullyconv.protocols import published

# Learning rate and momentum of each stage of the release (*/solver.prototxt): the loss is summed
# over a picture's pixels, one picture at a time, and momentum 0.99 stands for a batch of 20.
_HEAVY_LR = {32: 1e-10, 16: 1e-12, 8: 1e-14}
_STAGES = {"fcn16s": "fcn32s", "fcn8s": "fcn16s"}
# Steps that the release's solve.py runs, where they are not 100,000.
_STEPS = {
    "voc-fcn8s-atonce": 300_000,
    "pascalcontext-fcn32s": 400_000,
    "pascalcontext-fcn16s": 400_000,
    "pascalcontext-fcn8s": 400_000,
}
# The release's nets of 16s go on from 32s, those of 8s from 16s; late fusion from both its streams.
_FUSED = "nyud-fcn32s-color-hha"
_CONTINUES = {_FUSED: ("nyud-fcn32s-color", "nyud-fcn32s-hha")}
# Published data, sub-folders to train on and to score (*/net.py), and the two in words.
_SPLITS = {
    "voc": (("voc", "sbd"), ("sbd-train",), "val", "SBD train, scored on VOC's seg11valid"),
    "nyud": (("nyudv2",), ("train", "val"), "test", "NYUDv2 train and val, scored on test"),
    "siftflow": (("siftflow",), ("trainval",), "test", "SIFT Flow trainval, scored on test"),
    "pascalcontext": (
        ("pascalcontext",),
        ("train",),
        "val",
        "PASCAL-Context train, scored on val",
    ),
}


def _released(name: str) -> tuple[str, Recipe]:
    """The regime in which the authors trained a network of their release."""
    data, _, stage = name.partition("-")
    model = model_config(name)
    optim = OptimConfig(
        optimizer="sgd",
        lr=_HEAVY_LR[model.stride],
        momentum=0.99,
        weight_decay=0.0005,
        batch_size=1,
        max_iters=_STEPS.get(name, 100_000),
        schedule="fixed",
        reduction="sum",
    )
    if name == "voc-fcn8s-atonce":
        optim = replace(optim, lr=1e-10)
    if name == "voc-fcn-alexnet":  # the one net with an averaged loss and accumulated gradients
        optim = replace(
            optim,
            lr=1e-4,
            momentum=0.9,
            iter_size=20,
            reduction="mean",
            bias_lr=1.0,
            bias_decay=1.0,
        )
    if name in (_FUSED, "siftflow-fcn8s"):
        optim = replace(optim, lr=1e-12)
    before = (f"{data}-{_STAGES[stage]}",) if stage in _STAGES else _CONTINUES.get(name, ())
    source, train, val, said = _SPLITS[data]
    recipe = Recipe(
        model=model,
        data=DataConfig(
            published=source,
            preprocess=name,
            inputs=released_preprocess(name).inputs,
            train=train,
            val=val,
            replacement=True,  # *_layers.py: random.randint
        ),
        optim=optim,
        continues=before,
        eval_interval=4000,
        save_interval=4000,
        log_interval=20,
    )
    return f"{said}; the authors' regime. Published: {published(name)}", recipe


# CVPR 2015, section 4.3: batches of 20 pictures, momentum 0.9, a fixed rate, 175 epochs (table 1)
# over VOC2011's 1112 pictures. Such rates are for an averaged loss (voc-fcn-alexnet/net.py:
# normalize).
_FIRST = {
    "voc-fcn-alexnet-2015": ("alexnet", 1e-3),
    "voc-fcn32s-2015": ("vgg16", 1e-4),
    "voc-fcn-googlenet-2015": ("googlenet", 5e-5),
}


def _first(name: str) -> tuple[str, Recipe]:
    """The regime of the first paper."""
    backbone, lr = _FIRST[name]
    recipe = Recipe(
        model=model_config(f"fcn32s_{backbone}", geometry="reference"),
        data=DataConfig(published=("voc",), preprocess="voc-fcn32s", val="val-official"),
        optim=OptimConfig(
            optimizer="sgd",
            lr=lr,
            momentum=0.9,
            weight_decay=0.0005,
            batch_size=1,
            iter_size=20,
            max_iters=175 * 1112 // 20,
            schedule="fixed",
        ),
        eval_interval=500,
    )
    said = f"VOC train, scored on its val; the first paper's regime. Published: {published(name)}"
    return said, recipe


# From ImageNet weights in about an hour on two cores.
_FINETUNE = Recipe(
    model=model_config("fcn8s_efficientnet_lite0"),
    data=DataConfig(crop=(320, 416), scale=(0.5, 2.0), mirror=True, color=0.3),
    optim=OptimConfig(
        lr=1e-3,
        weight_decay=0.02,
        max_iters=2000,
        class_weights="enet",
        average=0.99,
        precision="auto",
    ),
)


def _finetuned(
    source: str, labels: str, scale: tuple[float, float], steps: int, **optim: Any
) -> Recipe:
    """The same for a data set whose classes are known here."""
    classes = LABEL_SPACES[labels].num_classes
    return replace(
        _FINETUNE,
        model=replace(_FINETUNE.model, num_classes=classes),
        data=replace(_FINETUNE.data, published=(source,), labels=labels, scale=scale),
        optim=replace(_FINETUNE.optim, max_iters=steps, **optim),
    )


RECIPES: dict[str, tuple[str, Recipe]] = {
    "finetune": (
        "your own pictures: images/ and labels/ in train/ and val/, classes.json",
        _FINETUNE,
    ),
    "camvid-fcn8s-efficientnet_lite0": (
        "CamVid road scenes, 11 classes: the model shipped in the package",
        _finetuned("camvid", "camvid", (0.75, 1.75), steps=2000),
    ),
    "nyudv2-fcn8s-efficientnet_lite0": (
        "NYUDv2 rooms, colour only, 39 classes (otherprop counts as void)",
        _finetuned("nyudv2", "nyudv2-39", (0.5, 1.6), steps=1100, lr=4e-4, weight_decay=0.05),
    ),
    **{name: _released(name) for name in RELEASED_MODELS},
    **{name: _first(name) for name in _FIRST},
}
"""Description and recipe by name, in the order ``fcn train --help`` lists them."""


def recipe(name: str, **settings: Any) -> Recipe:
    """A recipe by name, with some settings changed.

    Args:
        name: As ``fcn train --help`` lists them.
        settings: Fields of :class:`~fullyconv.Recipe`; of its parts ``model``, ``data`` and
            ``optim`` a dictionary of what changes in them.

    Raises:
        UsageError: If there is no recipe of that name, or a setting does not exist or fit.

    Example:
        >>> recipe("camvid-fcn8s-efficientnet_lite0").model.num_classes
        11
        >>> run = recipe("finetune", seed=7, data={"root": "photos"}, optim={"lr": 5e-4})
        >>> run.seed, run.optim.lr, run.optim.weight_decay
        (7, 0.0005, 0.02)
    """
    if name not in RECIPES:
        raise UsageError(f"there is no recipe {name!r}. {_instead(name)}")
    return with_settings(RECIPES[name][1], settings)


def _instead(name: str) -> str:
    """Sentence on what a name may have meant that is no recipe's."""
    if name in BACKBONES or name in model_names():
        return named_like(name)
    file = Path(name) / "recipe.json"
    if file.is_file():
        return f"{name} is a folder with one in it: fcn train {file}"
    if Path(name).is_dir():
        return f"{name} is a folder without a {file.name}; fcn new {name} writes one for a data set"
    begun = [recipe for recipe in RECIPES if recipe.startswith(name)]
    return f"Did you mean {', '.join(begun)}?" if begun else did_you_mean(name, list(RECIPES))
