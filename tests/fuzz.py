"""Damaged files by the thousand: each must be read, or refused with a FullyConvError (make fuzz).

A child process reads them; it is watched for crashes, and bounded in time and memory. Every input
follows from its number: what is printed of a finding makes it again.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path

import psutil

from fullyconv.errors import FullyConvError
from fuzz_targets import TARGETS, Target
from mutations import mutate

SECONDS = 10  # of the processor that one input may cost
MEMORY = 2 << 30  # bytes beyond what is used before
_HANG = 600  # seconds of the clock after which a library is taken to hang
_SHARED = Path("/dev/shm")


class TooSlow(BaseException):
    """Passes everything that catches Exception."""


def _too_slow(*_: object) -> None:
    raise TooSlow(f"more than {SECONDS} seconds of the processor")


def prepared(target: Target, seeds: list[Path], number: int, work: Path) -> Path:
    """Input ``number``: a copy of a good one, with something changed."""
    rng = random.Random(number)
    seed = rng.choice(seeds)
    copy = work / seed.name
    if seed.is_dir():
        shutil.copytree(seed, copy)
        if target.pack is not None and rng.random() < 0.2:
            copy = target.pack(copy, rng)
    else:
        shutil.copyfile(seed, copy)
    files = [copy] if copy.is_file() else sorted(p for p in copy.rglob("*") if p.is_file())
    texts = [p for p in files if p.suffix in (".json", ".xml", ".txt", ".yaml", ".csv")]
    file = rng.choice(texts if texts and rng.random() < 0.8 else files)
    file.write_bytes(mutate(file, rng, rng.choice(seeds)))
    return copy


@contextlib.contextmanager
def bounded() -> Iterator[None]:
    """Time and memory of one input; what exceeds them is raised."""
    Path("/proc/self/clear_refs").write_text("5")  # the highest use so far is forgotten
    before, start = psutil.Process().memory_info().rss, time.process_time()
    faulthandler.dump_traceback_later(_HANG, exit=True)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        faulthandler.cancel_dump_traceback_later()
    status = Path("/proc/self/status").read_text()
    peak = int(status.partition("VmHWM:")[2].split()[0]) << 10
    if peak - before > MEMORY:
        raise MemoryError(f"{(peak - before) >> 20} MiB were used")
    if time.process_time() - start > SECONDS:
        _too_slow()


def place(error: BaseException) -> str:
    """Where an error came from, in our own code, and its kind: findings alike are one."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if "fullyconv" in f.filename] or frames
    return f"{type(error).__name__} at {Path(ours[-1].filename).name}:{ours[-1].lineno}"


def child(name: str, first: int, stop: float, count: int, state: Path) -> None:
    """Read one input after the other; findings are lines of the standard output."""
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGPROF, _too_slow)
    faulthandler.enable()
    target, seen, number = TARGETS[name], set[str](), first
    with tempfile.TemporaryDirectory(dir=state.parent) as folder:
        seeds = target.seeds(Path(folder) / "seeds")
        while number < first + count and time.time() < stop:
            work = Path(folder) / "work"
            work.mkdir()
            state.write_text(f"{number}")
            path = prepared(target, seeds, number, work)
            try:
                with bounded():
                    target.read(path)
            except FullyConvError:
                pass
            except (Exception, TooSlow) as error:
                if (at := place(error)) not in seen:
                    seen.add(at)
                    print(f"input {number} ({path.name}): {at}: {error}"[:600], flush=True)
                    if count == 1:
                        traceback.print_exc()
            shutil.rmtree(work)
            number += 1
        state.write_text(f"{number}")


def run(name: str, minutes: float, first: int, count: int) -> int:
    """Fuzz one target; how many findings there are."""
    stop, findings, number = time.time() + 60 * minutes, 0, first
    with tempfile.TemporaryDirectory(dir=_SHARED if _SHARED.is_dir() else None) as folder:
        state = Path(folder) / "number"
        while time.time() < stop and number < first + count:
            state.write_text(f"{number}")
            options = ["--first", number, "--count", first + count - number, "--stop", stop]
            command = [sys.executable, __file__, name, *map(str, options), "--state", str(state)]
            with (Path(folder) / "said").open("w+") as said:
                done = subprocess.run(
                    command, stdout=subprocess.PIPE, stderr=said, text=True, check=False
                )
                said.seek(0)
                end = said.read()[-3000:]
            print(done.stdout, end="", flush=True)
            findings += done.stdout.count("\ninput ") + done.stdout.startswith("input ")
            number = int(state.read_text())
            if done.returncode:
                print(f"input {number}: the process ended with {done.returncode}\n{end}")
                findings, number = findings + 1, number + 1
            elif count == 1:
                print(end)
    print(f"{name}: inputs {first} to {number - 1}, {findings} findings", flush=True)
    return findings


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*", choices=[*TARGETS, []], default=[*TARGETS])
    parser.add_argument("--minutes", type=float, default=1, help="for each target")
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--count", type=int, default=1 << 40, help="at most so many inputs")
    parser.add_argument("--state", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--stop", type=float, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.state:
        child(given.targets[0], given.first, given.stop, given.count, given.state)
        return 0
    os.environ["OMP_NUM_THREADS"] = "1"
    found = [run(name, given.minutes, given.first, given.count) for name in given.targets]
    return 1 if any(found) else 0


if __name__ == "__main__":
    sys.exit(main())
