"""A classifier's last layers as ones that slide over a map (paper, section 3.1 and figure 2)."""

from __future__ import annotations

import math

from torch import nn


def linear_as_convolution(
    layer: nn.Linear, size: tuple[int, int], *, padded: bool = False
) -> nn.Conv2d:
    """A fully connected layer over a flattened map, as the convolution that it is.

    Args:
        layer: Takes C * h * w values, the channels' maps one after the other.
        size: Height h and width w of the map that it was made for.
        padded: Pad by half the kernel, so that a map keeps its size; else one such map gives one
            cell.

    Returns:
        A convolution of a kernel (h, w) with the layer's own weights.

    Example:
        >>> import torch
        >>> layer, map = nn.Linear(3 * 2 * 2, 5), torch.rand(1, 3, 2, 2)
        >>> convolution = linear_as_convolution(layer, (2, 2))
        >>> torch.allclose(convolution(map).flatten(1), layer(map.flatten(1)), atol=1e-6)
        True
    """
    rows, columns = (side // 2 if padded else 0 for side in size)
    channels, bias = layer.in_features // math.prod(size), layer.bias is not None
    convolution = nn.Conv2d(channels, layer.out_features, size, padding=(rows, columns), bias=bias)
    convolution.weight.data = layer.weight.data.reshape(convolution.weight.shape)
    convolution.weight.requires_grad = layer.weight.requires_grad
    convolution.bias = layer.bias
    return convolution.train(layer.training)


def batch_norm_2d(layer: nn.BatchNorm1d) -> nn.BatchNorm2d:
    """Batch norm behind a fully connected layer, for the cells of a map."""
    new = nn.BatchNorm2d(
        layer.num_features, layer.eps, layer.momentum, layer.affine, layer.track_running_stats
    )
    new.load_state_dict(layer.state_dict())
    return new.train(layer.training)


def sliding_average(size: tuple[int, int]) -> nn.Module:
    """A global average over a map of a size, at every place of a larger one."""
    return nn.AvgPool2d(size, stride=1)


def sliding_maximum(size: tuple[int, int]) -> nn.Module:
    """A global maximum over a map of a size, at every place of a larger one."""
    return nn.MaxPool2d(size, stride=1)
