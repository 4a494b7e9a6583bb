"""What ``fcn predict --engine ray`` prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fullyconv.cluster.options import ClusterOptions
from fullyconv.commands.photos import say_before, say_failures


def predict_far(
    sources: Sequence[str],
    out: str,
    memory: int | None,
    again: bool,
    cluster: ClusterOptions,
    options: Mapping[str, Any],
) -> int:
    """Label by Ray, and return the exit status.

    Args:
        sources: Paths and addresses.
        out: Path or address of the results.
        memory: Bytes that labelling one may take.
        again: Label what is finished, too.
        cluster: Workers.
        options: Of the prediction.
    """
    from fullyconv.cluster.predicting import predict_on_cluster
    from fullyconv.progress import progress_bar

    bar = progress_bar(unit="photo", leave=False)

    def tick(done: int, total: int) -> None:
        bar.total = total
        bar.update(done - bar.n)

    try:
        outcome = predict_on_cluster(
            sources, out=out, memory=memory, again=again, options=cluster, tick=tick,
            say=bar.write, **options,
        )  # fmt: skip
    finally:
        bar.close()
    if cluster.plan:
        print("nothing was labelled: --cluster.plan")
        return 0
    rate = f", {outcome.done / outcome.seconds:.1f} per second" if outcome.seconds else ""
    died = f"; {outcome.deaths} workers died" if outcome.deaths else ""
    total = outcome.done + outcome.failed
    print(
        f"{out}\n{outcome.done} of {total} photographs labelled in {outcome.seconds:.1f} s", end=""
    )
    print(f"{rate}{died}")
    say_before(outcome.before, "labelled")
    if outcome.failed:
        say_failures(outcome.failures, outcome.failed, "labelled", f"{out}/failed.jsonl")
    return 1 if outcome.failed else 0
