"""Several processes do what one does: the same losses, the same weights, the same matrix."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator, DistributedType
from PIL import Image

from fullyconv.config import DataConfig, OptimConfig, Recipe
from fullyconv.errors import FullyConvError
from fullyconv.evaluation import evaluate
from fullyconv.models.create import create_model
from fullyconv.networks import model_config
from fullyconv.training import train

SCRIPT = """
import contextlib, itertools, sys, torch
from dataclasses import replace
from pathlib import Path
from fullyconv.evaluation import evaluate
from fullyconv.learner import Learner
from fullyconv.models.create import create_model
from fullyconv.training import train

torch.nn.Dropout.forward = lambda self, x: x  # each process draws its own
recipe = torch.load(sys.argv[1], weights_only=False)
if recipe.optim.shard:  # begun with a copy in each, stopped, gone on with a half in each
    step, calls = Learner.step, itertools.count()
    def stop(self, *, update):
        if next(calls) == 3:
            raise InterruptedError
        step(self, update=update)
    Learner.step = stop
    with contextlib.suppress(InterruptedError):
        whole = replace(recipe, optim=replace(recipe.optim, shard=False))
        train(whole, sys.argv[2], progress=False)
    Learner.step = step
best = train(recipe, sys.argv[2], resume=recipe.optim.shard, progress=False)
out = Path(sys.argv[2]) / "evaluated.json"
evaluate(best, recipe.data.root, worst=2, boundary=2, out=out, progress=False)
"""


def together(recipe: Recipe, folder: Path) -> None:
    """Train and score in two processes that talk by gloo."""
    (folder.parent / "script.py").write_text(SCRIPT)
    torch.save(recipe, folder.parent / "recipe.pt")
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"]
    launch += ["--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0"]
    done = subprocess.run(
        [*launch, folder.parent / "script.py", folder.parent / "recipe.pt", folder],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def numbers(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    ("name", "reduction", "shard"),
    [
        ("fcn8s_googlenet", "mean", False),
        pytest.param("fcn8s_googlenet", "sum", False, marks=pytest.mark.slow),
        ("fcn32s_alexnet", "mean", True),
    ],
)
def test_two_processes_reproduce_one(
    scenes: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    reduction: str,
    shard: bool,
) -> None:
    """Also where one has far fewer valid pixels, and where each holds half of the weights.

    Neither network has batch norm; AlexNet's fc6 is large enough to be split on its own.
    """
    for number in range(0, 6, 2):
        path = scenes / "train" / "labels" / f"train{number}.png"
        labels = np.asarray(Image.open(path)).copy()
        labels[:40] = 11  # void
        Image.fromarray(labels).save(path)
    recipe = Recipe(
        model=model_config(name, num_classes=11, width=1 / 4 if shard else 1 / 8),
        data=DataConfig(root=scenes, labels="camvid", workers=0),
        optim=OptimConfig(
            optimizer="adamw" if shard else "sgd",
            lr=0.001 if shard else 0.05 if reduction == "mean" else 1e-7,
            momentum=0.9,
            batch_size=4,
            max_iters=4,
            schedule="fixed",
            reduction=reduction,  # type: ignore[arg-type]
            class_weights="median_frequency" if reduction == "mean" else "none",
            average=0.5 if shard else 0.0,
            shard=shard,
        ),
        eval_interval=2,
        log_interval=1,
        from_scratch=True,
    )
    monkeypatch.setattr(torch.nn.Dropout, "forward", lambda self, x: x)
    best = train(recipe, tmp_path / "one", progress=False)
    together(recipe, tmp_path / "two")
    one, two = numbers(tmp_path / "one"), numbers(tmp_path / "two")
    assert [line["step"] for line in one] == [line["step"] for line in two] == [1, 2, 2, 3, 4, 4]
    for ours, theirs in zip(one, two, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-4)
    assert one[0]["loss"] != pytest.approx(one[-2]["loss"], rel=1e-5)  # something was learned
    alone, shared = (
        torch.load(tmp_path / name / "last.pt", weights_only=True) for name in ("one", "two")
    )
    for state in (alone, shared):
        state["optimizer"] = state["optimizer"]["state"]
    for part in ("model", "average", "optimizer"):
        torch.testing.assert_close(shared[part], alone[part], rtol=1e-3, atol=1e-6)
    # scoring: the same matrices, and the same worst pictures, whoever counted them
    scores = evaluate(tmp_path / "two" / "best.safetensors", scenes, worst=2, boundary=2,
                      progress=False).to_dict()  # fmt: skip
    together_scores = json.loads((tmp_path / "two" / "evaluated.json").read_text())
    assert best.exists()
    for key in ("confusion_matrix", "boundary", "worst", "pictures"):
        assert together_scores[key] == json.loads(json.dumps(scores[key])), key


def test_accumulating_equals_one_large_batch(scenes: Path, tmp_path: Path) -> None:
    """Summed loss: iter_size passes over one picture each are a batch of as many pictures."""
    weights = []
    for batch_size, iter_size in ((4, 1), (1, 4)):
        recipe = Recipe(
            model=model_config("fcn8s_googlenet", num_classes=11, width=1 / 8),
            data=DataConfig(root=scenes, labels="camvid", val="", workers=0),
            optim=OptimConfig(
                optimizer="sgd", lr=1e-7, batch_size=batch_size, iter_size=iter_size,
                max_iters=2, schedule="fixed", reduction="sum",
            ),
            from_scratch=True,
        )  # fmt: skip
        folder = tmp_path / str(batch_size)
        train(recipe, folder, progress=False)
        weights.append(torch.load(folder / "last.pt", weights_only=True)["model"])
    torch.manual_seed(1337)
    before = create_model(recipe.model).state_dict()
    for key, value in weights[0].items():
        torch.testing.assert_close(value, weights[1][key], rtol=1e-4, atol=1e-7)
    assert any(not torch.equal(before[key], value) for key, value in weights[0].items())


def test_fsdp_is_refused(scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = property(lambda self: DistributedType.FSDP)
    monkeypatch.setattr(Accelerator, "distributed_type", kind)
    recipe = Recipe(
        model=model_config("fcn32s_alexnet", num_classes=11, width=1 / 16),
        data=DataConfig(root=scenes, labels="camvid"),
        from_scratch=True,
    )
    with pytest.raises(FullyConvError, match="give --optim.shard"):
        train(recipe, tmp_path / "run", progress=False)
