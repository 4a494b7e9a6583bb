"""`fcn predict --engine ray` on this machine against one process, and bytes per picture.

    python benchmarks/cluster.py PHOTOS [--model camvid] [--save mask] [--workers 2] [--repeat 3]

Prints, of each way in turn, pictures per second as the command says them (workers are ready then),
the seconds of the whole command, processor time per picture, and of Ray and the process that began
it; then the bytes per picture of photographs, results and manifest. `--draw N`
makes N small pictures in PHOTOS first.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
from PIL import Image


def draw(folder: Path, count: int) -> None:
    """Pictures of 128 x 96 of smooth colours, in folders of a thousand."""
    rng = np.random.default_rng(0)
    for number in range(count):
        path = folder / f"{number // 1000:02d}" / f"{number:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        cells = Image.fromarray(rng.integers(0, 256, (6, 8, 3)).astype(np.uint8))
        cells.resize((128, 96), Image.Resampling.BILINEAR).save(path, quality=90)


def timed(command: list[str]) -> tuple[float, float, float, float]:
    """Pictures per second, seconds of the command, processor seconds of labelling, and of Ray."""
    start = time.perf_counter()
    output = tempfile.TemporaryFile("w+")  # noqa: SIM115  (closed with the process)
    process = subprocess.Popen(command, stdout=output)
    first, used, own = psutil.Process(process.pid), dict[int, float](), dict[int, float]()
    while process.poll() is None:  # Ray's processes are nobody's children when they end
        for one in [first, *first.children(recursive=True)]:
            try:
                times, name = one.cpu_times(), " ".join(one.cmdline())
                labels = "ray::Worker" in name or (one is first and "--engine" not in name)
                (used if labels else own)[one.pid] = times.user + times.system
            except psutil.Error:
                continue
        time.sleep(0.1)
    output.seek(0)
    said = output.read()
    assert process.returncode == 0, said
    rate = re.findall(r"([\d.]+) per second$", said, re.MULTILINE)[-1]
    return float(rate), time.perf_counter() - start, sum(used.values()), sum(own.values())


def size(folder: Path, pattern: str) -> int:
    return sum(path.stat().st_size for path in folder.rglob(pattern) if path.is_file())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("--model", default="camvid")
    parser.add_argument("--save", default="mask")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--draw", type=int, default=0)
    args = parser.parse_args()
    draw(args.photos, args.draw)
    count = sum(path.is_file() for path in args.photos.rglob("*.*"))
    fcn = [sys.executable, "-m", "fullyconv", "predict", str(args.photos), "--model", args.model]
    fcn += ["--save", args.save]
    far = ["--engine", "ray", "--cluster.workers", str(args.workers)]
    print(f"{count} pictures, load average {os.getloadavg()[0]:.1f}")
    print(f"{'':16}{'per second':>12}{'seconds':>10}{'ms of processor':>18}{'s of Ray':>10}")
    for _ in range(args.repeat):
        for name, more in (("one process", []), (f"ray, {args.workers} workers", far)):
            with tempfile.TemporaryDirectory() as out:
                rate, seconds, used, own = timed([*fcn, "--out", out, *more])
                line = f"{name:16}{rate:12.1f}{seconds:10.1f}{1000 * used / count:18.1f}{own:10.1f}"
                print(line, flush=True)
                manifest = size(Path(out), "manifest/*.jsonl") / count
                results = size(Path(out), "*-*.*") / count
    read = size(args.photos, "*.*") / count
    print(f"bytes per picture: {read:.0f} read, {results:.0f} written, {manifest:.0f} of manifest")


if __name__ == "__main__":
    main()
