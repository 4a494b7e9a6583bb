"""Every study of a folder on one page."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from fullyconv.report.charts import Line, line_chart
from fullyconv.report.page import figure, table, write_page
from fullyconv.study.result import Study, Value, read_studies, shown


def report(folder: str | os.PathLike[str], out: str | os.PathLike[str]) -> Path:
    """Show every study in a folder and below it on one page.

    Pictures stay where the studies drew them; the page names them relative to itself.

    Args:
        folder: Where studies were saved.
        out: The page to write.

    Returns:
        The path of the page.

    Raises:
        FullyConvError: If there is no study, one is damaged, or the page cannot be written.
    """
    out = Path(out)
    studies = read_studies(Path(folder))
    sections = [
        _section(f"study-{number}", study, Path(os.path.relpath(where, out.parent)))
        for number, (where, study) in enumerate(studies)
    ]
    title = f"{len(studies)} studies" if len(studies) > 1 else studies[0][1].title
    links = "".join(
        f'<li><a href="#study-{number}">{escape(study.title)}</a> ({escape(path.name)})</li>'
        for number, (path, study) in enumerate(studies)
    )
    contents = f"<nav><ul>{links}</ul></nav>" if len(studies) > 1 else ""
    what = "Of Shelhamer, Long, Darrell: Fully Convolutional Networks for Semantic Segmentation"
    header = f"<header><h1>{escape(title)}</h1><p>{what}</p></header>"
    return write_page(out, title, header + contents + "".join(sections))


def _section(name: str, study: Study, folder: Path) -> str:
    drawn = [
        (made.file, figure((folder / made.file).as_posix(), made.caption, made.caption))
        for made in study.figures
    ]
    curves = "".join(html for file, html in drawn if file.endswith(".svg"))
    pictures = f'<div class="charts">{curves}</div>' if curves else ""
    pictures += "".join(html for file, html in drawn if not file.endswith(".svg"))
    return (
        f'<section id="{name}"><h2>{escape(study.title)}</h2><p>{escape(study.question)}</p>'
        f"{_table(study)}<p>{escape(study.rule)}</p>{_chart(study)}{pictures}{_about(study.about)}"
        "</section>"
    )


def _table(study: Study) -> str:
    """What was measured, and below it, under each source, what was published there."""
    rows: dict[str, list[list[str]]] = {"": []}
    for row in study.rows:
        cells = [escape(cell) for cell in (row.name, *map(shown, row.values))]
        rows.setdefault(row.source, []).append(cells)
    measured = rows.pop("")
    published = {f"published in {escape(source)}": group for source, group in rows.items()}
    return table([*map(escape, (study.varied, *study.columns))], measured, apart=published)


def _chart(study: Study) -> str:
    """One column over another: a curve of what was measured, and one of each source."""
    if not study.chart:
        return ""
    x, y = study.chart
    across, up = (study.columns.index(column) for column in study.chart)
    lines = []
    for color, source in enumerate(dict.fromkeys(row.source for row in study.rows)):
        rows = [row for row in study.rows if row.source == source]
        points = sorted((_number(row.values[across]), _number(row.values[up])) for row in rows)
        points = [point for point in points if not any(map(math.isnan, point))]
        if points:
            at, values = np.array(points, np.float64).T
            lines.append(Line(source or "measured here", at, values, color, marked=True))
    drawn = line_chart(f"{y} over {x}", y, lines, steps=0, across=x)
    return f'<div class="charts">{drawn}</div>' if drawn else ""


def _number(value: Value) -> float:
    return math.nan if value is None or isinstance(value, str) else float(value)


def _about(about: dict[str, Any]) -> str:
    rows = [[escape(key), escape(_text(value))] for key, value in about.items()]
    return (
        "<details><summary>How it was made</summary>"
        f"{table(['what', 'value'], rows, numbers=False)}</details>"
    )


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{key}: {_text(part)}" for key, part in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(_text, value))
    return shown(value)
