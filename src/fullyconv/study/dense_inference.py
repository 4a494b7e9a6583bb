"""A whole image at once against patch by patch: what sharing the overlap saves (section 3.1)."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from fullyconv.classifier import DenseClassifier, dense_classifier
from fullyconv.errors import UsageError
from fullyconv.models.geometry import CoordMap
from fullyconv.models.layers import channels_last
from fullyconv.progress import progress_bar
from fullyconv.study.result import Row, Study

_SOURCE = 'CVPR 2015, section 3.1 ("a typical GPU")'
_COLUMNS = (
    "cells",
    "patch, px",
    "GFLOP",
    "forward, ms",
    "times forward",
    "backward, ms",
    "times backward",
    "difference",
)


@dataclass(frozen=True)
class Classifier:
    """A classifier, class scores included, that takes images of any size.

    Attributes:
        layers: Images (N, 3, H, W) to scores (N, 1000, h, w).
    """

    layers: DenseClassifier

    @property
    def at(self) -> CoordMap:
        """Where the scores' cells lie in the image."""
        return self.layers.map

    @property
    def patch(self) -> int:
        """Side of the patch, in pixels, on whose middle the first cell is centred.

        The image itself is not padded, so that this is AlexNet's 227. Where no layer pads it is
        the receptive field.
        """
        return int(2 * self.at.start + 1)

    @property
    def stride(self) -> int:
        """Pixels from one patch to the next."""
        return int(self.at.stride)


def classifier(backbone: str, padded: bool = True, width: float = 1.0) -> Classifier:
    """A backbone as the classifier it was, over an image that is not padded; random weights.

    Args:
        backbone: Its name.
        padded: Whether the layers after the first pad their input, as the classifier's do.
        width: Factor on every hidden layer's channels.

    Raises:
        UsageError: If there is no such backbone, or its branches and shortcuts fit only padded.

    Example:
        >>> alexnet = classifier("alexnet", width=1 / 16)
        >>> alexnet.patch, alexnet.stride, alexnet.at.receptive_field
        (227, 32, 355)
        >>> classifier("alexnet", padded=False, width=1 / 16).patch
        355
    """
    net = dense_classifier(backbone, pool=True, width=width)
    layers = [*net.backbone.modules()]
    first = next(i for i, layer in enumerate(layers) if isinstance(layer, nn.Conv2d))
    for layer in layers[: first + 1 if padded else None]:
        if _pads(layer):
            sides = layer.padding if isinstance(layer.padding, tuple) else None
            layer.padding = 0 if sides is None else (0,) * len(sides)  # type: ignore[assignment]
    try:
        unpadded = DenseClassifier(net.backbone.retraced(), net.layers, side=1)
    except ValueError as error:
        raise UsageError(
            f"{backbone} has branches or shortcuts that meet only where layers are padded ({error})"
        ) from error
    return Classifier(channels_last(unpadded))


def _pads(layer: nn.Module) -> bool:
    padding = getattr(layer, "padding", 0)
    return any(padding) if isinstance(padding, tuple) else bool(padding)


class Comparison:
    """One image through a classifier at once, and patch by patch.

    Args:
        net: The classifier.
        image: (1, 3, H, W), at least as large as a patch.

    Attributes:
        cells: Rows and columns of the scores of the image at once.
        inside: Rows and columns of them whose patch lies in the image; a last pooling window that
            hangs over the edge gives one more.
    """

    def __init__(self, net: Classifier, image: Tensor) -> None:
        height, width = image.shape[-2:]
        self.net, self.image = net, image.contiguous(memory_format=torch.channels_last)
        with torch.inference_mode(), FlopCounterMode(display=False) as counter:
            rows, columns = net.layers(self.image).shape[-2:]
        self.cells, self.flop = (rows, columns), counter.get_total_flops()
        inside = ((side - net.patch) // net.stride + 1 for side in (height, width))
        self.inside = (min(rows, next(inside)), min(columns, next(inside)))
        with torch.inference_mode(), FlopCounterMode(display=False) as counter:
            net.layers(self.image[..., : net.patch, : net.patch])
        self.patch_flop = counter.get_total_flops()
        reach = [(count - 1) * net.stride + net.patch for count in self.cells]
        more = [max(0, far - side) for far, side in zip(reach, (height, width), strict=True)]
        self._continued = F.pad(self.image, (0, more[1], 0, more[0]))

    def at_once(self) -> Iterator[Tensor]:
        """The scores (1, 1000, h, w) of the image."""
        yield self.net.layers(self.image)

    def patches(self, batch: int) -> Iterator[Tensor]:
        """The scores (N, 1000, 1, 1) of the patches, row by row, ``batch`` at a time.

        Where a patch hangs over the edge, as a last pooling window does, zeros continue the image.
        """
        side, stride = self.net.patch, self.net.stride
        corners = [
            (i * stride, j * stride) for i in range(self.cells[0]) for j in range(self.cells[1])
        ]
        for first in range(0, len(corners), batch):
            cut = [
                self._continued[..., top : top + side, left : left + side]
                for top, left in corners[first : first + batch]
            ]
            yield self.net.layers(torch.cat(cut))[..., :1, :1]

    @torch.inference_mode()
    def difference(self, batch: int) -> float:
        """Largest difference of the two, over the cells inside, as a share of the largest score."""
        rows, columns = self.inside
        dense = next(self.at_once())[0]
        alone = torch.cat([*self.patches(batch)]).flatten(1).T.reshape(dense.shape)
        gap = (dense - alone)[:, :rows, :columns].abs().max() / dense.abs().max()
        return float(gap)

    def seconds(self, way: Callable[[], Iterator[Tensor]]) -> tuple[float, float]:
        """Seconds of the forward passes, as for a prediction, and of the backward passes."""
        with torch.inference_mode():
            forward = -_now(self.image)
            for _ in way():
                pass
            forward += _now(self.image)
        backward = 0.0
        self.net.layers.train()
        for scores in way():
            backward -= _now(self.image)
            scores.sum().backward()  # type: ignore[no-untyped-call]
            backward += _now(self.image)
        self.net.layers.eval().zero_grad()
        return forward, backward


def _now(on: Tensor) -> float:
    """The time when everything that was started on a tensor's device has ended."""
    getattr(torch, on.device.type).synchronize()
    return time.perf_counter()


def dense_inference(
    backbone: str = "alexnet",
    size: tuple[int, int] = (500, 500),
    *,
    batch: int = 10,
    repeats: int = 3,
    width: float = 1.0,
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> Study:
    """Measure a network over a whole image against the same network over each of its patches.

    Both are measured with the inner layers padded as the classifier's, which is what the paper
    timed, and without any padding, where both must give the same numbers; a network with branches
    or shortcuts has the first form only.

    Args:
        backbone: Name of a classifier.
        size: Height and width of the image in pixels (the paper's: 500 x 500).
        batch: Patches in one forward pass.
        repeats: Measurements of each, of which the median counts.
        width: Factor on every hidden layer's channels.
        seed: Source of the weights and of the image.
        out: Folder to save the study in; nothing is written without.
        progress: Show a progress bar.

    Raises:
        UsageError: If there is no such backbone, the image is smaller than a patch, or a count is
            below 1.
        FullyConvError: If ``out`` cannot be written.
    """
    for name, count in (("batch", batch), ("repeats", repeats)):
        if count < 1:
            raise UsageError(f"{name} is {count}; it must be at least 1")
    start = time.perf_counter()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(seed)
    forms = _forms(backbone, width)
    largest = max(net.patch for net in forms.values())
    if min(size) < largest:
        raise UsageError(
            f"the picture is {size[0]} x {size[1]}, but one patch of {backbone} is {largest} x "
            f"{largest}; give --size at least that"
        )
    image = torch.randn(1, 3, *size).to(device)
    rows: list[Row] = []
    for form, net in forms.items():
        net.layers.to(device).eval()
        rows += _rows(Comparison(net, image), form, batch, repeats, progress)
    command = f"fcn study dense-inference {backbone} --size {size[0]} {size[1]}"
    command += f" --width {width:g}" if width != 1 else ""
    about = {
        "command": f"{command} --batch {batch} --repeats {repeats}",
        "backbone": backbone,
        "size": list(size),
        "batch": batch,
        "repeats": repeats,
        "seed": seed,
        "device": device.type,
        "threads": torch.get_num_threads(),
        "seconds": round(time.perf_counter() - start, 1),
    }
    study = Study(
        name="dense-inference",
        title=f"A whole image at once against patch by patch: {backbone}, {size[0]} x {size[1]}",
        question="How much time does a network save that runs over a whole image instead of over "
        "each of its overlapping patches, forward and backward (section 3.1)?",
        rule=_RULE.format(**about),
        columns=_COLUMNS,
        rows=(*rows, *_PUBLISHED),
        about=about,
    )
    if out is not None:
        study.save(Path(out))
    return study


def _forms(backbone: str, width: float) -> dict[str, Classifier]:
    """The classifier padded and, where its branches and shortcuts then still meet, unpadded."""
    forms = {"padded": classifier(backbone, True, width)}
    with contextlib.suppress(UsageError):
        forms["unpadded"] = classifier(backbone, False, width)
    return forms


_RULE = """\
Random weights, 1000 class scores. The image is not padded; after the first layer, layers are \
padded as the classifier's (padded) or not at all (unpadded). The first patch is the one on \
whose middle the first cell lies, the next ones follow at the network's stride: both come out of \
its coordinate map. Times are medians over {repeats} repeats, each over all cells, after one to \
warm up (device {device}, threads {threads}); the backward pass is of the scores' sum, the \
patches' forward pass before it is not counted. The difference is the largest of any score, as a \
share of the largest score, over the cells whose patch lies inside the image. Unpadded it is \
rounding: a patch is then all that its cell depends on. Padded it is not, because layers put \
zeros around a patch where the whole image has more pixels."""


def _rows(
    compared: Comparison, form: str, batch: int, repeats: int, progress: bool
) -> Iterator[Row]:
    """What one network takes, in each of the ways."""
    ways: dict[str, Callable[[], Iterator[Tensor]]] = {
        "whole image": compared.at_once,
        f"patches, {batch} at a time": partial(compared.patches, batch),
        "patches, one by one": partial(compared.patches, 1),
    }
    gaps = [None, compared.difference(batch), compared.difference(1)]
    bar = progress_bar(total=repeats * len(ways), desc=form, disable=not progress, leave=False)
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    compared.seconds(compared.at_once)  # to warm up; the patches are warm from their difference
    for _ in range(repeats):
        for name, way in ways.items():
            taken[name].append(compared.seconds(way))
            bar.update()
    bar.close()
    rows, columns = compared.cells
    first: list[float] = []
    for (name, times), gap in zip(taken.items(), gaps, strict=True):
        each = [median(column) for column in zip(*times, strict=True)]
        first = first or each
        flop = compared.flop if gap is None else rows * columns * compared.patch_flop
        forward, backward = (
            (1000 * seconds, seconds / dense) for seconds, dense in zip(each, first, strict=True)
        )
        cells, patch = f"{rows} x {columns}", None if gap is None else compared.net.patch
        yield Row(f"{form}, {name}", (cells, patch, flop / 1e9, *forward, *backward, gap))


def _published(
    name: str,
    cells: str,
    patch: int | None,
    forward: float | None,
    times: str | None,
    backward: float | None,
) -> Row:
    values = (cells, patch, None, forward, times, backward, None, None)
    return Row(f"AlexNet, {name}", values, _SOURCE)


_PUBLISHED = (
    _published("whole image of 500 x 500", "10 x 10", None, 22.0, None, 37.0),
    _published("a patch among others", "1 x 1", 227, 1.2, None, 2.4),
    _published("a patch alone", "1 x 1", 227, 5.4, None, None),
    _published("patches together", "10 x 10", 227, None, "more than 5", None),
    _published("patches, one by one", "10 x 10", 227, None, "nearly 25", None),
)
