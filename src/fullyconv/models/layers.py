"""The layers a fully convolutional network is made of, beyond PyTorch's own, and their geometry."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fullyconv.models.geometry import CoordMap, merge

_Module = TypeVar("_Module", bound=nn.Module)


def channels_last(model: _Module) -> _Module:
    """The network with its kernels laid out channels last: the faster layout on CPUs and GPUs."""
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model


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
        if not self.training or x.device.type != "cpu":
            return super().forward(x)
        k, padding = _square(self.kernel_size), _square(self.padding)
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


# Layers that work on each cell alone (or across channels): they move nothing.
_POINTWISE = (
    nn.ReLU,
    nn.ReLU6,
    nn.Dropout,
    nn.Dropout2d,
    nn.BatchNorm2d,
    nn.LocalResponseNorm,
    nn.Identity,
)


def trace(layer: nn.Module, at: CoordMap) -> CoordMap:
    """Where the output cells of ``layer`` lie, given where its input cells lie.

    Raises:
        TypeError: If the layer is of a kind whose geometry is not known here: better than a guess
            that shifts the labels by some pixels.
    """
    if isinstance(layer, Parallel):
        return merge(trace(branch, at) for branch in layer.values())
    if isinstance(layer, Residual):
        return merge((trace_all(layer, at), at))
    if isinstance(layer, nn.Sequential):
        return trace_all(layer, at)
    if isinstance(layer, nn.Conv2d):
        return at.window(*map(_square, _window(layer))).learned()
    if isinstance(layer, nn.MaxPool2d):
        return at.window(*map(_square, _window(layer)))
    if isinstance(layer, nn.AvgPool2d):
        return at.window(*map(_square, (layer.kernel_size, layer.stride, layer.padding)))
    if isinstance(layer, nn.ZeroPad2d):
        return at.pad(layer.padding[0])
    if isinstance(layer, BilinearUpsample):
        return at.upsample(layer.kernel_size, layer.stride)
    if isinstance(layer, LearnedUpsample):
        return at.upsample(_square(layer.kernel_size), _square(layer.stride))
    if isinstance(layer, _POINTWISE):
        return at
    raise TypeError(f"no geometry is known for a layer of type {type(layer).__name__}")


def trace_all(layers: Iterable[nn.Module], at: CoordMap) -> CoordMap:
    """Where the cells lie after ``layers`` ran one after the other."""
    for layer in layers:
        at = trace(layer, at)
    return at


def _window(layer: nn.Conv2d | nn.MaxPool2d) -> tuple[object, object, object, object]:
    return layer.kernel_size, layer.stride, layer.padding, layer.dilation


def _square(value: object) -> int:
    first, *rest = value if isinstance(value, tuple) else (value,)
    if not isinstance(first, int) or any(other != first for other in rest):
        raise TypeError(f"only square windows have a geometry here, got {value!r}")
    return first
