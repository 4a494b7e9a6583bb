"""The page on one's own pictures, every command of it, in one go."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fullyconv import cli
from fullyconv.pretrained import imagenet_weights

ROOT = Path(__file__).resolve().parents[1]
# What keeps it short here: the reader's run is longer
SHORTER = {"train": ["--optim.max-iters", "2", "--data.crop", "64", "64"]}


def test_from_the_labelling_tool_to_a_trained_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for package in ("onnx", "onnxscript", "scipy"):
        pytest.importorskip(package)
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    for photo in (tmp_path / "examples").glob("*.jpg"):  # smaller, to be quick
        with Image.open(photo) as image:
            image.resize((160, 120)).save(photo)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    page = (ROOT / "docs" / "howto" / "your-data.md").read_text()
    commands = [shlex.split(line) for line in re.findall(r"^fcn (.*)$", page, re.MULTILINE)]
    done = []
    for command in commands:
        verb = command[0]
        options = list(SHORTER.get(verb, []))
        if verb == "new":
            options.append("--no-measure")
        if verb == "train" and imagenet_weights("efficientnet_lite0") is None:
            options.append("--from-scratch")
        assert cli.run([*command, *options]) == 0, command
        done.append(verb)
        capsys.readouterr()
    assert done.count("predict") == 3
    # the masks that were drawn are the ones that are trained on, but for a pixel of outline
    drawn = np.asarray(Image.open("work/drawn/wide_road_overcast-mask.png"))
    (imported,) = Path("work/split").glob("*/labels/wide_road_overcast.png")
    names = json.loads(Path("work/split/classes.json").read_text())["categories"]
    before = json.loads(Path("work/drawn/predictions.json").read_text())["categories"]
    kept = np.array([names.index(name) if name in names else 255 for name in before])
    assert (kept[drawn] == np.asarray(Image.open(imported))).mean() > 0.95
    assert Path("work/fast/wide_road_overcast-mask.png").exists()
