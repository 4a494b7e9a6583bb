"""Studies that train: variants of one recipe, each a run folder, gathered into one table."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from fullyconv.config import Recipe, with_settings
from fullyconv.data.prepare.ready import ready
from fullyconv.data.sources import label_space
from fullyconv.errors import UsageError, did_you_mean
from fullyconv.evaluation import evaluate
from fullyconv.files import write_text
from fullyconv.labels import void_index
from fullyconv.metrics import ConfusionMatrix, Metrics
from fullyconv.processes import this_process
from fullyconv.protocols import Published
from fullyconv.report.charts import chart_file
from fullyconv.report.classes import SCORES
from fullyconv.report.record import ClassScores, RunRecord, read_run
from fullyconv.report.runs import SPREAD, compare, loss_lines
from fullyconv.study.result import Figure, Row, Study, Value
from fullyconv.training import train


@dataclass(frozen=True)
class Variant:
    """One way to train, or to score what another way trained.

    Attributes:
        name: Names its run folder.
        changes: What differs from the base recipe: ``{"model.stride": 16}``.
        scores: The variant whose network it scores on other pictures; empty if it trains its own.
    """

    name: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    scores: str = ""


@dataclass(frozen=True)
class TrainingStudy:
    """A base recipe, and what is varied of it.

    Attributes:
        name: As on the command line.
        title: In a few words.
        question: What it asks, and where the paper does.
        rule: What differs between the variants, and what does not.
        base: What all variants share.
        variants: In the order of the table.
        published: Rows of the paper.
        counted: Classes whose pixels are scored, the others' not; empty for all.
        objects: Classes whose mean IU over every pixel gets a column of its own; empty for none.
    """

    name: str
    title: str
    question: str
    rule: str
    base: Recipe
    variants: tuple[Variant, ...]
    published: tuple[Published, ...] = ()
    counted: tuple[str, ...] = ()
    objects: tuple[str, ...] = ()


def changed(recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """A recipe with some settings changed, by their names on the command line.

    Example:
        >>> from fullyconv.recipes import recipe
        >>> changed(recipe("finetune"), {"model.stride": 32, "seed": 7}).model.stride
        32
    """
    parts: dict[str, dict[str, Any]] = {}
    for key, value in changes.items():
        part, _, name = key.rpartition(".")
        parts.setdefault(part, {})[name] = value
    return with_settings(recipe, parts.pop("", {}) | parts)


@dataclass(frozen=True)
class _Run:
    """One variant under one seed."""

    variant: Variant
    recipe: Recipe
    folder: Path

    @property
    def finished(self) -> bool:
        """Whether its last step was scored."""
        scores = read_run(self.folder).scores
        return scores is not None and scores.totals["step"] == self.recipe.optim.max_iters


def train_study(
    study: TrainingStudy,
    out: Path,
    *,
    seeds: Sequence[int] = (),
    only: Sequence[str] = (),
    progress: bool = True,
) -> Study:
    """Train and score the variants of a study, and put them beside each other.

    Each is trained as by :func:`fullyconv.train` in a run folder of its name below ``out`` (and of
    the seed's, where that is not the base recipe's), and scored once, after its last step. What is
    there already is not trained again, and what was stopped goes on.

    Args:
        study: What to train.
        out: Folder of the run folders, ``study.json``, the curves and ``compare.html``.
        seeds: Seeds to train each variant with; none: the base recipe's alone.
        only: Variants to take; none: all.
        progress: Show progress bars.

    Returns:
        A row for each variant: the four numbers in per cent and minutes of training, of several
        seeds their means, with the sample deviation of mean IU.

    Raises:
        UsageError: If there is no such variant, or no data set or pictures to score are named.
        FullyConvError: If training was stopped or cannot be done; or a folder holds a run of other
            settings.
    """
    with this_process().main_process_first():
        base = replace(study.base, data=ready(study.base.data, _say, progress=progress))
    if not base.data.val:
        raise UsageError("a study scores what it trains, but data.val names no pictures for it")
    seeds = tuple(dict.fromkeys(seeds)) or (base.seed,)
    chosen = _chosen(study, only)
    needed = {v.scores or v.name for v in chosen}
    runs = {
        (variant.name, seed): _run(study, base, variant, seed, out)
        for variant in study.variants
        for seed in seeds
        if variant in chosen or variant.name in needed
    }
    trained = [run for run in runs.values() if not run.variant.scores]
    _say(_plan(study, trained, out))
    for number, run in enumerate(trained, 1):
        if not run.finished:
            _say(f"run {number} of {len(trained)}: {run.folder}")
        resume = (run.folder / "recipe.json").exists()
        train(run.recipe, run.folder, resume=resume, progress=progress)
    for run in runs.values():
        if run.variant.scores:
            _score(run, runs[run.variant.scores, run.recipe.seed].folder, progress)
    result = _gathered(study, base, chosen, runs, out)
    this_process().wait_for_everyone()
    return result


def _chosen(study: TrainingStudy, only: Sequence[str]) -> list[Variant]:
    known = [variant.name for variant in study.variants]
    for name in only:
        if name not in known:
            known_names = did_you_mean(name, known)
            raise UsageError(f"the study {study.name} has no variant {name!r}. {known_names}")
    return [variant for variant in study.variants if not only or variant.name in only]


def _run(study: TrainingStudy, base: Recipe, variant: Variant, seed: int, out: Path) -> _Run:
    recipe = changed(base, {**variant.changes, "seed": seed})
    settings: dict[str, Any] = {"eval_interval": recipe.optim.max_iters}
    if not recipe.model.heads:
        settings["model.num_classes"] = label_space(recipe.data).num_classes
    name = variant.name if seed == study.base.seed else f"{variant.name}-seed{seed}"
    return _Run(variant, changed(recipe, settings), out / name)


def _plan(study: TrainingStudy, trained: Sequence[_Run], out: Path) -> str:
    """What is going to be done, before it is."""
    done = sum(run.finished for run in trained)
    steps = sum(run.recipe.optim.max_iters for run in trained)
    finished = f", {done} of them finished before" if done else ""
    return (
        f"{study.name}: {len(trained)} {'run' if len(trained) == 1 else 'runs'} of {steps:,} "
        f"{'step' if steps == 1 else 'steps'} in all{finished}, in {out}. Ctrl-C "
        "stops after a step; the same command goes on."
    )


def _say(text: str) -> None:
    if this_process().is_main_process:
        tqdm.write(text)


def _score(run: _Run, of: Path, progress: bool) -> None:
    """Score another run's network as this variant's recipe says."""
    data = run.recipe.data
    assert data.root is not None
    evaluate(
        of / "best.safetensors",
        data.root,
        split=data.val,
        mask=data.mask,
        foreground=data.foreground,
        out=run.folder / "scores.json",
        progress=progress,
    )


def _gathered(
    study: TrainingStudy,
    base: Recipe,
    chosen: Sequence[Variant],
    runs: Mapping[tuple[str, int], _Run],
    out: Path,
) -> Study:
    """The table, written with curves beside it."""
    seeds = tuple(dict.fromkeys(seed for _, seed in runs))
    records = {key: read_run(run.folder) for key, run in runs.items()}
    columns = [*SCORES.values(), *(["mean IU of objects"] if study.objects else []), "minutes"]
    rows = [
        _row(study, variant.name, [records[variant.name, seed] for seed in seeds])
        for variant in chosen
    ]
    if len(seeds) > 1:
        columns.append("deviation of mean IU")
    rows += [_published(published, len(columns)) for published in study.published]
    shown = [record for key, record in records.items() if not runs[key].variant.scores]
    main = this_process().is_main_process
    assert base.data.root is not None
    named = replace(base, data=replace(base.data, root=Path(base.data.root.name)))
    result = Study(
        name=study.name,
        title=study.title,
        question=study.question,
        rule=f"{study.rule} {_COMMON}",
        columns=tuple(columns),
        rows=tuple(rows),
        figures=_figures(shown, out) if main else (),
        about={
            "data": base.data.root.name,
            "scored": base.data.val,
            "seeds": list(seeds),
            "recipe": named.to_dict(),
            "variants": {variant.name: dict(variant.changes) for variant in chosen},
        },
    )
    if main:
        compare([record.path for record in shown], out / "compare.html")
        result.save(out)
    return result


_COMMON = (
    "All else is the base recipe's. Scored once, after the last step, on pictures that were not "
    "trained on; minutes are of the training steps alone."
)


def _row(study: TrainingStudy, name: str, records: Sequence[RunRecord]) -> Row:
    """A variant's means over its seeds."""
    values = np.array([_values(study, record) for record in records])
    means: list[Value] = [None if np.isnan(v) else float(v) for v in values.mean(0)]
    if len(records) > 1:
        means.append(statistics.stdev(values[:, 0].tolist()))
    return Row(name, tuple(means))


def _values(study: TrainingStudy, record: RunRecord) -> list[float]:
    """The columns of one run: scores in per cent, minutes."""
    scores = record.scores
    assert scores is not None
    metrics = counted(scores, study.counted)
    found = [getattr(metrics, key) for key in SCORES]
    if study.objects:
        ious = dict(zip(scores.names, counted(scores).per_class_iou.tolist(), strict=True))
        found.append(float(np.nanmean([ious[name] for name in study.objects])))
    return [*(100 * value for value in found), record.minutes]


def counted(scores: ClassScores, only: Sequence[str] = ()) -> Metrics:
    """The four numbers from what a run wrote of its last scoring.

    Args:
        scores: With its confusion matrix.
        only: Classes whose pixels count, the others' not; what is said of them is right or wrong as
            before, and only classes that occur are averaged. Empty: all pixels.
    """
    assert scores.matrix is not None
    confusion = ConfusionMatrix(len(scores.names), void_index(len(scores.names)))
    confusion.matrix += scores.matrix.astype(np.int64)
    if only:
        confusion.matrix[[name not in only for name in scores.names]] = 0
    return confusion.compute(present_only=bool(only))


def _published(row: Published, columns: int) -> Row:
    values = [getattr(row, key) for key in SCORES]
    return Row(row.network, (*values, *[None] * (columns - len(values))), row.source)


def _figures(records: Sequence[RunRecord], out: Path) -> tuple[Figure, ...]:
    """The losses over steps and over time, as files."""
    names = [record.name for record in records]
    figures = []
    for file, across in (("loss.svg", "step"), ("loss-by-minutes.svg", "minutes")):
        lines = loss_lines(names, records, by_clock=across == "minutes")
        caption = f"Loss by {across}, each the mean of the 5 % of log lines around"
        text = chart_file(caption, "loss", lines, across=across, wide=SPREAD)
        if text:
            write_text(out / file, text)
            figures.append(Figure(file, caption))
    return tuple(figures)
