"""The layers a fully convolutional network is made of, beyond PyTorch's own, and their geometry."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from copy import copy
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fullyconv.errors import FullyConvError
from fullyconv.models.geometry import CoordMap, merge

_Module = TypeVar("_Module", bound=nn.Module)


def channels_last(model: _Module) -> _Module:
    """The network with its kernels laid out channels last: the faster layout on CPUs and GPUs."""
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model


def replaced(model: _Module, change: Callable[[nn.Module], nn.Module]) -> _Module:
    """A network with some of its parts replaced; it shares all else, and ``model`` stays as it is.

    Args:
        model: The network.
        change: What stands for a part, the part itself where it stays. It is asked once for a part
            that is in several places, and not for parts of what it has changed.
    """
    done: dict[nn.Module, nn.Module] = {}

    def visit(part: nn.Module) -> nn.Module:
        if part not in done:
            changed = change(part)
            done[part] = _with_children(part, visit) if changed is part else changed
        return done[part]

    return visit(model)  # type: ignore[return-value]


def _with_children(part: nn.Module, visit: Callable[[nn.Module], nn.Module]) -> nn.Module:
    children = {name: child and visit(child) for name, child in part._modules.items()}
    if all(child is part._modules[name] for name, child in children.items()):
        return part
    other = copy(part)
    other._modules = children
    return other


def bilinear_kernel(kernel_size: int) -> Tensor:
    """Weights (k, k) that interpolate bilinearly in a transposed convolution of stride (k+1)//2.

    The same numbers as the authors' ``surgery.interp`` (fcn.berkeleyvision.org, surgery.py).

    Example:
        >>> bilinear_kernel(3)
        tensor([[0.2500, 0.5000, 0.2500],
                [0.5000, 1.0000, 0.5000],
                [0.2500, 0.5000, 0.2500]])
    """
    factor = (kernel_size + 1) // 2
    center = factor - 1 if kernel_size % 2 else factor - 0.5
    ramp = 1 - (torch.arange(kernel_size) - center).abs() / factor
    return torch.outer(ramp, ramp)


class BilinearUpsample(nn.Module):
    """Upsampling of each class score on its own by fixed bilinear interpolation.

    The paper's last layer, and with the authors' release all of its upsampling: a transposed
    convolution whose kernel is not learned. The kernel is a constant, not a parameter, so it is
    neither trained nor saved.

    Args:
        channels: Number of score channels.
        kernel_size: ``2 * stride`` or ``2 * stride - 1``, whichever aligns the grids.
        stride: Upsampling factor.

    Shape:
        (N, channels, h, w) to (N, channels, (h - 1) * stride + kernel_size, ...).
    """

    weight: Tensor

    def __init__(self, channels: int, kernel_size: int, stride: int) -> None:
        super().__init__()
        self.kernel_size, self.stride = kernel_size, stride
        kernel = bilinear_kernel(kernel_size).expand(channels, 1, -1, -1).contiguous()
        self.register_buffer("weight", kernel, persistent=False)

    def forward(self, scores: Tensor) -> Tensor:
        """Return the upsampled scores; shapes as in the class docstring."""
        return F.conv_transpose2d(
            scores, self.weight, stride=self.stride, groups=self.weight.shape[0]
        )


class LearnedUpsample(nn.ConvTranspose2d):
    """Learned upsampling across classes that starts as bilinear interpolation (section 4.3).

    As in Caffe the kernel is dense, (channels, channels, k, k), and starts as bilinear
    interpolation on its diagonal and zero elsewhere.

    Args:
        channels: Number of score channels.
        kernel_size: Side of the kernel.
        stride: Upsampling factor.
    """

    def __init__(self, channels: int, kernel_size: int, stride: int) -> None:
        super().__init__(channels, channels, kernel_size, stride, bias=False)
        diagonal = torch.eye(channels)[:, :, None, None]
        with torch.no_grad():
            self.weight.copy_(diagonal * bilinear_kernel(kernel_size))


class MatrixConv2d(nn.Conv2d):
    """A convolution of stride 1 that trains as one matrix product on CPUs.

    For a kernel that outweighs the map it runs over (fc6: 103 million weights, some hundred cells)
    the library's convolution spends its time on rearranging kernel and gradient; laid out channels
    last, the kernel is the matrix as it is. Predicting, and on other devices, it is the library's.

    Shape:
        (N, C, h, w) to (N, out, h + 2 padding - kernel + 1, ...).
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolution of ``x``; shapes as in the class docstring."""
        if not self.training or x.device.type != "cpu" or self.dilation != (1, 1):
            return super().forward(x)
        k, _, (padding, _), _ = window(self, axis=0)
        x = F.pad(x.permute(0, 2, 3, 1), (0, 0, padding, padding, padding, padding))
        rows, columns = x.shape[1] - k + 1, x.shape[2] - k + 1
        shifted = [x[:, i : i + rows, j : j + columns] for i in range(k) for j in range(k)]
        kernel = self.weight.permute(0, 2, 3, 1).flatten(1)
        cells = F.linear(torch.stack(shifted, 3).flatten(3), kernel, self.bias)
        # no view: a rectifier in place would pass by the hooks that FSDP puts on the output
        return cells.permute(0, 3, 1, 2).clone()


class DepthwiseConv2d(nn.Conv2d):
    """A convolution of each channel on its own, in float32 on CPUs even under autocast.

    The library's bfloat16 gradient of these is four to ten times slower than its float32 one.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) to (N, C, ...), of the input's type."""
        if x.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
            return super().forward(x)
        with torch.autocast("cpu", enabled=False):
            return super().forward(x.float()).to(x.dtype)


class DilatedMaxPool2d(nn.MaxPool2d):
    """A max pooling padded as widely as its dilation asks; the library's allows half its kernel."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) to (N, C, h', w')."""
        (top, bottom), (left, right) = (window(self, axis)[2] for axis in (0, 1))
        x = F.pad(x, (left, right, top, bottom), value=-math.inf)
        return F.max_pool2d(
            x, self.kernel_size, self.stride, 0, self.dilation, ceil_mode=self.ceil_mode
        )


class Parallel(nn.ModuleDict):
    """Branches over one input, concatenated along the channels (GoogLeNet's Inception block)."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) to (N, sum of the branches' channels, h, w)."""
        return torch.cat([branch(x) for branch in self.values()], dim=1)


class Residual(nn.Sequential):
    """Layers whose output is added to their input."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) to (N, C, h, w)."""
        y: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
        return x + y


def kernel_size(upsample: nn.Module) -> int:
    """Side of an upsampling layer's kernel."""
    assert isinstance(upsample.weight, Tensor)
    return upsample.weight.shape[-1]


class Mapped(nn.Module):
    """A layer that knows its own geometry."""

    def trace(self, at: CoordMap, axis: int) -> CoordMap:
        """Where its output cells lie along an axis, given where its input cells lie."""
        raise NotImplementedError

    def cells(self, count: int, axis: int) -> int:
        """How many cells it gives along an axis for so many."""
        raise NotImplementedError


class DilatedAverage(Mapped):
    """An average over cells that lie apart; the library's has no dilation.

    Args:
        pooling: The average over neighbours; what it pads counts as zeros.
        stride: Its stride here.
        rate: How far apart the cells lie.

    Shape:
        (N, C, h, w) to (N, C, h', w').
    """

    kernel: Tensor

    def __init__(self, pooling: nn.AvgPool2d, stride: int, rate: int) -> None:
        super().__init__()
        (rows, _, (above, _), _), (columns, _, (left, _), _) = (
            window(pooling, axis) for axis in (0, 1)
        )
        kernel = torch.full((1, 1, rows, columns), 1 / (rows * columns))
        self.register_buffer("kernel", kernel, persistent=False)
        self.stride, self.rate, self.padding = stride, rate, (above * rate, left * rate)

    def forward(self, x: Tensor) -> Tensor:
        """Return the averages; shapes as in the class docstring."""
        alone = x.flatten(0, 1)[:, None]
        averages = F.conv2d(alone, self.kernel, None, self.stride, self.padding, self.rate)
        return averages.view(*x.shape[:2], *averages.shape[-2:])

    def trace(self, at: CoordMap, axis: int) -> CoordMap:
        """Where its cells lie."""
        size = self.kernel.shape[2 + axis]
        return at.window(size, self.stride, self.padding[axis], self.rate)

    def cells(self, count: int, axis: int) -> int:
        """How many there are; 0 if its window is larger than the map."""
        free = count + 2 * self.padding[axis] - self.rate * (self.kernel.shape[2 + axis] - 1) - 1
        return max(0, free // self.stride + 1)


# Layers that work on each cell alone (or across channels): they move nothing.
POINTWISE = (
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.PReLU,
    nn.ELU,
    nn.SELU,
    nn.CELU,
    nn.GELU,
    nn.SiLU,
    nn.Mish,
    nn.Hardswish,
    nn.Hardsigmoid,
    nn.Hardtanh,
    nn.Sigmoid,
    nn.LogSigmoid,
    nn.Tanh,
    nn.Softplus,
    nn.Softsign,
    nn.Dropout,
    nn.Dropout2d,
    nn.AlphaDropout,
    nn.FeatureAlphaDropout,
    nn.BatchNorm2d,
    nn.LocalResponseNorm,
    nn.Identity,
)
_WINDOWS = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)
Window = nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d


def trace(layer: nn.Module, at: CoordMap, axis: int = 0) -> CoordMap:
    """Where the output cells of ``layer`` lie along an axis, given where its input cells lie.

    Args:
        layer: A layer, or several in a row.
        at: Where its input cells lie.
        axis: 0 for rows, 1 for columns.

    Raises:
        FullyConvError: If the layer is of a kind whose geometry is not known here: better than a
            guess that shifts the labels by some pixels.
    """
    if isinstance(layer, Parallel):
        return merge(trace(branch, at, axis) for branch in layer.values())
    if isinstance(layer, Residual):
        return merge((trace_all(layer, at, axis), at))
    if isinstance(layer, nn.Sequential):
        return trace_all(layer, at, axis)
    if isinstance(layer, Mapped):
        return layer.trace(at, axis)
    if isinstance(layer, _WINDOWS):
        size, stride, (before, _), dilation = window(layer, axis)
        moved = at.window(size, stride, before, dilation)
        return moved.learned() if isinstance(layer, nn.Conv2d) else moved
    if isinstance(layer, nn.ZeroPad2d):
        return at.pad(layer.padding[2 - 2 * axis])
    if isinstance(layer, BilinearUpsample):
        return at.upsample(layer.kernel_size, layer.stride)
    if isinstance(layer, LearnedUpsample):
        return at.upsample(layer.kernel_size[axis], layer.stride[axis])
    if isinstance(layer, POINTWISE):
        return at
    raise FullyConvError(
        f"no geometry is known for a layer of type {type(layer).__name__}; a layer of your own "
        "says its geometry as a fullyconv.models.layers.Mapped, and fullyconv.convolutionalize "
        "traces whole classifiers"
    )


def trace_all(layers: Iterable[nn.Module], at: CoordMap, axis: int = 0) -> CoordMap:
    """Where the cells lie after ``layers`` ran one after the other."""
    for layer in layers:
        at = trace(layer, at, axis)
    return at


def cells(layer: nn.Module, count: int, axis: int) -> int:
    """How many cells a layer gives along an axis for so many.

    0 if its window is larger than the map, or branches that are joined differ in their number.
    """
    if isinstance(layer, Parallel):
        return alike(cells(branch, count, axis) for branch in layer.values())
    if isinstance(layer, nn.Sequential):
        given = count
        for part in layer:
            count = cells(part, count, axis)
        return alike((given, count)) if isinstance(layer, Residual) else count
    if isinstance(layer, Mapped):
        return layer.cells(count, axis)
    if isinstance(layer, nn.ZeroPad2d):
        return count + sum(layer.padding[2 - 2 * axis : 4 - 2 * axis])
    return _slid(layer, count, axis) if isinstance(layer, _WINDOWS) else count


def alike(counts: Iterable[int]) -> int:
    """The one number of cells that branches have; 0 if they differ."""
    different = set(counts)
    return different.pop() if len(different) == 1 else 0


def _slid(layer: Window, count: int, axis: int) -> int:
    size, stride, (before, after), dilation = window(layer, axis)
    free = count + before + after - dilation * (size - 1) - 1
    if count < 1:
        return 0
    if getattr(layer, "ceil_mode", False):
        steps = -(-free // stride)
        # PyTorch leaves out a last window that would begin in the padding behind the map
        return max(0, steps + 1 - (steps * stride >= count + before))
    return max(0, free // stride + 1)


def window(layer: Window, axis: int) -> tuple[int, int, tuple[int, int], int]:
    """Size, stride, padding before and after, and dilation of a sliding window along an axis."""
    size = _along(layer.kernel_size, axis)
    stride = _along(layer.stride, axis)
    dilation = 1 if isinstance(layer, nn.AvgPool2d) else _along(layer.dilation, axis)
    if isinstance(layer.padding, str):  # nn.Conv2d: as much in all as the window reaches
        reach = dilation * (size - 1) if layer.padding == "same" else 0
        return size, stride, (reach // 2, reach - reach // 2), dilation
    padding = _along(layer.padding, axis)
    return size, stride, (padding, padding), dilation


def _along(value: int | tuple[int, ...], axis: int) -> int:
    return value[axis] if isinstance(value, tuple) else value
