"""What a network is: the paper's Table 1 row, its alignment, its cost."""

from __future__ import annotations

import os
import time
from copy import deepcopy
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from fullyconv.checkpoint import is_checkpoint, read_header
from fullyconv.config import Geometry, ModelConfig, network_name
from fullyconv.errors import UsageError
from fullyconv.models.create import create_model
from fullyconv.models.fcn import FCN, Head
from fullyconv.models.fusion import LateFusion, MultiHead
from fullyconv.models.layers import channels_last, kernel_size
from fullyconv.networks import BACKBONES, model_config


@dataclass(frozen=True, kw_only=True)
class NetworkInfo:
    """Facts about a network, all derived from it or measured.

    Attributes:
        name: Its name.
        geometry: How the scores are made to cover the image: see :class:`~fullyconv.ModelConfig`.
        convolutions: Convolutional layers on the longest path, class scores included.
        parameters: Number of learned parameters.
        receptive_field: Pixels, along a side, that one score before upsampling sees.
        classifier_receptive_field: The same for the classifier with its average pooling, which
            the fully convolutional network leaves out (equal where there is none).
        max_stride: Pixels between neighbouring cells of the coarsest features.
        offsets: Caffe's crop offset at each landing; the finer map is cropped where negative.
        kernels: Side of each upsampling kernel.
        size: Height and width of the picture that the next two are for.
        gflop: Operations of one forward pass, 2 per multiply-add, in units of 1e9.
        seconds: Time of one forward pass on this machine, None if not measured.
        threads: Threads it used.
    """

    name: str
    geometry: Geometry
    convolutions: int
    parameters: int
    receptive_field: int
    classifier_receptive_field: int
    max_stride: int
    offsets: dict[str, int]
    kernels: dict[str, int]
    size: tuple[int, int]
    gflop: float
    seconds: float | None
    threads: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    def __str__(self) -> str:
        height, width = self.size
        field = f"{self.receptive_field} px"
        if self.classifier_receptive_field != self.receptive_field:
            field += f" ({self.classifier_receptive_field} with the classifier's average pooling)"
        landings = {
            f"upsampling {_LANDINGS[grid]}": f"kernel {self.kernels[grid]}, offset {abs(offset)}"
            + (" of the skip" if offset < 0 else "")
            for grid, offset in self.offsets.items()
        }
        rows = {
            "geometry": _GEOMETRIES[self.geometry],
            "convolutional layers": str(self.convolutions),
            "parameters": f"{self.parameters / 1e6:#.3g}".rstrip(".") + f" M ({self.parameters:,})",
            "receptive field": field,
            "max stride": str(self.max_stride),
            **landings,
            f"operations at {height} x {width}": f"{self.gflop:.1f} GFLOP",
        }
        if self.seconds is not None:
            rows["forward pass"] = (
                f"{self.seconds:.3f} s, {self.gflop / self.seconds:.0f} GFLOP/s, "
                f"{self.threads} thread{'' if self.threads == 1 else 's'}, PyTorch float32"
            )
        return self.name + "\n" + "\n".join(f"  {key:<26} {text}" for key, text in rows.items())


_LANDINGS = {"16": "to stride 16", "8": "to stride 8", "1": "to the image"}
# The offsets of the two differ: each counts from where its own map begins.
_GEOMETRIES: dict[Geometry, str] = {
    "same": "same: no wide padding; edge scores are repeated before upsampling",
    "reference": "reference: the image is padded by 100 pixels, as the authors did",
}


def info(
    name: str | os.PathLike[str] | ModelConfig | nn.Module,
    size: tuple[int, int] = (500, 500),
    measure: bool = False,
) -> NetworkInfo:
    """Describe a network.

    Args:
        name: As :func:`~fullyconv.networks.model_config` takes it; a backbone, for the FCN-32s over
            it; a checkpoint, or the name of a shipped model; a configuration; or a network itself,
            which stays as it is: an :class:`~fullyconv.FCN` over any backbone, or what
            :func:`~fullyconv.create_model` builds.
        size: Height and width of the picture to count and time (the paper's Table 1: 500 x 500).
        measure: Also time a forward pass, which builds the network in memory and takes seconds.

    Raises:
        UsageError: If there is no network of that name, a module is none, or no picture has that
            size.
        FullyConvError: If a checkpoint cannot be read.
    """
    if min(size) < 1:
        raise UsageError(f"the size is {size[0]} x {size[1]}; a picture has at least 1 x 1 pixels")
    title, model = _found(name)
    fcn = _one_stream(model)
    backbone = fcn.backbone
    streams = len(model.streams) if isinstance(model, LateFusion) else 1
    shape = (1, streams * (backbone.in_channels or _COLORS), *size)
    head = next(m for m in model.modules() if isinstance(m, Head))
    coarsest = backbone.maps[head.taps[0]]
    stride = int(coarsest.stride)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        _shadow(model)(torch.empty(shape, device="meta"))
    seconds = None
    if measure:
        seconds = _time(_filled(name), shape)
    return NetworkInfo(
        name=title,
        geometry=backbone.geometry,
        convolutions=coarsest.convolutions + 1,
        parameters=sum(p.numel() for p in model.parameters()),
        receptive_field=coarsest.receptive_field,
        classifier_receptive_field=coarsest.receptive_field
        + stride * (backbone.classifier_pool - 1),
        max_stride=stride,
        offsets=dict(head.offset),
        kernels={grid: kernel_size(up) for grid, up in head.upsample.items()},
        size=size,
        gflop=counter.get_total_flops() / 1e9,
        seconds=seconds,
        threads=torch.get_num_threads(),
    )


_COLORS = 3  # of a picture for a network whose first layer does not say


def _found(name: str | os.PathLike[str] | ModelConfig | nn.Module) -> tuple[str, nn.Module]:
    """What a network is called, and the network, without memory for weights where it is built."""
    if isinstance(name, nn.Module):
        finest = [min(part.taps) for part in name.modules() if isinstance(part, Head)]
        return f"FCN-{min(finest, default=0)}s", name
    title, config = _configured(name)
    with torch.device("meta"):
        return title, create_model(config).eval()


def _configured(name: str | os.PathLike[str] | ModelConfig) -> tuple[str, ModelConfig]:
    """What a network is called, and its configuration."""
    if isinstance(name, str) and not is_checkpoint(name):
        name = f"fcn32s_{name}" if name in BACKBONES else name
        return name, model_config(name)
    config = name if isinstance(name, ModelConfig) else read_header(name).model
    return network_name(config.backbone, config.stride, config.skips), config


def _filled(name: str | os.PathLike[str] | ModelConfig | nn.Module) -> nn.Module:
    """The network with weights on this machine's processor, to be timed."""
    if isinstance(name, nn.Module):
        return deepcopy(name).cpu()
    return create_model(_configured(name)[1])


def _shadow(model: nn.Module) -> nn.Module:
    """A copy of a network that has its weights' shapes alone, and computes nothing."""
    memo: dict[int, Any] = {id(p): nn.Parameter(p.to("meta")) for p in model.parameters()}
    memo |= {id(buffer): buffer.to("meta") for buffer in model.buffers()}
    return deepcopy(model, memo).eval()


def _one_stream(model: nn.Module) -> FCN | MultiHead:
    if isinstance(model, LateFusion):
        model = next(iter(model.streams.values()))
    if not isinstance(model, FCN | MultiHead):
        raise UsageError(
            f"a {type(model).__name__} is no fully convolutional network that could be described; "
            "fullyconv.FCN(fullyconv.convolutionalize(model), num_classes) makes one of a "
            "classifier, fullyconv.FCN(backbone, num_classes) one of a backbone"
        )
    return model


@torch.inference_mode()
def _time(model: nn.Module, shape: tuple[int, ...]) -> float:
    """Seconds of the faster of two forward passes, after one to warm up."""
    model = channels_last(model.eval())
    images = torch.zeros(shape).contiguous(memory_format=torch.channels_last)
    times = []
    for _ in range(3):
        start = time.perf_counter()
        model(images)
        times.append(time.perf_counter() - start)
    return min(times[1:])
