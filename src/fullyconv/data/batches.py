"""The stream of training batches, a function of the seed and the iteration number alone.

Nothing about the stream has to be saved: iteration k draws the same pictures, varied in the same
way, whether the run came there in one go or was resumed, and however many processes share it.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from fullyconv.data.augment import Augmentation
from fullyconv.data.folder import FolderDataset
from fullyconv.errors import FullyConvError, UsageError
from fullyconv.preprocess import Preprocess

Draw = tuple[int, int, int]  # iteration, position in the batch, index into the data set


class _Draws(Sampler[list[Draw]]):
    """Which samples each batch of this process holds: shuffled epochs, end to end, without end."""

    def __init__(
        self, size: int, batch_size: int, seed: int, start: int, stop: int, rank: int, world: int
    ) -> None:
        self.size, self.batch_size, self.seed = size, batch_size, seed
        self.start, self.stop, self.rank, self.world = start, stop, rank, world

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
                    order = np.random.default_rng((self.seed, epoch)).permutation(self.size)
                batch.append((iteration, position, int(order[drawn % self.size])))
            yield batch


class _Varied(Dataset[tuple[Tensor, Tensor] | FullyConvError]):
    """Samples as a network sees them, varied by the draw that names them.

    An error meant for users is returned, not raised: on its way out of a reading process PyTorch
    would bury its message in a traceback.
    """

    def __init__(
        self, dataset: FolderDataset, augmentation: Augmentation, preprocess: Preprocess, seed: int
    ) -> None:
        self.dataset, self.augmentation = dataset, augmentation
        self.preprocess, self.seed = preprocess, seed

    def __getitem__(self, draw: Draw) -> tuple[Tensor, Tensor] | FullyConvError:
        iteration, position, index = draw
        try:
            sample = self.dataset[index]
        except FullyConvError as error:
            return error
        rng = np.random.default_rng((self.seed, iteration, position))
        image, target = self.augmentation(sample.image, sample.target, rng)
        return torch.from_numpy(self.preprocess(image)), torch.from_numpy(target.astype(np.int64))


def _collate(samples: list[tuple[Tensor, Tensor] | FullyConvError]) -> Any:
    """One batch, or the first sample's error."""
    sizes = set()
    for sample in samples:
        if isinstance(sample, FullyConvError):
            return sample
        sizes.add("{} x {}".format(*sample[1].shape))
    if len(sizes) > 1:
        return UsageError(
            f"pictures of different sizes ({', '.join(sorted(sizes))}) make no batch; cut them to "
            "one size with --data.crop HEIGHT WIDTH, or set --optim.batch-size 1"
        )
    return default_collate(samples)


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
    rank: int = 0,
    world: int = 1,
    workers: int = 0,
) -> DataLoader[Any]:
    """Batches of iterations ``start`` to ``stop - 1`` for process ``rank`` of ``world``.

    Yields:
        images (n, C, H, W) float32 and targets (n, H, W) int64, n = this process's share of
        ``batch_size``.

    Raises:
        UsageError: If there are more processes than pictures in a batch, or pictures of different
            sizes in one.
        FullyConvError: If a file cannot be used; the iterator raises it.
    """
    if batch_size < world:
        raise UsageError(
            f"a batch of {batch_size} cannot be shared by {world} processes; set "
            f"--optim.batch-size to {world} or more"
        )
    return _Batches(
        _Varied(dataset, augmentation, preprocess, seed),
        batch_sampler=_Draws(len(dataset), batch_size, seed, start, stop, rank, world),
        num_workers=workers,
        worker_init_fn=_ignore_interrupts,
        collate_fn=_collate,
        pin_memory=torch.cuda.is_available(),
    )
