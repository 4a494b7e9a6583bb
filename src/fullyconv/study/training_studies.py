"""The paper's studies of training, as tables: what is varied of a base recipe."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import get_args

from fullyconv.config import ClassWeights, Recipe
from fullyconv.data.sources import label_space
from fullyconv.errors import UsageError, did_you_mean
from fullyconv.protocols import PROTOCOLS, Published
from fullyconv.study.variants import TrainingStudy, Variant


def _table_2(*networks: str) -> tuple[Published, ...]:
    """Rows of the paper's table 2, VOC2011."""
    rows = {row.network: row for row in PROTOCOLS["voc-seg11valid"].published}
    return tuple(rows[network] for network in networks)


def _skips(base: Recipe) -> TrainingStudy:
    return TrainingStudy(
        name="skips",
        title="Skips: what coarse and fine layers know",
        question=(
            "Does adding finer scores to coarser ones help, and what is a finer layer worth alone? "
            "(CVPR 2015, section 4.2, table 2)"
        ),
        rule=(
            "32s, 16s and 8s add the scores of no, one and two finer layers; pool4 and pool3 are "
            "the layers at strides 16 and 8 scored alone, without anything deeper (32s is the "
            "deepest one alone). All start from the same backbone weights; the paper's start each "
            "from the one before."
        ),
        base=base,
        variants=(
            *(Variant(f"{s}s", {"model.stride": s}) for s in (32, 16, 8)),
            Variant("pool4", {"model.stride": 16, "model.skips": False}),
            Variant("pool3", {"model.stride": 8, "model.skips": False}),
        ),
        published=_table_2("FCN-32s", "FCN-16s", "FCN-8s"),
    )


def _trunk(base: Recipe) -> TrainingStudy:
    return TrainingStudy(
        name="trunk",
        title="Fine-tuning: all layers, or the class scores alone",
        question="Do the classifier's features do as they are? (CVPR 2015, section 4.3, table 2)",
        rule=(
            "all: every layer is trained; scores: the class scores alone, the backbone stays as it "
            "was, batch norm's statistics included. The paper's rows are of stride 32."
        ),
        base=base,
        variants=tuple(Variant(name, {"optim.trained": name}) for name in ("all", "scores")),
        published=_table_2("FCN-32s", "FCN-32s-fixed"),
    )


def _upsampling(base: Recipe) -> TrainingStudy:
    if base.model.stride == 32 or not base.model.skips:
        raise UsageError(
            "upsampling is learned between skips, and this network has none; set model.stride to "
            "16 or 8"
        )
    return TrainingStudy(
        name="upsampling",
        title="Upsampling: fixed or learned",
        question="Is bilinear interpolation between the skips worth learning? (CVPR 2015, 4.3)",
        rule=(
            "fixed: bilinear; learned: dense across classes, started from bilinear. The last "
            "upsampling, onto the image, is bilinear in both. The authors' release says that there "
            "is no significant difference, and that fixed is slightly faster (its README)."
        ),
        base=base,
        variants=tuple(Variant(name, {"model.upsample": name}) for name in ("fixed", "learned")),
    )


def _balancing(base: Recipe) -> TrainingStudy:
    return TrainingStudy(
        name="balancing",
        title="Class balancing: factors on the loss of rare classes",
        question="Do rare classes need more weight in the loss? (CVPR 2015, section 4.3)",
        rule=(
            "Factors on each class's loss by the pixel counts of the training labels; see "
            "class_weights. Each loss is weighted its own way: only the scores compare. The paper "
            "found balancing unnecessary with three quarters background."
        ),
        base=base,
        variants=tuple(
            Variant(kind, {"optim.class_weights": kind}) for kind in get_args(ClassWeights)
        ),
    )


def _patch_sampling(base: Recipe) -> TrainingStudy:
    kept = (0.5, 0.25)
    size = base.optim.batch_size
    return TrainingStudy(
        name="patch-sampling",
        title="Patch sampling, as sampling of the loss",
        question=(
            "Do whole images train worse than patches drawn from more of them? (CVPR 2015, "
            "sections 3.4 and 4.3, figure 5)"
        ),
        rule=(
            "p0.5: each pixel's loss counts with chance 0.5, drawn anew in each step. batch-grown: "
            "also 1/p times the pictures in a batch, so that as many pixels count as on whole "
            "images. An averaged loss divides by the pixels that count: the expected gradient is "
            "that of whole images either way. The paper found sampled patches no better."
        ),
        base=base,
        variants=(
            Variant("whole", {"optim.keep_pixels": 1.0}),
            *(Variant(f"p{p}", {"optim.keep_pixels": p}) for p in kept),
            *(
                Variant(
                    f"p{p}-batch-grown",
                    {"optim.keep_pixels": p, "optim.batch_size": round(size / p)},
                )
                for p in kept
            ),
        ),
    )


# CVPR 2015, section 4.3.
_BATCH, _MOMENTUM = 20, 0.9
_HEAVY = 0.99  # the release's solvers


def _momentum(base: Recipe) -> TrainingStudy:
    """Rates such that each picture moves the weights as far in the end: lr / (1 - momentum)."""
    lr, steps = base.optim.lr, base.optim.max_iters
    heavy = _MOMENTUM ** (1 / _BATCH)
    shared = {
        "optim.optimizer": "sgd",
        "optim.schedule": "fixed",
        "optim.batch_size": 1,
        "optim.average": 0.0,
        "optim.class_weights": "none",
        "optim.weight_decay": 0.0005,  # */solver.prototxt
    }
    online = {**shared, "optim.iter_size": 1, "optim.max_iters": steps * _BATCH}
    return TrainingStudy(
        name="momentum",
        title="Momentum: batches, or one picture at a time",
        question=(
            f"Does one picture at a time with momentum {heavy:.4f} = {_MOMENTUM}^(1/{_BATCH}) do "
            f"as well as the gradients of {_BATCH} pictures with {_MOMENTUM}? (the release's "
            "solvers: 0.99)"
        ),
        rule=(
            f"accumulated: {_BATCH} pictures a step. online, heavy: one, and {_BATCH} times the "
            "steps, so that all see the same pictures in the same order. SGD at a fixed rate, "
            "without class weights or averaging of weights. The rates differ so that a picture's "
            "gradient moves the weights as far in the end, rate / (1 - momentum): "
            f"{lr:g}, {lr / _BATCH:.3g}, {lr * (1 - heavy) / (1 - _MOMENTUM) / _BATCH:.3g}. "
            f"heavy-fixed: momentum {_HEAVY} at online's rate, as momentum alone is raised: a "
            "picture moves the weights ten times as far as in the others. Every pass is of one "
            f"picture; losses are those of a step, of {_BATCH} pictures or of one."
        ),
        base=base,
        variants=(
            Variant(
                "accumulated",
                {**shared, "optim.iter_size": _BATCH, "optim.momentum": _MOMENTUM},
            ),
            Variant("online", {**online, "optim.momentum": _MOMENTUM, "optim.lr": lr / _BATCH}),
            Variant(
                "heavy",
                {
                    **online,
                    "optim.momentum": heavy,
                    "optim.lr": lr * (1 - heavy) / (1 - _MOMENTUM) / _BATCH,
                },
            ),
            Variant("heavy-fixed", {**online, "optim.momentum": _HEAVY, "optim.lr": lr / _BATCH}),
        ),
    )


def _background(base: Recipe) -> TrainingStudy:
    names = base.data.void or ("background",)
    try:
        others = label_space(replace(base.data, void=())).without(names)
    except UsageError as error:
        raise UsageError(f"{error} --background names the classes to train without") from error
    said = ", ".join(names)
    if others.num_classes < 2:
        raise UsageError(
            f"without {said} there is {others.num_classes} class left; a net needs at least 2"
        )
    return TrainingStudy(
        name="background",
        title="Background: with a score of its own, or without",
        question="Does a net need a class for everything else? (PAMI 2017)",
        rule=(
            f"with: {said} is a class like others. without: the net has no score for it; its "
            "pixels are void in training. Only the other classes' pixels are scored, in both: what "
            f"is said where the truth is {said} does not count, but {said} said elsewhere is an "
            "error."
        ),
        base=base,
        variants=(Variant("with", {"data.void": ()}), Variant("without", {"data.void": names})),
        counted=others.categories,
    )


# Table 8, as quoted by speakerdeck.com/kfujita/introai: "mean intersection over union metric
# excluding background". Not the class alone: FCN-32s has 63.6 over 21 classes (the release's
# README), so over the other 20 at most 63.6 * 21 / 20 = 66.8, and no 84.8. So its pixels, too.
_MASKED = {
    "reference": 84.8,
    "reference-FG": 81.0,
    "reference-BG": 19.8,
    "FG-only": 76.1,
    "BG-only": 37.8,
    "shape": 29.1,
}

_ONE_CLASS = (
    " WARNING: there is one foreground class, so that mean IU is the share of it that was found, "
    "and 100 for a net that says it everywhere. Read 'of objects' instead."
)


def _masking(base: Recipe) -> TrainingStudy:
    labels, names = label_space(base.data), base.data.foreground
    if not names and labels.categories[0] == "background":
        names = labels.categories[1:]
    if not names:
        raise UsageError(
            "no class is said to be foreground; name some with --foreground, of "
            f"{', '.join(labels.categories)}"
        )
    if set(names) >= set(labels.categories):
        raise UsageError("all classes are said to be foreground: nothing is left for background")
    for name in names:
        labels.index(name)  # raises if there is no such class, before anything is trained
    seen = {
        "reference": "none",
        "FG-only": "background",
        "BG-only": "foreground",
        "shape": "both",
    }
    trained = [Variant(name, {"data.mask": mask}) for name, mask in seen.items()]
    scored = [
        Variant("reference-FG", {"data.mask": "background"}, scores="reference"),
        Variant("reference-BG", {"data.mask": "foreground"}, scores="reference"),
    ]
    source = "FCN-32s, VOC; PAMI 2017, as quoted"
    return TrainingStudy(
        name="masking",
        title="Masking: foreground, background, shape",
        question="What is seen: objects, their context, or their shape? (PAMI 2017)",
        rule=(
            f"Foreground: {', '.join(names)}; all else, void included, is background. FG-only nets "
            "are trained and scored on pictures whose background has the mean colour, BG-only nets "
            "on such whose foreground has; shape: background the mean colour, foreground black. "
            "Reference-FG and -BG score the net of reference on such pictures. Labels stay as "
            "they are. Only the pixels of the foreground's classes are scored, and what is said "
            "there is right or wrong; 'of objects' averages the same classes' IU over every pixel. "
            "The paper's table 8 excludes background; its 84.8 for a net of 63.6 over all classes "
            f"can only be of the foreground's pixels.{_ONE_CLASS if len(names) == 1 else ''}"
        ),
        base=replace(base, data=replace(base.data, foreground=names)),
        variants=(trained[0], *scored, *trained[1:]),
        published=tuple(Published(name, iou, source) for name, iou in _MASKED.items()),
        counted=names,
        objects=names,
    )


TRAINING_STUDIES: dict[str, Callable[[Recipe], TrainingStudy]] = {
    "skips": _skips,
    "trunk": _trunk,
    "upsampling": _upsampling,
    "balancing": _balancing,
    "patch-sampling": _patch_sampling,
    "momentum": _momentum,
    "background": _background,
    "masking": _masking,
}
"""By name, as on the command line: from a base recipe to the study of it."""


def training_study(name: str, base: Recipe) -> TrainingStudy:
    """A study by name, of a base recipe.

    Args:
        name: See :data:`TRAINING_STUDIES`.
        base: What its variants share; names the data set. ``data.foreground`` says what masking
            hides, ``data.void`` what background trains without.

    Raises:
        UsageError: If there is none of that name, or the recipe does not fit it.
        FullyConvError: If the classes of the data set are not known.

    Example:
        >>> from fullyconv.recipes import recipe
        >>> [variant.name for variant in training_study("skips", recipe("finetune")).variants]
        ['32s', '16s', '8s', 'pool4', 'pool3']
    """
    if name not in TRAINING_STUDIES:
        known = did_you_mean(name, list(TRAINING_STUDIES))
        raise UsageError(f"there is no study {name!r} of training. {known}")
    return TRAINING_STUDIES[name](base)
