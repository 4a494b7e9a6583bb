"""How fast each engine starts and labels, with the shipped model: what runtime="auto" chooses by.

    python benchmarks/engines.py [--threads 2] [--pictures 30] [--write]

Each engine runs in a process of its own. `start` is from process start to the labels of a first
picture of 1 x 1 (Python and fullyconv themselves, in the first row, are taken off). Then pictures
of 360 x 480 are labelled, from pixels to labels: one by one, and, as folders are, side by side.
--write puts start and the latter into src/fullyconv/runtimes/measured.py. Run it on an idle
machine.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROWS = [
    ("onnx", "float32"),
    ("openvino", "float32"),
    ("openvino", "bfloat16"),
    ("ncnn", "float32"),
    ("torch", "float32"),
    ("torch", "bfloat16"),
    ("torch-compiled", "float32"),
]
MEASURED = Path(__file__).parents[1] / "src" / "fullyconv" / "runtimes" / "measured.py"
HEIGHT, WIDTH = 360, 480


def work(model: str, runtime: str, precision: str, pictures: int) -> None:
    """One engine, in its own process; prints JSON."""
    import numpy as np

    from fullyconv.prediction.predictor import Predictor

    if runtime == "none":
        return
    predictor = Predictor(model, runtime, precision)
    _ = predictor(np.zeros((1, 1, 3), np.uint8)).labels
    print(json.dumps("ready"), flush=True)
    rng = np.random.default_rng(0)
    photos = [rng.integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8) for _ in range(4)]
    several = (photos * pictures)[:pictures]

    def label(photo: object) -> None:
        _ = predictor(photo).labels

    alone = statistics.median(timed(lambda photo=photo: label(photo)) for photo in several)
    with predictor.side_by_side() as beside, ThreadPoolExecutor(beside.beside) as threads:

        def all_of(some: list[object]) -> None:
            for _ in threads.map(lambda photo: beside(photo).labels, some):
                pass

        all_of(photos)
        together = min(timed(lambda: all_of(several)) for _ in range(3)) / pictures
    print(json.dumps([alone, together]))


def timed(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def measure(model: str, runtime: str, precision: str, pictures: int) -> tuple[float, float, float]:
    """Seconds to the first labels, and for each further picture, one by one and side by side.

    The best of three starts.
    """
    starts, alone, together = [], [], []
    for _ in range(3):
        started = time.perf_counter()
        command = [sys.executable, __file__, "--work", model, runtime, precision]
        with subprocess.Popen(
            [*command, "--pictures", str(pictures)], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            starts.append(time.perf_counter() - started)
            said = process.stdout.readline()
        if process.returncode:
            raise RuntimeError(f"{runtime} failed")
        one, several = json.loads(said or "[0, 0]")
        alone.append(one)
        together.append(several)
    return min(starts), min(alone), min(together)


def write(found: dict[str, tuple[float, float]], where: str) -> None:
    """Put the numbers of the engines that auto chooses from into the module."""
    text = MEASURED.read_text()
    for name, (start, megapixel) in found.items():
        line = f'"{name}": Speed({start:.2f}, {megapixel:.3f}),'
        text = re.sub(rf'"{name}": Speed\(.*\),', line, text)
    today = datetime.date.today().isoformat()
    text = re.sub(r"WHEN, WHERE = .*", f'WHEN, WHERE = "{today}", "{where}"', text)
    MEASURED.write_text(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--pictures", type=int, default=30)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--where", default="2 cores of an AMD EPYC (AVX2)")
    parser.add_argument("--work", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        work(*args.work, args.pictures)
        return
    os.environ["OMP_NUM_THREADS"] = str(args.threads)
    own, *_ = measure("camvid", "none", "float32", 0)
    print(f"Python, NumPy, Pillow and fullyconv alone: {own:.2f} s\n")
    print(
        "| engine | precision | start, s | 360 x 480, ms | side by side, ms | ms per megapixel |\n"
        "|---|---|---:|---:|---:|---:|"
    )
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for runtime, precision in ROWS:
            try:
                model = exported(folder) if runtime == "ncnn" else "camvid"
                start, alone, each = measure(model, runtime, precision, args.pictures)
            except (RuntimeError, ImportError, subprocess.CalledProcessError) as error:
                print(f"| {runtime} | {precision} | not measured: {error} | | | |")
                continue
            megapixel = each / (HEIGHT * WIDTH / 1e6)
            times = f"{1e3 * alone:.1f} | {1e3 * each:.1f}"
            row = f"{start - own:.2f} | {times} | {1e3 * megapixel:.0f}"
            print(f"| {runtime} | {precision} | {row} |", flush=True)
            if precision == "float32" and runtime != "torch-compiled":
                found[runtime] = max(0.0, start - own), megapixel
    if args.write:
        write(found, args.where)


def exported(folder: str) -> str:
    """The shipped model for ncnn, which is not shipped."""
    path = str(Path(folder) / "camvid.ncnn")
    command = [sys.executable, "-m", "fullyconv", "export", "camvid", "--to", "ncnn"]
    subprocess.run([*command, "--out", path], check=True, capture_output=True)
    return path


if __name__ == "__main__":
    main()
