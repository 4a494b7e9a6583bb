"""How far an image reaches into the layers of a network that pads it widely.

Around the image the authors' networks put 100 pixels of zero. A cell that sees none of the image
and nothing of what deeper layers pad has the value that a boundless zero image would give, one
constant per channel: the cell is *clean*. A cell that sees the image is *changed*. As long as every
changed cell would be clean without the image, a layer need only be computed on a window around
the changed cells, and continued by the constant. This file derives the windows, along one axis.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import TypeGuard

from torch import nn

from fullyconv.models.layers import POINTWISE, cells, window

Range = tuple[int, int]
"""A half-open range of cells."""
_Layer = nn.Conv2d | nn.MaxPool2d


@dataclass(frozen=True)
class Reach:
    """The output of one layer along one axis.

    Attributes:
        cells: Of the whole map.
        clean: Those that the zero image gives the constant.
        changed: Those that the image can change.
        start: First cell of the window that is computed; the changed ones lie in it.
        count: Cells of the window.
        padding: Cells of the constant that a convolution adds to its input on both sides: as many
            as its kernel reaches, and no more, for which libraries have no fast way.
        extra: Further cells to add, before and behind, so that a pooling that follows starts on its
            own grid and sees whole windows.
    """

    cells: int
    clean: Range
    changed: Range
    start: int
    count: int
    padding: int = 0
    extra: Range = (0, 0)


def reaches(layers: Sequence[nn.Module], size: int, axis: int) -> Iterator[Reach]:
    """What an image reaches in each layer, as long as what it changes would be clean.

    Args:
        layers: In the order in which they run; the first is a convolution and pads with zeros, from
            which an image of zeros does not differ.
        size: Pixels of the image along the axis.
        axis: 0 for rows, 1 for columns.

    Yields:
        One for each layer, up to the first whose geometry is not simple enough, or in which the
        image meets what the layers' own padding changes.

    Example:
        >>> stem = [nn.Conv2d(3, 4, 3, padding=100), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1)]
        >>> [(reach.changed, reach.clean) for reach in reaches(stem, 10, axis=0)]
        [((98, 110), (0, 208)), ((98, 110), (0, 208)), ((97, 111), (1, 207))]
    """
    if not layers or not isinstance(layers[0], nn.Conv2d):
        return
    margin = window(layers[0], axis)[2][0]
    at = Reach(size, (-margin, size + margin), (0, size), 0, size)
    for index, layer in enumerate(layers):
        if isinstance(layer, POINTWISE):
            at = replace(at, padding=0, extra=(0, 0))
        elif _slides(layer):
            changed, clean = _changed(layer, at.changed, axis), _clean(layer, at, axis)
            if not clean[0] <= changed[0] < changed[1] <= clean[1]:
                return
            extra = _extra(_chain(layers[index:], first=index == 0), at, axis)
            if extra is None:
                return
            found = _window([layer], at.start - extra[0], at.count + sum(extra), axis)
            if found is None:
                return
            padding = _span(layer, axis) if isinstance(layer, nn.Conv2d) else 0
            at = Reach(cells(layer, at.cells, axis), clean, changed, *found, padding, extra)
        else:
            return
        yield at


def _slides(layer: nn.Module) -> TypeGuard[_Layer]:
    if isinstance(layer, nn.Conv2d):
        return layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
    return isinstance(layer, nn.MaxPool2d) and layer.dilation in (1, (1, 1))


def _span(layer: _Layer, axis: int) -> int:
    """From the first cell that a window sees to the last."""
    size, _, _, dilation = window(layer, axis)
    return dilation * (size - 1)


def _changed(layer: _Layer, changed: Range, axis: int) -> Range:
    """Cells that see one of the range."""
    _, stride, (padding, _), _ = window(layer, axis)
    first = -((_span(layer, axis) - changed[0] - padding) // stride)  # rounded up
    return first, (changed[1] - 1 + padding) // stride + 1


def _clean(layer: _Layer, at: Reach, axis: int) -> Range:
    """Cells that see only clean ones."""
    _, stride, (padding, _), _ = window(layer, axis)
    last = (at.clean[1] - 1 + padding - _span(layer, axis)) // stride
    first = -((-at.clean[0] - padding) // stride)  # rounded up
    return max(0, first), min(cells(layer, at.cells, axis), last + 1)


def _chain(layers: Sequence[nn.Module], first: bool) -> list[_Layer]:
    """The layers whose grids decide how many cells are added to the first one's input.

    The image, whose few channels are cheap to pad, cares for the first pooling; for any other, the
    convolution right before it does.
    """
    chain: list[_Layer] = []
    for layer in layers:
        if _slides(layer):
            chain.append(layer)
            if isinstance(layer, nn.MaxPool2d):
                return chain if first or len(chain) <= 2 else chain[:1]
        elif not isinstance(layer, POINTWISE):
            break
    return chain[:1]


def _extra(chain: Sequence[_Layer], at: Reach, axis: int) -> Range | None:
    """Cells to add to the input of the first of some layers so that the last has what can change.

    None if no number of cells before the window brings it onto the layers' grids.
    """
    if isinstance(chain[0], nn.MaxPool2d):
        return 0, 0
    changed, period = at.changed, 1
    for layer in chain:
        changed, period = _changed(layer, changed, axis), period * window(layer, axis)[1]
    wide = period * (changed[1] + 1)  # more than enough behind

    def reached(before: int, after: int) -> Range:
        return _window(chain, at.start - before, at.count + before + after, axis) or (wide, 0)

    starts = (before for before in range(2 * period) if reached(before, wide)[0] <= changed[0])
    before = next(starts, None)
    if before is None:
        return None
    return before, next(n for n in count() if sum(reached(before, n)) >= changed[1])


def _window(layers: Sequence[_Layer], start: int, count: int, axis: int) -> Range | None:
    """Start and count of a window after some layers; None if it does not lie on their grids."""
    for layer in layers:
        _, stride, (padding, _), _ = window(layer, axis)
        span = _span(layer, axis)
        added = span if isinstance(layer, nn.Conv2d) else 0
        start, between = divmod(start + padding - added, stride)
        count = (count + 2 * added - span - 1) // stride + 1
        if between or count < 1:
            return None
    return start, count
