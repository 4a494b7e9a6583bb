"""How a run on a cluster is set up; light, since the command line is made of it."""

from __future__ import annotations

from dataclasses import dataclass

from fullyconv.errors import UsageError


@dataclass(frozen=True)
class ClusterOptions:
    """Workers, and what they cost.

    Attributes:
        address: Of a Ray cluster that runs (auto: the one of this machine, HOST:PORT); none begins
            one on this machine that ends with the run.
        workers: Processes with a model each; as many as there are processors (or GPUs) otherwise.
        threads: Processors of each.
        gpus: GPUs of each, 0.5 for two workers on one.
        part: Photographs that a worker is given at once.
        price: Of one worker for an hour, in any currency, for the estimate.
        plan: Count and measure, print the estimate, and stop.
    """

    address: str | None = None
    workers: int | None = None
    threads: int = 1
    gpus: float = 0
    part: int = 128
    price: float | None = None
    plan: bool = False

    def __post_init__(self) -> None:
        if (self.workers or 1) < 1 or self.threads < 1 or self.part < 1 or self.gpus < 0:
            raise UsageError(
                f"workers {self.workers}, threads {self.threads}, part {self.part}, gpus "
                f"{self.gpus:g}: the first three are at least 1, GPUs at least 0"
            )
        if self.workers == 0:
            raise UsageError("workers is 0; leave it out for one on each processor")
