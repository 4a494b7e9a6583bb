"""The authors' padding left out of a graph for pictures of one size.

What :mod:`fullyconv.models.fast.elision` computes less their constant, ncnn computes as it is: it
pads with a constant per channel, and so bias and rectifier stay parts of the convolution.
"""

from __future__ import annotations

from torch import Tensor, nn

from fullyconv.models.fast.elided_layers import ElidedPointwise, FixedConv2d, Laid
from fullyconv.models.fast.reach import Reach
from fullyconv.runtimes.ncnn_graph import Graph, Value, array
from fullyconv.runtimes.ncnn_layers import add_convolution, add_layer


def add_laid(graph: Graph, stage: Laid, window: str) -> tuple[str, str]:
    """Add layers that run where the picture reaches.

    Args:
        graph: What is added to.
        stage: The layers, and the background of their map.
        window: Blob of what the picture reaches of their input.

    Returns:
        The blobs of what it reaches of their output, and of the whole map.
    """
    for layer in stage:
        if isinstance(layer, FixedConv2d):
            window = _convolution(graph, layer, window)
        elif isinstance(layer, ElidedPointwise):
            window = add_layer(graph, layer.layer, window)
        else:
            window = add_layer(graph, layer, window)
    return window, _lay(graph, window, stage.background, stage.place)


def _convolution(graph: Graph, layer: FixedConv2d, x: str) -> str:
    """A convolution whose input is continued by its constant."""
    conv, elided = layer.elided.conv, layer.elided
    (top, bottom), (left, right) = (
        (reach.padding + reach.extra[0], reach.padding + reach.extra[1]) for reach in layer.place
    )
    constants = array(elided.before)
    around: dict[int, Value] = {0: top, 1: bottom, 2: left, 3: right}
    if constants.any():
        around[6] = len(constants)
    if any((top, bottom, left, right)):
        weights = [constants] if 6 in around else []
        x = graph.add("Padding", [x], around, weights=weights)
    rows, columns = (
        (size, stride, (0, 0), dilation)
        for size, stride, dilation in zip(conv.kernel_size, conv.stride, conv.dilation, strict=True)
    )
    x = add_convolution(graph, x, conv.weight, conv.bias, rows, columns, conv.groups)
    return add_layer(graph, nn.ReLU(), x) if elided.rectified else x


def _lay(graph: Graph, window: str, background: Tensor, place: tuple[Reach, Reach]) -> str:
    """The whole map: the background with the window copied onto it."""
    rows, columns = place
    channels = graph.channels[window]
    first = [max(0, -reach.start) for reach in place]
    last = [min(reach.count, reach.cells - reach.start) for reach in place]
    if first != [0, 0] or last != [rows.count, columns.count]:
        window = graph.add("Crop", [window], {9: first, 10: last, 11: [1, 2]})
    size = {0: columns.cells, 1: rows.cells, 2: channels}
    weights = [array(background.reshape(channels, rows.cells, columns.cells))]
    whole = graph.add("MemoryData", [], size, channels=channels, weights=weights)
    starts = [max(0, reach.start) for reach in place]
    return graph.add("CopyTo", [whole, window], {9: starts, 11: [1, 2]})
