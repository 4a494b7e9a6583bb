"""The pictures of a recipe as a torch Dataset, for a loop of one's own."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from fullyconv.config import Recipe
from fullyconv.data.augment import Augmentation
from fullyconv.data.batches import to_tensors
from fullyconv.data.folder import FolderDataset
from fullyconv.data.prepare.ready import ready
from fullyconv.data.sources import Opened, augmentation, open_recipe
from fullyconv.errors import UsageError


class Pictures(Dataset[tuple[Tensor, Tensor]]):
    """Pictures as a network is given them, and their class ids; :func:`open_dataset` opens them.

    Item ``i`` is an image (C, H, W) float32 and a target (H, W) int64, or (heads, H, W); void is
    ``labels.ignore_index``: 255, with more than 255 classes 65535. It raises a
    :class:`~fullyconv.FullyConvError` if a file is damaged or a label is out of range. What is
    random is drawn from torch's generator: ``torch.manual_seed`` repeats it, and the workers of a
    DataLoader draw differently.

    Args:
        opened: The data of a recipe.
        files: Those to train on, or those to score.
        varied: How they are varied; None for not at all.

    Attributes:
        recipe: The recipe, whose network has as many classes and channels as the data.
        labels: The classes, for a :class:`~fullyconv.Header`.
        heads: Label spaces of the further heads of a network of several.
        preprocess: From pixels to the network's input units, for a :class:`~fullyconv.Header`.
        names: File names without their suffixes.
    """

    def __init__(self, opened: Opened, files: FolderDataset, varied: Augmentation | None) -> None:
        self.recipe, self.labels, self.heads = opened.recipe, opened.labels, opened.heads
        self.preprocess = opened.preprocess
        self.names = [of.name for of in files.files]
        self._files, self._varied = files, varied

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        sample = self._files[index]
        image, target = sample.image, sample.target
        if self._varied is not None:
            seed = int(torch.randint(2**63 - 1, ()).item())
            image, target = self._varied(image, target, np.random.default_rng(seed))
        return to_tensors(image, target, self.preprocess)


def open_dataset(recipe: Recipe, split: Literal["train", "val"] = "train") -> Pictures:
    """The pictures of a recipe for a loop of one's own, as :func:`~fullyconv.train` gives them.

    Args:
        recipe: Its ``data`` names folder, pictures and classes, and says how they are varied.
        split: ``"train"``: the pictures that ``data.train`` names, cut, scaled, mirrored and
            coloured at random as ``data`` says; ``"val"``: those of ``data.val``, as they are.

    Raises:
        UsageError: If there is no such split, the recipe names no folder or no pictures to score,
            or its settings do not fit the data.
        FullyConvError: If a folder or file is not as expected, or pictures are in both splits.
    """
    if split not in ("train", "val") or (split == "val" and not recipe.data.val):
        raise UsageError(
            f"the split is {split!r}; it is 'train' or 'val', for the pictures that data.train "
            f"({', '.join(recipe.data.train)}) and data.val ({recipe.data.val or 'none'}) of the "
            "recipe name"
        )
    recipe = replace(recipe, data=ready(recipe.data, print))
    opened = open_recipe(recipe)
    if split == "train":
        return Pictures(opened, opened.training, augmentation(recipe.data))
    assert opened.validation is not None
    return Pictures(opened, opened.validation, None)
