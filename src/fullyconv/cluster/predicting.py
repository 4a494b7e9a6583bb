"""Photographs at addresses labelled by workers, and the results written to an address."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fullyconv.cluster.addresses import join, put_file, whole_address, write_bytes
from fullyconv.cluster.estimate import Amount, Estimate, sample
from fullyconv.cluster.labelling import Made
from fullyconv.cluster.manifest import FAILED, Manifest
from fullyconv.cluster.options import ClusterOptions
from fullyconv.cluster.plan import Item, find_items, in_parts
from fullyconv.cluster.workers import Pool, Task, digest_of, files_of, started, travels
from fullyconv.errors import FullyConvError
from fullyconv.extras import require
from fullyconv.prediction.augmented import parse_scales
from fullyconv.prediction.journal import Marks
from fullyconv.prediction.photos import SUMMARY, Sources
from fullyconv.prediction.prediction import parse_outputs
from fullyconv.progress import say_nothing

_LISTED = 1000  # failures that are held in memory; all are in failed.jsonl
Say = Callable[[str], object]
"""Told of what will be done, and of workers that die."""
Tick = Callable[[int, int], object]
"""Told how many photographs have been gone through, and about how many there are."""


@dataclass
class Outcome:
    """What became of a run.

    Attributes:
        amount: What there was to do.
        before: Photographs, and shards, that earlier runs have finished.
        estimate: What was said of it; None if there was nothing that could be measured.
        done: Photographs labelled.
        failed: Photographs, and shards, that could not be.
        failures: A sentence for each of the first of them.
        deaths: Workers that died.
        seconds: Of the labelling.
    """

    amount: Amount
    before: int
    estimate: Estimate | None = None
    done: int = 0
    failed: int = 0
    failures: list[str] = field(default_factory=list)
    deaths: int = 0
    seconds: float = 0.0


def predict_on_cluster(
    sources: Sources,
    *,
    model: str | os.PathLike[str] = "camvid",
    out: str | os.PathLike[str] = "predictions",
    save: str = "mask,overlay",
    runtime: str = "auto",
    precision: str = "float32",
    flip: bool = False,
    scales: str | Sequence[float] = (1.0,),
    memory: int | None = None,
    again: bool = False,
    options: ClusterOptions | None = None,
    tick: Tick | None = None,
    say: Say | None = None,
) -> Outcome:
    """Label photographs at addresses by Ray, and write the results to an address.

    The labels and the names of the files are those of :func:`fullyconv.predict`; a tar of
    photographs becomes a tar of results. What the manifest of an earlier run to the same address
    says is finished is passed over, what failed there is tried again.

    Args:
        sources: Pictures, tars, folders, patterns, lists; paths or addresses that fsspec knows.
        model: Name of a shipped model, a checkpoint, or what ``fcn export`` wrote, on this machine.
        out: Path or address of the results.
        save: Any of mask, color, overlay and probs, comma-separated.
        runtime: Engine of the workers.
        precision: ``"float32"`` or ``"bfloat16"``.
        flip: Average with the mirrored photograph.
        scales: Average over these scales of the photograph.
        memory: Bytes that labelling one may take.
        again: Label what is finished again, also with another model than before.
        options: Of the workers.
        tick: Told of the progress.
        say: Told of the estimate, before the work begins.

    Raises:
        FullyConvError: If Ray or the model cannot be had, a source names nothing, or results cannot
            be written.
        UsageError: If a setting does not exist, or ``out`` holds results of another model.
    """
    options, say = options or ClusterOptions(), say or say_nothing
    given = [sources] if isinstance(sources, str | os.PathLike) else sources
    names, place = [os.fspath(source) for source in given], whole_address(os.fspath(out))
    require("ray", "cluster", "for --engine ray")
    files, name = files_of(model), os.fspath(model)
    task = Task(
        os.path.abspath(name) if travels(name) else name,  # noqa: PTH100  (links are kept)
        digest_of(files), tuple(parse_outputs(save)), runtime, precision, flip,
        parse_scales(scales), memory, again, options.threads,
    )  # fmt: skip
    manifest = Manifest(place, _about(task))
    manifest.check(again)
    finished = Marks(()) if again else manifest.finished()
    passed = 0

    def todo() -> Iterator[Item]:
        nonlocal passed
        passed = 0
        for item in find_items(names, place):
            if item.mark in finished:
                passed += 1
            else:
                yield item

    outcome = Outcome(Amount.of(todo()), passed)
    say(f"{outcome.amount} to label; {passed:,} were finished before")
    if not outcome.amount.photos + outcome.amount.shards:
        return outcome
    sent = files if travels(task.model) else None
    with started(options, sum(map(len, (sent or {}).values()))) as ray:
        pool = Pool(ray, options, task, manifest, sent, say)
        pool.open()
        outcome.estimate = Estimate.of(outcome.amount, pool.measure(sample(todo())), options.price)
        say(str(outcome.estimate or "no photograph among the first can be read: no estimate"))
        if not options.plan:
            manifest.begin()
            _run(pool, in_parts(todo(), options.part), outcome, manifest, tick)
    return outcome


def _about(task: Task) -> dict[str, Any]:
    """What results depend on, and labels are told apart by."""
    return {
        "model": Path(task.model).name,
        "digest": task.digest,
        "runtime": task.runtime,
        "precision": task.precision,
        "flip": task.flip,
        "scales": task.scales,
        "save": task.kinds,
    }


def _run(
    pool: Pool, parts: Iterator[Any], outcome: Outcome, manifest: Manifest, tick: Tick | None
) -> None:
    """Label everything, and write the summary, also if it is broken off."""
    began = time.perf_counter()
    _summarize(pool, outcome, manifest)  # a run that is killed has one, too
    total = outcome.estimate.photos if outcome.estimate else 0
    with tempfile.TemporaryDirectory(prefix="fcn-") as scratch:
        failed = Path(scratch, FAILED)
        try:
            with failed.open("w", encoding="utf-8", errors="replace") as lines:
                for made in pool.run(parts):
                    _count(made, outcome, lines.write)
                    if tick is not None:
                        tick(outcome.done + outcome.failed, total)
        except BaseException:
            with suppress(FullyConvError):  # the same address may be gone
                _finish(pool, outcome, manifest, failed, began)
            raise
        _finish(pool, outcome, manifest, failed, began)


def _count(made: Made, outcome: Outcome, write: Callable[[str], object]) -> None:
    outcome.done += made.done
    outcome.before += made.before
    outcome.failed += len(made.failures)
    for place, said in made.failures:
        write(json.dumps({"photo": place, "error": said}) + "\n")
        if len(outcome.failures) < _LISTED:
            outcome.failures.append(said)


def _finish(pool: Pool, outcome: Outcome, manifest: Manifest, failed: Path, began: float) -> None:
    outcome.deaths, outcome.seconds = pool.deaths, time.perf_counter() - began
    put_file(join(manifest.out, FAILED), failed)
    _summarize(pool, outcome, manifest)


def _summarize(pool: Pool, outcome: Outcome, manifest: Manifest) -> None:
    summary = {
        "model": manifest.about["model"],
        **pool.about,
        "labelled": outcome.done,
        "before": outcome.before,
        "failed": outcome.failed,
        "seconds": round(outcome.seconds, 3),
        "lines": "manifest/*.jsonl",
    }
    content = json.dumps(summary, indent=1).encode(errors="replace")
    write_bytes(join(manifest.out, SUMMARY), content, durable=True)
