"""Data sets broken in every way that is known: the right file and reason, and nothing else."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from broken import BREAKS, Victim, clean
from fullyconv.data.check import Report, check


@pytest.fixture(scope="session")
def clean_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clean(tmp_path_factory.mktemp("clean") / "set")


@pytest.fixture
def root(clean_set: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(clean_set, tmp_path / "set"))


def told(report: Report) -> list[tuple[str, tuple[str, ...]]]:
    return [(f.kind.name, example.files) for f in report.findings for example in f.examples]


def test_a_clean_set_has_no_finding(root: Path) -> None:
    report = check(root, progress=False)
    assert told(report) == []
    assert report.is_clean(strict=True)
    assert str(report).startswith(f"{root}: train 10, val 5: 0 errors, 0 warnings, 0 notes (")


@pytest.mark.parametrize("way", BREAKS)
def test_a_broken_set(root: Path, way: str) -> None:
    kind, detail, break_it = BREAKS[way]
    files = break_it(Victim(root, "train", "t03"))
    report = check(root, progress=False)
    assert told(report) == [(kind, files)]
    assert re.search(detail, report.findings[0].examples[0].detail)
