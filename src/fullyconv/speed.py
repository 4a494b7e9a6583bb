"""How fast a training run is, how long it waits for data, and what memory it holds."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TypeVar

import psutil
import torch

_Batch = TypeVar("_Batch")


class Speedometer:
    """Measures from one line of the log to the next."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Measure from now on."""
        self.since, self.waited, self.pictures = time.perf_counter(), 0.0, 0

    def waited_for(self, stream: Iterator[_Batch]) -> _Batch:
        """The next batch; the wait for it is counted."""
        before = time.perf_counter()
        batch = next(stream)
        self.waited += time.perf_counter() - before
        return batch

    def lap(self) -> dict[str, float]:
        """Pictures per second, share of the time spent waiting for data, and memory in GiB."""
        seconds = time.perf_counter() - self.since
        measured = {
            "pictures_per_second": round(self.pictures / seconds, 2),
            "data_wait": round(self.waited / seconds, 3),
            "memory_gib": round(_memory(), 2),
        }
        self.restart()
        return measured


def _memory() -> float:
    """Memory in GiB: the most used of the accelerator's, or what this process holds."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    held: int = psutil.Process().memory_info().rss
    return held / 2**30
