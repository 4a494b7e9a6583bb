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

from torch import nn

from fullyconv.models.layers import POINTWISE, cells, window

Range = tuple[int, int]
"""A half-open range of cells."""


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
            extra = _extra(layers[index:], at, axis, first=index == 0)
            found = extra and _window([layer], at.start - extra[0], at.count + sum(extra), axis)
            if not found:
                return
            padding = _span(layer, axis) if isinstance(layer, nn.Conv2d) else 0
            at = Reach(cells(layer, at.cells, axis), clean, changed, *found, padding, extra)
        else:
            return
        yield at


def _slides(layer: nn.Module) -> bool:
    if isinstance(layer, nn.Conv2d):
        return layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
    return isinstance(layer, nn.MaxPool2d) and layer.dilation in (1, (1, 1))


def _span(layer: nn.Module, axis: int) -> int:
    """From the first cell that a window sees to the last."""
    size, _, _, dilation = window(layer, axis)
    return dilation * (size - 1)


def _changed(layer: nn.Module, changed: Range, axis: int) -> Range:
    """Cells that see one of the range."""
    _, stride, (padding, _), _ = window(layer, axis)
    first = -((_span(layer, axis) - changed[0] - padding) // stride)  # rounded up
    return first, (changed[1] - 1 + padding) // stride + 1


def _clean(layer: nn.Module, at: Reach, axis: int) -> Range:
    """Cells that see only clean ones."""
    _, stride, (padding, _), _ = window(layer, axis)
    last = (at.clean[1] - 1 + padding - _span(layer, axis)) // stride
    first = -((-at.clean[0] - padding) // stride)  # rounded up
    return max(0, first), min(cells(layer, at.cells, axis), last + 1)


def _extra(layers: Sequence[nn.Module], at: Reach, axis: int, first: bool) -> Range | None:
    """Cells to add before a layer so that the pooling after it finds what it needs; None if none do.

    The first layer is cared for by the image, whose few channels are cheap to pad; any other
    pooling, by the convolution before it.
    """
    slides = [layer for layer in layers if not isinstance(layer, POINTWISE)]
    pooled = next((i for i, layer in enumerate(slides) if not isinstance(layer, nn.Conv2d)), None)
    chain = slides[:1]
    if pooled and (first or pooled == 1) and _slides(slides[pooled]):
        chain = slides[: pooled + 1]
    changed = at.changed
    for layer in chain:
        changed = _changed(layer, changed, axis)
    if isinstance(chain[0], nn.MaxPool2d):
        return 0, 0
    limit = 2 * max(8, at.count)
    for before in range(limit):
        found = _window(chain, at.start - before, at.count + before + limit, axis)
        if found and found[0] <= changed[0]:
            break
    else:
        return None
    for after in count():
        found = _window(chain, at.start - before, at.count + before + after, axis)
        if found and sum(found) >= changed[1]:
            return before, after
    return None


def _window(layers: Sequence[nn.Module], start: int, count: int, axis: int) -> Range | None:
    """Start and count of a window after some layers; None if it does not lie on their grids."""
    for layer in layers:
        size, stride, (padding, _), _ = window(layer, axis)
        span = _span(layer, axis)
        added = span if isinstance(layer, nn.Conv2d) else 0
        start, between = divmod(start + padding - added, stride)
        count = (count + 2 * added - span - 1) // stride + 1
        if between or count < 1:
            return None
    return start, count
