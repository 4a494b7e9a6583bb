"""Part of somebody's network as a graph of layers, with the geometry that follows from it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Literal, TypeVar

import torch
from torch import Tensor, fx, nn

from fullyconv.errors import FullyConvError
from fullyconv.models.geometry import CoordMap, merge
from fullyconv.models.layers import Mapped, alike, cells, trace

_Value = TypeVar("_Value")
Misaligned = Literal["refuse", "first"]


class Traced(Mapped):
    """A piece of a graph, from one feature map to another.

    Its layers are those whose geometry :func:`~fullyconv.models.layers.trace` knows; functions
    between them work on each cell alone, or join maps that lie on one grid.

    Args:
        body: One input, one output.
        misaligned: What to do with branches that lie on different grids.

    Shape:
        (N, C, h, w) to (N, C', h', w').
    """

    def __init__(self, body: fx.GraphModule, misaligned: Misaligned = "refuse") -> None:
        super().__init__()
        self.body, self.misaligned = body, misaligned

    def forward(self, x: Tensor) -> Tensor:
        """Return the output of the piece; shapes as in the class docstring."""
        y: Tensor = self.body(x)
        return y

    @property
    def first(self) -> nn.Module:
        """The layer that alone takes the input; the piece itself where there is no such one."""
        node = next(iter(self.body.graph.nodes))
        users = [user for user in node.users if user.op == "call_module"]
        alone = len(users) == len(node.users) == 1
        return self.body.get_submodule(str(users[0].target)) if alone else self

    def trace(self, at: CoordMap, axis: int) -> CoordMap:
        """Where the output cells lie."""
        return self._last(self.walk(at, axis))

    def walk(self, at: CoordMap, axis: int) -> dict[fx.Node, CoordMap]:
        """Where the cells of each node lie."""
        return self._walk(at, lambda layer, value: _traced(layer, value, axis), self._joined)

    def _joined(self, maps: Iterable[CoordMap], node: fx.Node) -> CoordMap:
        first, *others = maps
        if self.misaligned == "first":
            others = [replace(o, stride=first.stride, start=first.start) for o in others]
            return merge((first, *others))
        try:
            return merge((first, *others))
        except ValueError as error:
            raise FullyConvError(
                f'{node.meta.get("layer") or "this classifier"}: {error}; misaligned="first" takes '
                "them to lie where the first does"
            ) from error

    def cells(self, count: int, axis: int) -> int:
        """How many output cells there are for so many input cells.

        0 if they are too few, or branches that are joined have different numbers of them.
        """
        counts = self._walk(
            count, lambda layer, value: cells(layer, value, axis), lambda counts, _: alike(counts)
        )
        return self._last(counts)

    def _last(self, values: dict[fx.Node, _Value]) -> _Value:
        return next(values[node] for node in self.body.graph.nodes if node.op == "output")

    def _walk(
        self,
        start: _Value,
        through: Callable[[nn.Module, _Value], _Value],
        join: Callable[[Iterable[_Value], fx.Node], _Value],
    ) -> dict[fx.Node, _Value]:
        """Carry a value along the graph: through each layer, joined where maps meet."""
        layers, values = dict(self.body.named_modules()), dict[fx.Node, _Value]()
        for node in self.body.graph.nodes:
            given = [values[source] for source in node.all_input_nodes if source in values]
            if node.op == "placeholder" and not values:
                values[node] = start
            elif given:
                value = join(given, node)
                if node.op == "call_module":
                    value = through(layers[str(node.target)], value)
                values[node] = value
        return values


# Layers that the rewriting lets through only where they move nothing: on each cell's channels, or
# over the whole map at once.
UNMOVED = (
    nn.Linear,
    nn.LayerNorm,
    nn.GroupNorm,
    nn.InstanceNorm2d,
    nn.Softmax,
    nn.LogSoftmax,
    nn.Softmax2d,
    nn.ChannelShuffle,
    nn.AdaptiveAvgPool2d,
)


class LocalAverage(Mapped):
    """The average over a window around each cell; over what there is of it at the edges.

    Args:
        size: Height and width of the window in cells.

    Shape:
        (N, C, h, w) to (N, C, h, w).
    """

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        """Return the averages; shapes as in the class docstring."""
        height, width = self.size
        around = (width // 2, (width - 1) // 2, height // 2, (height - 1) // 2)
        sums, counts = (
            self._sum(nn.functional.pad(y, around)) for y in (x, torch.ones_like(x[:1, :1]))
        )
        return sums / counts

    def _sum(self, x: Tensor) -> Tensor:
        height, width = self.size
        rows = nn.functional.avg_pool2d(x, (height, 1), 1, divisor_override=1)
        return nn.functional.avg_pool2d(rows, (1, width), 1, divisor_override=1)

    def trace(self, at: CoordMap, axis: int) -> CoordMap:
        """Its cells lie where they were, and see the window."""
        seen = at.window(self.size[axis]).receptive_field
        return replace(at, receptive_field=seen)

    def cells(self, count: int, axis: int) -> int:
        """As many as before."""
        return count


def _traced(layer: nn.Module, at: CoordMap, axis: int) -> CoordMap:
    return at if isinstance(layer, UNMOVED) else trace(layer, at, axis)
