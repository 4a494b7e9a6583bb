"""What is in a data set: classes, sizes, colours."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fullyconv.bands import read_bands
from fullyconv.config import ClassWeights
from fullyconv.data.check.finding import Findings
from fullyconv.data.check.layout import Layout, Sample
from fullyconv.data.check.run import open_layout
from fullyconv.data.folder import LIST, split_pictures
from fullyconv.data.parallel import in_parallel
from fullyconv.data.sources import CLASSES, usual_inputs
from fullyconv.data.statistics import class_weights
from fullyconv.errors import FullyConvError
from fullyconv.images import read_depth, read_labels, read_photo
from fullyconv.labels import LabelSpace

WEIGHTS: tuple[ClassWeights, ...] = tuple(k for k in get_args(ClassWeights) if k != "none")
"""The ways to weigh classes; see :func:`~fullyconv.data.statistics.class_weights`."""

_MOST_SIZES = 10_000


@dataclass
class Channels:
    """Values of the channels of one kind of input, over all pixels.

    Attributes:
        pixels: How many have a value; of bands (C,), as each has gaps of its own.
        sums: (2, C) float64: sums of the values and of their squares.
        histogram: (C, 256) int64 of 8-bit values; None for depth and bands.
    """

    pixels: int | NDArray[np.int64]
    sums: NDArray[np.float64]
    histogram: NDArray[np.int64] | None = None

    @property
    def mean(self) -> tuple[float, ...]:
        """Mean of each channel, in the units of the pixels as read: 0-255, or log millimetres."""
        return tuple(self._means[0].tolist())

    @property
    def std(self) -> tuple[float, ...]:
        """Standard deviation of each channel over all pixels of all pictures."""
        mean, squares = self._means
        return tuple(np.sqrt(np.maximum(squares - mean**2, 0)).tolist())

    @property
    def _means(self) -> NDArray[np.float64]:
        means: NDArray[np.float64] = self.sums / np.maximum(1, self.pixels)
        return means

    def __add__(self, other: Channels) -> Channels:
        histogram = None
        if self.histogram is not None and other.histogram is not None:
            histogram = self.histogram + other.histogram
        return Channels(self.pixels + other.pixels, self.sums + other.sums, histogram)


@dataclass
class SplitStats:
    """One split, counted.

    Attributes:
        counts: (2, C) int64: pixels of each class; pixels, void included, of the pictures that
            hold it.
        together: (C, C) int64: pictures that hold both classes; on the diagonal, that hold one.
        void: Pixels that do not count.
        pictures: Samples that could be read.
        sizes: Pictures of each height and width.
        channels: Values of each kind of input.
        left_out: Files that could not be used.
        problem: What was wrong with the first of them.
    """

    counts: NDArray[np.int64]
    together: NDArray[np.int64]
    void: int = 0
    pictures: int = 0
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    channels: dict[str, Channels] = field(default_factory=dict)
    left_out: int = 0
    problem: str = ""

    @property
    def shares(self) -> NDArray[np.float64]:
        """(C,) share of each class of the pixels that count."""
        shares: NDArray[np.float64] = self.counts[0] / max(1, int(self.counts[0].sum()))
        return shares

    @property
    def pictures_with(self) -> NDArray[np.int64]:
        """(C,) pictures that hold each class."""
        return np.diagonal(self.together)


@dataclass(frozen=True)
class Stats:
    """What is in a data set.

    Attributes:
        root: Its folder.
        labels: Its classes.
        splits: Each split, the one to train on first.
    """

    root: Path
    labels: LabelSpace
    splits: Mapping[str, SplitStats]

    @property
    def training(self) -> SplitStats:
        """The split to train on: the one that weights, means and deviations are of."""
        return next(iter(self.splits.values()))

    def weights(self, kind: ClassWeights) -> NDArray[np.float32]:
        """(C,) factors on each class's loss; 0 for a class that never occurs."""
        factors = class_weights(self.training.counts, kind)
        assert factors is not None
        return factors

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a JSON file."""
        return {
            "root": str(self.root),
            "categories": list(self.labels.categories),
            "class_weights": {kind: self.weights(kind).tolist() for kind in WEIGHTS},
            "splits": {name: _plain(split) for name, split in self.splits.items()},
        }


def _plain(split: SplitStats) -> dict[str, Any]:
    return {
        "pictures": split.pictures,
        "left_out": split.left_out,
        "pixels": split.counts[0].tolist(),
        "void": split.void,
        "pictures_with": split.pictures_with.tolist(),
        "together": split.together.tolist(),
        "sizes": [[height, width, n] for (height, width), n in split.sizes.most_common()],
        "channels": {
            kind: {
                "mean": channels.mean,
                "std": channels.std,
                "mean_0_1": [value / 255 for value in channels.mean],
                "std_0_1": [value / 255 for value in channels.std],
            }
            if channels.histogram is not None
            else {"mean": channels.mean, "std": channels.std}
            for kind, channels in split.channels.items()
        },
    }


def stats(
    root: str | os.PathLike[str],
    *,
    labels: str = "auto",
    lists: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> Stats:
    """Count classes, sizes and colours of a data set, every file read once.

    Args:
        root: Folder with ``classes.json`` and images/ and labels/, or splits that hold them.
        labels: Name of a known label space; ``"auto"`` for the folder's own ``classes.json``.
        lists: Folder of lists of names (``train.txt``), each a split; None for those of ``root``.
        workers: Processes; None for one per processor, or none beside this one for a few pictures.
            A script that starts some needs ``if __name__ == "__main__"``.
        progress: Show a bar.

    Raises:
        UsageError: If there is no such label space, or no such number of workers.
        FullyConvError: If the folder holds no data set, its classes are not known, a list cannot be
            used, or no sample can be.
    """
    findings = Findings()
    layout, space = open_layout(Path(root), labels, findings)
    if space is None:
        detail = next(f for f in findings.all() if f.kind.name == "classes").examples[0].detail
        raise FullyConvError(f"{Path(root) / CLASSES}: {detail}")
    count = space.num_classes
    samples = layout.samples
    parts, members = layout.splits, [sample.split for sample in samples]
    if lists is not None:
        parts, members, samples = _listed(layout, Path(lists))
    splits = {
        part: SplitStats(np.zeros((2, count), np.int64), np.zeros((count, count), np.int64))
        for part in parts
    }
    work = partial(_measure, layout.root, space, _are_bands(layout.root, samples))
    measured = in_parallel(work, samples, workers=workers, title="counting", progress=progress)
    for part, found in zip(members, measured, strict=True):
        _add(splits[part], found)
    made = Stats(layout.root, space, splits)
    if not any(split.pictures for split in splits.values()):
        raise FullyConvError(
            f"{root}: no sample can be used; fcn data check says why. {made.training.problem}"
        )
    return made


def _listed(layout: Layout, lists: Path) -> tuple[tuple[str, ...], list[str], list[Sample]]:
    """The lists of a folder, that to train on first; of every name in them its list and sample."""
    parts = sorted(
        (path.stem for path in lists.glob(f"*{LIST}")), key=lambda name: (name != "train", name)
    )
    if not parts:
        raise FullyConvError(
            f"{lists}: no list such as train{LIST} in it; fcn data split --lists writes some"
        )
    known = {(sample.split, sample.stem): sample for sample in layout.samples}
    members, samples = [], []
    for part in parts:
        path = (lists / f"{part}{LIST}").resolve()
        for picture in split_pictures(layout.root, str(path), "bands"):
            split = picture.parent.parent.relative_to(layout.root).as_posix().removeprefix(".")
            if (split, picture.stem) not in known:
                raise FullyConvError(
                    f"{path}: {split}/{picture.stem} is in no split of {layout.root}, whose "
                    "images/ and labels/ are in one piece"
                )
            members.append(part)
            samples.append(known[split, picture.stem])
    return tuple(parts), members, samples


@dataclass(frozen=True)
class _Measured:
    """What is counted of one sample: pixels of each class, those of void, size, channels."""

    pixels: NDArray[np.int64] | None
    void: int
    size: tuple[int, int]
    channels: dict[str, Channels]


def _are_bands(root: Path, samples: Sequence[Sample]) -> bool:
    """Whether the pictures are bands, by the first that can be read; as ``fcn new`` decides it."""
    for sample in samples:
        if "images" in sample.suffixes:
            try:
                return usual_inputs(root / sample.path("images")) == ("bands",)
            except FullyConvError:
                continue
    return False


def _measure(root: Path, space: LabelSpace, bands: bool, sample: Sample) -> _Measured | str:
    pixels, void, size, channels = None, 0, (0, 0), {}
    try:
        for kind in sample.suffixes:
            path = root / sample.path(kind)
            if kind == "labels":
                target = space.encode(read_labels(path), path)
                pixels = np.bincount(target.ravel(), minlength=space.ignore_index + 1)
                void = int(pixels[space.ignore_index])
                pixels = pixels[: space.num_classes]
            elif kind == "depth":
                depth = read_depth(path).astype(np.float64)
                sums = np.array([[depth.sum()], [(depth**2).sum()]])
                channels[kind] = Channels(depth.size, sums)
            elif kind == "images" and bands:
                values = read_bands(path)
                size, channels["bands"] = values.shape[:2], _bands(values)
            elif kind in ("images", "hha"):
                photo = read_photo(path)
                size = photo.shape[:2] if kind == "images" else size
                channels[kind] = _channels(photo)
    except FullyConvError as error:
        return str(error)
    return _Measured(pixels, void, size, channels)


def _bands(values: NDArray[np.float32]) -> Channels:
    known = np.isfinite(values)
    exact = np.where(known, values, 0).astype(np.float64)
    sums = np.stack([exact.sum((0, 1)), (exact**2).sum((0, 1))])
    return Channels(known.sum((0, 1), dtype=np.int64), sums)


def _channels(photo: NDArray[np.uint8]) -> Channels:
    histogram = np.array(Image.fromarray(photo).histogram(), np.int64).reshape(3, 256)
    values = np.arange(256)
    sums = np.stack([histogram @ values, histogram @ values**2]).astype(np.float64)
    return Channels(photo.shape[0] * photo.shape[1], sums, histogram)


def _add(split: SplitStats, found: _Measured | str) -> None:
    if not isinstance(found, str) and "bands" in found.channels and "bands" in split.channels:
        counts = [part.channels["bands"].sums.shape[1] for part in (found, split)]
        if counts[0] != counts[1]:
            found = f"a picture has {counts[0]} bands, those before it {counts[1]}"
    if isinstance(found, str):
        split.left_out += 1
        split.problem = split.problem or found
        return
    split.pictures += 1
    if found.size in split.sizes or len(split.sizes) < _MOST_SIZES:
        split.sizes[found.size] += 1
    for kind, channels in found.channels.items():
        split.channels[kind] = (
            split.channels[kind] + channels if kind in split.channels else channels
        )
    if found.pixels is None:
        return
    present = np.flatnonzero(found.pixels)
    split.counts[0] += found.pixels
    split.counts[1][present] += found.pixels.sum() + found.void
    split.together[np.ix_(present, present)] += 1
    split.void += found.void
