"""A run killed at any moment and resumed ends as one that was not."""

from __future__ import annotations

import multiprocessing
import os
import random
import time
from pathlib import Path

import pytest
import torch

from fullyconv.config import DataConfig, OptimConfig, Recipe
from fullyconv.networks import model_config
from fullyconv.training import train

# processes forked from one that has torch loaded already: most of a run's time would go there
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["fullyconv.training", "torch._dynamo"])


def recipe(data: Path) -> Recipe:
    """Saves at every step, so that many kills fall into the middle of a save."""
    return Recipe(
        model=model_config("fcn8s_vgg16", num_classes=11, width=1 / 16),
        data=DataConfig(root=data, labels="camvid", crop=(32, 48), mirror=True, workers=0),
        optim=OptimConfig(lr=3e-3, batch_size=3, max_iters=20, average=0.5),
        eval_interval=3,
        save_interval=1,
        log_interval=1,
        from_scratch=True,
    )


def work(data: Path, out: Path, resume: bool) -> None:
    """What a process does that is to be killed."""
    torch.set_num_threads(1)
    os.close(2)
    os.open(os.devnull, os.O_WRONLY)
    train(recipe(data), out, resume=resume, progress=False)


def files(folder: Path) -> set[tuple[str, int]]:
    """What lies in a folder, and when it was written."""
    found = set()
    for path in folder.rglob("*"):
        try:
            found.add((path.name, path.stat().st_mtime_ns))
        except FileNotFoundError:  # a temporary name that was renamed meanwhile
            continue
    return found


def killed_until_done(data: Path, out: Path, rng: random.Random) -> int:
    """Begin, and go on after each SIGKILL, until the run ends by itself; returns the kills.

    After four it is left alone: on a slow machine each would gain a step, and take a minute.
    """
    kills = 0
    while True:
        # a run that was killed before it made its folder has nothing to resume
        process = FORKS.Process(target=work, args=(data, out, (out / "recipe.json").exists()))
        before = files(out)
        process.start()
        while process.is_alive() and files(out) == before:
            time.sleep(0.001)  # until it has begun to write
        process.join(rng.uniform(0, 0.5) if kills < 4 else None)
        if process.exitcode is not None:
            assert process.exitcode == 0
            return kills
        process.kill()
        process.join()
        kills += 1


def check(data: Path, out: Path, seed: int, whole: Path) -> int:
    """Kill a run until it is done; everything must be as in the one that was left alone."""
    kills = killed_until_done(data, out, random.Random(seed))
    for name in ("log.jsonl", "scores.json", "recipe.json", "best.safetensors"):
        assert (out / name).read_bytes() == (whole / name).read_bytes(), name
    ours, theirs = (torch.load(run / "last.pt", weights_only=True) for run in (out, whole))
    assert ours["step"] == theirs["step"]
    for part in ("model", "average"):
        for key, value in theirs[part].items():
            assert torch.equal(ours[part][key], value), key
    names = ({path.name for path in run.rglob("*")} for run in (out, whole))
    assert next(names) == next(names)  # nothing half-written is left
    return kills


@pytest.mark.parametrize("least", [1, pytest.param(20, marks=pytest.mark.slow)])
def test_a_killed_run_ends_as_if_nothing_had_been(scenes: Path, tmp_path: Path, least: int) -> None:
    alone = FORKS.Process(target=work, args=(scenes, tmp_path / "whole", False))
    alone.start()
    alone.join()
    kills, seed = 0, 0
    while kills < least:
        kills += check(scenes, tmp_path / str(seed), seed, tmp_path / "whole")
        seed += 1
