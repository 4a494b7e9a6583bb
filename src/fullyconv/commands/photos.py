"""What the verbs that go through photographs print."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fullyconv.errors import FullyConvError, StoppedError

# Of each photograph: its path, its result or error, its files, its number and how many there are
Report = Callable[[Path | str, Any, Sequence[Path], int, int], object]
# Of each frame of a film, of some rows of a raster: how many are done, how many there are, of what
Tick = Callable[[int, int, str], object]
Say = Callable[[str], object]
_LISTED = 20  # photographs that are described one by one, failures that are named


def each_photo(
    run: Callable[[Report, Tick, Say], list[str]],
    describe: Callable[[Any], str],
    done: str,
    where: Path,
    recorded: bool = False,
) -> int:
    """Run a verb, say what became of each photograph while it runs, and return the exit status.

    Failures are named when they happen; the first of them alone, where they are recorded.

    Args:
        run: Calls the verb with the reports to pass on; returns a sentence for each failure.
        describe: A result in lines that follow its path.
        done: What was done, as a participle.
        where: File or folder of the results.
        recorded: ``where`` names what failed, and a next run passes over what is finished.

    Raises:
        StoppedError: At Ctrl-C; says what is done.
    """
    from fullyconv.progress import progress_bar

    started = time.perf_counter()
    bar = progress_bar(unit="photo", leave=False)
    film: Any = None  # a second bar, if there is a film
    before = 0
    tried, good = Counter[str](), Counter[str]()  # of each kind of source

    def report(
        path: Path | str, result: Any, files: Sequence[Path], number: int, total: int
    ) -> None:
        nonlocal before, film
        bar.total = total
        bar.update(number - bar.n)
        if film is not None:
            film.close()
            film = None
        if result is None:  # finished by an earlier run
            before += 1
            return
        kind = _kind(path, result)
        tried[kind] += 1
        good[kind] += not isinstance(result, FullyConvError)
        if isinstance(result, FullyConvError):
            if not recorded or (tried - good).total() <= _LISTED:
                bar.write(f"fcn: {result}", file=sys.stderr)
        elif total <= _LISTED:  # of more, the files and the bar say enough
            bar.write(f"{path} {describe(result)}")
            for file in files:
                bar.write(f"  {file}")

    def tick(number: int, total: int, unit: str) -> None:
        nonlocal film
        film = film or progress_bar(unit=unit, leave=False, position=1)
        film.total = total or None
        film.update(number - film.n)

    try:
        failures = run(report, tick, bar.write)
    except KeyboardInterrupt as error:
        failed = (tried - good).total()
        raise stopped(good.total() + before, failed, bar.total, done, recorded) from error
    finally:
        if film is not None:
            film.close()
        bar.close()
    worked, seconds = good.total(), time.perf_counter() - started
    rate = f", {worked / seconds:.1f} per second" if worked > 1 else ""
    print(where)
    if tried:
        counts = [f"{good[kind]} of {count} {kind}" for kind, count in tried.items()]
        print(f"{', '.join(counts)} {done} in {seconds:.1f} s{rate}")
    say_before(before, done)
    if failures:
        more = len(failures) - _LISTED
        hidden = recorded and more > 0
        rest = f": the {_LISTED} above, and {more} more, named in {where}" if hidden else ""
        print(f"fcn: {len(failures)} could not be {done}{rest}", file=sys.stderr)
    return 1 if failures else 0


def say_before(count: int, done: str) -> None:
    """Say how many an earlier run has finished."""
    if count == 1:
        print(f"1 was {done} before; --again does it again")
    elif count:
        print(f"{count} were {done} before; --again does them again")


def stopped(good: int, failed: int, total: int | None, done: str, goes_on: bool) -> StoppedError:
    """What Ctrl-C leaves, in a sentence.

    Args:
        good: How many are done.
        failed: How many could not be.
        total: How many there are; None if that was not known yet.
        done: What is done, as a participle.
        goes_on: The same command goes on from there.
    """
    if not total:
        return StoppedError(f"stopped before the first was {done}")
    bad = f", {failed} could not be" if failed else ""
    rest = "; the same command goes on with the others" if goes_on else ""
    return StoppedError(f"stopped: {good} of {total} are {done}{bad}{rest}")


def say_failures(failures: Sequence[str], count: int, done: str, where: object) -> None:
    """Say how many could not be done, and name the first of them.

    Args:
        failures: A sentence for each, or for the first.
        count: How many there are.
        done: What could not be done, as a participle.
        where: File that names all of them.
    """
    print(f"fcn: {count} could not be {done}:", file=sys.stderr)
    for failure in failures[:_LISTED]:
        print(f"  {failure}", file=sys.stderr)
    if count > _LISTED:
        print(f"  and {count - _LISTED} more, named in {where}", file=sys.stderr)


def _kind(path: Path | str, result: Any) -> str:
    """What a source is called; of one that failed, by its looks."""
    from fullyconv.prediction.photos import kind_of

    if kind_of(path) in ("clip", "camera"):
        return "films"
    failed = isinstance(result, FullyConvError)
    looks = failed and Path(path).suffix.lower() in (".tif", ".tiff", ".npy", ".jp2")
    return "rasters" if looks or hasattr(result, "resumed") else "photographs"
