"""``fcn new``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from fullyconv.errors import FullyConvError

if TYPE_CHECKING:
    from fullyconv.data.proposal import Proposal

_STEPS = 6  # of the trial; the last half is measured
_BUSY = 0.5  # programs that wait for each processor: above, what is measured is too slow


def new(
    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")],
    lists: Path | None = None,
    out: Path | None = None,
    measure: bool = True,
) -> int:
    """Propose a training run for a folder of your own pictures, and the commands to run.

    Args:
        folder: train/ and val/, each with images/ and labels/.
        lists: Folder of train.txt and val.txt, as fcn data split --lists writes them: then DIR need
            not be split.
        out: The recipe to write; DIR/recipe.json if not given.
        measure: Train some steps to say how long it will take, and in how much memory.
    """
    from fullyconv.data.proposal import propose
    from fullyconv.files import write_json

    path = folder / "recipe.json" if out is None else out
    if path.exists():
        raise FullyConvError(f"{path} is there already; remove it, or name another with --out")
    proposal = propose(folder, lists, progress=True)
    write_json(path, proposal.recipe.to_dict())
    _describe(proposal)
    if measure:
        print("estimate  some steps are trained for it; --no-measure leaves that out", flush=True)
        print(_estimate(path, proposal), flush=True)
    run = Path("runs") / folder.resolve().name
    print(f"\nWritten: {path}\n")
    print(f"fcn train {path} --out {run}")
    if proposal.recipe.data.val:
        print(f"fcn evaluate {run}/best.safetensors {folder} --split {proposal.recipe.data.val}")
    print(f"fcn predict PICTURES --model {run}/best.safetensors --out results")
    return 0


def _describe(proposal: Proposal) -> None:
    recipe, (train, val) = proposal.recipe, proposal.pictures
    height, width = proposal.size
    shares = ", ".join(f"{name} {100 * share:.3g} %" for name, share in proposal.classes.items())
    print(f"pictures  {train} to train on, {val} to score, usually {height} x {width}")
    print(f"classes   {shares}")
    print(
        f"network   FCN-{recipe.model.stride}s on {recipe.model.backbone}, "
        f"{' + '.join(recipe.data.inputs)}"
    )
    assert recipe.data.crop is not None
    print(
        f"regime    {recipe.optim.max_iters} steps of {recipe.optim.batch_size} crops of "
        f"{recipe.data.crop[0]} x {recipe.data.crop[1]}, {recipe.optim.optimizer}, class weights "
        f"{recipe.optim.class_weights}"
    )
    for note in proposal.notes:
        print(f"note      {note}")


def _estimate(path: Path, proposal: Proposal) -> str:
    """Train some steps of the very run in a process of its own, and say what that took."""
    import psutil

    optim = proposal.recipe.optim
    busy = psutil.getloadavg()[0] > _BUSY * (os.cpu_count() or 1)
    with tempfile.TemporaryDirectory() as scratch:
        options = ["--optim.max-iters", str(_STEPS), "--log-interval", str(_STEPS // 2)]
        command = ["train", str(path), *options, "--from-scratch", "--data.val", ""]
        trial = subprocess.run(
            [sys.executable, "-m", "fullyconv", *command, "--out", scratch],
            capture_output=True,
            text=True,
            check=False,
        )
        if trial.returncode:
            said = trial.stderr.strip().splitlines()
            raise FullyConvError(
                f"a trial of {_STEPS} steps failed: {said[-1] if said else 'it said nothing'}"
            )
        last = json.loads((Path(scratch) / "speed.jsonl").read_text().splitlines()[-1])
    minutes = optim.max_iters * optim.batch_size / last["pictures_per_second"] / 60
    return (
        f"          about {max(1, round(minutes))} minutes on this machine "
        f"({last['pictures_per_second']:.1f} pictures per second"
        f"{', while other programs use it' if busy else ''}) and {last['memory_gib']:.1f} GiB "
        "of memory; scoring comes on top; --optim.epochs 5 makes a short run"
    )
