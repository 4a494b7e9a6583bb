"""The scripts in examples/ run as their first lines say, and do what they are for."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import fullyconv as fc

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def script(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def shapes(tmp_path: Path) -> Path:
    script("make_shapes").main(tmp_path / "shapes")
    return tmp_path / "shapes"


def test_the_shapes_are_a_clean_data_set(shapes: Path) -> None:
    from fullyconv.data.check import check

    report = check(shapes, workers=1)
    assert report.is_clean()
    assert {f.kind.name for f in report.findings} == set()


def test_a_training_script(
    shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script("train_own").main(shapes, tmp_path / "run", steps=2)
    assert "mean IU" in capsys.readouterr().out
    assert len(list((tmp_path / "run").glob("*-overlay.jpg"))) == 1
    assert fc.read_header(tmp_path / "run" / "best.safetensors").labels.num_classes == 3
    lines = (EXAMPLES / "train_own.py").read_text().splitlines()
    assert len(lines) <= 35, "thirty lines, the documents say"


@pytest.mark.slow
def test_the_shapes_are_learned(shapes: Path, tmp_path: Path) -> None:
    script("train_own").main(shapes, tmp_path / "run", steps=150)
    scores = json.loads((tmp_path / "run" / "scores.json").read_text())
    assert scores["mean_iou"] > 0.85


def test_a_loop_of_ones_own(
    shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "own.safetensors"
    script("own_loop").main(shapes, path, steps=4)
    assert "mean IU" in capsys.readouterr().out
    prediction = fc.Predictor(path)(shapes / "val" / "images" / "val00.png")
    assert prediction.categories == ("background", "disc", "square")
    assert prediction.labels.shape == (128, 160)
    # what begins from the road scenes' network, and has moved away from it
    before, after = fc.load_model("camvid").state_dict(), fc.load_model(path).state_dict()
    same = [key for key in after if before[key].shape == after[key].shape]
    assert len(same) > 100
    assert any(not torch.equal(before[key], after[key]) for key in same)


def test_a_crf_without_a_compiler_follows_the_edges() -> None:
    """Two halves of different colours, of which the network is unsure near the border."""
    module = script("convcrf")
    truth = np.zeros((24, 32), int)
    truth[:, 16:] = 1
    image = torch.from_numpy(np.where(truth == 0, 40.0, 200.0)).float().expand(3, -1, -1)
    blurred = torch.from_numpy(np.clip((np.arange(32) - 9) / 10, 0.05, 0.95)).float()
    foreground = blurred.expand(24, -1)  # its border lies a pixel too far to the left
    probabilities = torch.stack([1 - foreground, foreground])
    before = (probabilities.argmax(0).numpy() != truth).mean()
    refined = module.refine(probabilities, image)
    assert torch.allclose(refined.sum(0), torch.ones(24, 32), atol=1e-5)
    assert before > 0
    assert (refined.argmax(0).numpy() != truth).mean() == 0
    # without neighbours it is the network's own opinion
    alone = module.refine(probabilities, image, weight=0.0)
    assert torch.allclose(alone, probabilities, atol=1e-5)


def test_the_crf_on_a_photograph(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photo = tmp_path / "photo.jpg"
    with Image.open(EXAMPLES / "wide_road_overcast.jpg") as image:
        image.resize((120, 90)).save(photo)
    script("convcrf").main(str(photo), str(tmp_path / "mask.png"))
    assert "of the pixels changed" in capsys.readouterr().out
    with Image.open(tmp_path / "mask.png") as mask:
        assert mask.size == (120, 90)
        assert mask.mode == "P"
