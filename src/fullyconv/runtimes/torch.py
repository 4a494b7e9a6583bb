"""The PyTorch engine."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fullyconv.checkpoint import load_model
from fullyconv.errors import FullyConvError
from fullyconv.models.elision import elide
from fullyconv.models.layers import channels_last
from fullyconv.models.stages import Stages
from fullyconv.models.winograd import with_winograd
from fullyconv.runtimes.runtime import Maps


class TorchRuntime:
    """A network behind the interface that every engine has: arrays in, arrays out.

    Args:
        model: Network, in evaluation mode.
        device: Where to run; CUDA if there is one.
        precision: ``"float32"``, or ``"bfloat16"`` for the layers that may.
        compiled: Compile it, for each kind of sizes when it first occurs.
        quick: Leave out the padding that no picture reaches, and on CPUs do large convolutions by
            fewer multiplications; the weights must not change any more.

    Attributes:
        plan: The network's geometry.
    """

    def __init__(
        self,
        model: nn.Module,
        device: str | torch.device | None = None,
        precision: str = "float32",
        compiled: bool = False,
        quick: bool = False,
    ) -> None:
        self.device = usual_device(device)
        self.stages = channels_last(Stages(model).to(self.device))
        if quick and not compiled:
            multiplied = self.device.type == "cpu" and precision == "float32"
            self.stages.shorten(lambda b: with_winograd(elide(b)) if multiplied else elide(b))
        self.plan = self.stages.plan
        self._bfloat16 = precision == "bfloat16"
        self._run = torch.compile(self.stages.run) if compiled else self.stages.run

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], precision: str = "float32", compiled: bool = False
    ) -> TorchRuntime:
        """Engine for a checkpoint."""
        return cls(load_model(path), None, precision, compiled, quick=True)

    def run(self, given: Maps, wanted: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """Compute maps of a network from other ones, as every engine does.

        Raises:
            FullyConvError: If there is too little memory.
        """
        lower = torch.autocast(self.device.type, torch.bfloat16, enabled=self._bfloat16)
        with torch.inference_mode(), lower:
            try:
                maps = {name: to_tensor(array, self.device) for name, array in given.items()}
                made = self._run(maps, wanted)
                return {name: to_array(tensor) for name, tensor in made.items()}
            except (MemoryError, RuntimeError) as error:
                if not is_memory_error(error):
                    raise
                name, array = next(iter(given.items()))
                raise FullyConvError(
                    f"too little memory for {name} of shape {array.shape}; label it in tiles "
                    "(--tiles)"
                ) from error


def usual_device(device: str | torch.device | None = None) -> torch.device:
    """The device asked for; CUDA, if there is one, where none is."""
    return torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))


def to_tensor(array: NDArray[np.float32], device: torch.device) -> Tensor:
    """An array (N, C, H, W) on a device, channels last."""
    return torch.from_numpy(array).to(device, memory_format=torch.channels_last)


def to_array(tensor: Tensor) -> NDArray[np.float32]:
    """A tensor as float32 in the processor's memory."""
    array: NDArray[np.float32] = tensor.float().cpu().numpy()
    return array


def is_memory_error(error: Exception) -> bool:
    """Whether an error says that memory ran out; PyTorch has several ways to."""
    return "memory" in f"{type(error).__name__}: {error}".lower()
