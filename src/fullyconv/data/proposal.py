"""A training run proposed for somebody's own pictures: what ``fcn new`` writes."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fullyconv.bands import bands_size
from fullyconv.config import DataConfig, Recipe
from fullyconv.data.folder import LIST, FolderDataset, pictures, split_pictures
from fullyconv.data.sources import CLASSES, read_label_space, usual_inputs
from fullyconv.data.statistics import count_classes
from fullyconv.errors import FullyConvError
from fullyconv.files import write_json
from fullyconv.images import image_size, read_labels
from fullyconv.labels import IGNORE_INDEX, WIDE_IGNORE_INDEX, LabelSpace
from fullyconv.progress import progress_bar
from fullyconv.recipes import recipe as named_recipe

_LOOKED_AT = 200  # pictures whose size is read
_EPOCHS = 43  # what the shipped camvid model was trained for: 2,000 steps of 8 over 367 pictures
_FEWEST, _MOST = 300, 10_000  # steps
_SMALLEST = 96  # of a crop's sides: below, a network of stride 32 sees little but its padding
_RARE = 0.01  # share of the pixels below which a class is called rare


@dataclass(frozen=True)
class Proposal:
    """A recipe for a folder, and what was found there.

    Attributes:
        recipe: The training run.
        classes: Share of all labelled pixels of each class in the pictures to train on, by name.
        pictures: To train on, and to score.
        size: Median height and width of the pictures.
        notes: What the user should know or do.
    """

    recipe: Recipe
    classes: dict[str, float]
    pictures: tuple[int, int]
    size: tuple[int, int]
    notes: tuple[str, ...]


def propose(
    root: str | os.PathLike[str],
    lists: str | os.PathLike[str] | None = None,
    *,
    progress: bool = True,
) -> Proposal:
    """Look at a folder of pictures and labels, and propose how to train on it.

    Every label file is read. Where ``classes.json`` is missing, it is written, with numbers for
    names.

    Args:
        root: ``train/`` and perhaps ``val/``, each with ``images/`` and ``labels/``.
        lists: Folder of ``train.txt`` and perhaps ``val.txt``, lists of names in ``root``, which
            then need not be split.
        progress: Show progress bars.

    Raises:
        FullyConvError: If the folder is not as expected, or a file cannot be used.
    """
    root = Path(root).resolve()
    notes: list[str] = []
    if lists is None:
        _check_layout(root)
    data = _splits(root, None if lists is None else Path(lists).resolve())
    labels = _labels(root, notes, progress)
    data = replace(data, inputs=usual_inputs(split_pictures(root, data.train[0], "bands")[0]))
    if not data.val:
        notes.append(
            "there is no val/: nothing will be scored, and the last weights are kept, not the "
            "best; fcn data split makes one"
        )
    training = FolderDataset(root, data.train, labels, data.inputs)
    validation = FolderDataset(root, data.val, labels, data.inputs) if data.val else None
    counts = count_classes(training, progress)[0]
    if validation is not None:
        count_classes(validation, progress)
    shares = counts[0] / max(1, counts[0].sum())
    notes += _on_classes(labels, shares)
    height, width = _median_size(training)
    base = named_recipe("finetune")
    assert base.data.crop is not None
    crop = (_side(height, base.data.crop[0]), _side(width, base.data.crop[1]))
    steps = int(np.clip(_EPOCHS * len(training) // base.optim.batch_size, _FEWEST, _MOST))
    settings = replace(
        base.data, **{f: getattr(data, f) for f in ("root", "inputs", "train", "val")}
    )
    recipe = replace(
        base,
        model=replace(base.model, num_classes=labels.num_classes),
        data=replace(settings, crop=crop),
        optim=replace(base.optim, max_iters=steps),
        eval_interval=max(25, steps // 8),
    )
    return Proposal(
        recipe,
        dict(zip(labels.categories, shares.tolist(), strict=True)),
        (len(training), len(validation) if validation is not None else 0),
        (height, width),
        tuple(notes),
    )


def _check_layout(root: Path) -> None:
    if (root / "train").is_dir():
        return
    if (root / "images").is_dir() and (root / "labels").is_dir():
        raise FullyConvError(
            f"{root} has its images/ and labels/ in one piece; put some pictures aside to score "
            "with: fcn data split (with its --lists, give fcn new the same folder with --lists)"
        )
    raise FullyConvError(
        f"{root} has no train/ with images/ and labels/ in it; fcn data import makes such a folder "
        "of what a labelling tool exports, or of images/ and masks/"
    )


def _splits(root: Path, lists: Path | None) -> DataConfig:
    """What to train on and what to score, folders or lists."""
    if lists is None:
        return DataConfig(root=root, val="val" if (root / "val").is_dir() else "")
    train, val = lists / f"train{LIST}", lists / f"val{LIST}"
    return DataConfig(root=root, train=(str(train),), val=str(val) if val.is_file() else "")


def _labels(root: Path, notes: list[str], progress: bool) -> LabelSpace:
    path = root / CLASSES
    if path.exists():
        return read_label_space(path)
    found: set[int] = set()
    folders = [split / "labels" for split in (root, *sorted(root.iterdir()))]
    folders = [folder for folder in folders if folder.is_dir()]
    files = [file for folder in folders for file in pictures(folder).values()]
    for file in progress_bar(files, "looking for classes", disable=not progress, leave=False):
        found |= {int(value) for value in np.unique(read_labels(file))}
    usual = {IGNORE_INDEX, WIDE_IGNORE_INDEX}
    if len(found - usual) > IGNORE_INDEX:
        usual.remove(IGNORE_INDEX)  # among so many ids it is a class
    ids, void = sorted(found - usual), sorted(found & usual)
    if not ids:
        raise FullyConvError(f"{root}: the label files hold nothing but {void[0]}, void")
    names = tuple(f"class {i}" for i in ids)
    labels = LabelSpace(categories=names, raw_ids=tuple(ids), void=tuple(void) or (min(usual),))
    write_json(path, labels.to_dict())
    notes.append(
        f"{path} was written, of the {len(ids)} ids that the label files hold "
        f"({_listed(ids)}): give the classes their names there before you train"
    )
    return labels


def _listed(ids: list[int]) -> str:
    return ", ".join(map(str, ids[:12])) + (", ..." if len(ids) > 12 else "")


def _on_classes(labels: LabelSpace, shares: np.ndarray) -> list[str]:
    named = list(zip(labels.categories, shares.tolist(), strict=True))
    never = [name for name, share in named if share == 0]
    rare = [f"{name} ({100 * share:.2g} %)" for name, share in named if 0 < share < _RARE]
    notes = []
    if never:
        notes.append(f"no picture to train on shows {', '.join(never)}: that is never learned")
    if rare:
        notes.append(
            f"rare classes: {', '.join(rare)}; their loss is weighted up (--optim.class-weights "
            "enet)"
        )
    return notes


def _median_size(dataset: FolderDataset) -> tuple[int, int]:
    step = -(-len(dataset) // _LOOKED_AT)
    of = bands_size if dataset.inputs == ("bands",) else image_size
    sizes = np.array([of(files.inputs[0]) for files in dataset.files[::step]])
    height, width = np.median(sizes, 0).astype(int).tolist()
    return height, width


def _side(size: int, usual: int) -> int:
    """A crop's side: the recipe's, or less for smaller pictures, in whole cells of stride 32."""
    return min(usual, max(_SMALLEST, -(-size // 32) * 32))
