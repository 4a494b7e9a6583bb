"""Named training runs. A recipe is data: what differs from another stands here and nowhere else."""

from __future__ import annotations

from dataclasses import replace

from fullyconv.config import DataConfig, OptimConfig, Recipe, model_config
from fullyconv.errors import UsageError, did_you_mean
from fullyconv.labels import LABEL_SPACES
from fullyconv.preprocess import released_preprocess

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
# Mean IU in per cent and where it stands: the release's README for PASCAL VOC (seg11valid), Caffe's
# model zoo for PASCAL-Context; where no figure of this regime is published, the CVPR paper's or
# arXiv v2's of the first one (batch 20, momentum 0.9).
_PUBLISHED = {
    "voc-fcn32s": "63.6 mean IU on seg11valid (release's README)",
    "voc-fcn16s": "65.0 mean IU on seg11valid (release's README)",
    "voc-fcn8s": "65.5 mean IU on seg11valid (release's README)",
    "voc-fcn8s-atonce": "65.4 mean IU on seg11valid (release's README)",
    "voc-fcn-alexnet": "48.0 mean IU on seg11valid (release's README)",
    "nyud-fcn32s-color": "29.2 mean IU on test (first regime; CVPR 2015, table 4)",
    "nyud-fcn32s-color-d": "30.5 mean IU on test (first regime; CVPR 2015, table 4)",
    "nyud-fcn32s-hha": "24.2 mean IU on test (first regime; CVPR 2015, table 4)",
    "nyud-fcn32s-color-hha": "32.8 mean IU on test (first regime; CVPR 2015, table 4)",
    "pascalcontext-fcn32s": "35.1 mean IU on val (Caffe's model zoo)",
    "pascalcontext-fcn16s": "34.8 mean IU over 59 classes (first regime; arXiv v2, table 6)",
    "pascalcontext-fcn8s": "37.8 mean IU on val (Caffe's model zoo)",
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
    if name == "nyud-fcn32s-color-hha":
        optim = replace(optim, lr=1e-12)
    recipe = Recipe(
        model=model,
        data=DataConfig(preprocess=name, inputs=released_preprocess(name).inputs),
        optim=optim,
        continues=f"{data}-{_STAGES[stage]}" if stage in _STAGES else "",
        eval_interval=4000,
        save_interval=4000,
        log_interval=20,
    )
    return f"the authors' regime: {_PUBLISHED[name]}", recipe


# From ImageNet weights in about an hour on two cores.
_FINETUNE = Recipe(
    model=model_config("fcn8s_efficientnet_lite0"),
    data=DataConfig(crop=(320, 416), scale=(0.5, 2.0), mirror=True, color=0.3),
    optim=OptimConfig(
        lr=1e-3, weight_decay=0.02, max_iters=2000, class_weights="enet", average=0.99
    ),
)


def _finetuned(labels: str, scale: tuple[float, float], steps: int) -> Recipe:
    """The same for a data set whose classes are known here."""
    classes = LABEL_SPACES[labels].num_classes
    return replace(
        _FINETUNE,
        model=replace(_FINETUNE.model, num_classes=classes),
        data=replace(_FINETUNE.data, labels=labels, scale=scale),
        optim=replace(_FINETUNE.optim, max_iters=steps),
    )


RECIPES: dict[str, tuple[str, Recipe]] = {
    "finetune": (
        "your own pictures: images/ and labels/ in train/ and val/, classes.json",
        _FINETUNE,
    ),
    "camvid-fcn8s-efficientnet_lite0": (
        "CamVid road scenes, 11 classes: the model shipped in the package",
        _finetuned("camvid", (0.75, 1.75), steps=2000),
    ),
    "nyudv2-fcn8s-efficientnet_lite0": (
        "NYUDv2 rooms, colour only, 39 classes (otherprop counts as void)",
        _finetuned("nyudv2-39", (0.5, 1.25), steps=1800),
    ),
    **{name: _released(name) for name in _PUBLISHED},
}
"""Description and recipe by name, in the order ``fcn train --help`` lists them."""


def recipe(name: str) -> Recipe:
    """A recipe by name.

    Raises:
        UsageError: If there is none of that name.

    Example:
        >>> recipe("camvid-fcn8s-efficientnet_lite0").model.num_classes
        11
    """
    if name not in RECIPES:
        raise UsageError(f"there is no recipe {name!r}. {did_you_mean(name, list(RECIPES))}")
    return RECIPES[name][1]
