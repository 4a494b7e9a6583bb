"""What a scoring says of each class: a table, and the confusion matrix."""

from __future__ import annotations

import math
from html import escape

import numpy as np

from fullyconv.report.matrix import matrix_chart
from fullyconv.report.page import table
from fullyconv.report.record import SCORING, ClassScores

SCORES = dict(zip(SCORING, ("mean IU", "pixel accuracy", "mean accuracy", "f.w. IU"), strict=True))
"""The four numbers and what they are called."""


def percent(share: float) -> str:
    """A share, 0 to 1, in per cent."""
    return "n/a" if math.isnan(share) else f"{100 * share:.1f}"


def classes(scores: ClassScores | None) -> str:
    """Table of the classes, best first, and the confusion matrix."""
    if scores is None:
        return ""
    step = scores.totals["step"]
    when = "" if math.isnan(step) else f" at step {step:,.0f}"
    totals = ", ".join(
        f"{label} {percent(scores.totals[key])}"
        for key, label in SCORES.items()
        if not math.isnan(scores.totals[key])
    )
    counts = None if scores.matrix is None else scores.matrix.sum(1)
    rows = []
    for i in np.argsort(-np.nan_to_num(scores.iou, nan=-1), kind="stable").tolist():
        row = [class_name(scores, i), _bar(scores.iou[i]), _bar(scores.accuracy[i])]
        if counts is not None:
            row.append(percent(counts[i] / max(1, counts.sum())))
        rows.append(row)
    head = ["class", "IU", "accuracy"] + ["share of pixels"] * (counts is not None)
    drawn = ""
    if scores.matrix is not None:
        drawn = (
            "<section><h2>Confusion matrix</h2><p>Each row shows where the pixels of a class went, "
            "in per cent of the row: point at a cell for its numbers.</p>"
            f'<div class="wide" tabindex="0">{matrix_chart(scores.names, scores.matrix)}</div>'
            "</section>"
        )
    said = f"<p>In per cent: {totals}.</p>" if totals else "<p>In per cent.</p>"
    return f"<section><h2>Classes{when}</h2>{said}{table(head, rows)}</section>{drawn}"


def class_name(scores: ClassScores, index: int) -> str:
    """HTML of a class's name, behind its colour where that is known."""
    name = escape(scores.names[index])
    if not scores.palette:
        return name
    color = f"#{bytes(scores.palette[index]).hex()}"
    return f'<span class="swatch" style="background:{color}"></span>{name}'


def _bar(share: float) -> str:
    width = 0.0 if math.isnan(share) else 100 * min(1.0, max(0.0, share))
    bar = f'<span class="bar"><span style="width:{width:.1f}%"></span></span>'
    return f'<span class="measure">{percent(share)}{bar}</span>'
