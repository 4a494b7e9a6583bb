"""From a folder of pictures and labels to a recipe that trains, without a word from the user."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fullyconv import cli
from fullyconv.data.proposal import propose
from fullyconv.errors import FullyConvError
from fullyconv.recipe_file import read_recipe


@pytest.fixture
def cracks(tmp_path: Path) -> Path:
    """Ids 3 and 200 and void: gaps, and a class that is rare."""
    root = tmp_path / "cracks"
    rng = np.random.default_rng(0)
    for split, count in (("train", 6), ("val", 2)):
        (root / split / "images").mkdir(parents=True)
        (root / split / "labels").mkdir()
        for number in range(count):
            labels = np.full((130, 70), 3, np.uint8)
            labels[number + 4, :50] = 200
            labels[:2] = 255
            image = rng.integers(0, 255, (130, 70, 3)).astype(np.uint8)
            Image.fromarray(image).save(root / split / "images" / f"{split}{number}.png")
            Image.fromarray(labels).save(root / split / "labels" / f"{split}{number}.png")
    return root


def test_the_proposal_follows_from_the_files(cracks: Path) -> None:
    proposal = propose(cracks, progress=False)
    recipe = proposal.recipe
    assert proposal.pictures == (6, 2)
    assert proposal.size == (130, 70)
    assert recipe.model.num_classes == 2
    assert recipe.data.crop == (160, 96)
    assert recipe.optim.max_iters == 300
    assert proposal.classes["class 200"] == pytest.approx(50 / (128 * 70))
    written = json.loads((cracks / "classes.json").read_text())
    assert (written["categories"], written["raw_ids"]) == (["class 3", "class 200"], [3, 200])
    said = " ".join(proposal.notes)
    assert "(3, 200): give the classes their names" in said
    assert "rare classes: class 200 (0.56 %)" in said


def test_classes_that_are_named_are_kept(cracks: Path) -> None:
    names = {"categories": ["road", "crack", "pothole"], "raw_ids": [3, 200, 7]}
    (cracks / "classes.json").write_text(json.dumps(names))
    proposal = propose(cracks, progress=False)
    assert list(proposal.classes) == names["categories"]
    assert "shows pothole: that is never learned" in " ".join(proposal.notes)
    assert json.loads((cracks / "classes.json").read_text()) == names


def test_without_pictures_to_score(cracks: Path) -> None:
    shutil.rmtree(cracks / "val")
    proposal = propose(cracks, progress=False)
    assert proposal.recipe.data.val == ""
    assert "there is no val/" in " ".join(proposal.notes)


def test_bands_are_recognised(cracks: Path) -> None:
    for split in ("train", "val"):
        for file in (cracks / split / "images").iterdir():
            np.save(file.with_suffix(".npy"), np.zeros((130, 70, 5), np.uint16))
            file.unlink()
    assert propose(cracks, progress=False).recipe.data.inputs == ("bands",)


@pytest.mark.parametrize(
    ("value", "dtype", "inputs"),
    [(255, np.uint8, "images"), (40_000, np.uint16, "bands"), (0.5, np.float32, "bands")],
)
def test_grey_tiffs(value: float, dtype: type, inputs: str, cracks: Path) -> None:
    for split in ("train", "val"):
        for file in (cracks / split / "images").iterdir():
            Image.fromarray(np.full((130, 70), value).astype(dtype)).save(file.with_suffix(".tif"))
            file.unlink()
    assert propose(cracks, progress=False).recipe.data.inputs == (inputs,)


def test_folders_that_cannot_be_trained_on(tmp_path: Path) -> None:
    with pytest.raises(FullyConvError, match=r"no train/ .* fcn data import"):
        propose(tmp_path, progress=False)
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    with pytest.raises(FullyConvError, match=r"no train/ .* fcn data import .*masks/"):
        propose(tmp_path, progress=False)
    (tmp_path / "labels").mkdir()
    with pytest.raises(FullyConvError, match=r"in one piece; .* fcn data split"):
        propose(tmp_path, progress=False)


def test_labels_of_void_alone(cracks: Path) -> None:
    for file in cracks.glob("*/labels/*.png"):
        Image.fromarray(np.full((130, 70), 255, np.uint8)).save(file)
    with pytest.raises(FullyConvError, match="nothing but 255, void"):
        propose(cracks, progress=False)


def test_the_command_writes_a_recipe_that_trains(
    cracks: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr("psutil.getloadavg", lambda: (999.0, 999.0, 999.0))
    assert cli.run(["new", str(cracks)]) == 0
    said = capsys.readouterr().out
    assert "6 to train on, 2 to score, usually 130 x 70" in said
    assert re.search(
        r"minutes on this machine \([\d.]+ pictures per second, while other programs use it\) and",
        said,
    )
    train = next(line for line in said.splitlines() if line.startswith("fcn train "))
    assert read_recipe(cracks / "recipe.json").data.root == cracks
    monkeypatch.chdir(tmp_path)
    steps = ["--optim.max-iters", "2", "--from-scratch", "--data.crop", "32", "32"]
    assert cli.run([*train.split()[1:], *steps]) == 0
    evaluate = next(line for line in said.splitlines() if line.startswith("fcn evaluate "))
    assert cli.run(evaluate.split()[1:]) == 0
    with pytest.raises(FullyConvError, match=r"recipe\.json is there already"):
        cli.run(["new", str(cracks)])


def test_a_trial_that_fails_is_said(cracks: Path) -> None:
    """Cut short: its header says the size, so that only the trial finds it."""
    whole = cracks / "train" / "images" / "train3.png"
    cut = whole.with_suffix(".jpg")
    Image.open(whole).save(cut)
    whole.unlink()
    cut.write_bytes(cut.read_bytes()[:1000])
    with pytest.raises(FullyConvError, match=r"a trial of 6 steps failed: .*train3\.jpg"):
        cli.run(["new", str(cracks)])
