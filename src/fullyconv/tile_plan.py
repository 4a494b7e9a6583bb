"""Into which tiles a picture is cut, stage by stage, and what memory that takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from math import ceil, sqrt

from fullyconv.errors import FullyConvError
from fullyconv.models.plan import Piece, Plan

_CELLS = "scores"
_HEAD_ROWS = 8  # of the coarsest tap, that one band adds: 256 pixels at stride 32
_HEAD_NUMBERS = 1 << 24  # that the head works on at once, about: 64 MB
_HELD = 3  # times the widest layer's numbers that engines hold; measured: 1.5 to 3
_FAST = 1 << 23  # numbers (32 MiB) up to which a layer's rate does not depend on the tile's size
_MOVED = 500  # multiplications in the time in which a number beyond that is moved
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
        """Parts of at most so many source cells, as few as there can be, and all of nearly one size.

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
        memory: Bytes that are needed at once, about, beside the engine and its weights.
    """

    plan: Plan
    height: int
    width: int
    cells: Mapping[str, tuple[int, int]]
    rows: tuple[tuple[Part, ...], ...]
    columns: tuple[tuple[Part, ...], ...]
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
    sides: Sequence[int] | None = None,
) -> Tiling:
    """Choose tiles that take the least time within a budget of memory.

    Args:
        plan: The network's geometry.
        cells: Rows and columns of each map, ``images`` included, of the whole picture.
        budget: Bytes.
        pixel_bytes: Of a pixel as it is read.
        classes: Class scores, of all heads and streams.
        sides: Source cells along the side of each piece's tiles, and coarse cells of the head's;
            else they are chosen.

    Raises:
        FullyConvError: If the smallest tiles take more than the budget.
    """
    space = _Space(plan, cells, pixel_bytes, classes)
    head = _head_sides(plan, cells, classes)
    if sides is None:
        chosen = min(space.candidates(), key=lambda lengths: space.cost(lengths, budget))
        if space.memory(chosen) > budget:
            height, width = cells["images"]
            raise FullyConvError(
                f"a picture of {height} x {width} pixels takes at least "
                f"{space.memory(chosen) / 1e6:,.0f} MB, but {budget / 1e6:,.0f} MB may be used; "
                "allow more, or cut it into strips from top to bottom"
            )
    else:
        *chosen, side = sides
        head = (side, side)
    rows, columns = [], []
    for piece, length in zip(plan.pieces, chosen, strict=True):
        reach, source, target = Reach.of(piece), cells[piece.source], cells[piece.target]
        rows.append(reach.split(source[0], target[0], length))
        columns.append(reach.split(source[1], target[1], length))
    reach, ratio = Reach.of_head(plan), plan.ratios[-1]
    coarse, fused = cells[f"scores{plan.taps[0]}"], cells[_CELLS]
    rows.append(reach.split(coarse[0] * ratio, fused[0], head[0] * ratio))
    columns.append(reach.split(coarse[1] * ratio, fused[1], head[1] * ratio))
    height, width = cells["images"]
    memory = space.memory(chosen)
    return Tiling(plan, height, width, dict(cells), tuple(rows), tuple(columns), memory)


def whole_memory(plan: Plan, height: int, width: int) -> int:
    """Bytes that a picture takes, about, if it is not cut."""
    scale, most = 1, 0
    for piece in plan.pieces:
        area = _extent(piece, height // scale + 1) * _extent(piece, width // scale + 1)
        most = max(most, 4 * _HELD * piece.floats * area)
        scale *= piece.stride
    return most


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


def _head_sides(
    plan: Plan, cells: Mapping[str, tuple[int, int]], classes: int
) -> tuple[int, int]:
    rows = _HEAD_ROWS + 2 * plan.reach
    ratio = plan.ratios[-1]
    columns = _HEAD_NUMBERS // (classes * rows * ratio**2)
    return rows, max(columns, 8 * plan.reach)


@dataclass(frozen=True)
class _Space:
    """What tiles of some sides cost."""

    plan: Plan
    cells: Mapping[str, tuple[int, int]]
    pixel_bytes: int
    classes: int

    def candidates(self) -> product[tuple[int, ...]]:
        sides = []
        for piece in self.plan.pieces:
            least, longest = Reach.of(piece).least, max(self.cells[piece.source])
            steps = [least]
            while steps[-1] < longest and 4 * piece.floats * steps[-1] ** 2 < 1 << 32:
                steps.append(ceil(steps[-1] * _GROWTH))
            sides.append(steps)
        return product(*sides)

    def cost(self, lengths: Sequence[int], budget: int) -> float:
        """Multiplications that the work takes as long as; of too large tiles, the memory."""
        memory = self.memory(lengths)
        if memory > budget:
            return 1e30 * memory
        total = 0.0
        for piece, length in zip(self.plan.pieces, lengths, strict=True):
            margin = Reach.of(piece).after - Reach.of(piece).before - piece.stride
            done = 1.0
            for count in self.cells[piece.source]:
                side = min(length, count)
                done *= _extent(piece, side) * max(1, (count - margin) / max(1, side - margin))
            numbers = piece.floats * self._area(piece, length)
            slow = max(0.0, 1 - sqrt(_FAST / numbers)) * min(_MOVED * piece.floats, piece.work)
            total += done * (piece.work + slow)
        return total

    def _area(self, piece: Piece, length: int) -> int:
        height, width = (_extent(piece, min(length, n)) for n in self.cells[piece.source])
        return height * width

    def memory(self, lengths: Sequence[int]) -> int:
        """Bytes: of the largest tile in the engine, and of the rows that are kept of each map."""
        engine = rows = ahead = made = 0
        scale = 1
        for piece, length in zip(self.plan.pieces, lengths, strict=True):
            height, width = self.cells[piece.source]
            kept = min(height, length + made)  # and what comes in at once
            if piece.source == "images":
                rows += 2 * kept * width * self.pixel_bytes
            else:
                channels = next(p.channels for p in self.plan.pieces if p.target == piece.source)
                rows += 4 * kept * width * channels
            engine = max(engine, 4 * _HELD * piece.floats * self._area(piece, length))
            ahead += length * scale  # pixel rows by which the finest scores are ahead
            scale *= piece.stride
            made = min(length, height) // piece.stride
        height, width = self.cells["images"]
        finest = self.plan.landing.factor
        seen = ahead + (_HEAD_ROWS + 2 * self.plan.reach) * finest * self.plan.ratios[-1]
        scores = 2 * 4 * self.classes * min(seen, height) * width // finest**2
        return engine + rows + scores + 4 * _HEAD_NUMBERS
