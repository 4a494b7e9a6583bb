"""The data sets that a configuration names."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from fullyconv.bands import read_bands
from fullyconv.checkpoint import Header
from fullyconv.config import DataConfig, Heads, ModelConfig, Recipe
from fullyconv.data.augment import Augmentation
from fullyconv.data.folder import FolderDataset, split_pictures
from fullyconv.data.masking import Masking
from fullyconv.data.statistics import band_statistics
from fullyconv.errors import FullyConvError, UsageError, did_you_mean
from fullyconv.images import opened
from fullyconv.labels import LABEL_SPACES, LabelSpace, refuse_other_classes
from fullyconv.networks import preprocess_for
from fullyconv.preprocess import Preprocess

CLASSES = "classes.json"


def label_space(data: DataConfig, option: str = "--data.labels") -> LabelSpace:
    """The label space of a data set: named, or its own ``classes.json``; less what is to be void.

    Args:
        data: The data set.
        option: That of the command by which a label space is named, for the error.

    Raises:
        UsageError: If there is none of that name, or no class that is to be void.
        FullyConvError: If the file is missing or not readable.
    """
    return _all_classes(data, option).without(data.void)


def _all_classes(data: DataConfig, option: str) -> LabelSpace:
    if data.labels == "auto":
        return read_label_space(_root(data) / CLASSES, option)
    if data.labels not in LABEL_SPACES:
        known = ["auto", *LABEL_SPACES]
        raise UsageError(
            f"there is no label space {data.labels!r}. {did_you_mean(data.labels, known)}"
        )
    return LABEL_SPACES[data.labels]


def head_spaces(data: DataConfig, heads: Heads) -> dict[str, LabelSpace]:
    """Label spaces of the further heads of a network: named, or ``classes-HEAD.json``.

    The first head reads the folder ``labels/``; a further one reads the folder of its own name.

    Raises:
        UsageError: If there is none of that name.
        FullyConvError: If the file is missing or not readable.
    """
    spaces = {}
    for head, _ in heads[1:]:
        if data.labels == "auto":
            spaces[head] = read_label_space(_root(data) / f"classes-{head}.json")
        elif f"{data.labels}-{head}" in LABEL_SPACES:
            spaces[head] = LABEL_SPACES[f"{data.labels}-{head}"]
        else:
            raise UsageError(f"the labels {data.labels!r} say nothing of a head {head!r}")
    return spaces


def read_label_space(path: Path, option: str = "") -> LabelSpace:
    """A label space from JSON: ``categories``, and where wanted ``palette``, ``raw_ids``, ``void``.

    Args:
        path: The file.
        option: That of the command by which a known label space can be named instead, if there is.

    Raises:
        FullyConvError: If the file is missing or not readable.
    """
    example = '{"categories": ["background", "crack"]}'
    try:
        values = json.loads(path.read_text("utf-8"))
        return LabelSpace.from_dict({**_OPTIONAL, **values})
    except FileNotFoundError as error:
        if not path.parent.is_dir():
            raise FullyConvError(
                f"{path.parent}: there is no such folder; give the folder of a data set"
            ) from error
        named = f", or name a known label space with {option}" if option else ""
        raise FullyConvError(
            f"{path}: there is no such file; write one that names the classes in the order of "
            f"their ids, such as {example}{named}; fcn data import makes a folder that has one of "
            "what a labelling tool exports, fcn data prepare of the paper's data sets"
        ) from error
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise FullyConvError(f"{path}: cannot be read as JSON like {example} ({error})") from error
    except FullyConvError as error:
        raise FullyConvError(f"{path}: {error}") from error


def classes_file(folder: Path, name: str = CLASSES) -> Path | None:
    """The file that says the classes of a data set, or of one of its splits; None without one."""
    is_split = (folder / "labels").is_dir()
    near = [folder, folder.absolute().parent] if is_split else [folder]
    return next((path / name for path in near if (path / name).is_file()), None)


def open_truth(
    root: str | os.PathLike[str],
    split: str,
    header: Header,
    model: object,
    masking: Masking | None = None,
) -> FolderDataset:
    """Pictures to score a model on, whose labels are read as the data set says, if it does.

    Args:
        root: Data set folder.
        split: As of :class:`~fullyconv.data.folder.FolderDataset`.
        header: Says the model's classes and inputs.
        model: Its name, for errors.
        masking: What is hidden of each picture.

    Raises:
        FullyConvError: If a folder is not as expected, or its classes are not the model's.
    """
    labels = _truth(header.labels, model, Path(root), CLASSES)
    heads = {
        name: _truth(space, model, Path(root), f"classes-{name}.json")
        for name, space in header.heads.items()
    }
    return FolderDataset(root, split, labels, header.preprocess.inputs, heads, masking)


def _truth(model: LabelSpace, named: object, root: Path, file: str) -> LabelSpace:
    """The model's classes by the ids of the data set; what was void to the model is void."""
    path = classes_file(root, file)
    if path is None:
        return model
    truth = read_label_space(path)
    unknown = [
        name
        for name, raw in zip(truth.categories, truth.raw_ids, strict=True)
        if name not in model.categories and raw in model.void
    ]
    if truth.num_classes - len(unknown) == model.num_classes:
        truth = truth.without(unknown)
    refuse_other_classes(model, named, truth, root)
    void = {*truth.void, *model.void} - {*truth.raw_ids}
    return replace(truth, palette=model.palette, void=tuple(sorted(void)))


_OPTIONAL = {"palette": (), "raw_ids": (), "void": None}


def fit_classes(recipe: Recipe, labels: LabelSpace, heads: Mapping[str, LabelSpace]) -> Recipe:
    """The recipe with a network of as many classes as the data set has, in each head.

    Raises:
        UsageError: If the data set's labels were named, and so was another number of classes.
    """
    model = recipe.model
    fitted = tuple(
        (name, heads[name].num_classes if name in heads else labels.num_classes)
        for name, _ in model.heads
    )
    if (model.num_classes, model.heads) == (labels.num_classes, fitted):
        return recipe
    if recipe.data.labels != "auto" and model.num_classes != ModelConfig.num_classes:
        raise UsageError(
            f"the network has {model.num_classes} classes, but the labels "
            f"{recipe.data.labels!r} have {labels.num_classes}; set --model.num-classes "
            f"{labels.num_classes}"
        )
    return replace(recipe, model=replace(model, num_classes=labels.num_classes, heads=fitted))


def _root(data: DataConfig) -> Path:
    if data.root is None:
        raise UsageError(
            "no data set folder is given; name it with --data.root FOLDER (in Python "
            'fullyconv.recipe(name, data={"root": FOLDER}))'
        )
    return data.root


@dataclass(frozen=True)
class Opened:
    """The data of a recipe.

    Attributes:
        recipe: The recipe, whose network has as many classes and channels as the data.
        labels: What the ids in the label files mean.
        heads: Label spaces of the further heads.
        preprocess: From pixels to the network's input units.
        training: The pictures to train on.
        validation: Those to score, if any.
    """

    recipe: Recipe
    labels: LabelSpace
    heads: dict[str, LabelSpace]
    preprocess: Preprocess
    training: FolderDataset
    validation: FolderDataset | None


def open_recipe(recipe: Recipe) -> Opened:
    """Open the data of a recipe, and fit its network to them.

    Raises:
        UsageError: If its settings do not fit the data.
        FullyConvError: If a folder or file is not as expected, or pictures are in both splits.
    """
    labels = label_space(recipe.data)
    heads = head_spaces(recipe.data, recipe.model.heads)
    recipe = fit_classes(recipe, labels, heads)
    chosen = preprocess(recipe)
    recipe = fit_channels(recipe, chosen)
    data = recipe.data
    masking = Masking.of(data.mask, data.foreground, labels, chosen)
    return Opened(recipe, labels, heads, chosen, *open_datasets(data, labels, heads, masking))


def open_datasets(
    data: DataConfig,
    labels: LabelSpace,
    heads: Mapping[str, LabelSpace] | None = None,
    masking: Masking | None = None,
) -> tuple[FolderDataset, FolderDataset | None]:
    """The pictures to train on, and those to score, if any.

    Raises:
        FullyConvError: If a folder is not as expected, or pictures are in both.
    """
    root = _root(data)
    training = FolderDataset(root, data.train, labels, data.inputs, heads, masking)
    if not data.val:
        return training, None
    validation = FolderDataset(root, data.val, labels, data.inputs, heads, masking)
    shared = {files.name for files in training.files} & {files.name for files in validation.files}
    if shared:
        raise FullyConvError(
            f"{len(shared)} pictures are in both {' + '.join(data.train)} and {data.val} "
            f"({', '.join(sorted(shared)[:3])}): the score would be of pictures learned by heart"
        )
    return training, validation


def usual_inputs(first: Path) -> tuple[str, ...]:
    """Photographs; or bands, if the first picture is no 8-bit grey or colour that Pillow knows.

    Raises:
        FullyConvError: If it cannot be read as either.
    """
    if first.suffix.lower() == ".npy":
        return ("bands",)
    try:
        with opened(first) as image:
            deep = image.mode.startswith(("I", "F"))
    except FullyConvError:
        read_bands(first)  # has the last word on what is wrong
        deep = True
    return ("bands",) if deep else ("images",)


def preprocess(recipe: Recipe) -> Preprocess:
    """The preprocessing of a recipe; that of bands is measured on the pictures to train on.

    Raises:
        UsageError: If it does not fit the inputs or the network's channels.
        FullyConvError: If a picture of bands cannot be read, or has other bands than the rest.
    """
    data, model = recipe.data, recipe.model
    if data.inputs == ("bands",) and data.preprocess == "auto":
        root = _root(data)
        return band_statistics([p for s in data.train for p in split_pictures(root, s, "bands")])
    chosen = preprocess_for(model.backbone, data.preprocess, data.inputs)
    if chosen.inputs != data.inputs:
        raise UsageError(
            f"the preprocessing {data.preprocess} is for {' + '.join(chosen.inputs)}; set "
            f"--data.inputs {' '.join(chosen.inputs)}"
        )
    if len(chosen.mean) != model.in_channels:
        raise UsageError(
            f"{' + '.join(data.inputs)} have {len(chosen.mean)} channels, but the network takes "
            f"{model.in_channels}; set --model.in-channels {len(chosen.mean)}"
        )
    return chosen


def fit_channels(recipe: Recipe, chosen: Preprocess) -> Recipe:
    """The recipe with a network of as many input channels as the pictures have bands."""
    return replace(recipe, model=replace(recipe.model, in_channels=len(chosen.mean)))


def augmentation(data: DataConfig) -> Augmentation:
    """How the pictures to train on are varied."""
    return Augmentation(
        crop=data.crop,
        scale=data.scale,
        mirror=data.mirror,
        jitter=data.jitter,
        color=data.color,
        bands=data.inputs == ("bands",),
    )
