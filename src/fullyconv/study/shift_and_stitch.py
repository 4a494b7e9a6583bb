"""Shift-and-stitch against filter dilation (paper, section 3.2): equal, at what cost."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import product

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from fullyconv.errors import UsageError
from fullyconv.models.backbones import Backbone, build_backbone
from fullyconv.models.dilate import check_stride, dilate
from fullyconv.study.result import Row, Study

_TAP = 32  # the deepest features


def stitch_shifts(backbone: Backbone, images: Tensor, stride: int) -> Tensor:
    """Finer features from a coarse network run on shifted pictures, interlaced.

    With the network's stride f, it runs (f / stride)^2 times, on the picture without its first x
    columns and y rows, x and y in 0, stride, 2 stride, ...; the cell (i, j) of each run lies at
    (i, j) f + (y, x).

    Args:
        backbone: Coarse network.
        images: (N, C, H, W).
        stride: The stride to reach; it divides the network's.

    Returns:
        (N, channels, h, w) features of the deepest tap: as many as every run has.

    Raises:
        UsageError: If the stride does not divide the network's: the runs would not interlace.
    """
    check_stride(backbone, stride)
    coarse = int(backbone.maps[_TAP].stride)
    shifts = range(0, coarse, stride)
    runs = {(y, x): backbone(images[..., y:, x:])[_TAP] for y, x in product(shifts, shifts)}
    height, width = (min(run.shape[d] for run in runs.values()) for d in (2, 3))
    count, channels = images.shape[0], runs[0, 0].shape[1]
    stitched = images.new_empty((count, channels, height * len(shifts), width * len(shifts)))
    for (y, x), run in runs.items():
        stitched[..., y // stride :: len(shifts), x // stride :: len(shifts)] = run[
            ..., :height, :width
        ]
    return stitched


def interior(backbone: Backbone, size: int, stride: int) -> slice:
    """The cells, along an axis, whose receptive field no shift pushes out of the picture.

    Args:
        backbone: The dilated network.
        size: Rows of the picture.
        stride: Stride of the coarse network: the largest shift is below it.
    """
    at = backbone.maps[_TAP]
    reach = (at.receptive_field - 1) / 2
    first = -((float(at.start) - reach - stride) // float(at.stride))
    last = (size - 1 - reach - float(at.start)) // float(at.stride)
    return slice(max(0, int(first)), max(0, int(last) + 1))


@torch.inference_mode()
def shift_and_stitch(
    names: Sequence[str],
    *,
    stride: int = 8,
    width: float = 1 / 16,
    size: int = 0,
    repeats: int = 3,
) -> Study:
    """Run both on random pictures and weights, check that they agree, and measure them.

    Args:
        names: Backbones.
        stride: The stride to reach from 32.
        width: Factor on the channels; 1 for the networks as they are.
        size: Side of the picture; 0 for what the receptive field needs for some cells inside.
        repeats: How often each is timed; the fastest counts.

    Raises:
        UsageError: If a backbone does not exist, the stride is not below 32, or no cell's receptive
            field lies inside a picture of this size.
    """
    if not 0 < width <= 16 or repeats < 1:  # as ModelConfig has it
        raise UsageError(
            f"width is {width} and repeats {repeats}; the one must be above 0 and at most 16, the "
            "other at least 1"
        )
    rows = [row for name in names for row in _compared(name, stride, width, size, repeats)]
    return Study(
        name="shift-and-stitch",
        title="Shift-and-stitch against filter dilation",
        question="Does a dilated network give what the coarse one gives on every shifted picture, "
        "and at what cost (paper, section 3.2)?",
        rule=(
            f"Features at stride {stride} instead of 32, width {width:g}, random weights and "
            f"picture; threads: {torch.get_num_threads()}; timings, of which the fastest counts: "
            f"{repeats}. Compared are the cells whose receptive field lies in the picture whatever "
            "the shift: elsewhere a shift puts zeros where the dilated network still sees the "
            "picture. The difference is relative to the largest feature."
        ),
        columns=("picture", "seconds", "GFLOP", "times the coarse run", "largest difference"),
        rows=tuple(rows),
        about={"stride": stride, "width": width},
    )


def _compared(name: str, stride: int, width: float, size: int, repeats: int) -> list[Row]:
    torch.manual_seed(0)
    try:
        coarse = build_backbone(name, width=width).eval()
    except ValueError as error:
        raise UsageError(f"{name} cannot be {width} times as wide ({error})") from error
    fine = dilate(coarse, stride)
    of = int(coarse.maps[_TAP].stride)
    if not 1 <= stride < of:
        raise UsageError(f"the stride is {stride}; it must be at least 1 and below {of}")
    seen = coarse.maps[_TAP].receptive_field
    if 0 < size < seen + of:
        raise UsageError(
            f"{name} sees {seen} pixels: a picture of {size} has no cell that sees it alone; give "
            f"a size of at least {seen + 2 * of}"
        )
    size = size or -(-(seen + 3 * of) // of) * of
    images = torch.randn(1, 3, size, size)
    inside = interior(fine, size, of)
    ways: dict[str, Callable[[], Tensor]] = {
        f"{name}, stride {of}": lambda: coarse(images)[_TAP],
        "shift-and-stitch": lambda: stitch_shifts(coarse, images, stride),
        "dilation": lambda: fine(images)[_TAP],
    }
    outputs = {way: run() for way, run in ways.items()}
    a, b = (outputs[way][..., inside, inside] for way in ("shift-and-stitch", "dilation"))
    largest = float(((a - b).abs().max() / b.abs().max()).item())
    seconds = {way: _fastest(run, repeats) for way, run in ways.items()}
    first = next(iter(seconds.values()))
    return [
        Row(way, (f"{size} x {size}", seconds[way], _gflop(run), seconds[way] / first,
                  None if number == 0 else f"{largest:.0e}"))
        for number, (way, run) in enumerate(ways.items())
    ]  # fmt: skip


def _fastest(run: Callable[[], Tensor], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def _gflop(run: Callable[[], Tensor]) -> float:
    with FlopCounterMode(display=False) as counter:
        run()
    operations: int = counter.get_total_flops()
    return operations / 1e9
