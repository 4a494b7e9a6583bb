"""Steps in threads: order, bounds, errors and interruptions."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator

import pytest

from fullyconv.errors import FullyConvError
from fullyconv.prediction.pipeline import ahead_of, flow


def pause() -> None:
    time.sleep(random.random() / 500)


@pytest.mark.parametrize(("workers", "beside"), [(1, 1), (3, 1), (1, 2), (3, 4)])
def test_everything_comes_through_in_order(workers: int, beside: int) -> None:
    main = threading.get_ident()
    networks: set[int] = set()
    all_at_once = threading.Barrier(beside)
    at_work = [0, 0]  # now, most
    done: list[tuple[int, object]] = []
    under_way = [0, 0]  # now, most

    def prepare(item: int) -> int:
        assert threading.get_ident() != main
        under_way[0] += 1
        under_way[1] = max(under_way)
        pause()
        return item * 10

    def work(item: int, prepared: int) -> str:
        assert prepared == item * 10
        networks.add(threading.get_ident())
        at_work[0] += 1
        at_work[1] = max(at_work)
        if item < beside:
            all_at_once.wait(timeout=60)
        pause()
        at_work[0] -= 1
        return f"{prepared}!"

    def finish(item: int, result: str) -> str:
        assert threading.get_ident() != main
        pause()
        under_way[0] -= 1
        return f"{item}: {result}"

    flow(range(60), prepare, work, finish, lambda i, r: done.append((i, r)),
         workers=workers, beside=beside, ahead=4)  # fmt: skip
    assert done == [(n, f"{n}: {n * 10}!") for n in range(60)]
    assert len(networks) == beside >= at_work[1]
    assert under_way[1] <= 4 + 4 + 1


def test_large_items_are_fewer_at_once() -> None:
    taken: list[int] = []
    done: list[int] = []

    def items() -> Iterator[int]:
        for number in range(20):
            taken.append(number)
            if number > 8:  # the size is known by then
                assert len(taken) - len(done) <= 3
            yield number

    flow(items(), lambda i: i, lambda i, _: i, lambda i, _: i, lambda i, _: done.append(i),
         room=lambda _: 1)  # fmt: skip
    assert done == list(range(20))


@pytest.mark.parametrize("step", ["prepare", "work"])
def test_an_error_of_one_item_is_reported_in_its_place(step: str) -> None:
    done: list[object] = []

    def maybe(name: str, item: int) -> int:
        if name == step and item == 2:
            raise FullyConvError(f"{name} of {item}")
        return item

    def run(strict: bool) -> None:
        flow(range(5), lambda i: maybe("prepare", i), lambda _, i: maybe("work", i),
             lambda i, _: str(i), lambda _, r: done.append(str(r)), strict=strict)  # fmt: skip

    run(strict=False)
    assert done == ["0", "1", f"{step} of 2", "3", "4"]
    done.clear()
    with pytest.raises(FullyConvError, match=f"{step} of 2"):
        run(strict=True)
    assert done == ["0", "1"]


def test_a_result_that_cannot_be_written_ends_it() -> None:
    done: list[int] = []

    def finish(item: int, _: int) -> int:
        if item >= 3:
            raise FullyConvError("no space")
        return item

    with pytest.raises(FullyConvError, match="no space"):
        flow(range(1000), lambda i: i, lambda i, _: i, finish, lambda i, _: done.append(i))
    assert done == [0, 1, 2]


def test_ctrl_c_finishes_what_has_passed_the_network() -> None:
    finished: list[int] = []
    done: list[int] = []

    def work(item: int, _: int) -> int:
        if item == 7:
            raise KeyboardInterrupt
        return item

    def finish(item: int, _: int) -> int:
        time.sleep(0.01)
        finished.append(item)
        return item

    with pytest.raises(KeyboardInterrupt):
        flow(range(1000), lambda i: i, work, finish, lambda i, _: done.append(i))
    assert sorted(finished) == done == list(range(7))


def test_items_are_made_ahead_and_no_further() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for number in range(30):
            made.append(number)
            yield number

    taken = []
    for item in ahead_of(items(), 3):
        pause()
        taken.append(item)
        assert len(made) - len(taken) <= 3 + 1
    assert taken == list(range(30))


def test_what_waits_is_forgotten_for_what_is_recent() -> None:
    def items() -> Iterator[int]:
        for number in range(100):
            time.sleep(0.001)
            yield number

    taken = []
    for item in ahead_of(items(), 1, drop=True):
        time.sleep(0.01)
        taken.append(item)
    assert taken == sorted(taken)
    assert 2 < len(taken) < 50
    assert taken[-1] == 99


def test_an_error_while_items_are_made_comes_out() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise FullyConvError("no more")

    made = ahead_of(items())
    assert next(made) == 1
    with pytest.raises(FullyConvError, match="no more"):
        next(made)


def test_whoever_stops_taking_ends_the_thread() -> None:
    closed = threading.Event()

    def items() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.set()

    for drop in (False, True):
        closed.clear()
        frames = ahead_of(items(), 2, drop)
        assert next(frames) == 1
        frames.close()
        assert closed.is_set()
