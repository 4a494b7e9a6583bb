"""What is counted and measured of a data set: its classes, its bands."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fullyconv.bands import read_bands
from fullyconv.config import ClassWeights
from fullyconv.data.folder import FolderDataset
from fullyconv.errors import FullyConvError
from fullyconv.preprocess import Preprocess
from fullyconv.progress import progress_bar


def count_classes(
    dataset: FolderDataset, progress: bool = True, damaged: list[str] | None = None
) -> list[NDArray[np.int64]]:
    """Pixels of each class, and pictures that hold it, from every label file.

    Reading them all also finds the one that is damaged or holds a foreign label before training
    starts rather than hours later.

    Args:
        dataset: Its label files are read.
        progress: Show a progress bar.
        damaged: Where given, a sample that cannot be used is taken out of the data set, and a
            sentence on it is appended; else it raises.

    Returns:
        For each head (2, C) int64: pixels of each class; pixels, void included, of the pictures
        that hold it.

    Raises:
        FullyConvError: Of the first bad file; with ``damaged``, if no sample is left.
    """
    counts = [np.zeros((2, space.num_classes), np.int64) for space in dataset.spaces]
    usable = []
    files = progress_bar(range(len(dataset)), "reading labels", disable=not progress, leave=False)
    for index in files:
        try:
            target = dataset.target(index)
            dataset.check_size(index, target)
        except FullyConvError as error:
            if damaged is None:
                raise
            damaged.append(str(error))
            continue
        usable.append(dataset.files[index])
        heads = target.reshape(len(counts), -1)
        for count, ids in zip(counts, heads, strict=True):
            pixels = np.bincount(ids, minlength=count.shape[1])[: count.shape[1]]
            count[0] += pixels
            count[1][pixels > 0] += ids.size
    dataset.files = usable
    if not usable:
        raise FullyConvError(f"{dataset.root}: no sample can be used. {(damaged or [''])[-1]}")
    return counts


def class_weights(counts: NDArray[np.int64], kind: ClassWeights) -> NDArray[np.float32] | None:
    """Factors on each class's loss, from one head's counts of :func:`count_classes`.

    * ``"inverse"``: all pixels over the class's own and over the number of classes that occur, so
      that every class has the same share of the loss (scikit-learn's ``balanced``).
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
    elif kind == "inverse":
        weights = pixels.sum() / np.maximum(1, pixels) / max(1, present.sum())
    else:
        frequency = pixels / np.maximum(1, counts[1])
        typical = np.median(frequency[present]) if present.any() else 1.0
        weights = typical / np.where(present, frequency, 1)
    return np.where(present, weights, 0).astype(np.float32)


def band_statistics(paths: Sequence[Path]) -> Preprocess:
    """Preprocessing that gives every band mean 0 and deviation 1 over all pictures.

    Args:
        paths: Pictures of bands.

    Raises:
        FullyConvError: If a picture cannot be read, or has another number of bands than the first.
    """
    count, mean, squares = _moments(paths[0])
    for path in progress_bar(paths[1:], "measuring bands", leave=False):
        more, other, around = _moments(path)
        if len(more) != len(count):
            raise FullyConvError(f"{path} has {len(more)} bands, but {paths[0]} has {len(count)}")
        both = np.maximum(1, count + more)
        squares = squares + around + (other - mean) ** 2 * count * more / both
        mean = mean + (other - mean) * more / both
        count = count + more
    deviation = np.sqrt(squares / np.maximum(1, count))
    std = np.where(deviation > 0, deviation, 1)
    return Preprocess(mean=tuple(mean.tolist()), std=tuple(std.tolist()), inputs=("bands",))


_Numbers = NDArray[np.float64]


def _moments(path: Path) -> tuple[_Numbers, _Numbers, _Numbers]:
    """For each band of a picture: how many numbers are known, their mean, squares around it."""
    values = read_bands(path).astype(np.float64)
    known = np.isfinite(values)
    count = known.sum((0, 1)).astype(np.float64)
    mean = np.where(known, values, 0).sum((0, 1)) / np.maximum(1, count)
    squares = (np.where(known, values - mean, 0) ** 2).sum((0, 1))
    return count, mean, squares
