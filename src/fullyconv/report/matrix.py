"""A matrix of classes as SVG, confusions above all; its colours are the page's."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from fullyconv.report.record import Numbers


@dataclass(frozen=True)
class Words:
    """What is said of a matrix.

    Attributes:
        title: What it is.
        rows: What its rows are.
        columns: What its columns are.
        cell: What stands between the names of a cell's row and column.
        counted: What is counted in it.
        most: What is said before the largest cells off the diagonal.
    """

    title: str = "Confusion matrix"
    rows: str = "truth"
    columns: str = "prediction"
    cell: str = "as"
    counted: str = "pixels"
    most: str = "Most often confused"


def matrix_chart(
    names: Sequence[str],
    matrix: Numbers,
    *,
    words: Words | None = None,
    totals: Numbers | None = None,
) -> str:
    """A matrix of classes: for confusions, rows are the truth, columns the prediction.

    Every cell is shaded by its share of the row, and says its classes, share and count when it is
    pointed at.

    Args:
        names: Of the classes.
        matrix: (C, C) counts.
        words: What is said of it, if it is no confusion matrix.
        totals: (C,) what the cells of each row are shares of; the row's sum, if not given.
    """
    words = words or Words()
    count = len(names)
    cell = 36 if count <= 15 else 22 if count <= 25 else 15 if count <= 80 else 13
    # Hundreds of classes have tens of thousands of cells, most of them with a few stray pixels
    smallest = 0.0005 if count <= 80 else 0.01
    whole = matrix.sum(1) if totals is None else totals
    shares = matrix / np.maximum(whole[:, None], 1)
    short = [shorten(name) for name in names]
    room = max(110, *(8 * text_width(name) + 12 for name in short))
    size = room + count * cell + 2
    rows = "".join(
        f'<g transform="translate({room} {room + row * cell})">'
        f'<text x="-6" y="{cell / 2:g}" dy=".35em" text-anchor="end">{escape(short[row])}</text>'
        f"{_cells(names, row, matrix[row], shares[row], cell, smallest, words)}</g>"
        for row in range(count)
    )
    columns = "".join(
        f'<text transform="translate({room + (column + 0.5) * cell:g} {room - 6}) rotate(-90)" '
        f'dy=".35em">{escape(name)}</text>'
        for column, name in enumerate(short)
    )
    worst = _worst(names, shares, words)
    return (
        f'<svg class="matrix" role="img" width="{size}" height="{size}" '
        f'viewBox="0 0 {size} {size}"><title>{words.title}</title>'
        f"<desc>Rows are the {words.rows}, columns the {words.columns}.{escape(worst)}</desc>"
        f'<text class="name" x="4" y="{room - 26}">{words.rows} ↓</text>'
        f'<text class="name" x="4" y="{room - 8}">{words.columns} →</text>'
        f'<rect class="area" x="{room}" y="{room}" width="{count * cell}" '
        f'height="{count * cell}"/>{columns}{rows}</svg>'
    )


def _worst(names: Sequence[str], shares: Numbers, words: Words) -> str:
    wrong = shares * (1 - np.eye(len(names)))
    found = [divmod(int(i), len(names)) for i in np.argsort(-wrong, axis=None)[:3]]
    told = [
        f"{names[i]} {words.cell} {names[j]} {100 * shares[i, j]:.1f} %"
        for i, j in found
        if wrong[i, j]
    ]
    return f" {words.most}: {', '.join(told)}." if told else ""


def _cells(
    names: Sequence[str],
    row: int,
    counts: Numbers,
    shares: Numbers,
    cell: int,
    smallest: float,
    words: Words,
) -> str:
    parts = []
    for column in np.flatnonzero(shares >= smallest).tolist():
        share = float(shares[column])
        kind = "hit" if row == column else "miss"
        said = (
            f"{names[row]} {words.cell} {names[column]}: {100 * share:.1f} %, "
            f"{counts[column]:,.0f} {words.counted}"
        )
        x = column * cell
        # Shade grows with the root, or confusions of some per cent would look like none
        parts.append(
            f'<rect class="{kind}" x="{x}" width="{cell - 1}" height="{cell - 1}" '
            f'fill-opacity="{math.sqrt(share):.2f}"><title>{escape(said)}</title></rect>'
        )
        if cell >= 30 and share >= 0.005:
            parts.append(
                f'<text class="share" x="{x + cell / 2:g}" y="{cell / 2:g}" dy=".35em" '
                f'text-anchor="middle">{100 * share:.0f}</text>'
            )
    return "".join(parts)


def text_width(text: str) -> int:
    """Width of a text in Latin letters; those of East Asia are twice as wide."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def shorten(text: str, width: int = 20) -> str:
    """A name cut to a width, with an ellipsis if anything was cut."""
    if text_width(text) <= width:
        return text
    while text_width(text) >= width:
        text = text[:-1]
    return f"{text.rstrip()}…"
