"""A finer output from the same weights: filter dilation, the paper's section 3.2.

Where a layer of stride s no longer strides, everything behind it would see its input s times as
densely; spreading the windows of all layers behind it by s lets each see what it saw before. The
result is that of shift-and-stitch (:mod:`fullyconv.study.shift_and_stitch`), with each cell
computed once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from functools import singledispatch
from typing import overload

from torch import fx, nn

from fullyconv.errors import UsageError
from fullyconv.models.backbones.backbone import Backbone, PaddedBackbone
from fullyconv.models.fcn import FCN
from fullyconv.models.layers import (
    DilatedAverage,
    DilatedMaxPool2d,
    LearnedUpsample,
    Parallel,
    Window,
    window,
)
from fullyconv.models.traced import LocalAverage, Traced


@overload
def dilate(model: FCN, stride: int) -> FCN: ...
@overload
def dilate(model: Backbone, stride: int) -> PaddedBackbone: ...
def dilate(model: FCN | Backbone, stride: int) -> FCN | PaddedBackbone:
    """Lower the output stride of a network, with the same weights; the network stays as it is.

    Layers stride until the stride is reached; those behind it are dilated instead. Features then
    are those of the network on every shift of the picture, but for cells whose receptive field
    leaves the picture: what a shift pushes out of it, a dilated network still sees.

    Args:
        model: A backbone, or an FCN; its class scores are taken over and its upsampling made anew.
        stride: The stride of the coarsest features: a power of two that divides theirs.

    Returns:
        A network of its own weights. Taps keep their names (32 is the deepest), their ``maps`` say
        where their cells lie now.

    Raises:
        UsageError: If the stride does not divide the network's, a layer that runs several times or
            an unusual average pooling would have to be dilated, or its upsampling was learned, for
            which there are no weights at another stride.

    Example:
        >>> from fullyconv.models.backbones import build_backbone
        >>> dilate(build_backbone("vgg16", width=1 / 64), 8).maps[32].stride
        Fraction(8, 1)
    """
    if isinstance(model, FCN):
        return _fcn(model, stride)
    check_stride(model, stride)
    _check_once(model)
    backbone = deepcopy(model)
    pace = _Pace(stride=1, rate=1, goal=stride)
    for stage in backbone.stages.values():
        _, pace = _dilated(stage, pace)
    stages = {int(tap): stage for tap, stage in backbone.stages.items()}
    classifier = getattr(backbone, "classifier", None)
    if classifier is not None:
        _dilated(classifier, pace)
    made = PaddedBackbone(stages, backbone.channels, backbone.geometry, classifier)  # type: ignore[arg-type]
    return made.train(model.training)


def check_stride(backbone: Backbone, stride: int) -> None:
    """Refuse a stride that a network cannot be brought to; all of ours are powers of two.

    Raises:
        UsageError: If it does not divide that of the coarsest features.
    """
    coarsest = int(backbone.maps[max(backbone.maps)].stride)
    if stride < 1 or coarsest % stride:
        divisors = ", ".join(str(d) for d in range(1, coarsest + 1) if coarsest % d == 0)
        raise UsageError(
            f"the stride is {stride}; it must divide the network's {coarsest}: one of {divisors}"
        )


def _fcn(model: FCN, stride: int) -> FCN:
    head = model.head
    if any(isinstance(layer, LearnedUpsample) for layer in head.upsample.values()):
        raise UsageError(
            "this network learned its upsampling, for which there are no weights at another "
            "stride; dilate its backbone and train the scores anew"
        )
    finest = min(head.taps)
    scale = [head.skip_scale[s] for s in (16, 8)]
    dilated = FCN(dilate(model.backbone, stride), head.num_classes, finest, "fixed", scale)
    dilated.head.score.load_state_dict(head.score.state_dict())
    return dilated.train(model.training)


# Layers that would have to be changed for the place at which they run.
_MOVING = (
    nn.Conv2d,
    nn.MaxPool2d,
    nn.AvgPool2d,
    nn.ZeroPad2d,
    LocalAverage,
    DilatedAverage,
)


def _check_once(backbone: Backbone) -> None:
    """Refuse a layer that runs at several places, and would have to be dilated for each."""
    runs = Counter(layer for stage in backbone.stages.values() for layer in _runs(stage))
    for layer, count in runs.items():
        if count > 1 and isinstance(layer, _MOVING):
            raise UsageError(
                f"the layer {layer} is used {count} times, with the same weights: it cannot be "
                "dilated differently for each"
            )


def _runs(layer: nn.Module) -> Iterator[nn.Module]:
    """The layers, as often as each runs."""
    if isinstance(layer, Traced):
        called = (node for node in layer.body.graph.nodes if node.op == "call_module")
        parts = [layer.body.get_submodule(node.target) for node in called]
    else:
        parts = list(layer.children())
    for part in parts:
        yield from _runs(part)
    if not parts:
        yield layer


@dataclass(frozen=True)
class _Pace:
    """How far the layers up to some place have been changed.

    Attributes:
        stride: Pixels between the cells there, as they are now.
        rate: How many times finer the map there is than it was: how far the windows of the layers
            behind must be spread.
        goal: The stride at which layers cease to stride.
    """

    stride: int
    rate: int
    goal: int

    def behind(self, stride: int) -> tuple[int, _Pace]:
        """What a layer keeps of its stride, which is the most that the goal allows; the pace then.

        Example:
            >>> _Pace(stride=4, rate=1, goal=8).behind(4)
            (2, _Pace(stride=8, rate=2, goal=8))
        """
        divisors = [n for n in range(1, stride + 1) if stride % n == 0]
        kept = max((n for n in divisors if self.stride * n <= self.goal), default=1)
        return kept, _Pace(self.stride * kept, self.rate * stride // kept, self.goal)


# For each kind of layer, or of several: what takes its place, which often is the layer itself, its
# settings changed; and the pace behind it. Branches that are joined reach one pace, and where their
# cells lie is derived anew for the network that is made of them.


@singledispatch
def _dilated(layer: nn.Module, pace: _Pace) -> tuple[nn.Module, _Pace]:
    """A layer that moves nothing."""
    return layer, pace


@_dilated.register
def _(layers: nn.Sequential, pace: _Pace) -> tuple[nn.Module, _Pace]:
    for name in layers._modules:
        pace = _replace(layers, name, pace)
    return layers, pace


@_dilated.register
def _(branches: Parallel, pace: _Pace) -> tuple[nn.Module, _Pace]:
    behind, *_ = [_replace(branches, name, pace) for name in branches]
    return branches, behind


@_dilated.register
def _(piece: Traced, pace: _Pace) -> tuple[nn.Module, _Pace]:
    paces: dict[fx.Node, _Pace] = {}
    for node in piece.body.graph.nodes:
        given = [paces[source] for source in node.all_input_nodes if source in paces]
        if node.op == "placeholder" and not paces:
            paces[node] = pace
        elif given and node.op == "call_module":
            paces[node] = _replace(piece.body, str(node.target), given[0])
        elif given:
            paces[node] = given[0]
    return piece, paces[node]


def _replace(network: nn.Module, name: str, pace: _Pace) -> _Pace:
    """Put what takes a layer's place there; returns the pace behind it."""
    layer, behind = _dilated(network.get_submodule(name), pace)
    parent, _, leaf = name.rpartition(".")
    setattr(network.get_submodule(parent), leaf, layer)
    return behind


@_dilated.register
def _(layer: nn.ZeroPad2d, pace: _Pace) -> tuple[nn.Module, _Pace]:
    left, right, top, bottom = (side * pace.rate for side in layer.padding)
    layer.padding = (left, right, top, bottom)
    return layer, pace


@_dilated.register
def _(layer: LocalAverage, pace: _Pace) -> tuple[nn.Module, _Pace]:
    layer.size = _times(layer.size, pace.rate)
    return layer, pace


@_dilated.register
def _(layer: nn.Conv2d, pace: _Pace) -> tuple[nn.Module, _Pace]:
    kept, behind = pace.behind(_stride(layer))
    layer.stride, layer.dilation = (kept, kept), _times(layer.dilation, pace.rate)
    if not isinstance(layer.padding, str):
        layer.padding = _times(layer.padding, pace.rate)
    return layer, behind


@_dilated.register(nn.MaxPool2d)
@_dilated.register(nn.AvgPool2d)
def _(layer: nn.MaxPool2d | nn.AvgPool2d, pace: _Pace) -> tuple[nn.Module, _Pace]:
    kept, behind = pace.behind(_stride(layer))
    if pace.rate > 1:
        return _spread(layer, kept, pace), behind
    layer.stride = (kept, kept)
    return layer, behind


def _spread(layer: nn.MaxPool2d | nn.AvgPool2d, kept: int, pace: _Pace) -> nn.Module:
    """A pooling whose window has gaps."""
    if isinstance(layer, nn.MaxPool2d):
        padding, dilation = _times(layer.padding, pace.rate), _times(layer.dilation, pace.rate)
        ceil_mode = layer.ceil_mode
        return DilatedMaxPool2d(layer.kernel_size, kept, padding, dilation, ceil_mode=ceil_mode)
    padded = any(window(layer, axis)[2] != (0, 0) for axis in (0, 1))
    if layer.divisor_override or (padded and not layer.count_include_pad):
        raise UsageError(
            "an average pooling that does not count what it pads, or divides by a number of its "
            f"own, lies behind stride {pace.goal}; such have no dilation here"
        )
    return DilatedAverage(layer, kept, pace.rate)


@_dilated.register
def _(layer: DilatedAverage, pace: _Pace) -> tuple[nn.Module, _Pace]:
    """Of a network that was dilated before."""
    kept, behind = pace.behind(layer.stride)
    layer.stride, layer.rate = kept, layer.rate * pace.rate
    layer.padding = _times(layer.padding, pace.rate)
    return layer, behind


def _stride(layer: Window) -> int:
    down, across = _times(layer.stride, 1)
    if down != across:
        raise UsageError(
            f"a layer strides by {down} and {across}; only one for both can be lowered"
        )
    return down


def _times(value: int | tuple[int, ...], factor: int) -> tuple[int, int]:
    """A setting of rows and columns, a number for both or one each, times a factor."""
    rows, columns = (value, value) if isinstance(value, int) else value
    return rows * factor, columns * factor
