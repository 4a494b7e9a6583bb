"""``fcn study``: what it prints, what it writes, and that its help needs no torch."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import get_type_hints

import numpy as np
import pytest
from PIL import Image

from command import fcn
from fullyconv.study.result import Study, read_studies


@pytest.fixture
def maps(tmp_path: Path) -> Path:
    """A folder of two label maps of VOC."""
    folder = tmp_path / "maps"
    folder.mkdir()
    for number in range(2):
        labels = np.random.default_rng(number).integers(0, 3, (4, 5)).astype(np.uint8)
        Image.fromarray(labels.repeat(8, 0).repeat(8, 1)).save(folder / f"{number}.png")
    return folder


@pytest.mark.parametrize("factors", [["32,8"], ["32", "8"], ["32, 8"], ["32,", "8"]])
def test_factors_are_written_with_commas_or_spaces(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    maps: Path,
    tmp_path: Path,
    factors: list[str],
) -> None:
    out = tmp_path / "out"
    command = ["study", "upper-bound", maps, "--labels", "voc", "--out", out, "--factors", *factors]
    assert fcn(monkeypatch, *command) == 0
    shown = capsys.readouterr().out
    study = read_studies(out)[0][1]
    assert [row.values[0] for row in study.rows] == [32, 8, 32, 8]
    assert shown == f"{study.table()}\n{out}\n"
    assert "Rule 'bilinear'" in shown
    assert study.about["command"] == (
        f"fcn study upper-bound {maps} --labels voc --rule bilinear --factors 32,8"
    )


def test_all_studies_of_a_folder_become_a_page(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    maps: Path,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert fcn(monkeypatch, "study", "upper-bound", maps, "--labels", "voc", "--factors", 8) == 0
    command = "study dense-inference googlenet --size 259 259 --width 0.0625 --batch 1 --repeats 1"
    assert fcn(monkeypatch, *command.split()) == 0
    shown = capsys.readouterr().out
    assert "padded, whole image" in shown
    assert "studies/dense-inference\n" in shown
    assert fcn(monkeypatch, "study", "report", "studies", "--out", "page.html") == 0
    assert capsys.readouterr().out == "page.html\n"
    page = (tmp_path / "page.html").read_text()
    assert "2 studies" in page
    assert 'src="studies/upper-bound/label-map.png"' in page
    assert f"fcn {command}" in page


@pytest.mark.parametrize(
    ("args", "status", "sentence"),
    [
        (["report", "nowhere"], 1, "fcn: nowhere: no such folder; give the one that studies"),
        (["upper-bound", "nowhere"], 1, "fcn: nowhere: no such folder; give one of label files"),
        (["upper-bound", ".", "--factors", "8,x"], 2, "fcn: the factor 'x' is no whole number"),
        (["upper-bound", ".", "--factors", "0"], 2, "fcn: the factors are 0; they must be whole"),
        (["dense-inference", "vgg"], 2, "fcn: there is no backbone 'vgg'. Did you mean vgg16"),
    ],
)
def test_what_is_wrong_is_said_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    args: list[str],
    status: int,
    sentence: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert fcn(monkeypatch, "study", *args) == status
    shown = capsys.readouterr()
    assert sentence in shown.err
    assert "Traceback" not in shown.err
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("verb", [[], ["upper-bound"], ["dense-inference"], ["report"]])
def test_help_needs_no_torch(verb: list[str]) -> None:
    code = (
        f"import sys; sys.argv = ['fcn', 'study', *{verb}, '--help']\n"
        "import fullyconv.cli\n"
        "try: fullyconv.cli.main()\n"
        "except SystemExit: pass\n"
        "assert not {'torch', 'numpy'} & set(sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert "usage: fcn study" in result.stdout


@pytest.mark.parametrize("name", ["upper_bound", "dense_inference", "shift_and_stitch"])
def test_a_study_is_a_function_of_its_name(name: str) -> None:
    """As docs/howto/studies.md has it."""
    function = getattr(import_module(f"fullyconv.study.{name}"), name)
    assert get_type_hints(function)["return"] is Study
