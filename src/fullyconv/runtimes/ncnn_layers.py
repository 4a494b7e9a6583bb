"""PyTorch's layers as ncnn's."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from fullyconv.errors import FullyConvError
from fullyconv.models.layers import (
    BilinearUpsample,
    DilatedAverage,
    LearnedUpsample,
    Parallel,
    Residual,
    window,
)
from fullyconv.models.traced import Traced
from fullyconv.runtimes.ncnn_graph import TO_END, Graph, Value, array
from fullyconv.runtimes.ncnn_winograd import add_winograd, suits

_LOWEST = float(np.finfo(np.float32).min)
# ncnn's numbers of operations
_ADD, _MULTIPLY, _MAXIMUM = 0, 2, 4
_REPLICATE = 1
_POOL_MAXIMUM, _POOL_AVERAGE = 0, 1
_AS_PADDED, _AS_TENSORFLOW = 1, 2


def add_layer(graph: Graph, layer: nn.Module, x: str) -> str:
    """Add a layer, or several in a row, to a graph.

    Args:
        graph: What is added to.
        layer: In evaluation mode.
        x: Blob that it reads.

    Returns:
        The blob that it makes.

    Raises:
        FullyConvError: If ncnn has no such layer, or not with these settings.
    """
    for kind, adder in _ADDERS.items():
        if isinstance(layer, kind):
            return adder(graph, layer, x)
    raise no_layer(f"{type(layer).__name__} ({layer})")


def no_layer(what: str) -> FullyConvError:
    """The error about something that cannot be written."""
    return FullyConvError(
        f"ncnn is not given layers of this kind: {what}; export the network to ONNX or OpenVINO"
    )


def add_sum(graph: Graph, x: str, y: str) -> str:
    """The sum of two blobs of one shape."""
    return graph.add("BinaryOp", [x, y], {0: _ADD})


def add_scaled(graph: Graph, x: str, factor: float) -> str:
    """A blob times a number; the blob itself if that is 1."""
    return x if factor == 1 else graph.add("BinaryOp", [x], {0: _MULTIPLY, 1: 1, 2: float(factor)})


def add_edge(graph: Graph, x: str, cells: int) -> str:
    """A blob with its outermost cells repeated so many times."""
    sides: dict[int, Value] = dict.fromkeys(range(4), cells)
    return graph.add("Padding", [x], {**sides, 4: _REPLICATE}) if cells else x


def add_upsampling(graph: Graph, layer: nn.Module, x: str, channels: int) -> str:
    """A transposed convolution; a bilinear one of any number of channels."""
    assert isinstance(layer, BilinearUpsample | LearnedUpsample)
    kernel = layer.weight
    size = kernel.shape[-1]
    step = layer.stride if isinstance(layer.stride, int) else layer.stride[0]
    params: dict[int, Value] = {0: channels, 1: size, 3: step}
    if isinstance(layer, BilinearUpsample):
        kernel = kernel[:1].expand(channels, -1, -1, -1)
        params |= {6: kernel.numel(), 7: channels}
        return graph.add("DeconvolutionDepthWise", [x], params, kernel=array(kernel))
    params[6] = kernel.numel()
    # PyTorch's (in, out, k, k) is (out, in, k, k) in ncnn
    return graph.add("Deconvolution", [x], params, kernel=array(kernel.transpose(0, 1)))


def _sequential(graph: Graph, layer: Any, x: str) -> str:
    for part in layer:
        x = add_layer(graph, part, x)
    return x


def _residual(graph: Graph, layer: Any, x: str) -> str:
    return add_sum(graph, x, _sequential(graph, layer, x))


def _parallel(graph: Graph, layer: Any, x: str) -> str:
    return graph.concat([add_layer(graph, branch, x) for branch in layer.values()])


def _nothing(graph: Graph, layer: Any, x: str) -> str:
    return x


def _convolution(graph: Graph, layer: Any, x: str) -> str:
    if layer.padding_mode != "zeros" or layer.transposed:
        raise no_layer(f"{type(layer).__name__} ({layer})")
    if graph.winograd and suits(layer):
        return add_winograd(graph, layer, x)
    rows, columns = (window(layer, axis) for axis in (0, 1))
    return add_convolution(graph, x, layer.weight, layer.bias, rows, columns, layer.groups)


Window = tuple[int, int, tuple[int, int], int]


def add_convolution(
    graph: Graph,
    x: str,
    kernel: Tensor,
    bias: Tensor | None,
    rows: Window,
    columns: Window,
    groups: int = 1,
) -> str:
    """A convolution whose window is as :func:`~fullyconv.models.layers.window` says."""
    (_, down, (top, bottom), apart), (_, across, (left, right), beside) = rows, columns
    params: dict[int, Value] = {
        0: len(kernel), 1: columns[0], 11: rows[0], 2: beside, 12: apart, 3: across, 13: down,
        4: left, 15: right, 14: top, 16: bottom, 5: int(bias is not None), 6: kernel.numel(),
    }  # fmt: skip
    kind = "Convolution"
    if groups > 1:
        kind, params[7] = "ConvolutionDepthWise", groups
    weights = [] if bias is None else [array(bias)]
    return graph.add(kind, [x], params, channels=len(kernel), kernel=array(kernel), weights=weights)


def _pool(layer: Any, kind: int) -> dict[int, Value]:
    """Parameters of a pooling: how it pads at the end says how ncnn rounds."""
    params: dict[int, Value] = {0: kind, 5: _AS_PADDED}
    places = ((0, 11, 12, 13, 15), (1, 1, 2, 3, 14))
    for axis, size_at, stride_at, before_at, after_at in places:
        size, stride, (before, after), _ = window(layer, axis)
        if layer.ceil_mode:
            # windows up to the last that begins in the map or before it, as PyTorch has them
            after = min(before + stride - 1, size - 1)
        params |= {size_at: size, stride_at: stride, before_at: before, after_at: after}
    if layer.ceil_mode and kind == _POOL_MAXIMUM and _halves(layer):
        params[5] = _AS_TENSORFLOW  # the same cells, without copying maps of even sizes
    return params


def _halves(layer: Any) -> bool:
    return all(window(layer, axis)[:3] == (2, 2, (0, 0)) for axis in (0, 1))


def _max_pool(graph: Graph, layer: Any, x: str) -> str:
    if all(window(layer, axis)[3] == 1 for axis in (0, 1)):
        return graph.add("Pooling", [x], _pool(layer, _POOL_MAXIMUM))
    rows, columns = (window(layer, axis) for axis in (0, 1))
    if layer.return_indices or rows[1] != 1 or columns[1] != 1:
        raise no_layer(f"dilated max pooling with a stride ({layer})")
    (top, bottom), (left, right) = rows[2], columns[2]
    if any((top, bottom, left, right)):
        x = graph.add("Padding", [x], {0: top, 1: bottom, 2: left, 3: right, 5: _LOWEST})
    for axis, (size, _, _, apart) in ((1, rows), (2, columns)):
        shifts = [
            graph.add("Crop", [x], {9: [apart * i], 10: [_end(apart * (size - 1 - i))], 11: [axis]})
            for i in range(size)
        ]
        x = shifts[0]
        for shift in shifts[1:]:
            x = graph.add("BinaryOp", [x, shift], {0: _MAXIMUM})
    return x


def _end(cells: int) -> int:
    """Where a crop ends that leaves out so many cells."""
    return -cells if cells else TO_END


def _average_pool(graph: Graph, layer: Any, x: str) -> str:
    padded = any(window(layer, axis)[2] != (0, 0) for axis in (0, 1))
    counted = layer.count_include_pad and padded
    if layer.divisor_override or (counted and layer.ceil_mode):
        raise no_layer(f"average pooling that divides by another number than it adds ({layer})")
    return graph.add("Pooling", [x], _pool(layer, _POOL_AVERAGE) | {6: int(counted)})


def _dilated_average(graph: Graph, layer: Any, x: str) -> str:
    channels = graph.channels[x]
    kernel = layer.kernel.expand(channels, -1, -1, -1)
    rows, columns = (
        (kernel.shape[2 + axis], layer.stride, (layer.padding[axis],) * 2, layer.rate)
        for axis in (0, 1)
    )
    return add_convolution(graph, x, kernel, None, rows, columns, channels)


def _zero_pad(graph: Graph, layer: Any, x: str) -> str:
    left, right, top, bottom = layer.padding
    return graph.add("Padding", [x], {0: top, 1: bottom, 2: left, 3: right})


def _batch_norm(graph: Graph, layer: Any, x: str) -> str:
    if layer.running_mean is None:
        raise no_layer(f"batch norm without running statistics ({layer})")
    ones = torch.ones(layer.num_features)
    scale, shift = (ones, 0 * ones) if layer.weight is None else (layer.weight, layer.bias)
    weights = [array(t) for t in (scale, layer.running_mean, layer.running_var, shift)]
    return graph.add("BatchNorm", [x], {0: layer.num_features, 1: layer.eps}, weights=weights)


def _local_response_norm(graph: Graph, layer: Any, x: str) -> str:
    if layer.size % 2 == 0:
        raise no_layer(f"local response norm over an even number of channels ({layer})")
    params: dict[int, Value] = {1: layer.size, 2: float(layer.alpha), 3: float(layer.beta)}
    return graph.add("LRN", [x], {0: 0, **params, 4: float(layer.k)})


def _pointwise(kind: str, *settings: Callable[[Any], float]) -> Callable[[Graph, Any, str], str]:
    def add(graph: Graph, layer: Any, x: str) -> str:
        params = {number: float(setting(layer)) for number, setting in enumerate(settings)}
        return graph.add(kind, [x], params)

    return add


def _traced(graph: Graph, layer: Any, x: str) -> str:
    blobs: dict[fx.Node, str] = {}
    for node in layer.body.graph.nodes:
        if node.op == "placeholder":
            blobs[node] = x
        elif node.op == "output":
            return blobs[node.args[0]]
        elif node.op == "call_module" and len(node.args) == 1:
            blobs[node] = add_layer(
                graph, layer.body.get_submodule(node.target), blobs[node.args[0]]
            )
        else:
            blobs[node] = _called(graph, node, blobs)
    raise AssertionError("a graph has an output")


def _called(graph: Graph, node: fx.Node, blobs: dict[fx.Node, str]) -> str:
    """A function between the layers of somebody's network."""
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    given = node.args[0] if node.args and isinstance(node.args[0], list | tuple) else node.args
    inputs = [blobs[source] for source in given if isinstance(source, fx.Node) and source in blobs]
    alone = len(inputs) == len(node.all_input_nodes) == 1 and len(node.args) == 1
    if node.target in (torch.add, operator.add, "add") and len(inputs) == len(node.args) == 2:
        if not node.kwargs:
            return add_sum(graph, *inputs)
    elif node.target in (torch.cat, torch.concat) and len(inputs) == len(given):
        if (*node.args[1:], *node.kwargs.values()) == (1,):
            return graph.concat(inputs)
    elif node.target in (torch.relu, F.relu, "relu") and alone:
        return graph.add("ReLU", inputs)
    elif node.target in (F.dropout, F.dropout2d, "contiguous"):
        return inputs[0]
    raise no_layer(f"{name} of {node.meta.get('layer') or node.name}")


_ADDERS: dict[type[nn.Module] | tuple[type[nn.Module], ...], Callable[[Graph, Any, str], str]] = {
    Residual: _residual,
    nn.Sequential: _sequential,
    Parallel: _parallel,
    Traced: _traced,
    nn.Conv2d: _convolution,
    nn.MaxPool2d: _max_pool,
    nn.AvgPool2d: _average_pool,
    DilatedAverage: _dilated_average,
    nn.ZeroPad2d: _zero_pad,
    nn.BatchNorm2d: _batch_norm,
    nn.LocalResponseNorm: _local_response_norm,
    (nn.Dropout, nn.Dropout2d, nn.AlphaDropout, nn.FeatureAlphaDropout, nn.Identity): _nothing,
    nn.ReLU: _pointwise("ReLU"),
    nn.ReLU6: _pointwise("Clip", lambda _: 0, lambda _: 6),
    nn.LeakyReLU: _pointwise("ReLU", lambda layer: layer.negative_slope),
    nn.Hardtanh: _pointwise("Clip", lambda layer: layer.min_val, lambda layer: layer.max_val),
    nn.ELU: _pointwise("ELU", lambda layer: layer.alpha),
    nn.SiLU: _pointwise("Swish"),
    nn.Mish: _pointwise("Mish"),
    nn.Sigmoid: _pointwise("Sigmoid"),
    nn.Tanh: _pointwise("TanH"),
    nn.Hardswish: _pointwise("HardSwish", lambda _: 1 / 6, lambda _: 0.5),
    nn.Hardsigmoid: _pointwise("HardSigmoid", lambda _: 1 / 6, lambda _: 0.5),
}
