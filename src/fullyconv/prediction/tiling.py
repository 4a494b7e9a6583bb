"""A picture of any size labelled from top to bottom, tile by tile, as if it had been one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fullyconv.models.fast.plan import Plan
from fullyconv.prediction.tile_plan import Part, Tiling, fused_cells, plan_tiles, whole_memory
from fullyconv.preprocess import Pixels
from fullyconv.runtimes.runtime import Maps, Runtime
from fullyconv.scores import Scores

Read = Callable[[int, int], Pixels]
"""Pixel rows, from and up to, of a picture: (rows, W, C)."""
Prepare = Callable[[Pixels], NDArray[np.float32]]
"""Pixels (h, w, C) to a network's input (C, h, w)."""

_SMALL = 1 << 28  # bytes that any machine has


@dataclass(frozen=True)
class Band:
    """What a network says of some rows of a picture.

    Attributes:
        number: Of the band, from the top.
        start: First row.
        stop: Row behind the last.
        scores: Labels and logits of the rows, (stop - start, W).
    """

    number: int
    start: int
    stop: int
    scores: Scores


def map_cells(
    runtime: Runtime, channels: int, height: int, width: int
) -> dict[str, tuple[int, int]]:
    """Rows and columns of each map of a picture.

    Args:
        runtime: An engine; asked about sizes too small for the rule in its plan.
        channels: Of the picture.
        height: In pixels.
        width: In pixels.
    """
    plan = runtime.plan
    along = [_along(runtime, channels, size, axis) for axis, size in enumerate((height, width))]
    return {name: (along[0][name], along[1][name]) for name in along[0]} | {
        f"scores{stride}": (along[0][f"features{stride}"], along[1][f"features{stride}"])
        for stride in plan.taps
    }


def _along(runtime: Runtime, channels: int, size: int, axis: int) -> dict[str, int]:
    plan, counts = runtime.plan, {"images": size}
    for piece in plan.pieces:
        count = counts[piece.source]
        if count >= piece.first:
            counts[piece.target] = piece.cells(count)
        else:
            nothing = np.zeros((1, channels, count, count), np.float32)
            made = runtime.run({piece.source: nothing}, [piece.target])[piece.target]
            counts[piece.target] = made.shape[2 + axis]
        channels = piece.channels
    _, counts["scores"] = fused_cells(plan, [counts[f"features{s}"] for s in plan.taps])
    return counts


def label_bands(
    runtime: Runtime, read: Read, prepare: Prepare, tiling: Tiling, start: int = 0
) -> Iterator[Band]:
    """Label a picture in bands of rows, from top to bottom.

    Every part of the network is run over tiles of its own map, each with the margin that its cells
    see and no more; at the picture's borders the network's own padding does what it does for the
    whole. So the scores are those of the whole picture, but for the last bits of the sums, which
    an engine may add up in another order in a larger or smaller tile.

    Args:
        runtime: The engine.
        read: Gives the picture's rows; called for overlapping ranges in rising order, from another
            thread, ahead of what is being labelled.
        prepare: The preprocessing.
        tiling: The tiles.
        start: Number of the band to begin with.

    Yields:
        The bands that have any rows.

    Raises:
        FullyConvError: What ``read``, ``prepare`` or the engine raises.
    """
    parts = [(part.start, part.stop) for part in tiling.rows[0]]
    with (
        _Ahead(read, parts) as rows,
        runtime.side_by_side() as engine,
        ThreadPoolExecutor(runtime.streams) as threads,
    ):
        yield from _Stream(engine, threads, rows, prepare, tiling).bands(start)


def picture_scores(
    runtime: Runtime,
    prepare: Prepare,
    image: Pixels,
    *,
    classes: int,
    budget: int | None = None,
    beside: int = 1,
    say: Callable[[str], object] | None = None,
) -> NDArray[np.float32]:
    """Coarse scores of a picture in memory: in tiles, if the whole would take too much.

    Args:
        runtime: The engine.
        prepare: The preprocessing.
        image: (H, W, C).
        classes: Scores of all heads.
        budget: Bytes that the network may take; None for half of what is free.
        beside: Pictures that are worked on at once, among which that is shared.
        say: Told, before the work starts, of the tiles, if there are any.

    Returns:
        (classes, h, w) float32.

    Raises:
        FullyConvError: If even the smallest tiles take more, or as the engine does.
    """
    height, width, *rest = image.shape
    whole = whole_memory(runtime.plan, height, width)
    if whole > (_SMALL if budget is None else budget // beside):
        budget = (_free() // 2 if budget is None else budget) // beside
        if whole > budget:
            channels = rest[0]
            cells = map_cells(runtime, channels, height, width)
            size = channels * image.dtype.itemsize
            tiling = plan_tiles(
                runtime.plan, cells, budget=budget, pixel_bytes=size, classes=classes,
                streams=runtime.streams,
            )  # fmt: skip
            if say is not None:
                say(tiling.describe())
            coarse = np.zeros((classes, *cells["scores"]), np.float32)
            for band in label_bands(runtime, lambda a, b: image[a:b], prepare, tiling):
                part = band.scores.coarse
                coarse[:, band.scores.first : band.scores.first + part.shape[1]] = part
            return coarse
    scores = runtime.run({"images": prepare(image)[None]}, ["scores"])["scores"]
    return np.asarray(scores[0])


def _free() -> int:
    import psutil

    return int(psutil.virtual_memory().available)


class _Ahead:
    """Rows read by a thread of its own, one part further than those being worked on."""

    def __init__(self, read: Read, parts: Sequence[tuple[int, int]]) -> None:
        self._read, self._parts = read, parts
        self._thread = ThreadPoolExecutor(1)
        self._coming: tuple[int, Future[Pixels]] | None = None

    def __enter__(self) -> _Ahead:
        return self

    def __exit__(self, *error: object) -> None:
        self._thread.shutdown(cancel_futures=True)

    def __call__(self, number: int) -> Pixels:
        if self._coming is None or self._coming[0] != number:
            self._coming = self._begin(number)
        pixels = self._coming[1].result()
        self._coming = self._begin(number + 1) if number + 1 < len(self._parts) else None
        return pixels

    def _begin(self, number: int) -> tuple[int, Future[Pixels]]:
        return number, self._thread.submit(self._read, *self._parts[number])


class _Rows:
    """The rows of a map that are still needed: blocks (C, rows, W), one below the other."""

    def __init__(self) -> None:
        self.stop = 0
        self._blocks: deque[tuple[int, NDArray[np.float32]]] = deque()

    def put(self, block: NDArray[np.float32]) -> None:
        self._blocks.append((self.stop, block))
        self.stop += block.shape[1]

    def get(self, rows: tuple[int, int], columns: tuple[int, int]) -> NDArray[np.float32]:
        """A part (1, C, rows, columns), contiguous."""
        start, stop = rows
        parts = [
            block[:, max(0, start - at) : stop - at, columns[0] : columns[1]]
            for at, block in self._blocks
            if at < stop and at + block.shape[1] > start
        ]
        return np.concatenate(parts, 1)[None]

    def forget(self, row: int) -> None:
        """Drop what lies above a row."""
        while self._blocks and self._blocks[0][0] + self._blocks[0][1].shape[1] <= row:
            self._blocks.popleft()


class _Stream:
    """The maps of a picture, each made as far down as the next one needs it."""

    def __init__(
        self,
        runtime: Runtime,
        threads: ThreadPoolExecutor,
        pixels: _Ahead,
        prepare: Prepare,
        tiling: Tiling,
    ) -> None:
        self.runtime, self.threads = runtime, threads
        self.pixels, self.prepare, self.tiling = pixels, prepare, tiling
        self.plan = tiling.plan
        self.maps = {name: _Rows() for name in tiling.cells}
        self.next = [0] * len(tiling.rows)
        self.makers = {piece.target: k for k, piece in enumerate(self.plan.pieces)}
        self.makers |= {f"scores{s}": self.makers[f"features{s}"] for s in self.plan.taps}

    def bands(self, start: int) -> Iterator[Band]:
        tiling, landing = self.tiling, self.plan.landing
        if start >= len(tiling.bands):
            return
        self._seek(start)
        total, columns = tiling.cells["scores"]
        for number in range(start, len(tiling.bands)):
            top, stop = tiling.bands[number]
            if top == stop:
                continue
            while self.next[-1] <= number:
                self._fuse()
            first = tiling.lowest(top)
            self.maps["scores"].forget(first)
            last = self.maps["scores"].stop
            coarse = self.maps["scores"].get((first, last), (0, columns))[0]
            scores = Scores(coarse, landing, stop - top, tiling.width, top, first, total)
            yield Band(number, top, stop, scores)

    def _seek(self, band: int) -> None:
        """Let every map begin with the part whose rows the band needs first."""
        tiling = self.tiling
        row = tiling.lowest(tiling.bands[band][0])
        head = self._begin(-1, row)
        self.maps["scores"].stop = head.first
        needed = {name: rows[0] for name, rows in self._tap_rows(head).items()}
        for k in reversed(range(len(self.plan.pieces))):
            piece = self.plan.pieces[k]
            targets = [name for name, maker in self.makers.items() if maker == k]
            part = self._begin(k, min(needed[name] for name in targets if name in needed))
            needed[piece.source] = part.start
            for name in targets:
                self.maps[name].stop = part.first

    def _begin(self, stage: int, row: int) -> Part:
        parts = self.tiling.rows[stage]
        self.next[stage] = next(i for i, part in enumerate(parts) if part.last > row)
        return parts[self.next[stage]]

    def _advance(self, stage: int) -> None:
        """The next rows of a feature map, and of its class scores."""
        piece, part = self.plan.pieces[stage], self._take(stage)
        pixels = self.pixels(self.next[0] - 1) if piece.source == "images" else None
        if pixels is None:
            self._need(piece.source, part.stop)

        def given(column: Part) -> Maps:
            span = (column.start, column.stop)
            if pixels is None:
                return {piece.source: self.maps[piece.source].get((part.start, part.stop), span)}
            return {piece.source: self.prepare(pixels[:, slice(*span)])[None]}

        self._make(stage, part, given, self._wanted(piece.target))
        self._forget(piece.source, stage)

    def _wanted(self, target: str) -> list[str]:
        """Of a piece: its target, where another piece reads it, and its class scores."""
        read = any(piece.source == target for piece in self.plan.pieces)
        scored = target.replace("features", "scores")
        return [target] * read + [scored] * (scored in self.plan.scored)

    def _make(
        self, stage: int, part: Part, given: Callable[[Part], Maps], wanted: Sequence[str]
    ) -> None:
        """Rows of maps that lie on one grid: of each tile the cells that no cut spoils."""
        rows = slice(part.first - part.offset, part.last - part.offset)
        width = self.tiling.cells[wanted[0]][1]
        blocks: dict[str, NDArray[np.float32]] = {}

        def make(column: Part) -> None:
            made = self.runtime.run(given(column), wanted)
            inside = slice(column.first - column.offset, column.last - column.offset)
            for name in wanted:
                cells = made[name][0][:, rows, inside]
                block = blocks.get(name)
                if block is None:  # threads that come at once: the first one's is taken
                    block = np.empty((*cells.shape[:2], width), np.float32)
                    block = blocks.setdefault(name, block)
                block[:, :, column.first : column.last] = cells

        for _ in self.threads.map(make, self.tiling.columns[stage]):
            pass
        for name, block in blocks.items():
            self.maps[name].put(block)

    def _fuse(self) -> None:
        """The next rows of fused scores."""
        part = self._take(-1)
        rows = self._tap_rows(part)
        for name, (_, stop) in rows.items():
            self._need(name, stop)

        def given(column: Part) -> Maps:
            spans = _taps(self.plan, self.tiling.cells, column, axis=1)
            return {name: self.maps[name].get(rows[name], spans[name]) for name in rows}

        self._make(-1, part, given, ["scores"])
        if self.next[-1] < len(self.tiling.rows[-1]):
            for name, (first, _) in self._tap_rows(self.tiling.rows[-1][self.next[-1]]).items():
                self.maps[name].forget(first)

    def _take(self, stage: int) -> Part:
        part = self.tiling.rows[stage][self.next[stage]]
        self.next[stage] += 1
        return part

    def _need(self, name: str, stop: int) -> None:
        while self.maps[name].stop < stop:
            self._advance(self.makers[name])

    def _forget(self, source: str, stage: int) -> None:
        parts = self.tiling.rows[stage]
        if self.next[stage] < len(parts):
            self.maps[source].forget(parts[self.next[stage]].start)

    def _tap_rows(self, part: Part) -> dict[str, tuple[int, int]]:
        return _taps(self.plan, self.tiling.cells, part, axis=0)


def _taps(
    plan: Plan, cells: Mapping[str, tuple[int, int]], part: Part, axis: int
) -> dict[str, tuple[int, int]]:
    """Cells, from and up to, of each tap's scores that a part of the fused ones is made from."""
    finest = plan.ratios[-1]
    counts: list[int] = []
    starts: list[int] = []
    for name, ratio in zip(plan.scored, plan.ratios, strict=True):
        total = cells[name][axis]
        cut = not counts and part.stop < total * finest  # finer ones are cropped to the coarsest
        starts.append(part.start // finest * ratio)
        counts.append((part.stop // finest if cut else total) - starts[-1])
    taken, _ = fused_cells(plan, counts)
    return {
        name: (first, first + count)
        for name, first, count in zip(plan.scored, starts, taken, strict=True)
    }
