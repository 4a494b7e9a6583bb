"""A network as a .pt2 file, which PyTorch runs without fullyconv."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fullyconv.checkpoint import Header
from fullyconv.files import write_whole
from fullyconv.models.fast.plan import Plan
from fullyconv.runtimes.engine import describe
from fullyconv.scores import Scores

TRACED = (2, 353, 321)
"""Number, height and width of the pictures that networks are traced with; any would do."""


def write_torch(
    model: nn.Module,
    header: Header,
    plan: Plan,
    path: str | os.PathLike[str],
    size: tuple[int, int] | None = None,
) -> int:
    """Write a network with ``torch.export``; the file holds no pickle.

    Args:
        model: Network in evaluation mode.
        header: What the file shall say about itself.
        plan: The network's geometry.
        path: The file.
        size: Height and width of the only pictures it shall take; any, if not given.

    Returns:
        The smallest height and width that it takes: below, a map has a single cell, which
        ``torch.export`` takes for a constant.

    Raises:
        FullyConvError: If the file cannot be written.
    """
    vary = torch.export.Dim.DYNAMIC
    shapes: Any = ({0: vary, 2: vary, 3: vary},) if size is None else None
    number, height, width = TRACED if size is None else (1, *size)
    example = torch.zeros(number, header.model.in_channels, height, width)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about its own insides
        program = torch.export.export(model, (example,), dynamic_shapes=shapes)
        program.example_inputs = None  # they would be pickled
        texts = describe(header, plan)
        write_whole(path, lambda file: torch.export.save(program, file, extra_files=texts))
    bounds = [int(limits.lower) for limits in program.range_constraints.values()]
    return max(bounds, default=1)


def scores_of(path: str | os.PathLike[str]) -> Callable[[NDArray[np.float32]], Scores]:
    """What a file says of a network input (1, C, H, W); for one that was just written.

    PyTorch unpickles what a .pt2 file holds of pickles: no file of others is opened here.
    """
    program = torch.export.load(path).module()

    def scores(images: NDArray[np.float32]) -> Scores:
        with torch.inference_mode():
            said = program(torch.from_numpy(images))
        logits = torch.cat(list(said.values()), 1) if isinstance(said, dict) else said
        return Scores.of(logits[0].numpy())

    return scores
