"""Which of several processes this one is, under ``torchrun`` or ``accelerate launch``."""

from __future__ import annotations

import torch
from accelerate import PartialState


def on_cpu() -> bool:
    """Whether there is no accelerator; Accelerate must be told, or each process goes alone."""
    return not (torch.cuda.is_available() or torch.backends.mps.is_available())


def this_process() -> PartialState:
    """Number of this process, and how many there are; the first call connects them."""
    return PartialState(cpu=on_cpu())
