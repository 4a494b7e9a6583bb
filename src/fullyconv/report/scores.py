"""A page on the scores of a model: what ``fcn evaluate`` writes beside its JSON file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from fullyconv.report.classes import SCORES, classes, percent
from fullyconv.report.page import sample_figure, table, write_page
from fullyconv.report.record import class_scores, number


def write_scores_page(
    path: Path,
    values: dict[str, Any],
    published: Sequence[Sequence[str]],
    worst: Mapping[str, str],
) -> Path:
    """Show the scores of a model on one page.

    Args:
        path: The page.
        values: What the JSON file holds.
        published: Rows of names and texts to stand beside the model's own totals.
        worst: Files of the worst pictures, relative to the page, by what is said of them.

    Raises:
        FullyConvError: If the page cannot be written.
    """
    model, data = (str(values.get(key, "")) for key in ("model", "data"))
    rule = f"<p>{escape(values['rule'])}</p>" if "rule" in values else ""
    body = (
        f"<header><h1>{escape(model)}</h1><p>{escape(data)}, {values['pictures']} pictures</p>"
        f"{rule}</header>{_totals(values, published)}{classes(class_scores(values, {}))}"
        f"{_worst(worst)}"
    )
    return write_page(path, f"{model} on {data}", body)


def _totals(values: dict[str, Any], published: Sequence[Sequence[str]]) -> str:
    """Everything that has the four numbers: the model, its further heads, the boundary band."""
    parts = {"this model": values}
    parts |= {
        name: part for name, part in values.items() if isinstance(part, dict) and "mean_iou" in part
    }
    if "boundary" in parts:
        parts[f"within {values['boundary_width']} px of a boundary"] = parts.pop("boundary")
    rows = [
        [escape(name), *(percent(number(part.get(key))) for key in SCORES), ""]
        for name, part in parts.items()
    ]
    rows += [[escape(cell) for cell in row] for row in published]
    head = ["in per cent", *SCORES.values(), ""]
    return f"<section><h2>Scores</h2>{table(head, rows)}</section>"


def _worst(worst: Mapping[str, str]) -> str:
    if not worst:
        return ""
    shown = "".join(sample_figure(file, said, said) for said, file in worst.items())
    return (
        f"<section><h2>Worst pictures</h2><p>Photograph, truth and prediction.</p>{shown}</section>"
    )
