"""The training loop: it learns, resumes exactly, and stops with a sentence."""

from __future__ import annotations

import errno
import json
import os
import platform
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tqdm import tqdm

from fullyconv import training
from fullyconv.checkpoint import Header, read_header, save_model
from fullyconv.config import DataConfig, OptimConfig, Recipe
from fullyconv.data.folder import FolderDataset
from fullyconv.data.sources import fit_classes, label_space
from fullyconv.errors import FullyConvError, StoppedError, UsageError
from fullyconv.evaluation import evaluate
from fullyconv.interrupts import hold_interrupts
from fullyconv.labels import CAMVID
from fullyconv.learner import keeps_statistics
from fullyconv.models.create import create_model
from fullyconv.networks import model_config
from fullyconv.optim import lr_factor, parameter_groups
from fullyconv.preprocess import EFFICIENTNET_LITE
from fullyconv.recipes import RECIPES, recipe
from fullyconv.speed import fastest_precision
from fullyconv.training import train
from fullyconv.validation import validate


@pytest.fixture
def small(scenes: Path) -> Recipe:
    """A run of seconds: colours tell the class, so that there is something to learn."""
    return Recipe(
        model=model_config("fcn8s_vgg16", num_classes=11, width=1 / 16),
        data=DataConfig(
            root=scenes, labels="camvid", crop=(32, 48), scale=(0.8, 1.2), mirror=True, workers=0
        ),
        optim=OptimConfig(lr=3e-3, batch_size=3, max_iters=6, average=0.5, class_weights="enet"),
        eval_interval=3,
        save_interval=2,
        log_interval=1,
        from_scratch=True,
    )


def log(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def longer(small: Recipe, **changes: Any) -> Recipe:
    return replace(small, optim=replace(small.optim, **changes))


def test_a_network_learns_what_the_pictures_show(small: Recipe, tmp_path: Path) -> None:
    run = longer(small, max_iters=150, batch_size=6, average=0.0, lr=1e-2)
    run = replace(run, eval_interval=150, data=replace(run.data, crop=None, scale=(1, 1)))
    run = replace(run, model=model_config("fcn8s_alexnet_torchvision", num_classes=11, width=1 / 8))
    best = train(run, tmp_path / "run", progress=False)
    losses = [line["loss"] for line in log(tmp_path / "run") if "loss" in line]
    assert losses[0] == pytest.approx(np.log(11), rel=1e-3)  # scores start at zero
    assert losses[-1] < 0.7 * losses[0]
    assert run.data.root is not None
    metrics = evaluate(best, run.data.root, split="train", progress=False).metrics
    assert metrics.pixel_accuracy > 0.3


def test_no_best_score_is_shown_before_there_is_one(
    small: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[set[str]] = []

    class Bar(tqdm):  # type: ignore[misc]
        def set_postfix(self, *args: Any, **values: Any) -> None:
            shown.append({*values} & {"loss", "best"})

    monkeypatch.setattr("fullyconv.training.progress_bar", Bar)
    train(replace(longer(small, max_iters=4), eval_interval=2), tmp_path / "run")
    assert shown == [{"loss"}, {"loss"}, {"loss", "best"}, {"loss", "best"}]


def test_without_pictures_to_score_the_last_step_is_kept(small: Recipe, tmp_path: Path) -> None:
    """As docs/howto/reproduce-the-paper.md says of ``--data.val ""``."""
    run = longer(replace(small, data=replace(small.data, val="")), max_iters=3)
    often = train(replace(run, eval_interval=1), tmp_path / "often", progress=False)
    once = train(replace(run, eval_interval=3), tmp_path / "once", progress=False)
    early = train(longer(run, max_iters=2, schedule="fixed"), tmp_path / "early", progress=False)
    often_weights, once_weights, early_weights = map(load_file, (often, once, early))
    assert all(torch.equal(often_weights[key], once_weights[key]) for key in once_weights)
    assert any(not torch.equal(early_weights[key], once_weights[key]) for key in once_weights)


def test_length_in_passes_over_the_pictures(small: Recipe, tmp_path: Path) -> None:
    pictures = len(list((Path(str(small.data.root)) / "train" / "images").iterdir()))
    run = longer(small, epochs=1.5, batch_size=2)
    train(run, tmp_path / "run", progress=False)
    steps = -(-3 * pictures // 4)  # 1.5 passes, 2 pictures a step
    assert log(tmp_path / "run")[-1]["step"] == steps
    settings = json.loads((tmp_path / "run" / "recipe.json").read_text())["optim"]
    assert (settings["max_iters"], settings["epochs"]) == (steps, None)
    train(run, tmp_path / "run", resume=True, progress=False)  # nothing is left to do


def test_the_run_folder_holds_what_is_promised(small: Recipe, tmp_path: Path) -> None:
    best = train(small, tmp_path / "run", progress=False)
    names = sorted(path.name for path in (tmp_path / "run").iterdir())
    assert names == ["best.safetensors", "last.pt", "last.safetensors", "log.jsonl", "recipe.json",
                     "report.html", "samples", "scores.json", "speed.jsonl"]  # fmt: skip
    speed = [json.loads(s) for s in (tmp_path / "run" / "speed.jsonl").read_text().splitlines()]
    assert [line["step"] for line in speed] == [1, 2, 3, 4, 5, 6]
    for line in speed:
        assert line["pictures_per_second"] > 0
        assert 0 <= line["data_wait"] < 1
        assert 0.1 < line["memory_gib"] < 64
    lines = log(tmp_path / "run")
    assert [line["step"] for line in lines if "loss" in line] == [1, 2, 3, 4, 5, 6]
    assert [line["step"] for line in lines if "mean_iou" in line] == [3, 6]
    assert len(list((tmp_path / "run" / "samples").iterdir())) == 2 * 3
    assert json.loads((tmp_path / "run" / "recipe.json").read_text())["seed"] == 1337
    header = read_header(best)
    assert header.model == small.model
    assert header.labels == CAMVID
    assert header.info["started_from"] == "random"
    assert small.data.root is not None
    assert header.info["data"] == small.data.root.name  # not where it lay on this machine
    scored = evaluate(best, small.data.root, out=tmp_path / "s.json", progress=False).metrics
    written = json.loads((tmp_path / "s.json").read_text())
    assert written["mean_iou"] == pytest.approx(scored.mean_iou)
    assert np.sum(written["confusion_matrix"]) == scored.matrix.sum()
    text = evaluate(best, small.data.root, progress=False).table()
    assert f"mean IU                 {100 * scored.mean_iou:5.1f}" in text


def test_the_last_step_can_be_scored_too(
    small: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each scoring leaves its network, the best one or not, with its own scores."""
    results = iter((0.4, 0.2))

    def worse_and_worse(*args: Any, **options: Any) -> Any:
        result = validate(*args, **options)
        return replace(result, metrics=replace(result.metrics, mean_iou=next(results)))

    monkeypatch.setattr(training, "validate", worse_and_worse)
    best = train(longer(small), tmp_path / "run", progress=False)
    last = tmp_path / "run" / "last.safetensors"
    assert read_header(best).info["step"] == 3
    assert read_header(last).info["step"] == 6
    with pytest.raises(
        FullyConvError, match=r"last.pt: from this a run goes on .* last.safetensors"
    ):
        read_header(tmp_path / "run" / "last.pt")
    train(replace(small, data=replace(small.data, val="")), tmp_path / "unscored", progress=False)
    assert not (tmp_path / "unscored" / "last.safetensors").exists()  # best is the last


def test_a_resumed_run_equals_one_that_was_not_stopped(
    small: Recipe,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    train(small, tmp_path / "whole", progress=False)
    step = training._Run.step
    calls = 0

    def interrupted(self: Any, batches: Any) -> float:
        nonlocal calls
        calls += 1
        if calls == 3:
            signal.raise_signal(signal.SIGINT)
        return step(self, batches)

    monkeypatch.setattr(training._Run, "step", interrupted)
    with pytest.raises(
        StoppedError, match=r"stopped after 3 of 6 steps, which are saved; the same com"
    ):
        train(small, tmp_path / "parts", progress=False)
    monkeypatch.undo()
    train(small, tmp_path / "parts", resume=True, progress=False)
    assert "parts: goes on after step 3 of 6\n" in capsys.readouterr().out
    whole, parts = (
        torch.load(tmp_path / name / "last.pt", weights_only=True) for name in ("whole", "parts")
    )
    assert whole["step"] == parts["step"] == 6
    for key in whole["model"]:
        assert torch.equal(whole["model"][key], parts["model"][key]), key
    for key in whole["average"]:
        assert torch.equal(whole["average"][key], parts["average"][key]), key
    keep = ("step", "loss", "lr", "mean_iou")
    ours, theirs = (
        [{k: v for k, v in line.items() if k in keep} for line in log(tmp_path / name)]
        for name in ("whole", "parts")
    )
    assert ours == theirs


def test_ctrl_c_waits_for_the_step_and_a_second_one_does_not() -> None:
    before = signal.getsignal(signal.SIGINT)
    with hold_interrupts() as interrupted:
        assert not interrupted()
        signal.raise_signal(signal.SIGINT)
        assert interrupted()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_run_in_a_thread_leaves_ctrl_c_alone(small: Recipe, tmp_path: Path) -> None:
    run = longer(small, max_iters=1)
    thread = threading.Thread(target=train, args=(run, tmp_path), kwargs={"progress": False})
    thread.start()
    thread.join()
    assert (tmp_path / "best.safetensors").exists()


def test_a_full_disk_stops_the_run_and_keeps_the_last_checkpoint(
    small: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = os.fsync
    full = False

    def sync(descriptor: int) -> None:
        if full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        synced(descriptor)

    def step(self: Any, batches: Any) -> float:
        nonlocal full
        full = self.iteration == 3  # from the fourth step on
        return whole(self, batches)

    whole = training._Run.step
    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(training._Run, "step", step)
    with pytest.raises(FullyConvError, match="last.pt: cannot be written .No space left on device"):
        train(replace(small, eval_interval=6), tmp_path / "run", progress=False)
    assert torch.load(tmp_path / "run" / "last.pt", weights_only=True)["step"] == 2
    assert not list((tmp_path / "run").glob(".*"))
    monkeypatch.undo()
    train(small, tmp_path / "run", resume=True, progress=False)


def test_iter_size_adds_up_to_one_large_batch(small: Recipe, tmp_path: Path) -> None:
    """Three batches of one, summed, are one batch of three (the paper's equivalence)."""
    sgd = {"optimizer": "sgd", "schedule": "fixed", "reduction": "sum", "lr": 1e-8, "max_iters": 2}
    common = {"average": 0.0, "class_weights": "none"}
    states = []
    for batch_size, iter_size in ((3, 1), (1, 3)):
        run = longer(small, batch_size=batch_size, iter_size=iter_size, **sgd, **common)
        # dropout draws differ between one forward pass and three
        run = replace(run, model=model_config("fcn8s_googlenet", num_classes=11, width=1 / 16))
        run = replace(
            run, data=replace(run.data, val="", scale=(1.0, 1.0), mirror=False, crop=None)
        )
        train(run, tmp_path / str(batch_size), progress=False)
        states.append(load_file(tmp_path / str(batch_size) / "best.safetensors"))
    for key in states[0]:
        torch.testing.assert_close(states[0][key], states[1][key])


def test_a_run_is_not_overwritten(small: Recipe, tmp_path: Path) -> None:
    train(longer(small, max_iters=1), tmp_path, progress=False)
    with pytest.raises(FullyConvError, match="already holds a run; go on with it by --resume"):
        train(small, tmp_path, progress=False)
    unread = replace(small, data=replace(small.data, root=tmp_path / "none"))
    with pytest.raises(
        FullyConvError, match="already holds a run"
    ):  # before the data are looked at
        train(unread, tmp_path, progress=False)


def test_nothing_to_resume_is_said(small: Recipe, tmp_path: Path) -> None:
    with pytest.raises(
        FullyConvError, match=r"recipe.json: no such file, so there is no run to resume"
    ):
        train(small, tmp_path / "none", resume=True, progress=False)
    train(longer(small, max_iters=1), tmp_path / "run", progress=False)
    state = torch.load(tmp_path / "run" / "last.pt", weights_only=True)
    del state["model"]["head.score.32.bias"]
    torch.save(state, tmp_path / "run" / "last.pt")
    with pytest.raises(FullyConvError, match="does not fit this recipe, or is damaged"):
        train(longer(small, max_iters=1), tmp_path / "run", resume=True, progress=False)
    (tmp_path / "run" / "last.pt").write_bytes(b"cut short")
    with pytest.raises(FullyConvError, match="does not fit this recipe, or is damaged"):
        train(longer(small, max_iters=1), tmp_path / "run", resume=True, progress=False)


def test_a_diverging_run_stops_and_keeps_its_checkpoints(small: Recipe, tmp_path: Path) -> None:
    run = longer(small, lr=1e30, optimizer="sgd", schedule="fixed", max_iters=20)
    with pytest.raises(
        FullyConvError,
        match=r"the loss is (nan|inf) at step \d+, on train\d, .* look at these files",
    ):
        train(replace(run, save_interval=1, eval_interval=20), tmp_path / "run", progress=False)
    assert torch.load(tmp_path / "run" / "last.pt", weights_only=True)["step"] >= 1


def test_a_run_that_learns_nothing_is_warned_about(
    small: Recipe,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(training, "STUCK_AFTER", 2)
    still = longer(small, lr=1e-12, max_iters=3)
    train(still, tmp_path / "mean", progress=False)
    shown = capsys.readouterr()
    assert "loss is still ln(11) = 2.3979" in shown.out + shown.err
    train(longer(still, reduction="sum", class_weights="none"), tmp_path / "sum", progress=False)
    shown = capsys.readouterr()
    assert "loss is still ln(11) = 2.3979" in shown.out + shown.err


def test_steps_without_a_valid_pixel_are_skipped_and_counted(small: Recipe, tmp_path: Path) -> None:
    assert small.data.root is not None
    for path in (small.data.root / "train" / "labels").iterdir():
        Image.fromarray(np.full((48, 64), 11, np.uint8)).save(path)
    train(longer(small, max_iters=2, class_weights="none"), tmp_path / "run", progress=False)
    assert log(tmp_path / "run")[1]["skipped_steps"] == 2
    assert log(tmp_path / "run")[1]["loss"] == 0


@pytest.mark.parametrize("split", ["train", "val"])
def test_sizes_that_differ_are_found_before_the_first_step(
    small: Recipe, tmp_path: Path, split: str
) -> None:
    assert small.data.root is not None
    bad = small.data.root / split / "labels" / f"{split}2.png"
    Image.fromarray(np.zeros((40, 40), np.uint8)).save(bad)
    with pytest.raises(FullyConvError, match=rf"{split}2.png has 48 x 64 pixels .* 40 x 40"):
        train(small, tmp_path / "run", progress=False)


def test_a_bad_file_at_a_scoring_costs_no_step(
    small: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any, **kwargs: Any) -> None:
        raise FullyConvError("a picture went away")

    monkeypatch.setattr(training, "validate", broken)
    with pytest.raises(FullyConvError, match="a picture went away"):
        train(replace(small, save_interval=100), tmp_path / "run", progress=False)
    state = torch.load(tmp_path / "run" / "last.pt", weights_only=True)
    assert state["step"] == small.eval_interval


def test_a_run_is_not_gone_on_with_by_another_recipe(small: Recipe, tmp_path: Path) -> None:
    train(longer(small, max_iters=2), tmp_path / "run", progress=False)
    kept = (tmp_path / "run" / "recipe.json").read_text()
    with pytest.raises(
        FullyConvError,
        match=r"another recipe: optim.lr was 0.003 and is 0.5; optim.max_i",
    ):
        train(longer(small, lr=0.5, max_iters=9), tmp_path / "run", resume=True, progress=False)
    assert (tmp_path / "run" / "recipe.json").read_text() == kept
    with pytest.raises(
        FullyConvError, match=r"max_iters was 2 .*--init-from .*/best.safetensors --out"
    ):
        train(longer(small, max_iters=9), tmp_path / "run", resume=True, progress=False)
    (tmp_path / "run" / "best.safetensors").unlink()
    with pytest.raises(FullyConvError, match="it was begun with, or another --out$"):
        train(longer(small, max_iters=9), tmp_path / "run", resume=True, progress=False)
    (tmp_path / "run" / "recipe.json").write_text("{")
    with pytest.raises(FullyConvError, match="recipe.json: the run's recipe cannot be read"):
        train(longer(small, max_iters=2), tmp_path / "run", resume=True, progress=False)


def test_a_run_from_before_a_setting_existed_goes_on(small: Recipe, tmp_path: Path) -> None:
    """It was one with the setting's default, and with nothing else."""
    run = longer(small, max_iters=1)
    train(run, tmp_path / "run", progress=False)
    path = tmp_path / "run" / "recipe.json"
    settings = json.loads(path.read_text())
    del settings["model"]["skips"], settings["data"]["mask"]
    path.write_text(json.dumps(settings))
    train(run, tmp_path / "run", resume=True, progress=False)
    masked = replace(run, data=replace(run.data, mask="foreground", foreground=("car",)))
    with pytest.raises(FullyConvError, match="data.mask was 'none' and is 'foreground'"):
        train(masked, tmp_path / "run", resume=True, progress=False)


def test_starts_that_contradict_each_other(small: Recipe) -> None:
    with pytest.raises(UsageError, match="--from-scratch and --init-from contradict each other"):
        replace(small, init_from=("x",))
    with pytest.raises(UsageError, match="--from-scratch and --backbone-weights contradict"):
        replace(small, backbone_weights="x")


def test_a_recipe_may_be_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no data set folder is given"):
        train("voc-fcn8s", tmp_path)


def test_bad_labels_are_found_before_the_first_step(small: Recipe, tmp_path: Path) -> None:
    assert small.data.root is not None
    bad = small.data.root / "train" / "labels" / "train3.png"
    Image.fromarray(np.full((48, 64), 38, np.uint8)).save(bad)
    with pytest.raises(FullyConvError, match=r"train3.png: label 38 \(3072 px\) is neither one of"):
        train(small, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"root": None}, "no data set folder is given; name it with --data.root"),
        ({"labels": "camvit"}, "no label space 'camvit'. Did you mean camvid"),
        (
            {"labels": "voc"},
            "network has 11 classes, but the labels 'voc' have 21; set --model.num",
        ),
        (
            {"train": ("trein",)},
            "trein: expected the folders images/ and labels/ in it, but it does",
        ),
        ({"val": "train"}, "6 pictures are in both train and train"),
    ],
)
def test_data_that_cannot_be_used_is_refused(
    small: Recipe, tmp_path: Path, change: dict[str, Any], match: str
) -> None:
    with pytest.raises(FullyConvError, match=match):
        train(replace(small, data=replace(small.data, **change)), tmp_path / "r", progress=False)


def test_a_network_of_other_classes_is_a_start(
    small: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only the scores are made anew, and it is said which; the first loss is ln(classes)."""
    first = train(longer(small, max_iters=1), tmp_path / "first", progress=False)
    text = first.read_bytes()
    run = replace(
        longer(small, max_iters=1, class_weights="none"),
        model=replace(small.model, stride=16),
        init_from=(str(first),),
        from_scratch=False,
        data=replace(small.data, val=""),
    )
    best = train(run, tmp_path / "second", progress=True)
    shown = capsys.readouterr()
    assert "2 extra: head.score.8.weight, head.score.8.bias" in shown.out + shown.err
    info = read_header(best).info
    assert info["started_from"] == "best.safetensors"
    assert info["recipe"]["init_from"] == ["best.safetensors"]  # not where it lay
    assert first.read_bytes() == text
    fewer = replace(
        run, model=replace(run.model, num_classes=21), data=replace(run.data, labels="voc")
    )
    for path in (Path(str(small.data.root)) / "train" / "labels").iterdir():
        Image.fromarray(np.full((48, 64), 7, np.uint8)).save(path)
    train(fewer, tmp_path / "third", progress=True)
    shown = capsys.readouterr()
    assert "missing: head.score.32.weight" in shown.out + shown.err
    start, begun = log(tmp_path / "third")[:2]
    assert start == {"step": 0, "started_from": "best.safetensors"}
    assert begun["loss"] == pytest.approx(np.log(21), rel=1e-4)


def test_the_number_of_classes_follows_from_the_labels_that_are_named() -> None:
    """Nobody chose finetune's 21."""
    run = recipe("finetune")
    run = replace(run, data=replace(run.data, labels="camvid"))
    assert fit_classes(run, CAMVID, {}).model.num_classes == 11


def own_classes(root: Path, text: str) -> None:
    """Two classes of one's own: the left half of every label file, and the right."""
    (root / "classes.json").write_text(text)
    labels = np.zeros((48, 64), np.uint8)
    labels[:, 32:] = 1
    labels[0] = 255
    for path in root.glob("*/labels/*.png"):
        Image.fromarray(labels).save(path)


def test_ones_own_classes_come_from_the_data(small: Recipe, tmp_path: Path) -> None:
    """The number of classes too: nobody has to write it twice."""
    assert small.data.root is not None
    own_classes(
        small.data.root, '{"categories": ["wall", "crack"], "palette": [[0,0,0],[255,0,0]]}'
    )
    run = replace(small, data=replace(small.data, labels="auto"))
    best = train(longer(run, max_iters=1), tmp_path / "run", progress=False)
    header = read_header(best)
    assert header.model.num_classes == 2
    assert header.labels.categories == ("wall", "crack")
    assert header.labels.palette[1] == (255, 0, 0)
    assert evaluate(best, small.data.root, progress=False).metrics.matrix.shape == (2, 2)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (None, r"classes.json: there is no such file; write one .*\"crack\""),
        ("{", "classes.json: cannot be read as JSON like"),
        ("[]", "classes.json: cannot be read as JSON like"),
        ("{}", "classes.json: the label space is not readable"),
        ('{"categories": ["a"], "palette": [[0, 0]]}', "classes.json: the label space is not read"),
    ],
)
def test_class_files_that_say_nothing_are_refused(
    small: Recipe, tmp_path: Path, text: str | None, match: str
) -> None:
    assert small.data.root is not None
    if text is not None:
        (small.data.root / "classes.json").write_text(text)
    run = replace(small, data=replace(small.data, labels="auto"))
    with pytest.raises(FullyConvError, match=match):
        train(run, tmp_path / "run", progress=False)


@pytest.fixture
def rooms(scenes: Path) -> Path:
    """The same scenes with depth in millimetres and HHA beside the colours."""
    for path in scenes.glob("*/images/*.png"):
        rows = np.linspace(500, 5000, 48).astype(np.uint16)[:, None].repeat(64, 1)
        for kind, picture in (("depth", rows), ("hha", np.asarray(Image.open(path))[::-1])):
            (path.parents[1] / kind).mkdir(exist_ok=True)
            Image.fromarray(np.ascontiguousarray(picture)).save(path.parents[1] / kind / path.name)
    return scenes


@pytest.mark.parametrize(
    ("name", "inputs", "channels"),
    [
        ("nyud-fcn32s-color-d", ("images", "depth"), 4),
        ("nyud-fcn32s-hha", ("hha",), 3),
        ("nyud-fcn32s-color-hha", ("images", "hha"), 6),
        ("fcn8s_efficientnet_lite0", ("images", "hha", "depth"), 7),
    ],
)
def test_depth_and_hha_beside_colours(
    small: Recipe, rooms: Path, tmp_path: Path, name: str, inputs: tuple[str, ...], channels: int
) -> None:
    """The paper's early and late fusion, trained, kept and scored on the data set's folders."""
    preprocess = name if name.startswith("nyud") else "auto"
    run = replace(
        longer(small, max_iters=2),
        model=model_config(name, num_classes=11, width=1 / 16, in_channels=channels),
        data=replace(small.data, root=rooms, inputs=inputs, preprocess=preprocess),
    )
    best = train(run, tmp_path / "run", progress=False)
    header = read_header(best)
    assert header.preprocess.inputs == inputs
    assert len(header.preprocess.mean) == channels
    metrics = evaluate(best, rooms, progress=False).metrics
    assert metrics.matrix.sum() > 0


def test_inputs_must_fit_the_network(small: Recipe, rooms: Path, tmp_path: Path) -> None:
    def run(**data: Any) -> None:
        changed = replace(small, data=replace(small.data, root=rooms, **data))
        train(changed, tmp_path / "run", progress=False)

    with pytest.raises(UsageError, match=r"images \+ depth have 4 channels, but the network ta"):
        run(inputs=("images", "depth"))
    with pytest.raises(UsageError, match="nyud-fcn32s-hha is for hha; set --data.inputs hha"):
        run(preprocess="nyud-fcn32s-hha")
    with pytest.raises(UsageError, match="no input 'deptj'. Did you mean depth"):
        run(inputs=("images", "deptj"))
    (rooms / "train" / "depth" / "train1.png").unlink()
    with pytest.raises(FullyConvError, match=r"0 of 5 in depth/, 1 of 6 \(train1.png\) in labels/"):
        FolderDataset(rooms, "train", CAMVID, ["images", "depth"])
    Image.fromarray(np.ones((4, 64), np.uint16)).save(rooms / "val" / "depth" / "val2.png")
    dataset = FolderDataset(rooms, "val", CAMVID, ["images", "depth"])
    with pytest.raises(FullyConvError, match=r"val2.png has 4 x 64 pixels, but .*val2.png 48 x 64"):
        dataset[2]


def test_random_weights_must_be_asked_for(small: Recipe, tmp_path: Path) -> None:
    with pytest.raises(FullyConvError, match="no ImageNet weights for vgg16 .*--from-scratch"):
        train(replace(small, from_scratch=False), tmp_path / "run", progress=False)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"reduction": "sum", "lr": 1e-4}, "summed loss with learning rate 0.0001 diverges"),
        ({"lr": 0.0}, "the learning rate is 0.0; it must be above 0"),
        ({"batch_size": 0}, "batch_size is 0; it must be"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any], match: str) -> None:
    with pytest.raises(UsageError, match=match):
        OptimConfig(**settings)


def test_the_schedule_warms_up_and_ends_at_zero() -> None:
    config = OptimConfig(max_iters=100, warmup=0.1)
    factors = [lr_factor(config, i) for i in range(101)]
    assert factors[0] == pytest.approx(0.1)
    assert max(factors) == factors[9] == factors[10] == 1
    assert factors[55] == pytest.approx(0.5)
    assert factors[100] == pytest.approx(0)
    assert lr_factor(OptimConfig(schedule="fixed"), 99) == 1


def test_every_trained_parameter_is_in_one_group() -> None:
    model = create_model(model_config("fcn8s_efficientnet_lite0", width=1 / 16))
    groups = parameter_groups(model)
    grouped = [p for group in groups.values() for p in group]
    assert sorted(map(id, grouped)) == sorted(id(p) for p in model.parameters())
    assert all(p.ndim == 4 for p in groups["kernels"])
    assert len(groups["score_biases"]) == 3


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_name_networks_and_labels_that_fit(name: str) -> None:
    chosen = recipe(name)
    if chosen.data.labels != "auto":
        assert label_space(chosen.data).num_classes == chosen.model.num_classes


# paper.md, section 3, from the release's solver.prototxt and solve.py: base_lr, momentum,
# iter_size, steps really run, and the net that the weights come from
SOLVERS = {
    "voc-fcn32s": (1e-10, 0.99, 1, 100_000, ()),
    "voc-fcn16s": (1e-12, 0.99, 1, 100_000, ("voc-fcn32s",)),
    "voc-fcn8s": (1e-14, 0.99, 1, 100_000, ("voc-fcn16s",)),
    "voc-fcn8s-atonce": (1e-10, 0.99, 1, 300_000, ()),
    "voc-fcn-alexnet": (1e-4, 0.9, 20, 100_000, ()),
    "nyud-fcn32s-color": (1e-10, 0.99, 1, 100_000, ()),
    "nyud-fcn32s-color-d": (1e-10, 0.99, 1, 100_000, ()),
    "nyud-fcn32s-hha": (1e-10, 0.99, 1, 100_000, ()),
    "nyud-fcn32s-color-hha": (
        1e-12,
        0.99,
        1,
        100_000,
        ("nyud-fcn32s-color", "nyud-fcn32s-hha"),
    ),
    "siftflow-fcn32s": (1e-10, 0.99, 1, 100_000, ()),
    "siftflow-fcn16s": (1e-12, 0.99, 1, 100_000, ("siftflow-fcn32s",)),
    "siftflow-fcn8s": (1e-12, 0.99, 1, 100_000, ("siftflow-fcn16s",)),
    "pascalcontext-fcn32s": (1e-10, 0.99, 1, 400_000, ()),
    "pascalcontext-fcn16s": (1e-12, 0.99, 1, 400_000, ("pascalcontext-fcn32s",)),
    "pascalcontext-fcn8s": (1e-14, 0.99, 1, 400_000, ("pascalcontext-fcn16s",)),
}


@pytest.mark.parametrize("name", SOLVERS)
def test_recipes_are_the_authors(name: str) -> None:
    chosen = recipe(name)
    optim = chosen.optim
    found = (optim.lr, optim.momentum, optim.iter_size, optim.max_iters, chosen.continues)
    assert found == SOLVERS[name]
    assert optim.weight_decay == 0.0005
    assert optim.schedule == "fixed"
    assert optim.batch_size == 1
    assert optim.reduction == ("mean" if "alexnet" in name else "sum")


def test_a_stage_asks_for_the_one_before(scenes: Path, tmp_path: Path) -> None:
    for path in [*scenes.glob("*/labels/*.png")]:
        Image.fromarray(np.full((48, 64), 3, np.uint8)).save(path)
    run = recipe("voc-fcn16s")
    run = replace(
        run,
        data=replace(run.data, root=scenes, labels="voc", train=("train",)),
        model=replace(run.model, width=1 / 16),
    )
    with pytest.raises(
        UsageError, match="goes on from voc-fcn32s: train that first and name its che"
    ):
        train(run, tmp_path / "run", progress=False)


def test_the_scores_alone_can_be_trained(small: Recipe, tmp_path: Path) -> None:
    """FCN-32s-fixed: the backbone, batch norm's statistics included, stays as it was."""
    run = longer(small, trained="scores", max_iters=2, average=0.0)
    run = replace(run, model=model_config("fcn8s_efficientnet_lite0", num_classes=11, width=1 / 4))
    torch.manual_seed(run.seed)
    before = create_model(run.model).state_dict()
    train(run, tmp_path / "run", progress=False)
    after = torch.load(tmp_path / "run" / "last.pt", weights_only=True)["model"]
    changed = {key.split(".")[0] for key in before if not torch.equal(before[key], after[key])}
    assert changed == {"head"}


@pytest.mark.parametrize(
    ("batch_norm", "kept"), [("auto", True), ("frozen", True), ("trained", False)]
)
def test_batches_of_one_keep_batch_norms_statistics(
    small: Recipe, tmp_path: Path, batch_norm: str, kept: bool
) -> None:
    """Also where a picture is a single cell, of which batch norm itself refuses to make any."""
    config = model_config("fcn8s_efficientnet_lite0", num_classes=11, width=1 / 4)
    torch.manual_seed(3)
    network = create_model(config)
    header = Header(model=config, labels=CAMVID, preprocess=EFFICIENTNET_LITE)
    save_model(network, tmp_path / "start.safetensors", header=header)
    run = longer(small, batch_size=1, max_iters=2, average=0.0, batch_norm=batch_norm)
    run = replace(
        run,
        model=config,
        data=replace(run.data, crop=(32, 32) if kept else (48, 64)),
        from_scratch=False,
        init_from=(str(tmp_path / "start.safetensors"),),
    )
    train(run, tmp_path / "run", progress=False)
    before = network.state_dict()
    after = torch.load(tmp_path / "run" / "last.pt", weights_only=True)["model"]
    statistics = [key for key in before if key.endswith(("running_mean", "running_var"))]
    assert len(statistics) > 20
    assert all(torch.equal(before[key], after[key]) for key in statistics) == kept
    kernels = [key for key in before if key.startswith("backbone") and before[key].ndim == 4]
    assert any(not torch.equal(before[key], after[key]) for key in kernels)


@pytest.mark.parametrize(
    ("setting", "scratch", "processes", "batch", "kept"),
    [
        ("auto", False, 1, 3, True),
        ("auto", False, 1, 4, False),
        ("auto", False, 2, 4, True),
        ("auto", True, 1, 1, False),
        ("frozen", True, 1, 8, True),
        ("trained", False, 1, 1, False),
    ],
)
def test_when_batch_norm_keeps_its_statistics(
    small: Recipe, setting: str, scratch: bool, processes: int, batch: int, kept: bool
) -> None:
    run = replace(longer(small, batch_size=batch, batch_norm=setting), from_scratch=scratch)
    assert keeps_statistics(run, processes) == kept


def test_patch_sampling_is_loss_sampling(small: Recipe, tmp_path: Path) -> None:
    """With a quarter of the pixels kept, the first summed loss is a quarter of it (section 3.4)."""
    losses = []
    for keep in (1.0, 0.25):
        run = longer(
            small, reduction="sum", lr=1e-9, optimizer="sgd", keep_pixels=keep, max_iters=1,
            class_weights="none",
        )  # fmt: skip
        train(run, tmp_path / str(keep), progress=False)
        losses.append(next(row["loss"] for row in log(tmp_path / str(keep)) if "loss" in row))
    assert losses[1] == pytest.approx(losses[0] / 4, rel=0.1)


def test_a_recipe_that_does_not_exist() -> None:
    with pytest.raises(UsageError, match="no recipe 'camvid'"):
        recipe("camvid")


def test_tensorboard_events_follow_the_log(small: Recipe, tmp_path: Path) -> None:
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    train(replace(small, tensorboard=True), tmp_path / "run", progress=False)
    reader = events.EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    reader.Reload()
    shown = [(event.step, event.value) for event in reader.Scalars("loss")]
    written = [(line["step"], line["loss"]) for line in log(tmp_path / "run") if "loss" in line]
    assert shown == [(step, pytest.approx(loss)) for step, loss in written]
    assert [event.step for event in reader.Scalars("mean_iou")] == [3, 6]


def test_tensorboard_is_asked_for_by_name(
    small: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(FullyConvError, match=r'pip install "fullyconv\[track\]"'):
        train(replace(small, tensorboard=True), tmp_path / "run", progress=False)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_picture_stops_the_run_or_is_left_out(
    small: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str], workers: int
) -> None:
    """Its header is whole, so that it is only found in the middle of an epoch."""
    assert small.data.root is not None
    path = small.data.root / "train" / "images" / "train4.png"
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:4000])
    run = replace(small, data=replace(small.data, workers=workers))
    with pytest.raises(FullyConvError, match=r"train4.png: the picture is damaged or cut short"):
        train(run, tmp_path / "stop", progress=False)
    run = replace(run, data=replace(run.data, damaged="skip"))
    train(run, tmp_path / "skip", progress=False)
    assert "left out: " in capsys.readouterr().out
    assert log(tmp_path / "skip")[-1]["step"] == 6
    # a label file is read before the first step, and its picture left out from the start
    (small.data.root / "train" / "labels" / "train1.png").write_bytes(b"no picture")
    train(run, tmp_path / "label", progress=False)
    assert "train1.png" in capsys.readouterr().out
    for name in ("images", "labels"):
        for file in (small.data.root / "train" / name).iterdir():
            file.write_bytes(b"no picture")
    with pytest.raises(FullyConvError, match=r"no sample can be used. .*train5.png"):
        train(run, tmp_path / "none", progress=False)


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_damaged_picture_is_found_before_the_first_step(
    small: Recipe, tmp_path: Path, split: str
) -> None:
    assert small.data.root is not None
    path = small.data.root / split / "images" / f"{split}2.png"
    Image.open(path).save(path.with_suffix(".jpg"))
    path.unlink()
    path = path.with_suffix(".jpg")
    path.write_bytes(path.read_bytes()[:-20])  # its header is whole
    with pytest.raises(FullyConvError, match=rf"{split}2.jpg: the picture is damaged or cut sho"):
        train(small, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_pictures_that_took_too_long_to_decode_are_counted(
    small: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    monkeypatch.setattr("fullyconv.data.check.early.SECONDS", -1.0)
    train(longer(small, max_iters=1), tmp_path / "run", progress=False)
    shown = capsys.readouterr().out
    assert "0 of 6 pictures were decoded in -1 s" in shown
    assert "0 of 3 pictures were decoded in -1 s" in shown


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"avx512_bf16": True}, "bfloat16"),
        ({"amx_bf16": True, "avx512_bf16": False}, "bfloat16"),
        ({"avx2": True}, "float32"),
        ({}, "float32"),
    ],
)
def test_the_fastest_precision_is_the_processor_s(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, bool], expected: str
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert fastest_precision(torch.device("cpu")) == expected
    assert fastest_precision(torch.device("meta")) == "float32"
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert fastest_precision(torch.device("cpu")) == "float32"


def test_a_run_says_which_precision_it_took(
    small: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "fastest_precision", lambda device: "bfloat16")
    train(longer(small, max_iters=1, precision="auto"), tmp_path / "run", progress=False)
    kept = json.loads((tmp_path / "run" / "recipe.json").read_text())
    assert kept["optim"]["precision"] == "bfloat16"
    train(
        longer(small, max_iters=1, precision="auto"), tmp_path / "run", resume=True, progress=False
    )


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators are left alone")
def test_freed_memory_is_kept_for_the_next_step() -> None:
    """A large block that was freed is there again without a page fault for every page of it."""
    code = """
import resource, sys, torch
from fullyconv.speed import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
for _ in range(8):  # small blocks settle in the first large ones
    torch.ones(64 * 2**20 // 4)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(3):
    torch.ones(64 * 2**20 // 4)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    faults = [
        int(subprocess.run([sys.executable, "-c", code, kept], check=True, capture_output=True,
                           env={**os.environ, "THP_MEM_ALLOC_ENABLE": "0"}).stdout)
        for kept in ("keep", "")
    ]  # fmt: skip
    assert faults[0] < 1000 < faults[1]
