"""How often each class occurs, and the class weights that follow."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from fullyconv.data.folder import FolderDataset

ClassWeights = Literal["none", "median_frequency", "enet"]


def count_classes(dataset: FolderDataset, progress: bool = True) -> NDArray[np.int64]:
    """Pixels of each class, and pictures that hold it, from every label file.

    Reading them all also finds the one that is damaged or holds a foreign label before training
    starts rather than hours later.

    Returns:
        (2, C) int64: pixels of each class; pixels, void included, of the pictures that hold it.

    Raises:
        FullyConvError: Of the first bad file.
    """
    counts = np.zeros((2, dataset.labels.num_classes), np.int64)
    files = tqdm(range(len(dataset)), "reading labels", disable=not progress, leave=False)
    for index in files:
        target = dataset.target(index)
        dataset.check_size(index, target)
        pixels = np.bincount(target.ravel(), minlength=256)[: counts.shape[1]]
        counts[0] += pixels
        counts[1][pixels > 0] += target.size
    return counts


def class_weights(counts: NDArray[np.int64], kind: ClassWeights) -> NDArray[np.float32] | None:
    """Factors on each class's loss, from :func:`count_classes`.

    * ``"median_frequency"``: median of the frequencies over the class's own (Eigen & Fergus 2015),
      a frequency being a class's pixels over all pixels of the pictures that hold it.
    * ``"enet"``: 1 / ln(1.02 + share of all pixels) (Paszke et al. 2016, ENet, section 5.2).

    Returns:
        (C,) float32, or None for ``"none"``; a class that never occurs gets 0.
    """
    if kind == "none":
        return None
    pixels = counts[0].astype(np.float64)
    present = pixels > 0
    if kind == "enet":
        weights = 1 / np.log(1.02 + pixels / max(1, pixels.sum()))
    else:
        frequency = pixels / np.maximum(1, counts[1])
        typical = np.median(frequency[present]) if present.any() else 1.0
        weights = typical / np.where(present, frequency, 1)
    return np.where(present, weights, 0).astype(np.float32)
