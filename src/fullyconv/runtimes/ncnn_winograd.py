"""Wide kernels by a third of the multiplications (Winograd), out of layers that ncnn has.

Most of the time of FCN-VGG16 that is not spent on 3 x 3 convolutions, for which ncnn has Winograd's
tiles itself, goes into fc6, a 7 x 7 one. Here each tile of k + 1 cells squared gives 2 x 2 outputs
(Lavin & Gray, "Fast algorithms for convolutional neural networks", 2016): 64 products of channels
for those where k = 7, instead of 196.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fullyconv.models.layers import window
from fullyconv.runtimes.ncnn_graph import TO_END, Graph, array

_OUT = 2
_POINTS = (0.0, 1.0, -1.0, 0.5, -0.5, 2.0, -2.0)
_CHANNELS = 64  # from so many in and out on, transforming costs less than it saves
_AT_ONCE = 256  # output channels
_CHANNELS_FASTEST = 1  # PixelShuffle's number for how its input's channels are ordered


def suits(layer: nn.Module) -> bool:
    """Whether a layer is a convolution that is faster this way."""
    return (
        isinstance(layer, nn.Conv2d)
        and layer.kernel_size in ((6, 6), (7, 7))
        and layer.groups == 1
        and layer.padding_mode == "zeros"
        and all(window(layer, axis)[1:] == (1, window(layer, axis)[2], 1) for axis in (0, 1))
        and min(layer.in_channels, layer.out_channels) >= _CHANNELS
    )


def add_winograd(graph: Graph, conv: nn.Conv2d, x: str) -> str:
    """Add a convolution that :func:`suits`.

    Args:
        graph: What is added to.
        conv: The convolution.
        x: Blob that it reads, of any size.

    Returns:
        The blob that it makes.
    """
    size, out, channels = conv.kernel_size[0], conv.out_channels, conv.in_channels
    (_, _, (top, bottom), _), (_, _, (left, right), _) = (window(conv, axis) for axis in (0, 1))
    tile = size + _OUT - 1
    positions = tile**2
    outputs, kernels, inputs = _transforms(size)
    # one cell more behind, for a last tile that would lack it
    x = graph.add("Padding", [x], {0: top, 1: bottom + 1, 2: left, 3: right + 1})
    tiles = graph.add(
        "ConvolutionDepthWise",
        [x],
        {0: positions * channels, 1: tile, 3: _OUT, 6: positions**2 * channels, 7: channels},
        channels=positions * channels,
        kernel=np.tile(np.kron(inputs, inputs), (channels, 1)),
    )
    tiles = graph.add("ShuffleChannel", [tiles], {0: channels})  # by position, not by channel
    products = graph.add(
        "ConvolutionDepthWise",
        [tiles],
        {0: positions * out, 1: 1, 6: positions * out * channels, 7: positions},
        channels=positions * out,
        kernel=_transformed(conv.weight, torch.from_numpy(kernels)),
    )
    # the products of a tile as channels, whatever its place and output channel
    products = graph.add("Reshape", [products], {0: 0, 1: -1, 2: positions}, channels=positions)
    y = graph.add(
        "Convolution",
        [products],
        {0: _OUT**2, 1: 1, 6: _OUT**2 * positions},
        channels=_OUT**2,
        kernel=np.kron(outputs, outputs),
    )
    y = graph.add("Reshape", [y], {0: 0, 1: -1, 2: _OUT**2 * out}, channels=_OUT**2 * out)
    y = graph.add("PixelShuffle", [y], {0: _OUT, 1: _CHANNELS_FASTEST}, channels=out)
    bias = np.zeros(out) if conv.bias is None else array(conv.bias)
    y = graph.add("Scale", [y], {0: out, 1: 1}, weights=[np.ones(out), bias])
    # as many rows and columns as the kernel makes; a reference of two axes says how many
    counted = graph.add("Crop", [x], {9: [size, size], 10: [TO_END, TO_END], 11: [1, 2]})
    plane = graph.add("Reduction", [counted], {0: 4, 1: 0, 3: [0], 4: 0, 5: 1}, channels=1)
    return graph.add("Crop", [y, plane], {0: 0, 1: 0})


def _transformed(weight: Tensor, side: Tensor) -> NDArray[np.float32]:
    """Kernels (out, in, k, k) as (positions, out, in), some at a time: they are large."""
    tile, (out, channels) = len(side), weight.shape[:2]
    kernel = np.empty((tile, tile, out, channels), np.float32)
    for first in range(0, out, _AT_ONCE):
        part = weight[first : first + _AT_ONCE].detach().cpu().double()
        rows = torch.einsum("ocab,jb->ocaj", part, side)
        kernel[:, :, first : first + _AT_ONCE] = array(torch.einsum("ocaj,ia->ijoc", rows, side))
    return kernel


def _transforms(size: int) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Along one axis: (2, n) of products to outputs, (n, size) of a kernel, (n, n) of a tile.

    Of Cook and Toom: a convolution is the transposed multiplication of polynomials, and those are
    multiplied where they are evaluated: at the points, and at infinity, their leading coefficient.
    """
    tile = size + _OUT - 1

    def evaluated(count: int) -> NDArray[np.float64]:
        values = np.array(_POINTS[: tile - 1])[:, None] ** np.arange(count)
        return np.concatenate((values, np.eye(count)[-1:]))

    return evaluated(_OUT).T, evaluated(size), np.linalg.inv(evaluated(tile)).T.astype(np.float64)
