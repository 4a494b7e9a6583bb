"""A network as a folder that ncnn reads: model.ncnn.param, model.ncnn.bin, fullyconv.json."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from fullyconv.checkpoint import Header
from fullyconv.files import write_folder, write_json, write_text, write_whole
from fullyconv.models.backbones.backbone import Backbone, PaddedBackbone
from fullyconv.models.fast.elided_layers import Laid
from fullyconv.models.fast.elision import elide
from fullyconv.models.fast.stages import Stages
from fullyconv.models.fcn import Head
from fullyconv.runtimes.ncnn_elided import add_laid
from fullyconv.runtimes.ncnn_folder import DESCRIPTION, FORMAT, PARAM, WEIGHTS
from fullyconv.runtimes.ncnn_graph import Graph
from fullyconv.runtimes.ncnn_layers import (
    add_edge,
    add_layer,
    add_scaled,
    add_sum,
    add_upsampling,
)


def write_ncnn(
    model: nn.Module,
    header: Header,
    path: str | os.PathLike[str],
    *,
    half: bool = False,
    size: tuple[int, int] | None = None,
) -> None:
    """Write a network for ncnn, whole or not at all; it takes pictures of any size.

    Its blobs have the names of the maps of :class:`~fullyconv.models.fast.plan.Plan`, and
    ``logits`` is added: scores of every pixel, for those who run the files without fullyconv.

    Args:
        model: Network in evaluation mode: an FCN or a composition of several.
        header: What the folder shall say about it.
        path: The folder to make; an older one of the same kind is replaced.
        half: Store weights in float16: half the size or less. They are computed with in float32;
            wide kernels (fc6) take three times as long as without.

        size: Height and width of the only pictures that it shall take: the authors' padding is
            left out then, which gives the same scores in two thirds of the time.

    Raises:
        FullyConvError: If ncnn has no such layer, a weight is not finite, or the folder cannot be
            written.
    """
    stages = Stages(model)
    graph = network_graph(stages, size, winograd=not half)
    graph.merge()

    def write(folder: Path) -> None:
        write_text(folder / PARAM, graph.write_text())
        write_whole(folder / WEIGHTS, lambda file: graph.write_weights(file, half))
        write_json(folder / DESCRIPTION, _description(folder, graph, stages, header, size))

    write_folder(path, write, DESCRIPTION)


def network_graph(
    stages: Stages, size: tuple[int, int] | None = None, winograd: bool = False
) -> Graph:
    """A network layer by layer; its maps by name.

    Args:
        stages: The network.
        size: Height and width of the only pictures that it shall take, of which then only what
            they reach is computed where the network pads them widely.
        winograd: As of :class:`~fullyconv.runtimes.ncnn_graph.Graph`.
    """
    graph = Graph(winograd)
    backbones = _backbones(stages)
    layers: list[dict[str, nn.Module]] = stages.steps
    if size is not None:
        elided = [elide(backbone, size) for backbone in backbones]
        layers = [{f"features{tap}": s for tap, s in b.stages.items()} for b in elided]
    heads = [_heads(stream) for stream in stages.streams]
    name = graph.input("images", sum(_in_channels(backbone) for backbone in backbones))
    windows: Sequence[str] = []
    for target in layers[0]:
        parts = [runs[target] for runs in layers]
        # what the picture reaches goes on from window to window, all else from whole maps
        laid = isinstance(parts[0], Laid) and bool(windows)
        given = windows if laid else _shares(graph, name, len(layers))
        pairs = [_add_stage(graph, part, x) for part, x in zip(parts, given, strict=True)]
        windows = [window for window, _ in pairs]
        name = graph.keep(graph.concat([whole for _, whole in pairs]), target)
    _add_scores(graph, stages, heads)
    _add_logits(graph, heads[0][0])
    return graph


def _add_stage(graph: Graph, stage: nn.Module, x: str) -> tuple[str, str]:
    """Layers up to a tap: what goes on from there, and the whole map."""
    if isinstance(stage, Laid):
        return add_laid(graph, stage, x)
    whole = add_layer(graph, stage, x)
    return whole, whole


def _backbones(stages: Stages) -> list[Any]:
    return [stream.backbone for stream in stages.streams]


def _heads(stream: nn.Module) -> list[Head]:
    return [module for module in stream.modules() if isinstance(module, Head)]


def _in_channels(backbone: Backbone) -> int:
    return next(m.in_channels for m in backbone.modules() if isinstance(m, nn.Conv2d))


def _shares(graph: Graph, blob: str, streams: int) -> list[str]:
    """Each stream's channels of a blob."""
    return graph.slice(blob, [graph.channels[blob] // streams] * streams)


def _add_scores(graph: Graph, stages: Stages, heads: Sequence[Sequence[Head]]) -> None:
    """The class scores of each tap, and those added up."""
    every = [head for stream in heads for head in stream]
    split = []
    for stride in stages.plan.taps:
        parts = _shares(graph, f"features{stride}", len(heads))
        scored = [
            add_layer(graph, h.score[str(stride)], add_scaled(graph, part, h.skip_scale[stride]))
            for stream, part in zip(heads, parts, strict=True)
            for h in stream
        ]
        name = graph.keep(graph.concat(scored), f"scores{stride}")
        split.append(graph.slice(name, [head.num_classes for head in every]))
    fused = [
        _fuse(graph, head, [parts[number] for parts in split]) for number, head in enumerate(every)
    ]
    size = len(fused) // len(heads)
    streams = [graph.concat(fused[i : i + size]) for i in range(0, len(fused), size)]
    mean = streams[0]
    for stream in streams[1:]:
        mean = add_sum(graph, mean, stream)
    graph.keep(add_scaled(graph, mean, 1 / len(streams)), "scores")


def _fuse(graph: Graph, head: Head, scores: Sequence[str]) -> str:
    """One head's scores of its taps, from coarse to fine, added up on the finest grid."""
    fused, *finer = scores
    for stride, skip in zip(head.taps[1:], finer, strict=True):
        name = str(stride)
        edged = add_edge(graph, fused, head.edge)
        fused = add_upsampling(graph, head.upsample[name], edged, head.num_classes)
        offset = head.offset[name]
        if offset >= 0:
            fused = _crop(graph, fused, offset, skip)
        else:
            skip = _crop(graph, skip, -offset, fused)
        fused = add_sum(graph, fused, skip)
    return fused


def _add_logits(graph: Graph, head: Head) -> None:
    edged = add_edge(graph, "scores", head.edge)
    upsampled = add_upsampling(graph, head.upsample["1"], edged, graph.channels["scores"])
    # a reference of two axes has no channels to be cropped to
    plane = graph.add("Reduction", ["images"], {0: 4, 1: 0, 3: [0], 4: 0, 5: 1}, channels=1)
    graph.keep(_crop(graph, upsampled, head.offset["1"], plane), "logits")


def _crop(graph: Graph, x: str, offset: int, to: str) -> str:
    return graph.add("Crop", [x, to], {0: offset, 1: offset})


def _description(
    folder: Path, graph: Graph, stages: Stages, header: Header, size: tuple[int, int] | None
) -> dict[str, Any]:
    backbone = _backbones(stages)[0]
    padded = isinstance(backbone, PaddedBackbone)
    return {
        "format": FORMAT,
        "header": json.loads(header.to_json()),
        "plan": stages.plan.to_dict(),
        "blobs": {
            name: {"channels": graph.channels[name], "needs": needs}
            for name, needs in graph.needs().items()
        },
        "smallest": backbone.smallest if padded else 1,
        "multiple": backbone.multiple if padded else 1,
        "size": size,
        "bytes": {name: (folder / name).stat().st_size for name in (PARAM, WEIGHTS)},
        "licence": header.info.get("licence"),
    }
