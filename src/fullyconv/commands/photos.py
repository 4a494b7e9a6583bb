"""What the verbs that go through photographs print."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fullyconv.errors import FullyConvError

# Of each photograph: its path, its result or error, its files, its number and how many there are
Report = Callable[[Path, Any, Sequence[Path], int, int], object]


def each_photo(
    run: Callable[[Report], list[str]], describe: Callable[[Any], str], done: str, where: Path
) -> int:
    """Run a verb, say what became of each photograph while it runs, and return the exit status.

    Args:
        run: Calls the verb with the report to pass on; returns a sentence for each failure.
        describe: A photograph's result in a line; the result has the photograph as ``image``.
        done: What was done, as a participle.
        where: File or folder of the results.
    """
    from tqdm import tqdm

    started = time.perf_counter()
    bar = tqdm(unit="photo", disable=None, leave=False)

    def report(path: Path, result: Any, files: Sequence[Path], number: int, total: int) -> None:
        bar.total, bar.n = total, number
        if isinstance(result, FullyConvError):
            bar.write(f"fcn: {result}", file=sys.stderr)
            return
        height, width = result.image.shape[:2]
        bar.write(f"{path} ({height} x {width})\n  {describe(result)}")
        for file in files:
            bar.write(f"  {file}")

    try:
        failures = run(report)
    finally:
        bar.close()
    count = f"{bar.n - len(failures)} of {bar.n} photographs {done}"
    print(f"{where}\n{count} in {time.perf_counter() - started:.1f} s")
    if failures:
        print(f"fcn: {len(failures)} could not be {done}, as said above", file=sys.stderr)
    return 1 if failures else 0
