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
from fractions import Fraction
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
        UsageError: If the network has no such stride, a layer that runs several times or an
            unusual average pooling would have to be dilated, or its upsampling was learned, for
            which there are no weights at another stride.

    Example:
        >>> from fullyconv.models.backbones import build_backbone
        >>> dilate(build_backbone("vgg16", width=1 / 64), 8).maps[32].stride
        Fraction(8, 1)
    """
    if isinstance(model, FCN):
        return _fcn(model, stride)
    backbone = deepcopy(model)
    _check_once(backbone)
    pace = _Pace(Fraction(1), 1, stride)
    for stage in backbone.stages.values():
        _, pace = _dilated(stage, pace)
    if pace.stride != stride:
        raise UsageError(
            f"the stride is {stride}; this network's is {pace.stride * pace.rate}, which can be "
            "lowered to what its layers' strides multiply to"
        )
    stages = {int(tap): stage for tap, stage in backbone.stages.items()}
    classifier = getattr(backbone, "classifier", None)
    if classifier is not None:
        _dilated(classifier, pace)
    made = PaddedBackbone(stages, backbone.channels, backbone.geometry, classifier)  # type: ignore[arg-type]
    return made.train(model.training)


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


@dataclass(frozen=True)
class _Pace:
    """How far the layers up to here have been changed.

    Attributes:
        stride: Of the map here, as it is now.
        rate: How many times finer than it was.
        goal: The stride to stop at.
    """

    stride: Fraction
    rate: int
    goal: int

    def behind(self, stride: int) -> tuple[int, _Pace]:
        """The stride that a layer keeps, and the pace behind it."""
        kept = stride
        while self.stride * kept > self.goal and kept > 1:
            kept = next(n for n in range(kept - 1, 0, -1) if stride % n == 0)
        return kept, _Pace(self.stride * kept, self.rate * stride // kept, self.goal)


def _dilated(layer: nn.Module, pace: _Pace) -> tuple[nn.Module, _Pace]:
    """A layer, or several, changed in place where that suffices."""
    if isinstance(layer, Parallel):
        (pace,) = {_dilated(branch, pace)[1] for branch in layer.values()}
    elif isinstance(layer, nn.Sequential):
        for name, part in layer.named_children():
            part, pace = _dilated(part, pace)
            setattr(layer, name, part)
    elif isinstance(layer, Traced):
        pace = _dilated_graph(layer, pace)
    elif isinstance(layer, DilatedAverage):  # of a network that was dilated before
        kept, behind = pace.behind(layer.stride)
        layer.stride, layer.rate = kept, layer.rate * pace.rate
        layer.padding = (layer.padding[0] * pace.rate, layer.padding[1] * pace.rate)
        pace = behind
    elif isinstance(layer, LocalAverage):
        layer.size = (layer.size[0] * pace.rate, layer.size[1] * pace.rate)
    elif isinstance(layer, nn.ZeroPad2d):
        left, right, top, bottom = (side * pace.rate for side in layer.padding)
        layer.padding = (left, right, top, bottom)
    elif isinstance(layer, Window):
        return _dilated_window(layer, pace)
    return layer, pace


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


def _dilated_graph(layer: Traced, pace: _Pace) -> _Pace:
    paces: dict[fx.Node, _Pace] = {}
    for node in layer.body.graph.nodes:
        given = {paces[source] for source in node.all_input_nodes if source in paces}
        if node.op == "placeholder" and not paces:
            paces[node] = pace
        elif given:
            (paces[node],) = given
            name = str(node.target)
            if node.op == "call_module" and isinstance(layer.body.get_submodule(name), _MOVING):
                new, paces[node] = _dilated(layer.body.get_submodule(name), paces[node])
                parent, _, leaf = name.rpartition(".")
                setattr(layer.body.get_submodule(parent), leaf, new)
    return paces[node]


_MOVING = (
    nn.Conv2d,
    nn.MaxPool2d,
    nn.AvgPool2d,
    nn.ZeroPad2d,
    LocalAverage,
    DilatedAverage,
)


def _dilated_window(layer: Window, pace: _Pace) -> tuple[nn.Module, _Pace]:
    across, down = _pair(layer.stride)
    if across != down:
        raise UsageError(
            f"a layer strides by {across} and {down}; only one for both can be lowered"
        )
    kept, behind = pace.behind(across)
    if isinstance(layer, nn.AvgPool2d) and pace.rate > 1:
        padded = any(window(layer, axis)[2] != (0, 0) for axis in (0, 1))
        if layer.divisor_override or (padded and not layer.count_include_pad):
            raise UsageError(
                "an average pooling that does not count what it pads, or divides by a number of "
                f"its own, lies behind stride {pace.goal}; such have no dilation here"
            )
        return DilatedAverage(layer, kept, pace.rate), behind
    layer.stride = (kept, kept)
    if not isinstance(layer, nn.AvgPool2d):
        rows, columns = _pair(layer.dilation)
        layer.dilation = (rows * pace.rate, columns * pace.rate)
        if not isinstance(layer.padding, str):
            rows, columns = _pair(layer.padding)
            layer.padding = (rows * pace.rate, columns * pace.rate)
    if isinstance(layer, nn.MaxPool2d) and pace.rate > 1:
        return DilatedMaxPool2d(
            layer.kernel_size, layer.stride, layer.padding, layer.dilation,
            ceil_mode=layer.ceil_mode,
        ), behind  # fmt: skip
    return layer, behind


def _pair(value: int | tuple[int, ...]) -> tuple[int, int]:
    rows, columns = (value, value) if isinstance(value, int) else value
    return rows, columns
