"""How fast a training run is and can be, how long it waits for data, what memory it holds."""

from __future__ import annotations

import ctypes
import platform
import time
from collections.abc import Iterator
from typing import TypeVar

import psutil
import torch

from fullyconv.config import Precision

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


def fastest_precision(device: torch.device) -> Precision:
    """bfloat16 where a device computes with it; emulated, it would be slower than float32."""
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    elif device.type == "cpu":
        # since PyTorch 2.6 or so; processors that it does not know have none
        capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
        native = any(bool(capabilities.get(name)) for name in ("avx512_bf16", "amx_bf16"))
    else:
        native = False
    return "bfloat16" if native else "float32"


def keep_freed_memory() -> None:
    """Let a step use the memory that the one before it freed.

    The GNU C library gives every large block back to the system at once, and the system clears it
    again at the next step: on CPUs a third of the time of training a small network. The process
    then holds at once what it would otherwise have held in turns.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    no_mapped_blocks, trim_threshold = -4, -1  # M_MMAP_MAX and M_TRIM_THRESHOLD of malloc.h
    library = ctypes.CDLL(None)
    library.mallopt(no_mapped_blocks, 0)
    library.mallopt(trim_threshold, 2**31 - 1)


def _memory() -> float:
    """Memory in GiB: the most used of the accelerator's, or what this process holds."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    held: int = psutil.Process().memory_info().rss
    return held / 2**30
