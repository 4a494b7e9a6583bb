"""The data sets that a configuration names."""

from __future__ import annotations

from fullyconv.config import DataConfig
from fullyconv.data.augment import Augmentation
from fullyconv.data.folder import FolderDataset
from fullyconv.errors import FullyConvError, UsageError, did_you_mean
from fullyconv.labels import LABEL_SPACES, LabelSpace


def label_space(name: str, num_classes: int) -> LabelSpace:
    """A label space by name.

    Raises:
        UsageError: If there is none of that name, or a network of ``num_classes`` does not fit it.
    """
    if name not in LABEL_SPACES:
        raise UsageError(
            f"there is no label space {name!r}. {did_you_mean(name, list(LABEL_SPACES))}"
        )
    labels = LABEL_SPACES[name]
    if labels.num_classes != num_classes:
        raise UsageError(
            f"the network has {num_classes} classes, but the labels {name!r} have "
            f"{labels.num_classes}; set --model.num-classes {labels.num_classes}"
        )
    return labels


def open_datasets(
    data: DataConfig, labels: LabelSpace
) -> tuple[FolderDataset, FolderDataset | None]:
    """The pictures to train on, and those to score, if any.

    Raises:
        FullyConvError: If a folder is not as expected, or pictures are in both.
    """
    if data.root is None:
        raise UsageError("no data set folder is given; name it with --data.root FOLDER")
    training = FolderDataset(data.root, data.train, labels)
    if not data.val:
        return training, None
    validation = FolderDataset(data.root, data.val, labels)
    shared = {p.stem for p, _ in training.pairs} & {p.stem for p, _ in validation.pairs}
    if shared:
        raise FullyConvError(
            f"{len(shared)} pictures are in both {data.train!r} and {data.val!r} "
            f"({', '.join(sorted(shared)[:3])}): the score would be of pictures learned by heart"
        )
    return training, validation


def augmentation(data: DataConfig) -> Augmentation:
    """How the pictures to train on are varied."""
    return Augmentation(crop=data.crop, scale=data.scale, mirror=data.mirror, color=data.color)
