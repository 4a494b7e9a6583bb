"""``fcn predict``."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro

from fullyconv.errors import FullyConvError


def predict(
    sources: Annotated[list[str], tyro.conf.Positional, tyro.conf.arg(metavar="PHOTO")],
    model: str = "camvid",
    out: Path = Path("predictions"),
    save: str = "mask,overlay",
    runtime: str = "auto",
) -> int:
    """Label every pixel of photographs of any size.

    Args:
        sources: Photographs: files, folders (with their sub-folders) and patterns.
        model: Name of a shipped model (camvid: streets; nyudv2: rooms), or a checkpoint.
        out: Folder for the results.
        save: Any of mask, color, overlay and probs, comma-separated.
        runtime: Engine: auto or torch.
    """
    from tqdm import tqdm

    from fullyconv import prediction as verb

    started = time.perf_counter()
    bar = tqdm(unit="photo", disable=None, leave=False)

    def report(path: Path, result: Any, files: Sequence[Path], number: int, total: int) -> None:
        bar.total, bar.n = total, number
        if isinstance(result, FullyConvError):
            bar.write(f"fcn: {result}", file=sys.stderr)
            return
        height, width = result.labels.shape
        shares = ", ".join(f"{name} {100 * s:.1f} %" for name, s in result.shares().items())
        bar.write(f"{path} ({height} x {width})\n  {shares}")
        for file in files:
            bar.write(f"  {file}")

    try:
        failures = verb.predict(
            sources, model=model, out=out, save=save, runtime=runtime, report=report
        )
    finally:
        bar.close()
    labelled = f"{bar.n - len(failures)} of {bar.n} photographs labelled"
    print(f"{out / verb.SUMMARY}\n{labelled} in {time.perf_counter() - started:.1f} s")
    if failures:
        print(f"fcn: {len(failures)} could not be labelled, as said above", file=sys.stderr)
    return 1 if failures else 0
