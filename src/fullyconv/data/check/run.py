"""The doctor: every file of a data set decoded once, and what is wrong with it."""

from __future__ import annotations

import os
import time
from collections import Counter
from functools import partial
from pathlib import Path

from fullyconv.config import DataConfig
from fullyconv.data.check.facts import examine_sample
from fullyconv.data.check.finding import Findings
from fullyconv.data.check.layout import Layout, read_layout
from fullyconv.data.check.report import Report
from fullyconv.data.check.rules import Rules
from fullyconv.data.parallel import in_parallel
from fullyconv.data.sources import CLASSES, label_space
from fullyconv.errors import FullyConvError, UsageError
from fullyconv.labels import LabelSpace


def check(
    root: str | os.PathLike[str],
    *,
    labels: str = "auto",
    workers: int | None = None,
    progress: bool = True,
) -> Report:
    """Find what is wrong with a data set, before a training run does hours later.

    Every file is decoded once, in parallel. Nothing is changed.

    Args:
        root: Folder with ``classes.json`` and images/ and labels/, or splits that hold them.
        labels: Name of a known label space; ``"auto"`` for the folder's own ``classes.json``.
        workers: Processes; None for one per processor, or none beside this one for a few pictures.
            A script that starts some needs ``if __name__ == "__main__"``.
        progress: Show a bar.

    Raises:
        UsageError: If there is no such label space, or no such number of workers.
        FullyConvError: If the folder holds no data set at all.
    """
    begun = time.monotonic()
    findings = Findings()
    layout, space = open_layout(Path(root), labels, findings)
    rules = Rules(layout, findings)
    work = partial(examine_sample, layout.root, frozenset(layout.heads))
    facts = in_parallel(work, layout.samples, workers=workers, title="checking", progress=progress)
    for sample, found in zip(layout.samples, facts, strict=True):
        rules.judge(sample, found)
    rules.finish()
    counts = Counter(sample.split for sample in layout.samples)
    return Report(
        root=layout.root,
        pictures={split: counts[split] for split in layout.splits},
        labels=space,
        findings=findings.all(),
        seconds=time.monotonic() - begun,
    )


def open_layout(root: Path, labels: str, findings: Findings) -> tuple[Layout, LabelSpace | None]:
    """The files of a data set and what its ids mean, None if that is not to be read."""
    space = None
    try:
        space = label_space(DataConfig(root=root, labels=labels), "--labels")
    except UsageError:
        raise
    except FullyConvError as error:
        sentence = str(error).removeprefix(f"{root / CLASSES}: ")
        findings.add("classes", (CLASSES,), sentence)
    return read_layout(root, space, findings), space
