"""Which of several processes this one is, under ``torchrun`` or ``accelerate launch``."""

from __future__ import annotations

import atexit
from functools import cache

import torch
from accelerate import PartialState


def on_cpu() -> bool:
    """Whether there is no accelerator; Accelerate must be told, or each process goes alone."""
    return not (torch.cuda.is_available() or torch.backends.mps.is_available())


def this_process() -> PartialState:
    """Number of this process, and how many there are; the first call connects them."""
    _part_at_exit()
    return PartialState(cpu=on_cpu())


@cache
def _part_at_exit() -> None:
    """Close the connections in order: what is left open is torn down with an abort."""
    atexit.register(_part)


def _part() -> None:
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
