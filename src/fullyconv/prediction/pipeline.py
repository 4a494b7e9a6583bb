"""Work before and behind a network, in threads, while the network is at work."""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any, Generic, TypeVar

from fullyconv.errors import FullyConvError

Item = TypeVar("Item")
Prepared = TypeVar("Prepared")
Result = TypeVar("Result")
Finished = TypeVar("Finished")

AHEAD = 8
"""Items that are prepared, or wait to be finished, at once; if they are small enough."""


def threads() -> int:
    """Threads for decoding and encoding: at least 2, as some of them wait for disks and servers."""
    return min(8, max(2, os.cpu_count() or 1))


def flow(
    items: Iterable[Item],
    prepare: Callable[[Item], Prepared],
    work: Callable[[Item, Prepared], Result],
    finish: Callable[[Item, Result], Finished],
    done: Callable[[Item, Finished | FullyConvError], object],
    *,
    workers: int | None = None,
    beside: int = 1,
    ahead: int = AHEAD,
    room: Callable[[Prepared], int] = lambda _: AHEAD,
    strict: bool = False,
) -> None:
    """Send items through three steps, in order, several of them under way at once.

    Whatever ends it (an error, Ctrl-C): what has passed ``work`` is finished and reported first.

    Args:
        items: Taken one by one, as there is room.
        prepare: In a thread (decode); a FullyConvError goes to ``done``.
        work: In a thread (the network); likewise.
        finish: In a thread (encode and write). With one worker, in order. A FullyConvError ends
            everything: the next one could not be written either.
        done: In this thread, in the order of the items: what ``finish`` returned, or the error.
        workers: Threads; by default some for each processor.
        beside: Threads for ``work``.
        ahead: How many items are prepared, and how many finished, at once.
        room: How many items of the size of this one may be under way.
        strict: A FullyConvError of ``prepare`` or ``work`` ends everything, too.

    Raises:
        FullyConvError: If ``finish`` does; with ``strict`` also from the other steps.
    """
    pool, network = ThreadPoolExecutor(workers or threads()), ThreadPoolExecutor(beside)
    stages = _Stages(pool, network, done)
    source = iter(items)
    limit = ahead
    try:
        while True:
            most = max(0, limit - len(stages.coming) - len(stages.working))
            for item in islice(source, most):
                stages.coming.append((item, pool.submit(prepare, item)))
            while stages.coming and len(stages.working) <= beside:  # one waits, but no thread
                item, future = stages.coming.popleft()
                try:
                    prepared = future.result()
                except FullyConvError as error:
                    stages.working.append((item, error))
                else:
                    limit = max(1, min(ahead, room(prepared)))
                    stages.working.append((item, network.submit(work, item, prepared)))
                    del prepared, future  # else they are kept until the next is there
            if not stages.working:
                break
            stages.pass_on(finish, strict)
            stages.settle(limit)
        stages.settle(0)
    finally:
        stages.end()


class _Stages(Generic[Item, Finished]):
    """What is under way before and behind the work."""

    def __init__(
        self,
        pool: ThreadPoolExecutor,
        network: ThreadPoolExecutor,
        done: Callable[[Item, Finished | FullyConvError], object],
    ) -> None:
        self.pool, self.network, self.done = pool, network, done
        self.coming: deque[tuple[Item, Future[Any]]] = deque()
        self.working: deque[tuple[Item, Future[Any] | FullyConvError]] = deque()
        self.going: deque[tuple[Item, Future[Finished] | FullyConvError]] = deque()

    def pass_on(self, finish: Callable[[Item, Any], Finished], strict: bool) -> None:
        """Wait until the first item has passed the network, and let it be finished."""
        item, state = self.working[0]
        try:
            result = state.result() if isinstance(state, Future) else state
        except FullyConvError as error:
            result = error
        self.working.popleft()
        if not isinstance(result, FullyConvError):
            self.going.append((item, self.pool.submit(finish, item, result)))
        elif strict:
            raise result
        else:
            self.going.append((item, result))

    def settle(self, most: int) -> None:
        """Report what is finished, and wait until at most so many items are not."""
        while self.going:
            item, state = self.going[0]
            waiting = isinstance(state, Future) and not state.done()
            if waiting and len(self.going) <= most:
                return
            try:
                finished = state.result() if isinstance(state, Future) else state
            except Exception:  # not Ctrl-C, after which it is waited for again
                self.going.popleft()
                raise
            self.going.popleft()
            self.done(item, finished)

    def end(self) -> None:
        """Drop what has not begun; finish and report what can be."""
        for _, future in self.coming:
            future.cancel()
        self.network.shutdown(cancel_futures=True)
        while self.going:
            with contextlib.suppress(Exception):  # the first is on its way up already
                self.settle(0)
        self.pool.shutdown(wait=False, cancel_futures=True)


def ahead_of(
    items: Iterable[Item], size: int = AHEAD, drop: bool = False
) -> Generator[Item, None, None]:
    """The same items, made in a thread that runs ahead of whoever takes them.

    Args:
        items: Run in the thread; its errors come out here.
        size: How many wait at most.
        drop: When as many wait, forget the oldest instead of waiting: what is taken is recent.
    """
    waiting: queue.Queue[tuple[str, Any]] = queue.Queue(size)
    stop = threading.Event()

    def put(entry: tuple[str, Any]) -> None:
        while not stop.is_set():
            try:
                waiting.put(entry, timeout=0.1)
            except queue.Full:
                continue
            return

    def make() -> None:
        iterator = iter(items)
        try:
            for item in iterator:
                while drop and waiting.full():
                    with contextlib.suppress(queue.Empty):
                        waiting.get_nowait()
                put(("item", item))
                if stop.is_set():
                    break
        except BaseException as error:
            put(("error", error))
        else:
            put(("end", None))
        finally:
            if close := getattr(iterator, "close", None):
                close()

    thread = threading.Thread(target=make, daemon=True)
    thread.start()
    try:
        while True:
            what, entry = waiting.get()
            if what == "error":
                raise entry
            if what == "end":
                return
            yield entry
    finally:
        stop.set()
        thread.join()
