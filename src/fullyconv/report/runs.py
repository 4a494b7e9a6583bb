"""Pages that show training runs: one run, or several beside each other."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from fullyconv.errors import FullyConvError
from fullyconv.report.charts import Line, legend_key, line_chart, number_text, smooth
from fullyconv.report.classes import SCORES, classes, percent
from fullyconv.report.page import sample_figure, table, write_page
from fullyconv.report.record import LOG, Numbers, RunRecord, number, read_run

SPREAD = 50  # ratio of highest to lowest loss from which its axis is logarithmic


def write_report(folder: str | os.PathLike[str]) -> Path:
    """Show a training run, finished or not, on one page that needs nothing but the run's samples.

    What is not in the folder yet is left out.

    Args:
        folder: Run folder, as :func:`fullyconv.train` fills it.

    Returns:
        The path of the page, ``report.html`` in the folder.

    Raises:
        FullyConvError: If there is no such folder, or the page cannot be written.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FullyConvError(
            f"{folder}: no such folder; give the run folder that training was told by --out"
        )
    run = read_run(folder)
    title = ", ".join(part for part in (run.network, run.name) if part)
    body = (
        f"<header><h1>{escape(run.network or run.name)}</h1><p>{escape(run.name)}</p></header>"
        f"{_facts(run)}{_curves(run)}{classes(run.scores)}{_samples(run)}{_recipe(run)}"
    )
    return write_page(folder / "report.html", title, body)


def compare(folders: Sequence[str | os.PathLike[str]], out: str | os.PathLike[str]) -> Path:
    """Show training runs beside each other on one page: curves, scores, and how they were set.

    Args:
        folders: Run folders, or folders of them: of these all runs that have begun.
        out: The page to write.

    Returns:
        The path of the page.

    Raises:
        FullyConvError: If there is no folder, one holds no log, or the page cannot be written.
    """
    if not folders:
        raise FullyConvError("no run was given to compare; name at least one run folder")
    runs = [_with_log(run) for folder in folders for run in _runs_in(Path(folder))]
    names = [run.name for run in runs]
    if len(set(names)) < len(names):
        names = [str(run.path) for run in runs]
    title = f"{len(runs)} training runs" if len(runs) > 1 else names[0]
    body = (
        f"<header><h1>{escape(title)}</h1></header>"
        f"{_runs_table(names, runs)}{_curves_together(names, runs)}"
        f"{_differences(names, runs)}{_classes_together(names, runs)}"
    )
    return write_page(Path(out), title, body)


def _runs_in(folder: Path) -> list[Path]:
    """The folder itself; if it holds no log, the runs in it that have a line of theirs."""
    logs = [] if (folder / LOG).is_file() else sorted(folder.glob(f"*/{LOG}"))
    return [log.parent for log in logs if log.stat().st_size] or [folder]


def _with_log(folder: Path) -> RunRecord:
    log = folder / LOG
    if not log.is_file():
        raise FullyConvError(
            f"{folder}: holds no {LOG}, so it is no run folder; give folders that training "
            "was told by --out"
        )
    run = read_run(folder)
    if not len(run.training["step"]) and not len(run.scoring["step"]):
        raise FullyConvError(
            f"{log}: holds no line that can be read; expected lines of JSON with a step and a "
            "loss or scores. Leave this run out until its first line is written"
        )
    return run


def _at_best(run: RunRecord) -> str:
    best, step = run.best
    return "not scored" if math.isnan(best) else f"{percent(best)} at step {step:,.0f}"


def _last(values: Iterable[float]) -> float:
    return next((v for v in reversed([*values]) if not math.isnan(v)), math.nan)


def _speed(run: RunRecord) -> float:
    """Pictures per second in the middle of all log lines: no pause of the machine moves it."""
    known = run.training["pictures_per_second"]
    known = known[~np.isnan(known)]
    return float(np.median(known)) if len(known) else math.nan


def _steps(run: RunRecord) -> str:
    planned = number(run.settings.get("optim.max_iters"))
    return f"{run.steps:,.0f}" + ("" if math.isnan(planned) else f" of {planned:,.0f}")


def _key_facts(run: RunRecord) -> dict[str, str]:
    return {
        "steps": _steps(run),
        "best mean IU": _at_best(run),
        "last loss": number_text(_last(run.training["loss"])),
        "pictures per second": number_text(_speed(run)),
        "wait for data": _share(run.training["data_wait"]),
        "memory, GiB": number_text(_last(run.training["memory_gib"])),
        "minutes": "n/a" if math.isnan(run.minutes) else f"{run.minutes:,.1f}",
        "skipped steps": number_text(_last(run.training["skipped_steps"])),
    }


def _share(values: Numbers) -> str:
    known = values[~np.isnan(values)]
    return f"{100 * known.mean():.0f} %" if len(known) else "n/a"


def _facts(run: RunRecord) -> str:
    items = "".join(
        f"<div><dt>{key}</dt><dd>{value}</dd></div>" for key, value in _key_facts(run).items()
    )
    return f'<dl class="facts">{items}</dl>'


def _curves(run: RunRecord) -> str:
    steps, loss = run.training["step"], run.training["loss"]
    losses = [
        Line("each log line", steps, loss, faint=True),
        Line("mean of the 5 % around it", steps, smooth(loss)),
    ]
    scores = [
        Line(label, run.scoring["step"], 100 * run.scoring[key], color, marked=True)
        for color, (key, label) in enumerate(SCORES.items())
    ]
    charts = [
        line_chart("Loss", "loss", losses, from_zero=True, wide=SPREAD),
        line_chart("Scores on the validation pictures", "per cent", scores, steps=run.steps),
        line_chart(
            "Learning rate", "rate", [Line("rate", steps, run.training["lr"])], from_zero=True
        ),
        line_chart(
            "Speed",
            "pictures per second",
            [Line("pictures per second", steps, run.training["pictures_per_second"])],
            from_zero=True,
        ),
    ]
    drawn = "".join(charts) or "<p>The log has no lines yet.</p>"
    return f'<section><h2>Curves</h2><div class="charts">{drawn}</div></section>'


def _samples(run: RunRecord) -> str:
    """For each picture its last sample, and those before it folded away."""
    parts = []
    for name, steps in run.samples.items():
        *before, last = [
            sample_figure(f"samples/{file}", f"{name} at step {step:,}", f"step {step:,}")
            for step, file in steps
        ]
        earlier = ""
        if before:
            first, final = steps[0][0], steps[-2][0]
            span = f"step {first:,}" + (f" to {final:,}" if len(before) > 1 else "")
            earlier = (
                f"<details><summary>before: {span}</summary>"
                f'<div class="before">{"".join(before)}</div></details>'
            )
        parts.append(f"<article><h3>{escape(name)}</h3>{last}{earlier}</article>")
    if not parts:
        return ""
    return (
        "<section><h2>Samples</h2><p>Photograph, truth and prediction.</p>"
        f"{''.join(parts)}</section>"
    )


def _setting(value: Any) -> str:
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)


def _recipe(run: RunRecord) -> str:
    if not run.settings:
        return ""
    rows = [[escape(key), escape(_setting(v))] for key, v in run.settings.items()]
    return (
        f"<section><details><summary><h2>Recipe</h2> ({len(rows)} settings)</summary>"
        f"{table(['setting', 'value'], rows, numbers=False)}</details></section>"
    )


def loss_lines(
    names: Sequence[str], runs: Sequence[RunRecord], *, by_clock: bool = False
) -> list[Line]:
    """The losses of runs, each the mean of the 5 % of log lines around, as curves.

    Args:
        names: What the runs are called.
        runs: What is in their folders.
        by_clock: Over the minutes of training; without it, over the steps.
    """
    return [
        Line(
            name,
            run.clock if by_clock else run.training["step"],
            smooth(run.training["loss"]),
            color,
        )
        for color, (name, run) in enumerate(zip(names, runs, strict=True))
        if not (by_clock and np.isnan(run.clock).any())
    ]


def _runs_table(names: Sequence[str], runs: Sequence[RunRecord]) -> str:
    rows = [
        [
            legend_key(line) + escape(line.label),
            escape(run.network or "n/a"),
            *_key_facts(run).values(),
        ]
        for line, run in zip(loss_lines(names, runs), runs, strict=True)
    ]
    head = ["run", "network", *_key_facts(runs[0])]
    return f"<section><h2>Runs</h2>{table(head, rows)}</section>"


def _curves_together(names: Sequence[str], runs: Sequence[RunRecord]) -> str:
    scores = [
        Line(name, run.scoring["step"], 100 * run.scoring["mean_iou"], color, marked=True)
        for color, (name, run) in enumerate(zip(names, runs, strict=True))
    ]
    longest = max(run.steps for run in runs)
    title = "Loss, each the mean of the 5 % of log lines around"
    scored = "Mean IU on the validation pictures"
    drawn = (
        line_chart(title, "loss", loss_lines(names, runs), from_zero=True, wide=SPREAD),
        line_chart(scored, "per cent", scores, steps=longest),
        line_chart(
            "The same losses by the time that they took",
            "loss",
            loss_lines(names, runs, by_clock=True),
            across="minutes",
            steps=0.0,
            from_zero=True,
            wide=SPREAD,
        ),
    )
    return f'<section><h2>Curves</h2><div class="charts">{"".join(drawn)}</div></section>'


def _differences(names: Sequence[str], runs: Sequence[RunRecord]) -> str:
    """Table of the settings that are not the same in every recipe that is there."""
    known = [(name, run.settings) for name, run in zip(names, runs, strict=True) if run.settings]
    rows = []
    for key in dict.fromkeys(key for _, settings in known for key in settings):
        values = [_setting(s[key]) if key in s else "not set" for _, s in known]
        if len(set(values)) > 1:
            rows.append([escape(key), *map(escape, values)])
    if len(known) < 2:
        shown = "<p>Fewer than two of the runs have a recipe.json.</p>"
    elif not rows:
        shown = "<p>None: the recipes are the same.</p>"
    else:
        head = ["setting", *(escape(name) for name, _ in known)]
        shown = table(head, rows, numbers=False)
    return f"<section><h2>Settings that differ</h2>{shown}</section>"


def _classes_together(names: Sequence[str], runs: Sequence[RunRecord]) -> str:
    """Table of the classes' IU in each run that has scores, the best first and set in bold."""
    scored = [
        (name, dict(zip(run.scores.names, run.scores.iou.tolist(), strict=True)))
        for name, run in zip(names, runs, strict=True)
        if run.scores is not None
    ]
    classes = dict.fromkeys(name for _, ious in scored for name in ious)
    if not classes:
        return ""
    rows = []
    for name in classes:
        values = [ious.get(name, math.nan) for _, ious in scored]
        best = max((v for v in values if not math.isnan(v)), default=-1.0)
        cells = [f"<b>{percent(v)}</b>" if v == best else percent(v) for v in values]
        rows.append((best, [escape(name), *cells]))
    rows.sort(key=lambda row: -row[0])
    head = ["class", *(escape(name) for name, _ in scored)]
    return (
        "<section><h2>IU of each class</h2><p>In per cent, the highest of a row in bold.</p>"
        f"{table(head, [cells for _, cells in rows])}</section>"
    )
