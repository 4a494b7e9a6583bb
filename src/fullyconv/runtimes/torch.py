"""The PyTorch engine."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fullyconv.checkpoint import load_model
from fullyconv.errors import FullyConvError
from fullyconv.models.fast.elision import elide
from fullyconv.models.fast.stages import Stages
from fullyconv.models.fast.winograd import with_winograd
from fullyconv.models.layers import channels_last
from fullyconv.runtimes.runtime import Maps

_PAID_AFTER = 6  # of VGG16: 2.0 s to transform, 0.34 s saved at 360 x 480 (2 cores)


class TorchRuntime:
    """A network behind the interface that every engine has: arrays in, arrays out.

    Args:
        model: Network, in evaluation mode.
        device: Where to run; CUDA if there is one.
        precision: ``"float32"``, or ``"bfloat16"`` for the layers that may.
        compiled: Compile it, for each kind of sizes when it first occurs.
        quick: Leave out the padding that no picture reaches, and on CPUs, after some pictures, do
            large convolutions by fewer multiplications; the weights must not change any more.

    Attributes:
        plan: The network's geometry.
        streams: 1: one run uses all processors, or the GPU.
    """

    streams = 1

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
        quick = quick and not compiled
        if quick:
            self.stages.shorten(elide)
        # pictures until transformed kernels, which take seconds to make, have paid
        on_cpu = self.device.type == "cpu" and precision == "float32"
        self._plainly = _PAID_AFTER if quick and on_cpu else 0
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
                self._count(given)
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

    def side_by_side(self) -> AbstractContextManager[TorchRuntime]:
        """Itself."""
        return nullcontext(self)

    def _count(self, given: Maps) -> None:
        """Go over to fewer multiplications when enough whole pictures have come."""
        if self._plainly and "images" in given:
            self._plainly -= 1
            if not self._plainly:
                self.stages.shorten(lambda backbone: with_winograd(elide(backbone)))


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
