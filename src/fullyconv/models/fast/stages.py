"""A network taken apart: what every engine runs, piece by piece or as a whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import ceil, lcm

import torch
from torch import Tensor, nn

from fullyconv.models.backbones.backbone import Backbone, PaddedBackbone
from fullyconv.models.fast.plan import Landing, Piece, Plan
from fullyconv.models.fcn import Head
from fullyconv.models.fusion import LateFusion
from fullyconv.models.geometry import CoordMap, merge
from fullyconv.models.layers import Parallel, Residual, cells, trace

_CUTS = (Residual, nn.Sequential, Parallel, nn.MaxPool2d)  # maps are narrow behind them
_SEEN = 5  # cells along an axis that a piece sees at least, if there is another behind it
# measured with OpenVINO: multiplications that take as long as handing a number from piece to piece,
# and the share of a piece's own that this may come to
_HANDED, _SHARE = 240, 0.25
_LARGE = 4096  # cells along an axis, beside which padding does not count


class Stages(nn.Module):
    """A network whose named maps (:class:`~fullyconv.models.fast.plan.Plan`) are made one by one.

    Args:
        model: An FCN or a composition of several, of which nothing is copied.

    Attributes:
        plan: Its geometry.
        steps: Of each stream: its layers in short runs, as of :func:`steps`.
        shortcuts: For each stream, a quicker way from the image to all features; see
            :meth:`shorten`.

    Shape:
        images (N, C, H, W) to coarse scores (N, classes of all heads, h, w).
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.streams = nn.ModuleList(
            model.streams.values() if isinstance(model, LateFusion) else [model]
        )
        self.shortcuts = nn.ModuleList()
        found = [stream.backbone for stream in self.streams]
        self._backbones = [backbone for backbone in found if isinstance(backbone, Backbone)]
        self.steps = [steps(backbone) for backbone in self._backbones]
        self._heads = [
            [module for module in stream.modules() if isinstance(module, Head)]
            for stream in self.streams
        ]
        self.plan = _plan(self._backbones[0], self.steps, self._heads[0][0])

    def shorten(self, how: Callable[[Backbone], nn.Module]) -> None:
        """Give each backbone a module that makes the same features of whole images, but quicker.

        Args:
            how: From a backbone to that module; to the backbone itself, if there is no such way.
        """
        shortcuts = [how(backbone) for backbone in self._backbones]
        if shortcuts != self._backbones:
            self.shortcuts = nn.ModuleList(shortcuts)

    def forward(self, images: Tensor) -> Tensor:
        """Return the coarse scores; shapes as in the class docstring."""
        return self.run({"images": images}, ["scores"])["scores"]

    def run(self, given: Mapping[str, Tensor], wanted: Sequence[str]) -> dict[str, Tensor]:
        """The maps that are wanted, from those that are given and nothing else.

        Args:
            given: Maps by name; parts of a whole image's are as good.
            wanted: Names of maps.
        """
        maps = dict(given)
        last = self.plan.pieces[-1].target
        if (
            self.shortcuts
            and "images" in maps
            and {"scores", self.plan.scored[0], last} & {*wanted}
        ):
            self._from_images(maps)
        for name in wanted:
            self._make(name, maps)
        return {name: maps[name] for name in wanted}

    def logits(self, scores: Tensor, images: Tensor) -> Tensor:
        """Logits (N, classes of all heads, H, W) of the coarse scores (N, classes, h, w)."""
        heads = self._heads[0]
        parts = _split(scores, [head.num_classes for head in heads])
        return _joined([head.land(part, images) for head, part in zip(heads, parts, strict=True)])

    def _streams(self, maps: Tensor) -> Sequence[Tensor]:
        """The part of each stream; nothing is done where there is one, so that graphs are plain."""
        return maps.chunk(len(self.streams), 1) if len(self.streams) > 1 else [maps]

    def _from_images(self, maps: dict[str, Tensor]) -> None:
        """Every feature map at once: there may be a shorter way than layer after layer."""
        parts = self._streams(maps["images"])
        features = [way(part) for way, part in zip(self.shortcuts, parts, strict=True)]
        for stride in features[0]:
            maps.setdefault(f"features{stride}", _joined([f[stride] for f in features]))

    def _make(self, name: str, maps: dict[str, Tensor]) -> None:
        if name in maps:
            return
        if name == "scores":
            for scored in self.plan.scored:
                self._make(scored, maps)
            maps[name] = self._fuse([maps[scored] for scored in self.plan.scored])
        elif name.startswith("scores"):
            stride = int(name.removeprefix("scores"))
            self._make(f"features{stride}", maps)
            parts = self._streams(maps[f"features{stride}"])
            scores = [
                head.score_tap(stride, part)
                for number, part in enumerate(parts)
                for head in self._heads[number]
            ]
            maps[name] = _joined(scores)
        else:
            piece = next(p for p in self.plan.pieces if p.target == name)
            self._make(piece.source, maps)
            parts = self._streams(maps[piece.source])
            if piece.source == "images":
                parts = [b.whole(part) for b, part in zip(self._backbones, parts, strict=True)]
            made = [run[name](part) for run, part in zip(self.steps, parts, strict=True)]
            maps[name] = _joined(made)

    def _fuse(self, scores: Sequence[Tensor]) -> Tensor:
        """Each stream's heads, and the mean over the streams."""
        streams = []
        for number, parts in enumerate(zip(*map(self._streams, scores), strict=True)):
            heads = self._heads[number]
            classes = [head.num_classes for head in heads]
            split = [_split(part, classes) for part in parts]
            fused = [head.fuse([p[i] for p in split]) for i, head in enumerate(heads)]
            streams.append(_joined(fused))
        return streams[0] if len(streams) == 1 else torch.stack(streams).mean(0)


def _split(scores: Tensor, classes: Sequence[int]) -> Sequence[Tensor]:
    """Those of each head; nothing is done where there is one."""
    return torch.split(scores, list(classes), 1) if len(classes) > 1 else [scores]


def _joined(parts: Sequence[Tensor]) -> Tensor:
    return torch.cat(list(parts), 1) if len(parts) > 1 else parts[0]


def steps(backbone: Backbone) -> dict[str, nn.Module]:
    """The layers of a backbone in runs, by the map that each makes; they share its weights.

    The more runs, the less each sees of the map before it, and the less is computed twice where a
    picture is cut into tiles. They end behind blocks and poolings, whose maps take little memory.

    Returns:
        ``features8.1``, ``features8.2``, ... ``features8``, ``features16.1``, ...
    """
    found: dict[str, nn.Module] = {}
    for tap, stage in backbone.stages.items():
        *inner, last = _runs(stage)
        found |= {f"features{tap}.{number}": run for number, run in enumerate(inner, 1)}
        found[f"features{tap}"] = last
    return found


def _runs(stage: nn.Module) -> list[nn.Module]:
    if type(stage) is not nn.Sequential:
        return [stage]
    runs: list[nn.Sequential] = []
    layers: list[nn.Module] = []
    for layer in stage:
        layers.append(layer)
        run = nn.Sequential(*layers)
        if isinstance(layer, _CUTS) and _is_worth_a_cut(run):
            runs.append(run)
            layers = []
    rest = nn.Sequential(*layers)
    if runs and not _has_weights(rest):
        rest = nn.Sequential(*runs.pop(), *rest)
    return [*runs, rest]


def _is_worth_a_cut(run: nn.Sequential) -> bool:
    """Whether what another piece behind these layers saves is more than handing their map on."""
    if not _has_weights(run):
        return False
    at = merge(trace(run, CoordMap(), axis) for axis in (0, 1))
    if at.receptive_field < _SEEN:
        return False
    channels, _, work = _load(run, _LARGE)
    return channels * _HANDED <= _SHARE * work * int(at.stride) ** 2


def _has_weights(run: nn.Module) -> bool:
    return any(isinstance(module, nn.Conv2d) for module in run.modules())


def _plan(backbone: Backbone, steps: Sequence[Mapping[str, nn.Module]], head: Head) -> Plan:
    pieces: list[Piece] = []
    source, multiple = "images", 1
    if isinstance(backbone, PaddedBackbone):
        multiple = backbone.multiple
    for name, run in steps[0].items():
        before = pieces[-1].channels // len(steps) if pieces else None
        pieces.append(_piece(source, name, run, backbone, multiple, len(steps), before))
        source = name
    *skips, landing = (_landing(head, name) for name in (*map(str, head.taps[1:]), "1"))
    coarsest = backbone.maps[head.taps[0]]
    seen = head.map.receptive_field - coarsest.receptive_field
    # half of what is seen beyond the coarsest features, the cells that are repeated, and one that
    # rounding to whole cells takes
    reach = ceil(seen / (2 * coarsest.stride)) + head.edge + 1
    return Plan(head.taps, tuple(pieces), landing, reach, tuple(skips))


def _landing(head: Head, name: str) -> Landing:
    rows = trace(head.upsample[name], CoordMap())
    factor = int(1 / rows.stride)
    return Landing(factor, int(1 - 2 * rows.start * factor), head.offset[name], head.edge)


def _piece(
    source: str,
    target: str,
    stage: nn.Module,
    backbone: Backbone,
    multiple: int,
    streams: int,
    before: int | None,
) -> Piece:
    at = merge(trace(stage, CoordMap(), axis) for axis in (0, 1))
    stride = int(at.stride)
    period = lcm(stride, multiple) if source == "images" else stride

    def count(size: int) -> int:
        if source == "images":
            size = backbone.whole_size(size)
        return min(cells(stage, size, axis) for axis in (0, 1))

    # from some size on, every period brings as many cells more
    first = next(
        n
        for n in range(1, 10 * period + 10 * at.receptive_field)
        if all(0 < count(m) == count(m + period) - period // stride for m in range(n, n + period))
    )
    channels, floats, work = _load(stage, first + 512 * period, before)
    return Piece(
        source=source,
        target=target,
        channels=streams * channels,
        stride=stride,
        start=at.start,
        receptive_field=at.receptive_field,
        first=first,
        counts=tuple(count(first + i) for i in range(period)),
        floats=streams * floats,
        work=streams * work,
    )


def _load(stage: nn.Module, size: int, given: int | None = None) -> tuple[int, int, int]:
    """Channels that are made, and per source cell: numbers of the widest layer, multiplications.

    None of these is done. Channels of the source are those given, or what a convolution takes.
    """
    widest = work = 0

    def measure(layer: nn.Module, taken: tuple[Tensor, ...], made: Tensor) -> None:
        nonlocal widest, work
        if isinstance(layer, nn.Conv2d):
            widest = max(widest, taken[0].numel() + made.numel())
            work += made.numel() * layer.weight[0].numel()

    convolutions = [module for module in stage.modules() if isinstance(module, nn.Conv2d)]
    hooks = [layer.register_forward_hook(measure) for layer in convolutions]
    state = {name: t.to("meta") for name, t in (*stage.named_parameters(), *stage.named_buffers())}
    channels = convolutions[0].in_channels if given is None else given
    try:
        source = torch.empty(1, channels, size, size, device="meta")
        made: Tensor = torch.func.functional_call(stage, state, (source,))
    finally:
        for hook in hooks:
            hook.remove()
    return made.shape[1], ceil(widest / size**2), ceil(work / size**2)
