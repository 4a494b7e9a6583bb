"""Convolutions by fewer multiplications (Winograd), as matrix products: for float32 on CPUs.

A tile of input cells gives a few outputs side by side: 6 x 6 give 4 x 4 of a 3x3 convolution.
Transformed, kernel and tile are multiplied position by position (Lavin & Gray, "Fast algorithms for
convolutional neural networks", 2016), with a quarter of the multiplications; over channels and
tiles that is one matrix product for each of the 36 positions. The transforms are those of Cook and
Toom for polynomials known at some points and at infinity; they are derived from the points.
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fullyconv.models.layers import MatrixConv2d, replaced

_Module = TypeVar("_Module", bound=nn.Module)
_AT_ONCE = 256  # output channels: float64 of VGG16's whole fc6 would be a gigabyte
_CHANNELS = 192  # from so many in and out on, transforming costs less than it saves


class Scheme(NamedTuple):
    """How a convolution is done in tiles, along either axis.

    Attributes:
        kernel: Side of its kernel.
        outputs: Side of the square of outputs that a tile gives.
        points: Magnitudes of the points other than 0 and infinity; they come with both signs.
    """

    kernel: int
    outputs: int
    points: tuple[float, ...]

    @property
    def tile(self) -> int:
        """Side of a tile, and number of points."""
        return self.kernel + self.outputs - 1

    def evaluated(self, count: int) -> Tensor:
        """(tile, count) float64: polynomials of so many coefficients, at the points.

        At infinity a polynomial is its leading coefficient.
        """
        points = [0.0, *(sign * point for point in self.points for sign in (1, -1))]
        values = torch.tensor(points, dtype=torch.float64)[:, None] ** torch.arange(count)
        return torch.cat((values, torch.eye(count, dtype=torch.float64)[-1:]))

    # A convolution is the transposed multiplication of polynomials, so the outputs' transform is
    # the transposed evaluation of a factor, and the tile's the transposed interpolation.
    def of_outputs(self) -> Tensor:
        """(outputs², tile²): products to outputs."""
        side = self.evaluated(self.outputs).T.contiguous()
        return torch.kron(side, side).float()

    def of_tile(self) -> Tensor:
        """(tile², tile²): a tile's cells to its factors."""
        side = torch.linalg.inv(self.evaluated(self.tile)).T.contiguous()
        return torch.kron(side, side).float()

    def of_kernel(self, weight: Tensor) -> Tensor:
        """(tile², in, out) factors of a kernel (out, in, k, k)."""
        side = self.evaluated(self.kernel)
        out, channels = weight.shape[:2]
        factors = weight.new_empty(self.tile, self.tile, channels, out)
        for first in range(0, out, _AT_ONCE):
            part = weight[first : first + _AT_ONCE].double()
            some = torch.einsum("ia,ocab,jb->ijco", side, part, side)
            factors[..., first : first + _AT_ONCE] = some
        return factors.flatten(0, 1)


# Points near 1, whose powers differ little, round least: 1.7e-6 and 5e-6 of the largest output
# where the plain convolution has 0.5e-6 (the usual 1 and 2 of the first have 8e-6).
_SCHEMES: dict[type[nn.Module], Scheme] = {
    nn.Conv2d: Scheme(kernel=3, outputs=4, points=(math.sqrt(0.5), math.sqrt(2))),
    MatrixConv2d: Scheme(kernel=7, outputs=2, points=(0.5, 1.0, 1.9)),  # VGG16's fc6
}


def with_winograd(model: _Module) -> _Module:
    """A network with those convolutions replaced for which that is faster on CPUs in float32.

    Under autocast, on other devices and where gradients are wanted they stay as they are. Kernels
    are transformed here, once: the weights must not change afterwards.

    Args:
        model: Network in evaluation mode.

    Returns:
        A network that shares all else with ``model``. Transformed kernels take four times the
        memory of a 3x3 kernel, 1.3 times that of VGG16's fc6, besides the kernels themselves.
    """

    def tiled(part: nn.Module) -> nn.Module:
        scheme = _SCHEMES.get(type(part))
        if scheme and isinstance(part, nn.Conv2d) and _suits(part, scheme):
            return WinogradConv2d(part, scheme)
        return part

    return replaced(model, tiled)


def _suits(conv: nn.Conv2d, scheme: Scheme) -> bool:
    return (
        conv.kernel_size == (scheme.kernel, scheme.kernel)
        and conv.stride == conv.dilation == (1, 1)
        and conv.groups == 1
        and conv.in_channels + conv.out_channels >= _CHANNELS
        and conv.padding_mode == "zeros"
        and not isinstance(conv.padding, str)
    )


class WinogradConv2d(nn.Conv2d):
    """A convolution of stride 1 by tiles.

    Args:
        conv: The convolution, whose parameters are shared.
        scheme: Of the tiles.

    Shape:
        (N, in, h, w) to (N, out, h + 2 padding - kernel + 1, ...), channels last.
    """

    kernel: Tensor

    def __init__(self, conv: nn.Conv2d, scheme: Scheme) -> None:
        nn.Module.__init__(self)
        new = set(self.__dict__)
        self.__dict__ |= {name: value for name, value in conv.__dict__.items() if name not in new}
        self._parameters = dict(conv._parameters)
        self.train(conv.training)
        self.scheme = scheme
        with torch.no_grad():
            kernel = scheme.of_kernel(conv.weight)
        self.register_buffer("kernel", kernel, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolution of ``x``; shapes as in the class docstring."""
        assert not isinstance(self.padding, str)
        rows, columns = self.padding
        return self.convolve(x, self.bias, (rows, columns))

    def convolve(self, x: Tensor, bias: Tensor | None, padding: tuple[int, int]) -> Tensor:
        """The convolution with another bias and padding."""
        plain = x.device.type != "cpu" or torch.is_autocast_enabled("cpu")
        if plain or torch.is_grad_enabled() or x.dtype != torch.float32:
            return F.conv2d(x, self.weight, bias, 1, padding)
        return self._tiled(x, bias, padding)

    def _tiled(self, x: Tensor, bias: Tensor | None, padding: tuple[int, int]) -> Tensor:
        side, tile, out = self.scheme.outputs, self.scheme.tile, self.kernel.shape[2]
        overlap = self.scheme.kernel - 1
        top, left = padding
        rows, columns = x.shape[2] + 2 * top - overlap, x.shape[3] + 2 * left - overlap
        down, across = -(-rows // side), -(-columns // side)
        missing = (side * across - columns, side * down - rows)
        around = (0, 0, left, left + missing[0], top, top + missing[1])
        x = F.pad(x.permute(0, 2, 3, 1), around)
        y = x.new_empty(len(x), down, side, across, side, out)
        # so many rows of tiles at once that the products are large, but what is worked on is near
        step = max(1, round(max(128, out / 2) / across / len(x)))
        for first in range(0, down, step):
            band = x[:, side * first : side * (first + step) + overlap]
            tiles = band.unfold(1, tile, side).unfold(2, tile, side)  # N, step, across, C, 6, 6
            tiles = tiles.permute(4, 5, 0, 1, 2, 3).reshape(tile**2, -1)
            factors = (self.of_tile @ tiles).view(tile**2, -1, x.shape[-1])
            part = self.of_outputs @ torch.bmm(factors, self.kernel).flatten(1)
            part = part.view(side, side, len(x), -1, across, out).permute(2, 3, 0, 4, 1, 5)
            into = y[:, first : first + step]
            into.copy_(part) if bias is None else torch.add(part, bias, out=into)
        whole = y.view(len(x), side * down, side * across, out)
        return whole[:, :rows, :columns].permute(0, 3, 1, 2)

    @cached_property
    def of_tile(self) -> Tensor:
        """The scheme's."""
        return self.scheme.of_tile()

    @cached_property
    def of_outputs(self) -> Tensor:
        """The scheme's."""
        return self.scheme.of_outputs()
