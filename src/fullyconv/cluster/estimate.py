"""What a run will take, from what there is to do and how fast the workers are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from fullyconv.cluster.addresses import read_bytes
from fullyconv.cluster.plan import Item
from fullyconv.cluster.shards import first_members
from fullyconv.errors import FullyConvError

SAMPLE = 16
"""Photographs that are labelled to measure how fast the workers are."""


class Measured(NamedTuple):
    """What some photographs took a worker, while the others did the same.

    Attributes:
        photos: How many were labelled.
        seconds: In which time, reading and writing left out.
        read: Bytes of them.
        written: Bytes of their results.
    """

    photos: int
    seconds: float
    read: int
    written: int


@dataclass
class Amount:
    """What there is to do.

    Attributes:
        photos: Photographs on their own.
        shards: Tars of photographs.
        photo_bytes: Of the photographs, as far as listings say.
        shard_bytes: Of the shards, likewise.
    """

    photos: int = 0
    shards: int = 0
    photo_bytes: int = 0
    shard_bytes: int = 0

    @classmethod
    def of(cls, items: Iterable[Item]) -> Amount:
        """Count; nothing is kept."""
        amount = cls()
        for item in items:
            if item.is_shard:
                amount.shards += 1
                amount.shard_bytes += item.size or 0
            else:
                amount.photos += 1
                amount.photo_bytes += item.size or 0
        return amount

    def __str__(self) -> str:
        size = f"{(self.photo_bytes + self.shard_bytes) / 1e6:,.1f} MB"
        parts = [f"{self.photos:,} photographs"] * bool(self.photos or not self.shards)
        return (
            " and ".join([*parts, *[f"{self.shards:,} shards"] * bool(self.shards)]) + f", {size}"
        )


@dataclass(frozen=True)
class Estimate:
    """What a run will take.

    Attributes:
        photos: How many there are about, those in shards counted by their bytes.
        rate: Photographs per second of all workers together.
        workers: How many.
        written: Bytes of all results.
        price: Of a worker for an hour; None if nobody said.
    """

    photos: int
    rate: float
    workers: int
    written: float
    price: float | None = None

    @classmethod
    def of(
        cls, amount: Amount, measured: Sequence[Measured], price: float | None = None
    ) -> Estimate | None:
        """From what the workers have measured; None if they could label nothing."""
        photos = sum(m.photos for m in measured)
        if not photos:
            return None
        # in a tar each file has a header of 512 bytes, and fills blocks of 512
        each = sum(m.read for m in measured) / photos + 768
        total = amount.photos + round(amount.shard_bytes / each)
        rate = sum(m.photos / m.seconds for m in measured)
        written = total * sum(m.written for m in measured) / photos
        return cls(total, rate, len(measured), written, price)

    @property
    def hours(self) -> float:
        """Of the whole run."""
        return self.photos / self.rate / 3600

    def __str__(self) -> str:
        each = self.rate / self.workers
        said = (
            f"{self.workers} workers x {each:.1f} = {self.rate:.1f} photographs per second: about "
            f"{_duration(3600 * self.hours)} for {self.photos:,}, {self.workers * self.hours:.2f} "
            f"worker-hours; results of about {self.written / 1e6:,.1f} MB"
        )
        if self.price is not None:
            said += f"; {self.workers * self.hours * self.price:,.2f} at {self.price:g} an hour"
        return said + " (reading and writing not counted)"


def _duration(seconds: float) -> str:
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} seconds"


def sample(items: Iterable[Item]) -> list[tuple[str, bytes]]:
    """Some photographs to measure with: address and content of the first that can be read."""
    found: list[tuple[str, bytes]] = []
    for item in islice(items, 2 * SAMPLE):
        try:
            if item.is_shard:
                found += first_members(item.address, SAMPLE)
            else:
                found.append((item.address, read_bytes(item.address, item.size)))
        except FullyConvError:  # the run will say so
            continue
        if len(found) >= SAMPLE:
            break
    return found[:SAMPLE]
