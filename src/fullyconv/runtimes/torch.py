"""The PyTorch engine."""

from __future__ import annotations

import os

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fullyconv.checkpoint import load_model
from fullyconv.models.layers import channels_last


class TorchRuntime:
    """A network behind the interface that every engine has: arrays in, logits out.

    Args:
        model: Network, in evaluation mode; a two-head one answers with both heads' classes.
        device: Where to run; CUDA if there is one.
    """

    def __init__(self, model: nn.Module, device: str | torch.device | None = None) -> None:
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.model = channels_last(model.to(self.device))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> TorchRuntime:
        """Engine for a checkpoint."""
        return cls(load_model(path))

    def __call__(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits (N, classes of all heads, H, W) float32 of images (N, C, H, W) float32."""
        with torch.inference_mode():
            batch = torch.from_numpy(images).to(self.device, memory_format=torch.channels_last)
            logits = self.model(batch)
            if isinstance(logits, dict):
                logits = torch.cat(list(logits.values()), 1)
            result: NDArray[np.float32] = logits.float().cpu().numpy()
        return result
