"""What is in a data set, as text and as a page."""

from __future__ import annotations

from html import escape
from pathlib import Path

import numpy as np

from fullyconv.data.check.stats import WEIGHTS, Channels, SplitStats, Stats
from fullyconv.report.charts import Line, line_chart
from fullyconv.report.matrix import Words, matrix_chart
from fullyconv.report.page import table, write_page

_TOGETHER = Words(
    title="Classes in one picture",
    rows="class",
    columns="found with it",
    cell="with",
    counted="pictures",
    most="Most often together",
)
_SIZES = 12  # shown
_COLOURS = ((1, "red"), (2, "green"), (0, "blue"))  # of the page that are nearest to the channels


def stats_text(stats: Stats) -> str:
    """Tables of classes, sizes and colours, for a terminal."""
    lines = []
    for name, split in stats.splits.items():
        bad = f", {split.left_out} left out ({split.problem})" if split.left_out else ""
        void = split.void / max(1, split.void + int(split.counts[0].sum()))
        lines.append(f"{name or stats.root}: {split.pictures:,} pictures, {void:.1%} void{bad}")
    width = max(5, *(len(name) for name in stats.labels.categories))
    shares = "".join(f"{name or 'share':>9}" for name in stats.splits)
    lines += ["", f"{'class':{width}}{shares}  pictures" + "".join(f"{k:>18}" for k in WEIGHTS)]
    for index, category in enumerate(stats.labels.categories):
        row = "".join(f"{100 * split.shares[index]:8.3f}%" for split in stats.splits.values())
        weights = "".join(f"{stats.weights(kind)[index]:18.3f}" for kind in WEIGHTS)
        lines.append(f"{category:{width}}{row}{stats.training.pictures_with[index]:10,}{weights}")
    lines.append("\nweights are of the training split: --optim.class-weights NAME takes them")
    for name, split in stats.splits.items():
        lines.append(f"\n{name or 'sizes'}: {_sizes(split)}")
        lines += [
            f"  {kind}: {_means(kind, channels)}" for kind, channels in split.channels.items()
        ]
    return "\n".join(lines)


def _sizes(split: SplitStats) -> str:
    most = split.sizes.most_common(5)
    said = ", ".join(f"{height} x {width} ({count:,})" for (height, width), count in most)
    more = len(split.sizes) - len(most)
    return said + (f" and {more:,} more sizes" if more else "")


def _means(kind: str, channels: Channels) -> str:
    """Mean and deviation, in the units of a picture's pixels and from 0 to 1."""

    def listed(values: tuple[float, ...], scale: float, digits: int) -> str:
        return ", ".join(f"{value * scale:.{digits}f}" for value in values)

    raw = f"mean {listed(channels.mean, 1, 3)}; std {listed(channels.std, 1, 3)}"
    if channels.histogram is None:
        return raw if kind == "bands" else f"{raw} (log mm)"
    scaled = (listed(values, 1 / 255, 4) for values in (channels.mean, channels.std))
    return f"{raw} (0-255); mean {next(scaled)}; std {next(scaled)} (0-1)"


def write_stats_page(path: Path, stats: Stats) -> Path:
    """Write a page that needs nothing from elsewhere; returns its path.

    Raises:
        FullyConvError: If it cannot be written.
    """
    name = stats.root.resolve().name
    counted = ", ".join(f"{k or 'pictures'} {s.pictures:,}" for k, s in stats.splits.items())
    together = matrix_chart(
        stats.labels.categories,
        stats.training.together.astype(np.float64),
        words=_TOGETHER,
        totals=stats.training.pictures_with.astype(np.float64),
    )
    body = (
        f"<header><h1>{escape(name)}</h1><p>{escape(counted)}</p></header>"
        f"{_classes(stats)}"
        "<section><h2>Classes in one picture</h2><p>Of the pictures with a class, the share that "
        f'holds another, too.</p><div class="wide" tabindex="0">{together}</div></section>'
        f"{''.join(_split(name, split) for name, split in stats.splits.items())}"
    )
    return write_page(path, f"{name}: what is in it", body)


def _classes(stats: Stats) -> str:
    head = ["class", *(f"pixels, {name}" if name else "pixels" for name in stats.splits)]
    head += ["pictures", *(kind.replace("_", " ") for kind in WEIGHTS)]
    rows = []
    for index in np.argsort(-stats.training.shares, kind="stable").tolist():
        color = bytes(stats.labels.palette[index]).hex()
        swatch = f'<span class="swatch" style="background:#{color}"></span>'
        row = [swatch + escape(stats.labels.categories[index])]
        row += [_bar(float(split.shares[index])) for split in stats.splits.values()]
        row.append(f"{stats.training.pictures_with[index]:,}")
        row += [f"{stats.weights(kind)[index]:.3f}" for kind in WEIGHTS]
        rows.append(row)
    ranks = np.arange(1, stats.labels.num_classes + 1, dtype=np.float64)
    lines = [
        Line(name or "pixels", ranks, _falling(split), color, marked=True)
        for color, (name, split) in enumerate(stats.splits.items())
    ]
    chart = line_chart("Share of pixels", "%", lines, across="class, by share", wide=30)
    return (
        "<section><h2>Classes</h2><p>Share of the pixels that count; pictures that hold the class "
        "and weights that even the classes out, both of the split to train on.</p>"
        f'{table(head, rows)}<div class="charts">{chart}</div></section>'
    )


def _falling(split: SplitStats) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    shares = 100 * np.sort(split.shares)[::-1]
    return np.where(shares > 0, shares, np.nan)


def _bar(share: float) -> str:
    bar = f'<span class="bar"><span style="width:{100 * share:.1f}%"></span></span>'
    return f'<span class="measure">{100 * share:.3f} %{bar}</span>'


def _split(name: str, split: SplitStats) -> str:
    rows = [
        [f"{height} x {width}", f"{count:,}"]
        for (height, width), count in split.sizes.most_common(_SIZES)
    ]
    charts, means = "", ""
    for kind, channels in split.channels.items():
        means += f"<p>{kind}: {escape(_means(kind, channels))}</p>"
        if channels.histogram is not None:
            charts += _histogram(kind, channels)
    return (
        f"<section><h2>{escape(name or 'Pictures')}</h2>{means}"
        f'<div class="charts">{charts}</div>{table(["size", "pictures"], rows)}</section>'
    )


def _histogram(kind: str, channels: Channels) -> str:
    assert channels.histogram is not None
    values = np.arange(256, dtype=np.float64)
    names = _COLOURS if kind == "images" else ((0, "disparity"), (1, "height"), (2, "angle"))
    lines = [
        Line(label, values, 100 * counts / channels.pixels, color)
        for (color, label), counts in zip(names, channels.histogram, strict=True)
    ]
    return line_chart(f"Values of {kind}", "% of pixels", lines, across="value", from_zero=True)
