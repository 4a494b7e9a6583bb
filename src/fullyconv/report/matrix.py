"""A confusion matrix as SVG; its colours are the page's."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from html import escape

import numpy as np

from fullyconv.report.record import Numbers


def matrix_chart(names: Sequence[str], matrix: Numbers) -> str:
    """A confusion matrix: rows are the truth, columns the prediction, shaded by share of the row.

    Every cell says its classes, share and pixels when it is pointed at.
    """
    count = len(names)
    cell = 36 if count <= 15 else 22 if count <= 25 else 15 if count <= 80 else 13
    # Hundreds of classes have tens of thousands of cells, most of them with a few stray pixels
    smallest = 0.0005 if count <= 80 else 0.01
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    short = [shorten(name) for name in names]
    room = max(110, *(8 * text_width(name) + 12 for name in short))
    size = room + count * cell + 2
    rows = "".join(
        f'<g transform="translate({room} {room + row * cell})">'
        f'<text x="-6" y="{cell / 2:g}" dy=".35em" text-anchor="end">{escape(short[row])}</text>'
        f"{_cells(names, row, matrix[row], shares[row], cell, smallest)}</g>"
        for row in range(count)
    )
    columns = "".join(
        f'<text transform="translate({room + (column + 0.5) * cell:g} {room - 6}) rotate(-90)" '
        f'dy=".35em">{escape(name)}</text>'
        for column, name in enumerate(short)
    )
    worst = _worst(names, shares)
    return (
        f'<svg class="matrix" role="img" width="{size}" height="{size}" '
        f'viewBox="0 0 {size} {size}"><title>Confusion matrix</title>'
        f"<desc>Rows are the truth, columns the prediction.{escape(worst)}</desc>"
        f'<text class="name" x="4" y="{room - 26}">truth ↓</text>'
        f'<text class="name" x="4" y="{room - 8}">prediction →</text>'
        f'<rect class="area" x="{room}" y="{room}" width="{count * cell}" '
        f'height="{count * cell}"/>{columns}{rows}</svg>'
    )


def _worst(names: Sequence[str], shares: Numbers) -> str:
    wrong = shares * (1 - np.eye(len(names)))
    found = [divmod(int(i), len(names)) for i in np.argsort(-wrong, axis=None)[:3]]
    told = [f"{names[i]} as {names[j]} {100 * shares[i, j]:.1f} %" for i, j in found if wrong[i, j]]
    return f" Most often confused: {', '.join(told)}." if told else ""


def _cells(
    names: Sequence[str], row: int, pixels: Numbers, shares: Numbers, cell: int, smallest: float
) -> str:
    parts = []
    for column in np.flatnonzero(shares >= smallest).tolist():
        share = float(shares[column])
        kind = "hit" if row == column else "miss"
        said = f"{names[row]} as {names[column]}: {100 * share:.1f} %, {pixels[column]:,.0f} pixels"
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
