"""fcn doctor, and what shells complete."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import requires, version
from pathlib import Path

import numpy as np
import pytest

import fullyconv
from command import fcn
from fullyconv import diagnosis
from fullyconv.errors import FullyConvError
from fullyconv.prediction.predictor import Predictor
from fullyconv.runtimes.threads import physical


def test_the_doctor_finds_this_machine_well(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FULLYCONV_OFFLINE", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert fcn(monkeypatch, "doctor") == 0
    shown = capsys.readouterr().out
    for text in (fullyconv.__version__, version("torch"), "FULLYCONV_OFFLINE", "GiB free"):
        assert text in shown
    assert "wrong" not in shown
    assert f", 1 of {physical()} used\n" in shown
    assert fcn(monkeypatch, "doctor", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["packages"]["numpy"] == np.__version__
    assert found["engines"]["onnx"] == "works"
    assert set(found["extras"]) == {
        line.split("extra == ")[1].strip("\"' ")
        for line in requires("fullyconv") or []
        if "extra == " in line
    }


def test_packages_that_are_missing_or_too_old_are_named() -> None:
    needed, extras, wrong = diagnosis._packages(
        [
            "numpy>=999",
            "no-such-package",
            'no-such-film>=2; extra == "video"',
            'numpy>=999; extra == "video"',
            'numpy>=1; extra == "raster"',
            *[f'no-such-tool{number}; extra == "dev"' for number in range(40)],
        ]
    )
    tools = "no-such-tool0 is missing, no-such-tool1 is missing, no-such-tool2 is missing"
    assert extras["dev"] == f"{tools}, and 37 more"
    assert needed == {"numpy": np.__version__, "no-such-package": "missing"}
    assert extras["raster"] == "complete"
    assert extras["video"] == f"no-such-film>=2 is missing, numpy>=999 is {np.__version__}"
    assert 'pip install "numpy>=999"' in wrong[0]
    assert "no-such-package is missing" in wrong[1]


def test_an_engine_that_fails_or_says_something_else_is_wrong() -> None:
    def opened(name: str, runtime: str) -> fullyconv.Predictor:
        if runtime == "torch":
            raise FullyConvError("it cannot be loaded")
        if runtime == "onnx":
            raise FullyConvError("onnxruntime is needed for this and not installed")
        return fullyconv.Predictor(name)

    engines, wrong = diagnosis._engines(opened)
    assert engines == {"torch": "does not work", "onnx": "not installed", "openvino": "works"}
    assert wrong == ["torch: it cannot be loaded"]

    def upside_down(name: str, runtime: str) -> fullyconv.Predictor:
        predictor = fullyconv.Predictor(name)
        if runtime == "torch":
            return predictor
        return lambda photo: predictor(photo[::-1])  # type: ignore[return-value]

    engines, wrong = diagnosis._engines(upside_down)
    assert engines["torch"] == "works"
    assert engines["onnx"] == "gives other labels"
    assert "agree on" in wrong[0]


def test_a_folder_of_weights_that_may_not_be_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FULLYCONV_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("os.access", lambda path, mode: False)
    assert fcn(monkeypatch, "doctor") == 1
    assert f"wrong: {tmp_path} may not be written to" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        (["fcn", "data", "ch"], ["check"]),
        (["fcn", "train", "voc-fcn32s-color"], []),
        (["fcn", "train", "voc-fcn8s-at"], ["voc-fcn8s-atonce"]),
        (["fcn", "train", "voc-fcn8s", "--optim.lr"], ["--optim.lr"]),
        (["fcn", "predict", "--model", "fcn.ba"], ["fcn.bash"]),
        (["fcn", "predict", "fcn.ba"], ["fcn.bash"]),
    ],
)
def test_bash_completes(
    script: Path, words: list[str], completed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(script.parent)  # in which it is the only file
    code = (
        f"source {script}; COMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}; _tyro_fcn;"
        ' echo "${COMPREPLY[@]}"'
    )
    result = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == completed


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    result = subprocess.run(
        [sys.executable, "-m", "fullyconv", "completion", "bash"],
        capture_output=True,
        text=True,
        check=True,
    )
    path = tmp_path_factory.mktemp("completion") / "fcn.bash"
    path.write_text(result.stdout)
    return path


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("fcn data ch", "fcn data check "),
        ("fcn train voc-fcn8s-at", "fcn train voc-fcn8s-atonce "),
        ("fcn train voc-fcn8s --optim.iter", "fcn train voc-fcn8s --optim.iter-size "),
        ("fcn export camvid --to op", "fcn export camvid --to openvino "),
        ("fcn predict --model pho", "fcn predict --model photo.jpg "),
        ("fcn predict pho", "fcn predict photo.jpg "),
    ],
)
def test_zsh_completes(
    typed: str,
    completed: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """In a terminal of its own, at the Tab key."""
    assert fcn(monkeypatch, "completion", "zsh") == 0
    (tmp_path / "_fcn").write_text(capsys.readouterr().out)
    assert (tmp_path / "_fcn").read_text().startswith("#compdef fcn")
    if shutil.which("zsh") is None:
        pytest.skip("zsh is not installed")
    (tmp_path / "photo.jpg").touch()
    (tmp_path / "ask").write_text(_ASK_ZSH)
    told = subprocess.run(
        ["zsh", "-f", "ask", typed],
        cwd=tmp_path,
        env={**os.environ, "HOME": str(tmp_path), "ZDOTDIR": str(tmp_path), "TERM": "dumb"},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert told.stdout == completed


# A second zsh with a line editor, whose line is printed after the Tab
_ASK_ZSH = """\
zmodload zsh/zpty
zpty inner 'zsh -f -i'
zpty -w inner 'fpath=($PWD $fpath); autoload -Uz compinit; compinit -u -D
keep() { print -rn -- "$BUFFER" > line; zle kill-whole-line; zle accept-line }
zle -N keep; bindkey "^X" keep; : > ready'
until [[ -e ready ]]; do sleep 0.1; done
zpty -w -n inner "$1"$'\t'$'\x18'
until [[ -e line ]]; do sleep 0.1; done
sleep 0.1
cat line
zpty -d inner
"""


def test_an_installation_without_torch_is_diagnosed_too() -> None:
    def no_torch(model: str, runtime: str) -> Predictor:
        raise ModuleNotFoundError("No module named 'torch'")

    engines, wrong = diagnosis._engines(no_torch)
    assert set(engines.values()) == {"not installed"}
    assert not wrong
