"""The stream of training batches, a function of the seed and the iteration number alone.

Nothing about the stream has to be saved: iteration k draws the same pictures, varied in the same
way, whether the run came there in one go or was resumed, and however many processes share it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from fullyconv.data.augment import Augmentation
from fullyconv.data.folder import FolderDataset
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


class _Varied(Dataset[tuple[Tensor, Tensor]]):
    """Samples as a network sees them, varied by the draw that names them."""

    def __init__(
        self, dataset: FolderDataset, augmentation: Augmentation, preprocess: Preprocess, seed: int
    ) -> None:
        self.dataset, self.augmentation = dataset, augmentation
        self.preprocess, self.seed = preprocess, seed

    def __getitem__(self, draw: Draw) -> tuple[Tensor, Tensor]:
        iteration, position, index = draw
        sample = self.dataset[index]
        rng = np.random.default_rng((self.seed, iteration, position))
        image, target = self.augmentation(sample.image, sample.target, rng)
        return torch.from_numpy(self.preprocess(image)), torch.from_numpy(target.astype(np.int64))


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
    """
    return DataLoader(
        _Varied(dataset, augmentation, preprocess, seed),
        batch_sampler=_Draws(len(dataset), batch_size, seed, start, stop, rank, world),
        num_workers=workers,
        pin_memory=torch.cuda.is_available(),
    )
