"""What a traced network calls: functions by what they do to a map, and their arguments."""

from __future__ import annotations

from typing import Any

from torch import fx

JOINING = {"add", "iadd", "sub", "isub", "mul", "imul", "div", "truediv", "itruediv", "maximum"}
"""Two maps cell by cell, or a map and a number for each channel."""

SIDE_BY_SIDE = {"cat", "concat", "concatenate", "stack"}
"""Maps one after the other, along their channels."""

ELEMENTWISE = {
    *("relu", "relu_", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "mish"),
    *("hardswish", "hardsigmoid", "hardtanh", "sigmoid", "logsigmoid", "tanh", "softplus"),
    *("softsign", "exp", "log", "sqrt", "rsqrt", "pow", "abs", "neg", "clamp", "dropout"),
    *("alpha_dropout", "batch_norm", "contiguous", "clone", "detach", "float", "to", "square"),
    *("dropout2d", "feature_dropout", "prelu", "erf", "local_response_norm"),
}
"""Every number on its own, or with those of its own cell."""

SIZES = {"size", "dim", "getattr", "numel"}
"""Not a tensor but its extent."""

RESHAPING = {"flatten", "view", "reshape", "squeeze", "unsqueeze", "expand", "expand_as"}
"""The same numbers in another shape."""

CUTTING = {"chunk": 2, "split": 2, "index_select": 1}
"""Parts of a tensor; the position of the argument that says along which dimension."""

REARRANGING = {"permute", "transpose", "getitem", *CUTTING}
"""Dimensions in another order, or some of their entries."""

POOLING = {"mean", "adaptive_avg_pool2d", "adaptive_max_pool2d"}
"""One number for several cells."""


def name(node: fx.Node) -> str:
    """The name of the function or method that a node calls."""
    return node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")


def dimension(node: fx.Node, position: int, default: int | None) -> Any:
    """The argument ``dim`` of a call, by name or position."""
    positional = node.args[position] if len(node.args) > position else default
    return node.kwargs.get("dim", positional)


def dimensions(values: Any) -> list[int]:
    """Dimensions that may be given one by one or as a list."""
    return [v for value in values for v in (value if isinstance(value, list | tuple) else [value])]
