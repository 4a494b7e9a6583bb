"""The stream of training batches, a function of the seed and the iteration number alone.

Nothing about the stream has to be saved: iteration k draws the same pictures, varied in the same
way, whether the run came there in one go or was resumed, and however many processes share it.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from fullyconv.config import Damaged
from fullyconv.data.augment import Augmentation
from fullyconv.data.folder import FolderDataset
from fullyconv.errors import FullyConvError, UsageError
from fullyconv.labels import Ids
from fullyconv.preprocess import Pixels, Preprocess

Draw = tuple[int, int, int]  # iteration, position in the batch, index into the data set


class Batch(NamedTuple):
    """What one pass of the network is given.

    Attributes:
        images: (n, C, H, W) float32.
        target: (n, H, W) int64, or (n, heads, H, W).
        names: The pictures.
        problems: One sentence for each picture that could not be read, and was replaced.
    """

    images: Tensor
    target: Tensor
    names: list[str]
    problems: list[str]


class _Drawn(NamedTuple):
    """One sample of a batch."""

    image: Tensor
    target: Tensor
    name: str
    problems: list[str]


class _Draws(Sampler[list[Draw]]):
    """Which samples each batch of this process holds: shuffled epochs, end to end, without end.

    With replacement, each draw is of the whole data set, as in the authors' loaders.
    """

    def __init__(
        self,
        size: int,
        batch_size: int,
        seed: int,
        start: int,
        stop: int,
        rank: int,
        world: int,
        replacement: bool,
    ) -> None:
        self.size, self.batch_size, self.seed = size, batch_size, seed
        self.start, self.stop, self.rank, self.world = start, stop, rank, world
        self.replacement = replacement

    def __len__(self) -> int:
        return self.stop - self.start

    def __iter__(self) -> Iterator[list[Draw]]:
        epoch, order = -1, np.empty(0, np.int64)
        for iteration in range(self.start, self.stop):
            batch: list[Draw] = []
            for position in range(self.rank, self.batch_size, self.world):
                drawn = iteration * self.batch_size + position
                if drawn // self.size != epoch:
                    epoch = drawn // self.size
                    rng = np.random.default_rng((self.seed, epoch))
                    order = (
                        rng.integers(self.size, size=self.size)
                        if self.replacement
                        else rng.permutation(self.size)
                    )
                batch.append((iteration, position, int(order[drawn % self.size])))
            yield batch


class _Varied(Dataset[_Drawn | FullyConvError]):
    """Samples as a network sees them, varied by the draw that names them.

    An error meant for users is returned, not raised: on its way out of a reading process PyTorch
    would bury its message in a traceback.
    """

    def __init__(
        self,
        dataset: FolderDataset,
        augmentation: Augmentation,
        preprocess: Preprocess,
        seed: int,
        damaged: Damaged,
    ) -> None:
        self.dataset, self.augmentation = dataset, augmentation
        self.preprocess, self.seed, self.damaged = preprocess, seed, damaged

    def __getitem__(self, draw: Draw) -> _Drawn | FullyConvError:
        iteration, position, index = draw
        problems: list[str] = []
        while True:
            try:
                sample = self.dataset[(index + len(problems)) % len(self.dataset)]
                break
            except FullyConvError as error:
                problems.append(str(error))
                if self.damaged == "stop" or len(problems) == len(self.dataset):
                    return error
        rng = np.random.default_rng((self.seed, iteration, position))
        image, target = self.augmentation(sample.image, sample.target, rng)
        return _Drawn(*to_tensors(image, target, self.preprocess), sample.name, problems)


def to_tensors(image: Pixels, target: Ids, preprocess: Preprocess) -> tuple[Tensor, Tensor]:
    """A picture as the network takes it, and its labels as the loss takes them."""
    return torch.from_numpy(preprocess(image)), torch.from_numpy(target.astype(np.int64))


def _collate(samples: list[_Drawn | FullyConvError]) -> Batch | FullyConvError:
    """One batch, or the first sample's error."""
    drawn = []
    for sample in samples:
        if isinstance(sample, FullyConvError):
            return sample
        drawn.append(sample)
    sizes = {"{} x {}".format(*sample.target.shape[-2:]) for sample in drawn}
    if len(sizes) > 1:
        return UsageError(
            f"pictures of different sizes ({', '.join(sorted(sizes))}) make no batch; cut them to "
            "one size with --data.crop HEIGHT WIDTH, or set --optim.batch-size 1"
        )
    return Batch(
        torch.stack([sample.image for sample in drawn]),
        torch.stack([sample.target for sample in drawn]),
        [sample.name for sample in drawn],
        [problem for sample in drawn for problem in sample.problems],
    )


class _Batches(DataLoader[Any]):
    """A loader that raises the errors that :class:`_Varied` returned."""

    def __iter__(self) -> Any:
        reader = super().__iter__()
        try:
            for batch in reader:
                if isinstance(batch, FullyConvError):
                    raise batch
                yield batch
        finally:
            del reader  # ends its processes now, though the error's traceback may live on


def _ignore_interrupts(worker: int) -> None:
    """Ctrl-C reaches every process of a terminal; the training process decides what it means."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def training_batches(
    dataset: FolderDataset,
    augmentation: Augmentation,
    preprocess: Preprocess,
    *,
    batch_size: int,
    seed: int,
    start: int,
    stop: int,
    replacement: bool = False,
    damaged: Damaged = "stop",
    rank: int = 0,
    world: int = 1,
    workers: int = 0,
) -> DataLoader[Any]:
    """Batches of iterations ``start`` to ``stop - 1`` for process ``rank`` of ``world``.

    Yields:
        :class:`Batch`, with n = this process's share of ``batch_size``. A picture that cannot be
        read raises if ``damaged`` is ``"stop"``; with ``"skip"`` the next one takes its place.

    Raises:
        UsageError: If there are more processes than pictures in a batch, or pictures of different
            sizes in one.
        FullyConvError: If a file cannot be used; the iterator raises it.
    """
    if batch_size < world:
        raise UsageError(
            f"a batch of {batch_size} cannot be shared by {world} processes; set "
            f"--optim.batch-size to {world} or more, which changes a recipe of single pictures, or "
            "use one process"
        )
    return _Batches(
        _Varied(dataset, augmentation, preprocess, seed, damaged),
        batch_sampler=_Draws(len(dataset), batch_size, seed, start, stop, rank, world, replacement),
        num_workers=workers,
        worker_init_fn=_ignore_interrupts,
        collate_fn=_collate,
        pin_memory=torch.cuda.is_available(),
    )
