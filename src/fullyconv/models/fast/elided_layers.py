"""Layers on the difference to a constant around them (see :mod:`fullyconv.models.fast.elision`)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fullyconv.models.fast.reach import Reach
from fullyconv.models.fast.winograd import WinogradConv2d

Place = tuple[Reach, Reach]
"""What an image reaches of the rows of a layer's output, and of its columns."""

# OpenVINO makes one of a padding with zeros and the padding of the convolution behind it, and has
# only a slow way (no AMX) for one that is wider than the kernel; of another number it does not.
_ALMOST_ZERO = 1e-30


class ElidedConv2d(nn.Module):
    """A convolution, and the rectifier behind it if there is one, of the difference to a constant.

    Args:
        conv: The convolution; its weight is shared.
        rectified: Whether a rectifier follows.
        before: (in,) constant of its input.

    Attributes:
        value: (out,): the convolution of ``before``.
        constant: (out,) constant of the output: ``value``, rectified.

    Shape:
        (N, in, h, w) to (N, out, h', w').
    """

    before: Tensor
    value: Tensor
    constant: Tensor

    def __init__(self, conv: nn.Conv2d, rectified: bool, before: Tensor) -> None:
        super().__init__()
        self.conv, self.rectified = conv, rectified
        value = _of_constant(conv, before)
        self.register_buffer("before", before, persistent=False)
        self.register_buffer("value", value, persistent=False)
        self.register_buffer("constant", value.relu() if rectified else value, persistent=False)

    def forward(self, x: Tensor, place: Place) -> Tensor:
        """Return the difference for ``x``, which goes to a place in the map of the outputs."""
        y = self.convolve(x, place, self.value - self.constant)
        if not self.rectified:
            return y
        least = (-self.constant).to(y.dtype)[:, None, None]
        if y.requires_grad:
            return torch.maximum(y, least)
        return torch.maximum(y, least, out=y)  # in place: one pass over the map

    def convolve(self, x: Tensor, place: Place, bias: Tensor, around: float = 0.0) -> Tensor:
        """The convolution with another bias, padded as the place says.

        Args:
            x: Its input.
            place: Of its output.
            bias: (out,).
            around: What the extra cells around its input are.
        """
        conv, (rows, columns) = self.conv, place
        extra = (*columns.extra, *rows.extra)
        x = F.pad(x, extra, value=around) if any(extra) else x
        padding = (rows.padding, columns.padding)
        if isinstance(conv, WinogradConv2d):
            return conv.convolve(x, bias, padding)
        return F.conv2d(x, conv.weight, bias, conv.stride, padding, conv.dilation, conv.groups)


class ElidedPointwise(nn.Module):
    """A layer that works on each cell alone, of the difference to a constant.

    Args:
        layer: The layer.
        before: (C,) constant of its input.

    Attributes:
        constant: (C,) of its output.

    Shape:
        (N, C, h, w) to (N, C, h, w).
    """

    before: Tensor
    constant: Tensor

    def __init__(self, layer: nn.Module, before: Tensor) -> None:
        super().__init__()
        self.layer = layer
        self.register_buffer("before", before, persistent=False)
        with torch.no_grad():
            constant = layer(before.clone()[None, :, None, None])[0, :, 0, 0]
        self.register_buffer("constant", constant, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the difference for ``x``; shapes as in the class docstring."""
        y: Tensor = self.layer(x + self.before.to(x.dtype)[:, None, None])
        return y - self.constant.to(y.dtype)[:, None, None]


class FixedConv2d(nn.Module):
    """An :class:`ElidedConv2d` of maps of one size, by operations that engines merge into one.

    Args:
        elided: The convolution.
        place: Of its output.

    Shape:
        (N, in, h, w) to (N, out, h', w').
    """

    def __init__(self, elided: ElidedConv2d, place: Place) -> None:
        super().__init__()
        self.elided, self.place = elided, place

    def forward(self, x: Tensor) -> Tensor:
        """Return the difference for ``x``; shapes as in the class docstring."""
        elided = self.elided
        y = elided.convolve(x, self.place, elided.value, _ALMOST_ZERO)
        return (y.relu() if elided.rectified else y) - elided.constant[:, None, None]


class Laid(nn.Sequential):
    """Layers, and their window laid onto the whole map that the image of zeros gives.

    Args:
        layers: On the window.
        background: (C, h, w), or (1, C, h, w).
        place: Of the window on it.
    """

    background: Tensor

    def __init__(self, layers: Sequence[nn.Module], background: Tensor, place: Place) -> None:
        super().__init__(*layers)
        self.register_buffer("background", background, persistent=False)
        self.place = place

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, C, h, w) to the window (N, C, h', w') and the whole map (N, C, h'', w'')."""
        x = super().forward(x)  # type: ignore[no-untyped-call]
        return x, lay(x, self.background, self.place)


def elided_layers(layers: Sequence[nn.Module]) -> nn.ModuleList:
    """What replaces each layer; a rectifier behind a convolution becomes part of it.

    Args:
        layers: From the image on, which is continued by zeros: of the kinds for which
            :func:`~fullyconv.models.fast.reach.reaches` knows what the image reaches.
    """
    replaced = nn.ModuleList()
    constant, after = torch.zeros(0), [*layers[1:], None]
    for layer, following in zip(layers, after, strict=False):
        if isinstance(layer, nn.Conv2d):
            constant = constant if len(replaced) else layer.weight.new_zeros(layer.in_channels)
            replaced.append(ElidedConv2d(layer, isinstance(following, nn.ReLU), constant))
        elif isinstance(layer, nn.MaxPool2d):
            replaced.append(nn.MaxPool2d(layer.kernel_size, layer.stride))
            continue
        elif isinstance(layer, nn.ReLU) and isinstance(replaced[-1], ElidedConv2d):
            replaced.append(nn.Identity())
            continue
        else:
            replaced.append(ElidedPointwise(layer, constant))
        constant = replaced[-1].get_buffer("constant")
    return replaced


def lay(window: Tensor, background: Tensor, place: Place) -> Tensor:
    """The whole map (N, C, h, w): a window's difference (N, C, h', w') added to the background."""
    (top, bottom), (left, right) = (
        (reach.start, reach.cells - reach.start - reach.count) for reach in place
    )
    return background + F.pad(window, (left, right, top, bottom))


@torch.no_grad()
def _of_constant(conv: nn.Conv2d, constant: Tensor) -> Tensor:
    """(out,): what a convolution gives where its input is ``constant`` (in,) all around."""
    weight = conv.weight.double().sum((2, 3), keepdim=True)
    bias = None if conv.bias is None else conv.bias.double()
    x = constant.double()[None, :, None, None]
    return F.conv2d(x, weight, bias, groups=conv.groups)[0, :, 0, 0].to(conv.weight.dtype)
