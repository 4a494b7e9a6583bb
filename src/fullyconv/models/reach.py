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

from torch import nn

from fullyconv.models.layers import POINTWISE, cells, window


@dataclass(frozen=True)
class Reach:
    """The output of one layer along one axis: half-open ranges of its cells.

    Attributes:
        cells: Of the whole map.
        clean: Those that the zero image gives the constant, padding seen by none of them.
        changed: Those that the image can change.
        start: First cell of the window that is computed; the changed ones lie in it.
        count: Cells of the window.
        before: Cells of the constant that a convolution is continued by on both sides, to get there.
        hang: Cells by which the last window of a pooling hangs over the end of its input.
    """

    cells: int
    clean: tuple[int, int]
    changed: tuple[int, int]
    start: int
    count: int
    before: int = 0
    hang: int = 0


def reaches(layers: Sequence[nn.Module], size: int, axis: int) -> Iterator[Reach]:
    """What an image reaches in each layer, as long as what it changes would be clean.

    Args:
        layers: In the order in which they run; the first one that is not pointwise pads with zeros,
            which an image of zeros does not differ from.
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
    margin = next((window(layer, axis)[2][0] for layer in layers if _slides(layer)), 0)
    at = Reach(size, (-margin, size + margin), (0, size), 0, size)
    for index, layer in enumerate(layers):
        if isinstance(layer, POINTWISE):
            at = replace(at, before=0, hang=0)
        elif not _slides(layer):
            return
        else:
            following = next((other for other in layers[index + 1 :] if _slides(other)), None)
            moved = _slide(layer, following, at, axis)
            if moved is None:
                return
            at = moved
        yield at


def _slides(layer: nn.Module) -> bool:
    if isinstance(layer, nn.Conv2d):
        return layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
    return isinstance(layer, nn.MaxPool2d) and layer.dilation in (1, (1, 1))


def _slide(layer: nn.Module, following: nn.Module | None, at: Reach, axis: int) -> Reach | None:
    """One window slid over the map; None where the changed cells would not be clean."""
    assert isinstance(layer, nn.Conv2d | nn.MaxPool2d)
    size, stride, (padding, _), dilation = window(layer, axis)
    span = dilation * (size - 1)
    total = cells(layer, at.cells, axis)
    changed = (
        -((span - at.changed[0] - padding) // stride),  # rounded up
        (at.changed[1] - 1 + padding) // stride + 1,
    )
    clean = (
        max(0, -((-at.clean[0] - padding) // stride)),
        min(total, (at.clean[1] + padding - span - 1) // stride + 1),
    )
    if not clean[0] <= changed[0] < changed[1] <= clean[1]:
        return None
    before = hang = 0
    if isinstance(layer, nn.Conv2d):
        start = _start((at.start + padding - span) // stride, changed[0], following, axis)
        before = at.start + padding - stride * start
        count = (at.count + 2 * before - span - 1) // stride + 1
    else:
        start, between = divmod(at.start + padding, stride)
        count = -(-max(0, at.count - size) // stride) + 1
        hang = stride * (count - 1) + size - at.count
        if between or start > changed[0] or start + count < changed[1] or size < stride:
            return None  # no convolution between two poolings
    return Reach(total, clean, changed, start, count, before, hang)


def _start(latest: int, changed: int, following: nn.Module | None, axis: int) -> int:
    """Where a convolution's window must start so that a pooling behind it starts on its own grid.

    Args:
        latest: The last start with as many cells before the changed ones as after them.
        changed: First changed cell.
        following: Next layer with a window.
        axis: 0 for rows, 1 for columns.
    """
    if not isinstance(following, nn.MaxPool2d):
        return latest
    size, stride, (padding, _), _ = window(following, axis)
    first = -((size - 1 - changed - padding) // stride)  # the pooling's first changed cell
    start = min(latest - max(0, size - stride), first * stride - padding)
    return (start + padding) // stride * stride - padding
