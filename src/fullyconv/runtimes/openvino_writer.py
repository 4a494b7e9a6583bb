"""A network as OpenVINO's two files, .xml and .bin; also with whole numbers for weights."""

from __future__ import annotations

import contextlib
import io
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullyconv.checkpoint import Header
from fullyconv.extras import optional
from fullyconv.models.fast.plan import Plan
from fullyconv.runtimes.engine import describe


def write_openvino(
    model: Any, header: Header, plan: Plan, path: str | os.PathLike[str], half: bool = False
) -> None:
    """Write a model as .xml, and its weights beside it as .bin.

    Args:
        model: An ``openvino.Model`` whose outputs have the names of the network's maps.
        header: What the file shall say about itself.
        plan: The network's geometry.
        path: The .xml file.
        half: Store weights in float16; computing stays float32.
    """
    for key, text in describe(header, plan).items():
        model.set_rt_info(text, [key])
    optional("openvino", "deploy").save_model(model, os.fspath(path), compress_to_fp16=half)


def quantized(
    model: Any, pictures: Sequence[int], read: Callable[[int], NDArray[np.float32]]
) -> Any:
    """The model with weights and maps of 8 bits, ranges chosen by what the pictures give.

    From the taps' class scores on it stays as it is: adding up and interpolating cost little.

    Args:
        model: An ``openvino.Model`` with the network's maps by name.
        pictures: Their numbers.
        read: From a number to the network's input (1, C, H, W).

    Returns:
        Another ``openvino.Model`` with the same names.

    Raises:
        FullyConvError: If nncf is not installed.
    """
    nncf = optional("nncf", "int8")
    with _quiet("nncf"):
        return nncf.quantize(
            model.clone(),
            nncf.Dataset(list(pictures), read),
            subset_size=len(pictures),
            preset=nncf.QuantizationPreset.MIXED,
            ignored_scope=nncf.IgnoredScope(names=_behind_scores(model), validate=False),
        )


def _behind_scores(model: Any) -> list[str]:
    """Names of the nodes that the taps' class scores lead to."""
    waiting = [
        output
        for node in model.get_ordered_ops()
        for output in node.outputs()
        if any(name.startswith("scores") for name in output.get_names())
    ]
    found = set()
    while waiting:
        for consumer in waiting.pop().get_target_inputs():
            node = consumer.get_node()
            if node.get_friendly_name() not in found and node.get_type_name() != "Result":
                found.add(node.get_friendly_name())
                waiting += node.outputs()
    return sorted(found)


@contextlib.contextmanager
def _quiet(name: str) -> Iterator[None]:
    """A package's progress bars and notes, which are of no use here, are not shown."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    shown = io.StringIO()
    try:
        with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(shown):
            yield
    finally:
        logger.setLevel(level)
