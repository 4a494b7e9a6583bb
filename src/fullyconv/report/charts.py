"""Curves as SVG, written by hand; their colours are the page's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from fullyconv.report.page import STYLE
from fullyconv.report.record import Numbers

# The drawing's size and what is left free for the labels, in units of about a pixel
WIDTH, HEIGHT = 540, 270
LEFT, RIGHT, TOP, BOTTOM = 80, 16, 32, 46

POINTS = 600  # of one curve: more than the pixels of its width would not be seen
MARKED = 60  # points up to which each is a dot that says its value
COLORS = 8  # that the page knows; more curves are told apart by dashes
_LEGEND = 2  # names side by side below a drawing that stands alone
_LARGEST = 1e30  # what is beyond is no loss any more, and ratios would overflow


@dataclass(frozen=True)
class Line:
    """One curve.

    Attributes:
        label: What it is, for the legend.
        x: (N,) steps, or another measure of how far a run has come, rising.
        y: (N,) values; NaN leaves a gap.
        color: Number of its colour and dashes.
        faint: Whether it is the background of another curve.
        marked: Whether its points are dots that say their value, if they are few.
    """

    label: str
    x: Numbers
    y: Numbers
    color: int = 0
    faint: bool = False
    marked: bool = False

    @property
    def style(self) -> str:
        """Its classes in the page's style sheet."""
        rounds = self.color // COLORS
        dashes = f" d{(rounds - 1) % 3}" if rounds else ""
        return f"c{self.color % COLORS}{dashes}{' faint' if self.faint else ''}"


@dataclass(frozen=True)
class Axis:
    """A range of values, and where it is labelled."""

    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    log: bool = False

    def place(self, values: Numbers) -> Numbers:
        """Where values lie along the axis, from 0 to 1."""
        if self.log:
            shares = np.log(values / self.low) / math.log(self.high / self.low)
        else:
            shares = (values - self.low) / (self.high - self.low)
        return shares


def linear_axis(low: float, high: float, *, rounded: bool = True) -> Axis:
    """An axis over a range, widened to its next ticks if ``rounded``."""
    if high - low <= 1e-6 * max(abs(low), abs(high)):
        middle, room = (low + high) / 2, abs(high) / 10 or 1.0
        low, high = middle - room, middle + room
    step = _nice_step((high - low) / 5)
    outward = (math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9))
    if rounded:
        low, high = outward[0] * step, outward[1] * step
    values = [i * step for i in range(outward[0], outward[1] + 1)]
    inside = [v for v in values if low - step * 1e-6 <= v <= high + step * 1e-6]
    return Axis(low, high, tuple((v, tick_text(v, step)) for v in inside))


def log_axis(low: float, high: float) -> Axis:
    """A logarithmic axis over a range above 0, from a power of ten times 1, 2 or 5 to another."""
    powers = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 2)
    marks = [mantissa * 10.0**power for power in powers for mantissa in (1, 2, 5)]
    first = max(mark for mark in marks if mark <= low * (1 + 1e-9))
    last = min(mark for mark in marks if mark >= high * (1 - 1e-9) and mark > first)
    inside = [mark for mark in marks if first <= mark <= last]
    if len(inside) > 8:
        inside = inside[:: 3 if len(inside) < 22 else 6]
    return Axis(first, last, tuple((v, tick_text(v, v)) for v in inside), log=True)


def _nice_step(least: float) -> float:
    """The smallest of 1, 2, 5 times a power of ten that is not below ``least``."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= least * (1 - 1e-9))


def tick_text(value: float, step: float) -> str:
    """A tick's label with the decimals that tell it from its neighbours.

    Example:
        >>> tick_text(1500, 500), tick_text(0.4, 0.2), tick_text(6e-11, 2e-11)
        ('1,500', '0.4', '6e-11')
    """
    if abs(value) < step / 2:
        return "0"
    finest = math.floor(math.log10(step) + 1e-9)
    if finest >= -4 and abs(value) < 1e7:
        return f"{value:,.{max(0, -finest)}f}"
    digits = max(0, math.floor(math.log10(abs(value)) + 1e-9) - finest)
    mantissa, _, exponent = f"{value:.{digits}e}".partition("e")
    return f"{mantissa.rstrip('0').rstrip('.') if digits else mantissa}e{int(exponent)}"


def number_text(value: float) -> str:
    """A number in a sentence: four digits, or all before the point; n/a if there is none."""
    if math.isnan(value):
        return "n/a"
    return f"{value:,.0f}" if 1e4 <= abs(value) < 1e12 else f"{value:.4g}"


def thin(values: Numbers, points: int = POINTS) -> NDArray[np.intp]:
    """Indices of at most ``points`` values that look like all of them.

    Of each of equal stretches the lowest and the highest are kept, so that no peak is lost, and
    one NaN, so that no gap is bridged; and the first and the last value.
    """
    count = len(values)
    if count <= points:
        return np.arange(count)
    keep = {0, count - 1}
    gaps = np.isnan(values)
    low, high = np.where(gaps, np.inf, values), np.where(gaps, -np.inf, values)
    edges = np.linspace(0, count, max(1, (points - 2) // 3) + 1).astype(int).tolist()
    for start, stop in pairwise(edges):
        for found in (low[start:stop].argmin(), high[start:stop].argmax()):
            keep.add(start + int(found))
        first_gap = int(gaps[start:stop].argmax())
        if gaps[start + first_gap]:
            keep.add(start + first_gap)
    return np.array(sorted(keep))


def smooth(values: Numbers, share: float = 0.05) -> Numbers:
    """Mean over a stretch around each value, a share of all of them long; NaN is not counted.

    At the beginning the stretch is as short after a value as before it: the steep fall of a loss
    would pull the first means down. At the end, where it is flat, it just stops.
    """
    known = ~np.isnan(values)
    sums, counts = (
        np.concatenate([[0.0], np.cumsum(column)]) for column in (np.where(known, values, 0), known)
    )
    here = np.arange(len(values))
    half = np.minimum(int(len(values) * share / 2), here)
    start, stop = here - half, np.minimum(here + half + 1, len(values))
    total, count = sums[stop] - sums[start], counts[stop] - counts[start]
    mean: Numbers = np.divide(total, count, out=np.full(len(values), np.nan), where=count > 0)
    return mean


def line_chart(
    title: str,
    unit: str,
    lines: Sequence[Line],
    *,
    across: str = "step",
    steps: float = 1.0,
    from_zero: bool = False,
    wide: float = math.inf,
) -> str:
    """Curves over the steps, or over another measure of how far a run has come.

    Args:
        title: What is drawn.
        unit: The vertical axis's label.
        lines: The curves, the background first.
        across: The horizontal axis's label.
        steps: What the horizontal axis reaches at least.
        from_zero: Whether the vertical axis begins at 0.
        wide: Ratio of highest to lowest value from which the vertical axis is logarithmic.

    Returns:
        A figure with title, drawing and, for several curves, a legend; empty if there is nothing
        to draw.
    """
    lines = _with_values(lines)
    if not lines:
        return ""
    entries = "".join(f"<li>{legend_key(line)}{escape(line.label)}</li>" for line in lines)
    legend = f'<ul class="legend">{entries}</ul>' if len(lines) > 1 else ""
    return (
        f"<figure><figcaption>{escape(title)}</figcaption>"
        f'<svg class="chart" role="img" viewBox="0 0 {WIDTH} {HEIGHT}">'
        f"{_drawn(title, unit, lines, across, steps, from_zero, wide)}</svg>{legend}</figure>"
    )


def chart_file(
    title: str,
    unit: str,
    lines: Sequence[Line],
    *,
    across: str = "step",
    wide: float = math.inf,
) -> str:
    """Curves as an SVG that stands alone, its legend below them.

    Args:
        title: What is drawn, for who cannot see it.
        unit: The vertical axis's label, which begins at 0.
        lines: The curves.
        across: The horizontal axis's label.
        wide: Ratio of highest to lowest value from which the vertical axis is logarithmic.

    Returns:
        The file's text; empty if there is nothing to draw.
    """
    lines = _with_values(lines)
    if not lines:
        return ""
    cell = (WIDTH - LEFT) // _LEGEND
    entries = ""
    for i, line in enumerate(lines):
        x, y = LEFT + i % _LEGEND * cell, HEIGHT + 12 + i // _LEGEND * 20
        entries += (
            f'<path class="{line.style}" d="M{x} {y}h24"/>'
            f'<text x="{x + 30}" y="{y}" dy=".35em">{escape(line.label)}</text>'
        )
    height = HEIGHT + 24 + (len(lines) - 1) // _LEGEND * 20
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 {WIDTH} {height}">'
        f"<style>{STYLE}svg {{ background: var(--back); font-family: sans-serif; }}</style>"
        f"{_drawn(title, unit, lines, across, 0.0, True, wide)}{entries}</svg>\n"
    )


def _with_values(lines: Sequence[Line]) -> list[Line]:
    drawable = [_drawable(line) for line in lines]
    return [line for line in drawable if not np.isnan(line.y).all()]


def _drawn(
    title: str,
    unit: str,
    lines: Sequence[Line],
    below: str,
    least: float,
    from_zero: bool,
    wide: float,
) -> str:
    """What stands inside a drawing: words, axes and curves."""
    first, last = (float(f([line.x[i] for line in lines])) for f, i in ((min, 0), (max, -1)))
    across = linear_axis(min(0.0, first), max(least, last), rounded=False)
    low, high = (
        float(f([f(line.y[~np.isnan(line.y)]) for line in lines])) for f in (np.min, np.max)
    )
    if low > 0 and high / low >= wide:
        up, unit = log_axis(low, high), f"{unit} (logarithmic)"
    else:
        up = linear_axis(min(0.0, low) if from_zero else low, high)
    told = escape("; ".join(_in_words(line, below) for line in lines if not line.faint))
    curves = "".join(_curve(line, across, up, below) for line in lines)
    return (
        f"<title>{escape(title)}</title><desc>{told}</desc>"
        f"{_frame(across, up, unit, below)}{curves}"
    )


def legend_key(line: Line) -> str:
    """A short piece of a curve, to stand before its name."""
    return (
        '<svg class="key" viewBox="0 0 26 8" aria-hidden="true">'
        f'<path class="{line.style}" d="M1 4H25"/></svg>'
    )


def _drawable(line: Line) -> Line:
    y = np.where(np.abs(line.y) < _LARGEST, line.y, np.nan)
    y[np.abs(y) < 1 / _LARGEST] = 0
    index = thin(y)
    return Line(line.label, line.x[index], y[index], line.color, line.faint, line.marked)


def _at(across: str, x: float) -> str:
    """Where on the horizontal axis, in a sentence: all digits of a count of steps."""
    return f"at {across} {f'{x:,.0f}' if x == int(x) else number_text(x)}"


def _in_words(line: Line, across: str) -> str:
    index = np.flatnonzero(~np.isnan(line.y))
    (first, last), lowest, highest = (
        index[[0, -1]],
        index[line.y[index].argmin()],
        index[line.y[index].argmax()],
    )
    say = [f"{number_text(line.y[i])} {_at(across, line.x[i])}" for i in (first, last)]
    ends = " to ".join(say) if first != last else say[0]
    return (
        f"{line.label}: {ends}, lowest {number_text(line.y[lowest])}, "
        f"highest {number_text(line.y[highest])}"
    )


def _xs(axis: Axis, values: Numbers) -> list[float]:
    places: list[float] = (LEFT + axis.place(values) * (WIDTH - LEFT - RIGHT)).round(1).tolist()
    return places


def _ys(axis: Axis, values: Numbers) -> list[float]:
    room = HEIGHT - TOP - BOTTOM
    places: list[float] = (TOP + (1 - axis.place(values)) * room).round(1).tolist()
    return places


def _frame(across: Axis, up: Axis, unit: str, below: str) -> str:
    """Grid, tick labels and the names of the axes."""
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = [f'<text class="name" x="2" y="16">{escape(unit)}</text>']
    for (_, text), y in zip(up.ticks, _ys(up, np.array([v for v, _ in up.ticks])), strict=True):
        parts.append(
            f'<path class="grid" d="M{LEFT} {y}H{right}"/>'
            f'<text class="tick" x="{LEFT - 8}" y="{y}" dy=".35em" text-anchor="end">{text}</text>'
        )
    ticks = np.array([v for v, _ in across.ticks])
    for (_, text), x in zip(across.ticks, _xs(across, ticks), strict=True):
        # A label in the middle under the last tick would be cut off at the edge
        place = f'x="{x}" text-anchor="middle"'
        if x > right - 30:
            place = f'x="{min(x + RIGHT, WIDTH - 2)}" text-anchor="end"'
        parts.append(
            f'<path class="grid" d="M{x} {bottom}v5"/>'
            f'<text class="tick" {place} y="{bottom + 8}" dy=".8em">{text}</text>'
        )
    parts.append(
        f'<path class="axis" d="M{LEFT} {bottom}H{right}"/>'
        f'<text class="name" x="{right}" y="{HEIGHT - 6}" text-anchor="end">{escape(below)}</text>'
    )
    return "".join(parts)


def _curve(line: Line, across: Axis, up: Axis, below: str) -> str:
    xs, ys = _xs(across, line.x), _ys(up, line.y)
    path, pen = [], "M"
    for x, y in zip(xs, ys, strict=True):
        if math.isnan(y):
            pen = "M"
        else:
            path.append(f"{pen}{x} {y}")
            # A point between two gaps is seen as a line of no length with round ends
            path.append("h0" if pen == "M" else "")
            pen = "L"
    dots = ""
    if (line.marked and len(xs) <= MARKED) or sum(not math.isnan(y) for y in ys) == 1:
        dots = "".join(
            f'<circle class="{line.style}" cx="{x}" cy="{y}" r="3.5"><title>'
            f"{escape(line.label)}: {number_text(value)} {escape(_at(below, where))}"
            "</title></circle>"
            for x, y, where, value in zip(xs, ys, line.x, line.y, strict=True)
            if not math.isnan(y)
        )
    return f'<path class="{line.style}" d="{"".join(path)}"/>{dots}'
