"""A layer that a traced network calls as a function, as the layer that it is."""

from __future__ import annotations

from operator import attrgetter
from typing import Any

from torch import fx, nn

# Arguments by position (torch.nn.functional); their defaults are the layers' own.
_POOLING = ("input", "kernel_size", "stride", "padding")
_ARGUMENTS = {
    "linear": ("input", "weight", "bias"),
    "conv2d": ("input", "weight", "bias", "stride", "padding", "dilation", "groups"),
    "max_pool2d": (*_POOLING, "dilation", "ceil_mode", "return_indices"),
    "avg_pool2d": (*_POOLING, "ceil_mode", "count_include_pad", "divisor_override"),
    "pad": ("input", "pad", "mode", "value"),
}
LAYER_FUNCTIONS = tuple(_ARGUMENTS)
Called = nn.Linear | nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d | nn.ZeroPad2d


def as_layer(node: fx.Node, name: str, root: nn.Module) -> Called:
    """The layer that a node calls as a function.

    Args:
        node: The call.
        name: Of the function, one of :data:`LAYER_FUNCTIONS`.
        root: Module whose parameters it may name.

    Raises:
        ValueError: If the function was called in a way that no layer has; says how.
    """
    called = dict(zip(_ARGUMENTS[name], node.args, strict=False)) | node.kwargs
    given: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in called.items()
        if value is not None and key not in ("input", "return_indices")
    }
    if name == "pad":
        return _pad(given)
    if name == "max_pool2d":
        return nn.MaxPool2d(**given)
    if name == "avg_pool2d":
        return nn.AvgPool2d(**given)
    weight, bias = (_parameter(given.pop(key, None), root) for key in ("weight", "bias"))
    if weight is None:
        raise ValueError(f"uses {name} with weights that it computes")
    out, channels = weight.shape[:2]
    if name == "linear":
        linear = nn.Linear(channels, out, bias=bias is not None)
        linear.weight, linear.bias = weight, bias  # type: ignore[assignment]
        return linear
    rows, columns = weight.shape[2:]
    channels *= given.get("groups", 1)
    conv = nn.Conv2d(channels, out, (rows, columns), bias=bias is not None, **given)
    conv.weight, conv.bias = weight, bias
    return conv


def _pad(given: dict[str, Any]) -> nn.ZeroPad2d:
    sides = given.get("pad", ())
    zeros = given.get("mode", "constant") == "constant" and not given.get("value")
    if not zeros or len(sides) != 4 or not all(isinstance(side, int) for side in sides):
        raise ValueError("pads by other than a fixed number of zeros")
    return nn.ZeroPad2d(sides)


def _parameter(value: object, root: nn.Module) -> nn.Parameter | None:
    if not isinstance(value, fx.Node) or value.op != "get_attr":
        return None
    parameter = attrgetter(str(value.target))(root)
    return parameter if isinstance(parameter, nn.Parameter) else None
