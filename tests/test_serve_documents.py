"""docs/howto/serve.md: its curl lines are run, and its files read by what reads them."""

from __future__ import annotations

import configparser
import json
import re
import shlex
import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from command import fcn
from fullyconv.prediction.predictor import Predictor
from fullyconv.serve.settings import Settings
from serving import serving

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "docs" / "howto" / "serve.md").read_text()
CURL = re.findall(r"^(curl .*)$", TEXT, re.MULTILINE)


def block(kind: str) -> str:
    """The one piece of code of a kind."""
    (found,) = re.findall(rf"^```{kind}\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    return str(found)


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor("camvid", "onnx")


@pytest.fixture(scope="module")
def folder(predictor: Predictor, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What the curl lines of the document leave behind."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    folder = tmp_path_factory.mktemp("curl")
    shutil.copy(ROOT / "examples" / "wide_road_overcast.jpg", folder / "street.jpg")
    with serving(predictor) as port:
        for line in CURL:
            command = shlex.split(line.replace("localhost:8000", f"127.0.0.1:{port}"))
            ran = subprocess.run([*command, "-sS"], cwd=folder, capture_output=True, check=True)
            if ran.stdout:
                (folder / "said.json").write_bytes(ran.stdout)
        yield folder


def test_there_is_a_curl_line_for_each_kind_of_answer_and_request() -> None:
    assert len(CURL) == 7
    for kind in ("Accept: image/png", "Accept: application/zip", "--data-binary", "-F image="):
        assert any(kind in line for line in CURL), kind


def test_curl_gets_what_the_document_says(folder: Path, predictor: Predictor) -> None:
    prediction = predictor(folder / "street.jpg")
    said = json.loads((folder / "labels.json").read_text())
    labels = np.repeat(said["runs"]["values"], said["runs"]["counts"])
    assert (labels.reshape(said["height"], said["width"]) == prediction.labels).all()
    assert "road" in json.loads((folder / "polygons.json").read_text())["polygons"]
    assert (folder / "mask.png").read_bytes() == prediction.encode("mask")
    assert (np.asarray(Image.open(folder / "overlay.png")) == prediction.overlay()).all()
    with zipfile.ZipFile(folder / "labels.zip") as packed:
        assert packed.namelist() == ["mask.png", "overlay.png", "labels.json"]
    assert json.loads((folder / "model.json").read_text())["name"] == "camvid"


def test_the_error_in_the_document_is_the_servers(folder: Path) -> None:
    said, expected = json.loads((folder / "said.json").read_text()), json.loads(block("json"))
    for answer in (said, expected):
        del answer["title"]  # Python 3.13 knows its newer name
    assert said == expected


def test_the_flags_in_the_document_exist() -> None:
    named = set(re.findall(r"`--([a-z-]+)`", TEXT))
    assert named <= {field.name.replace("_", "-") for field in fields(Settings)}
    assert {"max-bytes", "max-pixels", "queue", "seconds", "client-seconds", "memory"} <= named


def test_the_systemd_unit_starts_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read_string(block("ini"))
    program, *arguments = shlex.split(unit["Service"]["ExecStart"].replace("%i", "8000"))
    assert program.endswith("/fcn")
    assert fcn(monkeypatch, *arguments, "--help") == 0
    assert "usage: fcn serve" in capsys.readouterr().out
    settings = Settings()
    assert int(unit["Service"]["TimeoutStopSec"]) > 2 * settings.client_seconds + settings.seconds


def test_the_image_starts_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    image = block("dockerfile")
    lines = {
        name: json.loads(rest) for name, rest in re.findall(r"^(ENTRYPOINT|CMD) (.*)$", image, re.M)
    }
    assert fcn(monkeypatch, *lines["ENTRYPOINT"][1:], *lines["CMD"], "--help") == 0
    assert "usage: fcn serve" in capsys.readouterr().out
    linter = shutil.which("hadolint")
    if linter is not None:
        (tmp_path / "Dockerfile").write_text(image)
        subprocess.run([linter, tmp_path / "Dockerfile"], check=True)
