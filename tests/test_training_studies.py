"""Studies that train: runs, tables and what is refused, on small pictures; sampling of the loss."""

from __future__ import annotations

import itertools
import json
import re
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image

from fullyconv import cli, training
from fullyconv.config import DataConfig, Mask, OptimConfig, Recipe
from fullyconv.data.sources import label_space
from fullyconv.errors import FullyConvError, UsageError
from fullyconv.evaluation import evaluate
from fullyconv.labels import CAMVID, IGNORE_INDEX
from fullyconv.losses import head_losses
from fullyconv.networks import model_config
from fullyconv.protocols import PROTOCOLS
from fullyconv.recipes import recipe
from fullyconv.report.record import ClassScores
from fullyconv.study.result import read_studies
from fullyconv.study.training_studies import TRAINING_STUDIES, training_study
from fullyconv.study.variants import changed, counted, train_study


@pytest.fixture
def base(scenes: Path) -> Recipe:
    """Two steps of a small net."""
    return Recipe(
        model=model_config("fcn16s_vgg16", width=1 / 32),
        data=DataConfig(root=scenes, labels="camvid", crop=(32, 32), workers=0),
        optim=OptimConfig(lr=3e-3, batch_size=2, max_iters=2),
        log_interval=1,
        from_scratch=True,
    )


def settings(folder: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((folder / "recipe.json").read_text())
    return values


# the mechanism ------------------------------------------------------------------------------------


def test_each_variant_is_a_run_and_a_row(base: Recipe, tmp_path: Path) -> None:
    out = tmp_path / "out"
    study = train_study(training_study("skips", base), out, progress=False)
    names = ["32s", "16s", "8s", "pool4", "pool3"]
    measured = [row for row in study.rows if not row.source]
    assert [row.name for row in measured] == names
    for name, row in zip(names, measured, strict=True):
        stride = {"pool4": 16, "pool3": 8}.get(name) or int(name.removesuffix("s"))
        model = settings(out / name)["model"]
        assert (model["stride"], model["skips"]) == (stride, not name.startswith("pool"))
        assert model["num_classes"] == 11  # the data set's, not the recipe's 21
        assert base.data.root is not None
        scored = evaluate(out / name / "best.safetensors", base.data.root, progress=False).metrics
        expected = (scored.mean_iou, scored.pixel_accuracy, scored.mean_accuracy,
                    scored.frequency_weighted_iou)  # fmt: skip
        assert row.values[:4] == pytest.approx([100 * v for v in expected], abs=0.5)
        assert isinstance(row.values[4], float)
        assert 0 < row.values[4] < 1
    assert study.columns == ("mean IU", "pixel accuracy", "mean accuracy", "f.w. IU", "minutes")
    published = {row.name: row for row in study.rows if row.source}
    assert published["FCN-16s"].values == (62.4, 90.0, 75.7, 83.0, None)  # CVPR 2015, table 2
    # all that differs is what the study says
    models = [settings(out / name)["model"] for name in names]
    different = {key for key in models[0] if len({str(model[key]) for model in models}) > 1}
    assert different == {"stride", "skips"}
    for part in ("data", "optim", "seed"):
        assert all(settings(out / name)[part] == settings(out / "8s")[part] for name in names)
    ((folder, read),) = read_studies(tmp_path)
    assert folder == out
    assert read.rows == study.rows
    assert base.data.root is not None
    assert read.about["recipe"]["data"]["root"] == base.data.root.name
    assert read.about["variants"]["pool3"] == {"model.stride": 8, "model.skips": False}
    page = (out / "compare.html").read_text()
    assert "5 training runs" in page
    assert page.count("fcn16s_vgg16 without skips on ") == 1
    for figure in study.figures:
        drawn = ElementTree.parse(out / figure.file).getroot()
        told = next(e.text for e in drawn.iter() if e.tag.endswith("desc"))
        assert told is not None
        assert all(f"{name}: " in told for name in names)
    assert [figure.file for figure in study.figures] == ["loss.svg", "loss-by-minutes.svg"]


def test_what_is_finished_stays_and_what_was_stopped_goes_on(
    base: Recipe,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    study, out = training_study("trunk", base), tmp_path / "out"
    step, steps = training._Run.step, 0

    def counting(self: Any, batches: Any) -> float:
        nonlocal steps
        steps += 1
        if steps == 3:  # the first of the second run
            signal.raise_signal(signal.SIGINT)
        return step(self, batches)

    monkeypatch.setattr(training._Run, "step", counting)
    with pytest.raises(FullyConvError, match="stopped after 1 of 2 steps, which are saved; the"):
        train_study(study, out, progress=False)
    assert "trunk: 2 runs of 4 steps in all, in " in capsys.readouterr().out
    weights = (out / "all" / "best.safetensors").stat().st_mtime_ns
    whole = train_study(study, out, progress=False)
    assert steps == 4  # one more, of the second run
    said = capsys.readouterr().out
    assert "2 runs of 4 steps in all, 1 of them finished before" in said
    assert f"run 2 of 2: {out / 'scores'}" in said
    assert f"run 1 of 2: {out / 'all'}" not in said
    assert (out / "all" / "best.safetensors").stat().st_mtime_ns == weights
    again = train_study(study, tmp_path / "again", progress=False)
    for ours, theirs in zip(whole.rows, again.rows, strict=True):
        assert ours.values[:4] == theirs.values[:4]
    longer = training_study("trunk", changed(base, {"optim.max_iters": 3}))
    with pytest.raises(FullyConvError, match="optim.max_iters was 2 and is 3"):
        train_study(longer, out, progress=False)


def test_several_seeds_give_mean_and_deviation(base: Recipe, tmp_path: Path) -> None:
    study, out = training_study("trunk", base), tmp_path / "out"
    one = train_study(study, out, only=["all"], progress=False)
    two = train_study(study, out, only=["all"], seeds=[1337, 5, 5], progress=False)
    assert sorted(path.name for path in out.iterdir() if path.is_dir()) == ["all", "all-seed5"]
    assert settings(out / "all-seed5")["seed"] == 5
    alone = train_study(study, tmp_path / "five", only=["all"], seeds=[5], progress=False)
    first, second = one.rows[0].values, alone.rows[0].values
    both = two.rows[0].values
    for a, b, mean in zip(first[:4], second[:4], both[:4], strict=True):
        assert isinstance(a, float)
        assert isinstance(b, float)
        assert mean == pytest.approx((a + b) / 2)
    assert two.columns[-1] == "deviation of mean IU"
    assert both[-1] == pytest.approx(abs(first[0] - second[0]) / 2**0.5)  # type: ignore[operator]
    assert two.rows[1].values == (59.4, 89.1, 73.3, 81.4, None, None)


def test_what_cannot_be_studied_is_refused_before_anything_is_written(
    base: Recipe, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with pytest.raises(
        UsageError, match=r"the study skips has no variant 'pool5'. Did you mean pool"
    ):
        train_study(training_study("skips", base), out, only=["pool5"])
    with pytest.raises(UsageError, match="data.val names no pictures"):
        train_study(training_study("skips", changed(base, {"data.val": ""})), out)
    nowhere = training_study("skips", changed(base, {"data.root": None, "data.labels": "auto"}))
    with pytest.raises(UsageError, match="no data set folder is given"):
        train_study(nowhere, out)
    with pytest.raises(UsageError, match=r"no study 'skip' of training. Did you mean skips"):
        training_study("skip", base)
    with pytest.raises(UsageError, match="learned between skips, and this network has none"):
        training_study("upsampling", changed(base, {"model.stride": 32}))
    with pytest.raises(UsageError, match=r"no class 'background'"):
        training_study("background", base)
    with pytest.raises(UsageError, match="no class is said to be foreground"):
        training_study("masking", base)
    with pytest.raises(UsageError, match=r"no class 'cars'. Did you mean car"):
        training_study("masking", changed(base, {"data.foreground": ("cars",)}))
    everything = tuple(CAMVID.categories)
    with pytest.raises(UsageError, match="nothing is left for background"):
        training_study("masking", changed(base, {"data.foreground": everything}))
    with pytest.raises(UsageError, match="there is 1 class left; a net needs at least 2"):
        training_study("background", changed(base, {"data.void": everything[1:]}))
    assert not out.exists()


def test_changes_go_where_their_names_say(base: Recipe) -> None:
    new = changed(base, {"model.stride": 8, "optim.lr": 0.5, "model.skips": False, "seed": 3})
    assert new == replace(
        base,
        model=replace(base.model, stride=8, skips=False),
        optim=replace(base.optim, lr=0.5),
        seed=3,
    )
    assert changed(base, {}) == base


# the tables ---------------------------------------------------------------------------------------


def variants(name: str, base: Recipe) -> dict[str, Recipe]:
    return {v.name: changed(base, v.changes) for v in training_study(name, base).variants}


def test_every_study_differs_in_what_it_is_about(base: Recipe) -> None:
    base = changed(base, {"data.void": ("road",), "data.foreground": ("car",)})
    for name in TRAINING_STUDIES:
        study = training_study(name, base)
        assert study.name == name
        recipes = [changed(study.base, variant.changes) for variant in study.variants]
        trained = [r for r, v in zip(recipes, study.variants, strict=True) if not v.scores]
        assert len(trained) == len({str(r) for r in trained}), name
        known = {v.name for v in study.variants if not v.scores}
        assert {v.scores for v in study.variants} - {""} <= known


def test_grown_batches_count_as_many_pixels(base: Recipe) -> None:
    for name, made in variants("patch-sampling", base).items():
        optim, grown = made.optim, "grown" in name or name == "whole"
        assert (optim.keep_pixels * optim.batch_size == base.optim.batch_size) == grown, name


def test_a_picture_moves_the_weights_as_far_in_every_regime() -> None:
    """One gradient of 1 and then none, through PyTorch's own SGD, until it has died away."""
    moved, pictures = [], []
    for made in variants("momentum", recipe("finetune")).values():
        optim = made.optim
        weight = torch.nn.Parameter(torch.zeros((), dtype=torch.float64))
        sgd = torch.optim.SGD([weight], lr=optim.lr, momentum=optim.momentum)
        for step in range(6000):
            weight.grad = torch.tensor(float(step == 0) / optim.iter_size, dtype=torch.float64)
            sgd.step()
        moved.append(weight.item())
        pictures.append(optim.max_iters * optim.iter_size * optim.batch_size)
    assert moved == pytest.approx([moved[0]] * 3 + [10 * moved[0]], rel=1e-6)  # heavy-fixed last
    assert len(set(pictures)) == 1
    heavy = variants("momentum", recipe("finetune"))["heavy"].optim.momentum
    assert heavy**20 == pytest.approx(0.9)
    assert round(heavy, 2) == 0.99  # the release's solvers


def test_published_rows_are_the_tables_own(base: Recipe) -> None:
    table = {row.network: row for row in PROTOCOLS["voc-seg11valid"].published}
    assert training_study("trunk", base).published[1].mean_iou == 45.4
    for row in (*training_study("skips", base).published, *training_study("trunk", base).published):
        assert row == table[row.network]
    masking = training_study("masking", changed(base, {"data.foreground": ("car",)}))
    assert [v.name for v in masking.variants] == [row.network for row in masking.published]


def test_masking_warns_of_a_single_foreground_class(base: Recipe) -> None:
    """Over its own pixels a net that says it everywhere has everything."""
    one, two = (
        training_study("masking", changed(base, {"data.foreground": names})).rule
        for names in (("car",), ("car", "tree"))
    )
    assert "WARNING: there is one foreground class" in one
    assert "WARNING" not in two
    scores = ClassScores(("a", "b"), np.zeros(2), np.zeros(2), np.array([[0.0, 8], [0, 2]]), (), {})
    assert counted(scores, ["b"]).mean_iou == 1.0


# classes that count -------------------------------------------------------------------------------


def test_only_the_pixels_of_some_classes_count() -> None:
    """Classes a, b, c; pixels of c are left out, and b was never the truth."""
    matrix = np.array([[6.0, 1, 1], [0, 0, 0], [5, 7, 9]])
    scores = ClassScores(("a", "b", "c"), np.zeros(3), np.zeros(3), matrix, (), {})
    some = counted(scores, ["a", "b"])
    assert some.mean_iou == some.pixel_accuracy == some.mean_accuracy == pytest.approx(6 / 8)
    every = counted(scores)
    assert every.mean_iou == pytest.approx((6 / 13 + 0 / 8 + 9 / 22) / 3)
    assert matrix[2, 2] == 9  # what was given is not changed


def test_masking_scores_the_reference_on_masked_pictures(base: Recipe, tmp_path: Path) -> None:
    foreground, out = ("car", "pedestrian", "tree"), tmp_path / "out"
    study = training_study("masking", changed(base, {"data.foreground": foreground}))
    result = train_study(study, out, progress=False)
    rows = {row.name: row.values for row in result.rows if not row.source}
    assert list(rows) == ["reference", "reference-FG", "reference-BG", "FG-only", "BG-only",
                          "shape"]  # fmt: skip
    assert not (out / "reference-FG" / "recipe.json").exists()  # nothing was trained for it
    assert rows["reference-FG"][-1] is None
    ids = [CAMVID.index(name) for name in foreground]
    assert base.data.root is not None
    masks: dict[str, Mask] = {
        "reference": "none",
        "reference-FG": "background",
        "reference-BG": "foreground",
    }
    for name, mask in masks.items():
        metrics = evaluate(out / "reference" / "best.safetensors", base.data.root, mask=mask,
                           foreground=foreground, progress=False).metrics  # fmt: skip
        inside = metrics.matrix[ids]
        assert rows[name][1] == pytest.approx(
            100 * inside[range(3), ids].sum() / inside.sum(), abs=0.5
        )
        assert rows[name][4] == pytest.approx(100 * metrics.per_class_iou[ids].mean(), abs=0.5)
    for name, hidden in (("FG-only", "background"), ("BG-only", "foreground"), ("shape", "both")):
        assert settings(out / name)["data"]["mask"] == hidden
        assert json.loads((out / name / "scores.json").read_text())["step"] == 2
    assert result.columns[4] == "mean IU of objects"
    reference = next(row for row in result.rows if row.name == "reference" and row.source)
    assert reference.values == (84.8, None, None, None, None, None)
    # one variant brings along the net that it scores, and no row of it
    only = train_study(study, tmp_path / "only", only=["reference-BG"], progress=False)
    assert [row.name for row in only.rows if not row.source] == ["reference-BG"]
    assert only.rows[0].values == rows["reference-BG"]


def test_foreground_is_all_but_background_where_there_is_one(base: Recipe, scenes: Path) -> None:
    (scenes / "classes.json").write_text(json.dumps({"categories": ["background", "car", "sky"]}))
    study = training_study("masking", changed(base, {"data.labels": "auto"}))
    assert study.counted == study.objects == study.base.data.foreground == ("car", "sky")


def test_background_is_left_out_of_net_and_score(base: Recipe, tmp_path: Path) -> None:
    out = tmp_path / "out"
    study = training_study("background", changed(base, {"data.void": ("road", "sky")}))
    result = train_study(study, out, progress=False)
    assert settings(out / "with")["model"]["num_classes"] == 11
    assert settings(out / "without")["model"]["num_classes"] == 9
    matrices = {name: np.array(json.loads((out / name / "scores.json").read_text())
                               ["confusion_matrix"]) for name in ("with", "without")}  # fmt: skip
    others = [i for i, name in enumerate(CAMVID.categories) if name not in ("road", "sky")]
    # the same pixels, of the same classes, in both
    np.testing.assert_array_equal(matrices["with"].sum(1)[others], matrices["without"].sum(1))
    for row, correct in zip(result.rows, (others, range(9)), strict=True):
        pixels = matrices[row.name][others if row.name == "with" else slice(None)]
        hits = pixels[range(9), list(correct)].sum()
        assert row.values[1] == pytest.approx(100 * hits / pixels.sum())
    assert label_space(replace(base.data, void=("road", "sky"))).num_classes == 9


# patch sampling is loss sampling ------------------------------------------------------------------


def loss_and_gradient(
    logits: torch.Tensor, target: torch.Tensor, mean: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """As the training loop has it."""
    logits = logits.clone().requires_grad_()
    total, counted_pixels = head_losses(logits, target, [None])
    loss = (total / counted_pixels if mean else total).sum()
    (gradient,) = torch.autograd.grad(loss, logits)
    return loss.detach(), gradient


def test_over_all_masks_the_sampled_loss_is_the_whole_one() -> None:
    """Every mask of a picture of six pixels, each with its probability: exact, not drawn.

    A sum comes out as p times the whole, an average as the whole unless no pixel is left.
    """
    torch.manual_seed(0)
    logits = torch.randn(1, 3, 2, 3, dtype=torch.float64)
    target = torch.tensor([[[0, 2, 1], [1, IGNORE_INDEX, 0]]])
    p = 0.3
    for mean in (False, True):
        expected = [torch.zeros(()), torch.zeros_like(logits)]
        for mask in itertools.product([False, True], repeat=6):
            kept = torch.tensor(mask).view(1, 2, 3)
            chance = p ** sum(mask) * (1 - p) ** (6 - sum(mask))
            sampled = loss_and_gradient(logits, target.masked_fill(~kept, IGNORE_INDEX), mean)
            expected = [e + chance * s for e, s in zip(expected, sampled, strict=True)]
        factor = 1 - (1 - p) ** 5 if mean else p  # five pixels count
        for found, whole in zip(expected, loss_and_gradient(logits, target, mean), strict=True):
            torch.testing.assert_close(
                found.double(), factor * whole.double(), rtol=1e-5, atol=1e-7
            )


def test_the_loop_draws_pixels_evenly(
    base: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the loop's own steps leave of a target: each pixel with chance p, and no other change.

    Of 60 draws at p = 0.25 the mean over 1024 pixels has a deviation of 0.00175, and one pixel's of
    0.056: bounds of five deviations.
    """
    targets, losses = [], []

    def looking(logits: torch.Tensor, target: torch.Tensor, weights: Any) -> Any:
        targets.append(target.clone())
        found = head_losses(logits, target, weights)
        losses.append((found[0] / found[1]).item())
        return found

    monkeypatch.setattr(training, "head_losses", looking)
    run = changed(base, {
        "optim.keep_pixels": 0.25, "optim.batch_size": 1, "optim.max_iters": 60, "optim.lr": 1e-12,
        "data.train": ("one",), "model.stride": 32, "data.val": "", "log_interval": 60,
        "model.num_classes": 11,
    })  # fmt: skip
    assert run.data.root is not None
    labels = (np.arange(1024).reshape(32, 32) // 100).astype(np.uint8)
    for kind in ("images", "labels"):
        (run.data.root / "one" / kind).mkdir(parents=True)
        Image.fromarray(labels).convert("RGB" if kind == "images" else "L").save(
            run.data.root / "one" / kind / "a.png"
        )
    training.train(run, tmp_path / "run", progress=False)
    drawn = torch.stack(targets)[:, 0].numpy()
    kept = drawn != IGNORE_INDEX
    assert (drawn == labels)[kept].all()
    assert kept.mean() == pytest.approx(0.25, abs=5 * 0.00175)
    np.testing.assert_allclose(kept.mean(0), 0.25, atol=5 * 0.056)
    # scores are zero and stay there: every average is ln(classes), whatever was drawn
    assert losses == pytest.approx([np.log(11)] * 60, rel=1e-4)


# the command --------------------------------------------------------------------------------------


def fcn(monkeypatch: pytest.MonkeyPatch, *args: object) -> int:
    monkeypatch.setattr("sys.argv", ["fcn", *map(str, args)])
    with pytest.raises(SystemExit) as exit_info:
        cli.main()
    code = exit_info.value.code
    assert isinstance(code, int)
    return code


CAMVID_RECIPE = "camvid-fcn8s-efficientnet_lite0"
SMALL = f"""--base {CAMVID_RECIPE} --steps 1 --crop 32 32 --batch-size 2 --lr 1e-3
    --set from_scratch=True data.workers=0 data.scale=0.9,1.1 data.mirror=False
    model.backbone=vgg16 model.width=0.03"""


@pytest.mark.parametrize(
    ("name", "options", "trained"),
    [
        ("skips", "--only 32s pool3", 2),
        ("trunk", "--only scores", 1),
        ("upsampling", "", 2),
        ("balancing", "--only none inverse", 2),
        ("patch-sampling", "--only p0.25-batch-grown", 1),
        ("momentum", "--only heavy", 1),
        ("background", "--background sky --only without", 1),
        ("masking", "--foreground car tree --only reference-BG", 1),
    ],
)
def test_each_study_runs_from_the_command_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], scenes: Path,
    tmp_path: Path, name: str, options: str, trained: int
) -> None:  # fmt: skip
    out = tmp_path / "out"
    command = ["study", name, scenes, *SMALL.split(), *options.split(), "--out", out]
    assert fcn(monkeypatch, *command) == 0
    shown = capsys.readouterr().out
    assert re.search(rf"^{name}: {trained} runs? of", shown, re.MULTILINE)
    assert shown.endswith(f"{out / 'study.json'}\n{out / 'compare.html'}\n")
    ((_, study),) = read_studies(out)
    assert study.table() in shown
    assert study.name == name
    runs = [path for path in out.iterdir() if (path / "recipe.json").exists()]
    assert len(runs) == trained
    data = settings(runs[0])["data"]
    assert (data["scale"], data["mirror"], data["crop"]) == ([0.9, 1.1], False, [32, 32])


def test_the_commands_are_the_studies(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], scenes: Path
) -> None:
    from fullyconv.commands.training_studies import TRAINING

    assert list(TRAINING) == list(TRAINING_STUDIES)
    assert fcn(monkeypatch, "study", "skips", scenes, "--set", "optim.nothing=1") == 2
    assert "there is no setting 'optim.nothing'. " in capsys.readouterr().err
    assert fcn(monkeypatch, "study", "skips", scenes, "--set", "model.strid=32") == 2
    said = "fcn: --set model.strid=32: there is no setting 'model.strid'. Did you mean model.stride"
    assert capsys.readouterr().err.startswith(said)
    assert fcn(monkeypatch, "study", "skips", scenes, "--set", "model.width") == 2
    assert "there is no value; write --set model.width=VALUE" in capsys.readouterr().err
    assert fcn(monkeypatch, "study", "skips", scenes, "--base", "finetun") == 2
    assert "Did you mean finetune?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("skips", "model.stride=32"),
        ("trunk", "optim.trained=all"),
        ("upsampling", "model.upsample=learned"),
        ("balancing", "optim.class-weights=enet"),
        ("patch-sampling", "optim.keep-pixels=0.3"),
        ("momentum", "optim.batch_size=4"),
        ("background", "data.void=sky"),
        ("masking", "data.mask=both"),
    ],
)
def test_what_a_study_varies_cannot_be_set(
    name: str, setting: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    scenes: Path, tmp_path: Path,
) -> None:  # fmt: skip
    own = {"background": ["--background", "sky"], "masking": ["--foreground", "car"]}
    command = ["study", name, scenes, *own.get(name, []), "--base", CAMVID_RECIPE]
    command += ["--set", "model.width=0.1", setting, "--out", tmp_path / "out"]
    assert fcn(monkeypatch, *command) == 2
    given = setting.partition("=")[0].replace("_", "-")
    assert capsys.readouterr().err.startswith(
        f"fcn: --set {given} would not count: the study {name}"
    )
    assert not (tmp_path / "out").exists()


def test_what_is_foreground_may_be_set(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], scenes: Path
) -> None:
    """As a setting of the recipe; --foreground goes before it."""
    command = ["study", "masking", scenes, "--base", CAMVID_RECIPE, "--set", "data.foreground=cat"]
    assert fcn(monkeypatch, *command) == 2
    assert "there is no class 'cat'" in capsys.readouterr().err


def test_without_background_another_class_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], scenes: Path
) -> None:
    assert fcn(monkeypatch, "study", "background", scenes, "--base", CAMVID_RECIPE) == 2
    said = capsys.readouterr().err
    assert said.startswith("fcn: there is no class 'background'. Known: ")
    assert said.endswith(" --background names the classes to train without\n")


def test_the_commands_in_the_document_exist(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each is parsed by the real parser; --help at its end keeps it from running."""
    text = (Path(__file__).parents[1] / "docs" / "howto" / "training-studies.md").read_text()
    commands = re.findall(r"^fcn (study .*)$", text, re.MULTILINE)
    assert [command.split()[1] for command in commands] == list(TRAINING_STUDIES)
    for command in commands:
        assert fcn(monkeypatch, *command.split(), "--help") == 0
        shown = capsys.readouterr().out
        for option in re.findall(r"--[\w-]+", command):
            assert f" {option} " in shown
    options = re.findall(r"^\| `(--[\w-]+) ", text, re.MULTILINE)
    assert len(options) == 5
    assert all(f" {option} " in shown for option in options)
