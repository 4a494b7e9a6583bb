"""Work on many files in several processes: results in order, a bounded number of them at a time."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import TypeVar

from fullyconv.errors import FullyConvError, UsageError
from fullyconv.progress import progress_bar

Item = TypeVar("Item")
Result = TypeVar("Result")

_FEW = 64  # items for which starting processes takes longer than the work
_CHUNK = 16  # items that a process is given at a time
_AHEAD = 4  # chunks of each process that may be under way or wait to be taken


def in_parallel(
    work: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    workers: int | None = None,
    title: str = "",
    progress: bool = False,
) -> Iterator[Result]:
    """Results of every item, in order.

    Args:
        work: What is done with one; a function of a module, so that processes can be told.
        items: What it is done with.
        workers: Processes; None for one per processor, or none beside this one for a few items. A
            script that starts some needs ``if __name__ == "__main__"``.
        title: What the progress bar says.
        progress: Show one.

    Raises:
        UsageError: If the number of workers does not exist.
        FullyConvError: If a process ends at once.
    """
    if workers is not None and workers < 1:
        raise UsageError(f"workers is {workers}; it must be at least 1")
    if workers is None:
        workers = 1 if len(items) <= _FEW else _processors()
    results = map(work, items) if workers == 1 else _spread(work, items, workers)
    yield from progress_bar(
        results, title, len(items), disable=not progress, leave=False, unit=" pictures"
    )


def _processors() -> int:
    """How many this process may use, which in a container are fewer than there are."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


def _spread(
    work: Callable[[Item], Result], items: Sequence[Item], workers: int
) -> Iterator[Result]:
    waiting: deque[Future[list[Result]]] = deque()
    with processes(workers) as pool:
        for start in range(0, len(items), _CHUNK):
            waiting.append(pool.submit(_each, work, items[start : start + _CHUNK]))
            if len(waiting) >= workers * _AHEAD:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()


@contextmanager
def processes(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Working processes, which are told to end whatever happens.

    Raises:
        FullyConvError: If one ends at once.
    """
    # spawn: a fork of a process that runs threads (torch's, h5py's) may never end
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _ignore_interrupts)
    try:
        yield pool
    except BrokenProcessPool as error:
        raise FullyConvError(
            "a working process ended at once: it ran out of memory (set fewer workers), or the "
            'calling script has no `if __name__ == "__main__":` around its work (set workers to 1)'
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _each(work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    return [work(item) for item in items]


def _ignore_interrupts() -> None:
    """Ctrl-C reaches every process of a terminal; the one that started them ends them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
