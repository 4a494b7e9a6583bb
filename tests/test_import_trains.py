"""A network trained on what was imported is the one trained on the same pictures as they were."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from command import fcn
from fullyconv.data.folder import FolderDataset
from fullyconv.data.sources import read_label_space

pytest.importorskip("scipy")

NATIVE = {"categories": ["background", "crack", "hole"], "void": [255]}


def write_native(root: Path) -> Path:
    """Photographs as JPEG, blobs of three classes and some void, in two splits."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 4), ("val", 2)):
        for kind in ("images", "labels"):
            (root / split / kind).mkdir(parents=True)
        for number in range(count):
            coarse = rng.choice([0, 1, 2, 255], (5, 6), p=[0.4, 0.3, 0.2, 0.1]).astype(np.uint8)
            ids = coarse.repeat(16, 0).repeat(16, 1)
            ids[rng.random(ids.shape) < 0.02] = 1
            photo = np.stack([ids % 250] * 3, 2) * 60 + rng.integers(0, 60, (80, 96, 3))
            name = f"{split} {number}"
            Image.fromarray(photo.astype(np.uint8)).save(root / split / "images" / f"{name}.jpg")
            Image.fromarray(ids).save(root / split / "labels" / f"{name}.png")
    (root / "classes.json").write_text(json.dumps(NATIVE))
    return root


def log(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if "time" not in k} for line in lines]


@pytest.mark.parametrize(("to", "packed"), [("coco", "job.zip"), ("masks", "job")])
def test_finetune_learns_the_same_from_what_was_imported(
    to: str, packed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Out to a tool's form and back in: the same samples, so the same losses, weights, scores."""
    monkeypatch.chdir(tmp_path)
    write_native(Path("native"))
    assert fcn(monkeypatch, "data", "export", "native", "--to", to, "--out", packed) == 0
    assert fcn(monkeypatch, "data", "import", packed, "--out", "imported") == 0
    for split in ("train", "val"):
        before, after = (
            FolderDataset(root, split, read_label_space(Path(root) / "classes.json"))
            for root in ("native", "imported")
        )
        assert len(before) == len(after)
        for index in range(len(before)):
            one, other = before[index], after[index]
            assert one.name == other.name
            np.testing.assert_array_equal(one.image, other.image)
            np.testing.assert_array_equal(one.target, other.target)
    short = ["--optim.max-iters", 3, "--optim.batch-size", 2, "--data.crop", 64, 64,
             "--log-interval", 1, "--eval-interval", 3, "--data.workers", 0]  # fmt: skip
    for root in ("native", "imported"):
        run = ["--data.root", root, "--from-scratch", *short, "--out", f"run-{root}"]
        assert fcn(monkeypatch, "train", "finetune", *run) == 0
    assert log(Path("run-native")) == log(Path("run-imported"))
    assert sum("loss" in line for line in log(Path("run-native"))) == 3
    scores = [json.loads(Path(f"run-{r}/scores.json").read_text()) for r in ("native", "imported")]
    assert scores[0]["confusion_matrix"] == scores[1]["confusion_matrix"]
