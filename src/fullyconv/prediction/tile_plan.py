"""Into which tiles a picture is cut, stage by stage, and what memory that takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from math import ceil

from fullyconv.errors import FullyConvError
from fullyconv.models.fast.plan import Piece, Plan

_CELLS = "scores"
_HEAD_ROWS = 8  # of the coarsest tap, that one band adds: 256 pixels at stride 32
_HEAD_NUMBERS = 1 << 24  # that the head works on at once, about: 64 MB
# measured with OpenVINO and `camvid`, on two cores of a Xeon
_HELD = 1.4  # times the widest layer's numbers that the engine holds, for each piece and stream
_WHOLE = 2.5  # likewise for a whole picture, at most
_MOVED = 60  # multiplications that take as long as reading or writing a number of that layer
_NEAR = 3_000_000  # numbers up to which that is so; of larger layers it takes twice as long
_GROWTH = 1.25  # from one side that is tried to the next


@dataclass(frozen=True)
class Part:
    """One of the parts in which a map is made, along an axis.

    Attributes:
        start: First source cell that it is made from.
        stop: Source cell behind the last.
        offset: Which target cell its own cell 0 is.
        first: First target cell taken from it.
        last: Target cell behind the last one taken.
    """

    start: int
    stop: int
    offset: int
    first: int
    last: int


@dataclass(frozen=True)
class Reach:
    """What a target cell t sees along an axis: source cells from ``before + stride * t`` on.

    Attributes:
        before: First source cell that target cell 0 sees, negative or 0.
        after: Source cell behind the last that it sees.
        stride: Source cells from one target cell to the next.
        period: Source cells that a part may start at multiples of.
        least: Source cells that a part has at least.
    """

    before: int
    after: int
    stride: int
    period: int
    least: int

    @classmethod
    def of(cls, piece: Piece) -> Reach:
        """That of a piece."""
        before, after = piece.sees(0, 1)
        least = max(piece.first, piece.receptive_field) + 2 * piece.period + piece.stride
        return cls(before, after, piece.stride, piece.period, least)

    @classmethod
    def of_head(cls, plan: Plan) -> Reach:
        """That of the fused scores, on whose grid both source and target cells are counted."""
        ratio = plan.ratios[-1]
        margin = plan.reach * ratio
        return cls(-margin, margin + 1, 1, ratio, 2 * margin + 2 * ratio)

    def split(self, source: int, target: int, length: int) -> tuple[Part, ...]:
        """Parts of at most so many source cells: few, and nearly all of one size.

        Args:
            source: Source cells of the whole map.
            target: Target cells.
            length: The most that a part has; it has at least ``least``.

        Example:
            >>> Reach(-1, 2, 1, 1, 4).split(10, 10, 6)
            (Part(start=0, stop=6, offset=0, first=0, last=5), \
Part(start=4, stop=10, offset=4, first=5, last=10))
        """
        length = self._whole(length)
        most = len(self._parts(source, target, length))
        low = self._whole(self.least)
        while low < length:  # the shortest that needs no more parts
            middle = self._whole((low + length) // 2)
            if len(self._parts(source, target, middle)) > most:
                low = middle + self.period
            else:
                length = middle
        return self._parts(source, target, length)

    def _whole(self, length: int) -> int:
        """A length, or the least one, in whole periods."""
        return max(length // self.period, -(-self.least // self.period)) * self.period

    def _parts(self, source: int, target: int, length: int) -> tuple[Part, ...]:
        if source <= length:
            return (Part(0, source, 0, 0, target),)
        parts: list[Part] = []
        start = first = 0
        while start + length < source:
            last = min(target, (start + length - self.after) // self.stride + 1)
            parts.append(Part(start, start + length, start // self.stride, first, last))
            first = last
            start = max(0, (self.before + self.stride * first) // self.period * self.period)
        start = -(-(source - length) // self.period) * self.period
        parts.append(Part(start, source, start // self.stride, first, target))
        return tuple(parts)


@dataclass(frozen=True)
class Tiling:
    """How a picture is worked through: every map in parts, rows by rows from top to bottom.

    Attributes:
        plan: The network's geometry.
        height: Of the picture, in pixels.
        width: Of the picture, in pixels.
        cells: Rows and columns of each map of the whole picture.
        rows: For each piece of the network, and for the head, the parts of its rows.
        columns: Likewise of its columns.
        sides: What :func:`plan_tiles` takes to make the same tiles again.
        memory: Bytes that are needed at once, about, beside the engine and its weights.
    """

    plan: Plan
    height: int
    width: int
    cells: Mapping[str, tuple[int, int]]
    rows: tuple[tuple[Part, ...], ...]
    columns: tuple[tuple[Part, ...], ...]
    sides: tuple[tuple[int, ...], ...]
    memory: int

    @cached_property
    def bands(self) -> tuple[tuple[int, int], ...]:
        """Pixel rows, from and up to, that each part of the head finishes; some may be none."""
        landing, total = self.plan.landing, self.cells[_CELLS][0]
        bands, start = [], 0
        for part in self.rows[-1]:
            ready = (part.last + landing.edge) * landing.factor - landing.offset
            stop = self.height if part.last == total else min(max(start, ready), self.height)
            bands.append((start, stop))
            start = stop
        return tuple(bands)

    def lowest(self, row: int) -> int:
        """The first row of fused scores that a pixel row depends on."""
        landing = self.plan.landing
        seen = ceil(landing.kernel_size / landing.factor) - 1
        first = (row + landing.offset) // landing.factor - seen - landing.edge
        return min(max(0, first), self.cells[_CELLS][0] - 1)

    @property
    def tiles(self) -> int:
        """How many parts of maps the engine is given."""
        return sum(len(r) * len(c) for r, c in zip(self.rows, self.columns, strict=True))

    def describe(self) -> str:
        """What the work will take, in a line."""
        return (
            f"{self.height} x {self.width} pixels in {self.tiles:,} tiles: about "
            f"{self.memory / 1e6:,.0f} MB beside the engine, {self.overhead:.0%} computed twice"
        )

    @property
    def overhead(self) -> float:
        """What is computed twice, as a share of what the whole picture takes."""
        done = needed = 0.0
        for piece, rows, columns in zip(self.plan.pieces, self.rows, self.columns, strict=False):
            made = [sum(_extent(piece, p.stop - p.start) for p in ps) for ps in (rows, columns)]
            whole = [_extent(piece, count) for count in self.cells[piece.source]]
            done += piece.work * made[0] * made[1]
            needed += piece.work * whole[0] * whole[1]
        return done / needed - 1


def plan_tiles(
    plan: Plan,
    cells: Mapping[str, tuple[int, int]],
    *,
    budget: int,
    pixel_bytes: int = 3,
    classes: int = 64,
    sides: Sequence[Sequence[int]] | None = None,
    streams: int = 1,
) -> Tiling:
    """Choose tiles that take the least time within a budget of memory.

    Args:
        plan: The network's geometry.
        cells: Rows and columns of each map, ``images`` included, of the whole picture.
        budget: Bytes.
        pixel_bytes: Of a pixel as it is read.
        classes: Class scores, of all heads and streams.
        sides: Rows and columns, at most, of each piece's tiles in source cells, and of the head's
            in cells of the coarsest tap; else they are chosen.
        streams: Tiles that the engine works on at once.

    Raises:
        FullyConvError: If the smallest tiles take more than the budget.
    """
    space = _Space(plan, cells, pixel_bytes, classes, streams)
    if sides is None:
        options, memory = _choose(space, budget)
        if memory > budget:
            height, width = cells["images"]
            raise FullyConvError(
                f"a picture of {height} x {width} pixels takes at least {memory / 1e6:,.0f} MB, "
                f"but {budget / 1e6:,.0f} MB may be used; allow more, or cut it into strips from "
                "top to bottom"
            )
        sides = [*(option.sides for option in options), _head_sides(plan, classes)]
    else:
        options = [space.option(n, (side[0], side[1])) for n, side in enumerate(sides[:-1])]
        memory = space.memory(options)
    rows, columns = [], []
    for piece, side in zip(plan.pieces, sides[:-1], strict=True):
        reach, source, target = Reach.of(piece), cells[piece.source], cells[piece.target]
        rows.append(reach.split(source[0], target[0], side[0]))
        columns.append(reach.split(source[1], target[1], side[1]))
    reach, ratio = Reach.of_head(plan), plan.ratios[-1]
    coarse, fused = cells[f"scores{plan.taps[0]}"], cells[_CELLS]
    rows.append(reach.split(coarse[0] * ratio, fused[0], sides[-1][0] * ratio))
    columns.append(reach.split(coarse[1] * ratio, fused[1], sides[-1][1] * ratio))
    height, width = cells["images"]
    limits = tuple(map(tuple, sides))
    return Tiling(plan, height, width, dict(cells), tuple(rows), tuple(columns), limits, memory)


def whole_memory(plan: Plan, height: int, width: int) -> int:
    """Bytes that a picture takes, about, if it is not cut."""
    scale, most = 1, 0.0
    for piece in plan.pieces:
        area = _extent(piece, height // scale + 1) * _extent(piece, width // scale + 1)
        most = max(most, 4 * _WHOLE * piece.floats * area)
        scale *= piece.stride
    return round(most)


def fused_cells(plan: Plan, taps: Sequence[int]) -> tuple[list[int], int]:
    """Cells along an axis that are taken of each tap's scores, and cells of their sum.

    Args:
        plan: The network's geometry.
        taps: Cells that there are of each tap, from coarse to fine.
    """
    fused, *finer = taps
    taken = [fused]
    for skip, count in zip(plan.skips, finer, strict=True):
        used, fused = skip.added(fused, count)
        taken.append(used)
    return taken, fused


def _extent(piece: Piece, count: int) -> int:
    """Source cells that a piece really works on: with the zeros that it pads with."""
    return max(count, piece.cells(count) * piece.stride) if count >= piece.first else count


def _head_sides(plan: Plan, classes: int) -> tuple[int, int]:
    rows = _HEAD_ROWS + 2 * plan.reach
    columns = _HEAD_NUMBERS // (classes * rows * plan.ratios[-1] ** 2)
    return rows, max(columns, 8 * plan.reach)


@dataclass(frozen=True)
class _Option:
    """Tiles of a piece: their sides, what they cost, and bytes that are held because of them."""

    sides: tuple[int, int]
    cost: float
    memory: int


def _choose(space: _Space, budget: int) -> tuple[list[_Option], int]:
    """An option for each piece, and their bytes: more where a byte saves the most time.

    From the least memory on, which may be more than the budget.
    """
    every = [_fastest(space.options(number)) for number in range(len(space.plan.pieces))]
    chosen = [options[0] for options in every]
    free = budget - space.memory(chosen)
    while True:
        steps = [
            ((now.cost - other.cost) / (other.memory - now.memory), number, other)
            for number, (now, options) in enumerate(zip(chosen, every, strict=True))
            for other in options
            if 0 < other.memory - now.memory <= free
        ]
        if not steps:
            return chosen, space.memory(chosen)
        _, number, other = max(steps, key=lambda step: step[0])
        free -= other.memory - chosen[number].memory
        chosen[number] = other


def _fastest(options: Sequence[_Option]) -> list[_Option]:
    """Those than which none is both faster and smaller."""
    kept: list[_Option] = []
    for option in sorted(options, key=lambda o: (o.memory, o.cost)):
        if not kept or option.cost < kept[-1].cost:
            kept.append(option)
    return kept


@dataclass(frozen=True)
class _Space:
    """What tiles cost in time and memory."""

    plan: Plan
    cells: Mapping[str, tuple[int, int]]
    pixel_bytes: int
    classes: int
    streams: int

    def options(self, number: int) -> list[_Option]:
        """Tiles of every size of one piece."""
        piece = self.plan.pieces[number]
        least, longest = Reach.of(piece).least, self.cells[piece.source]
        sides = []
        for most in longest:
            steps = [least]
            while steps[-1] < most:
                steps.append(ceil(steps[-1] * _GROWTH))
            sides.append(steps)
        return [self.option(number, (h, w)) for h, w in product(*sides)]

    def option(self, number: int, sides: tuple[int, int]) -> _Option:
        piece = self.plan.pieces[number]
        reach, counts = Reach.of(piece), self.cells[piece.source]
        margin = reach.after - reach.before - piece.stride
        done = area = 1
        for side, count in zip(sides, counts, strict=True):
            extent = _extent(piece, min(side, count))
            area *= extent
            parts = max(1, -(-(count - margin) // max(1, side - margin)))
            done *= extent * parts if parts > 1 else _extent(piece, count)
        moved = _MOVED * (1 if piece.floats * area <= _NEAR else 2)
        cost = float(done) * (piece.work + moved * piece.floats)
        engine = 4 * _HELD * piece.floats * area * self.streams
        height = min(sides[0], counts[0])
        scale = self.cells["images"][0] / counts[0]
        fine = self.cells[self.plan.scored[-1]]
        ahead = min(fine[0], height * scale / self.plan.landing.factor)
        rows = height * self._row_bytes(piece.source) + 6 * ahead * self.classes * fine[1]
        if number + 1 < len(self.plan.pieces):
            rows += height // piece.stride * self._row_bytes(piece.target)
        return _Option(sides, cost, round(engine + rows))

    def memory(self, chosen: Sequence[_Option]) -> int:
        """Bytes that are held at once."""
        tiles = sum(option.memory for option in chosen)
        head_rows = _HEAD_ROWS + 2 * self.plan.reach
        ratio = self.plan.ratios[-1]
        across = self.cells[_CELLS][1] * ratio
        head = 4 * min(_HEAD_NUMBERS, self.classes * head_rows * ratio * across)
        labels = 2 * _HEAD_ROWS * ratio * self.plan.landing.factor * self.cells["images"][1]
        return head + labels + tiles

    def _row_bytes(self, name: str) -> int:
        width = self.cells[name][1]
        if name == "images":
            return 2 * width * self.pixel_bytes  # one part ahead
        return 4 * width * next(p.channels for p in self.plan.pieces if p.target == name)
