"""``fcn data check`` and ``fcn data stats``."""

from __future__ import annotations

import sys
from json import dumps
from pathlib import Path
from typing import Annotated, Any, TextIO

import tyro

from fullyconv.errors import UsageError

_STDOUT = Path("-")


def check_data(
    root: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")],
    labels: str = "auto",
    json: Path | None = None,
    html: Path | None = None,
    fix: Path | None = None,
    strict: bool = False,
    workers: int | None = None,
) -> int:
    """Find what is wrong with a data set; exit status 1 if there is an error.

    Args:
        root: Folder with classes.json and images/ and labels/, or train/ and val/ that hold them.
        labels: Name of a known label space; auto: the folder's classes.json.
        json: File for all findings, for scripts; - for the standard output, alone there.
        html: Page with small pictures of each finding.
        fix: New folder for what is sound and what can be repaired; DIR itself is never touched.
        strict: Exit with 1 for warnings, too.
        workers: Processes; as many as there are processors, if not given.
    """
    from fullyconv.data import check as doctor

    said = _beside(json, html)
    report = doctor.check(root, labels=labels, workers=workers, progress=True)
    print(report, file=said)
    _write_numbers(json, report.to_dict())
    if html is not None:
        print(doctor.write_findings_page(html, report), file=said)
    if fix is not None:
        print(doctor.fix(report, fix, workers=workers, progress=True), file=said)
        print(f"Next: fcn data check {fix}", file=said)
    return 0 if report.is_clean(strict) else 1


def stats_data(
    root: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")],
    labels: str = "auto",
    lists: Path | None = None,
    json: Path | None = None,
    html: Path | None = None,
    workers: int | None = None,
) -> int:
    """What is in a data set: classes and weights for them, sizes, mean and deviation.

    Args:
        root: Folder with classes.json and images/ and labels/, or train/ and val/ that hold them.
        labels: Name of a known label space; auto: the folder's classes.json.
        lists: Folder of train.txt and val.txt, as fcn data split --lists writes them: those are
            counted.
        json: File for all numbers, for scripts; - for the standard output, alone there.
        html: Page with tables and plots.
        workers: Processes; as many as there are processors, if not given.
    """
    from fullyconv.data import check as doctor

    said = _beside(json, html)
    counted = doctor.stats(root, labels=labels, lists=lists, workers=workers, progress=True)
    print(doctor.stats_text(counted), file=said)
    _write_numbers(json, counted.to_dict())
    if html is not None:
        print(doctor.write_stats_page(html, counted), file=said)
    return 0


def _beside(json: Path | None, html: Path | None) -> TextIO:
    """Where sentences go: not among numbers on the standard output."""
    if html == _STDOUT:
        raise UsageError("--html -: a page is written into a file; name one, such as page.html")
    return sys.stderr if json == _STDOUT else sys.stdout


def _write_numbers(json: Path | None, values: dict[str, Any]) -> None:
    from fullyconv.files import write_json

    if json == _STDOUT:
        print(dumps(values, indent=1))
    elif json is not None:
        write_json(json, values)
        print(json)
