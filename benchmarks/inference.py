"""Seconds of one prediction, ours beside what one could use instead: same weights, same picture.

    python benchmarks/inference.py                         FCN-8s-VGG16, reference geometry, 375x500
    python benchmarks/inference.py --model my.safetensors  with trained weights
    python benchmarks/inference.py --model camvid --geometry same --size 360 480

Each row runs in a process of its own, one after the other, so that thread pools and peak memory are
its own. Shown are the best of several repeats; the processors' time of one, which says
something even where others use the machine; its ratio to the fastest peer of the same precision;
the share that the operations needed (those of the elided network) would take of the time at the
measured peak of a matrix product; peak memory; and how many labels are those of float32. Random
weights keep their activations' size, but their labels mean little: give a trained model for those.
The paper's own claim, section 3.1, is measured by `fcn study dense-inference`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from inference_rows import CUDA_ROWS, ROWS, Array, Case, Row
from PIL import Image
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from train_step import peak_flops, timed

from fullyconv.checkpoint import model_path, read_header, read_tensors
from fullyconv.models.create import create_model
from fullyconv.models.fast.elision import elide
from fullyconv.networks import model_config
from fullyconv.preprocess import CAFFE


def case(options: argparse.Namespace) -> Case:
    height, width = options.size
    torch.set_num_threads(options.threads)
    if options.model == "random":
        config, preprocess = model_config("fcn8s_vgg16", geometry=options.geometry), CAFFE
        torch.manual_seed(0)
        model = create_model(config)
        for name, parameter in model.named_parameters():
            fan_in = parameter[0].numel()
            nn.init.normal_(parameter, std=0.3 if name.endswith("bias") else (2 / fan_in) ** 0.5)
    else:
        path = model_path(options.model)
        header = read_header(path)
        preprocess = header.preprocess
        model = create_model(replace(header.model, geometry=options.geometry))
        model.load_state_dict({name: value.float() for name, value in read_tensors(path).items()})

    def read(path: Path) -> Array:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB").resize((width, height)))
        return preprocess(pixels)[None]

    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (height // 25 + 1, width // 25 + 1, 3), np.uint8)
    blocks = noise.repeat(25, 0).repeat(25, 1)[:height, :width]
    images = read(options.picture) if options.picture else preprocess(blocks)[None]
    more = sorted(options.calibration.iterdir()) if options.calibration else []
    calibration = [read(path) for path in more[:: max(1, len(more) // 10)]] or [images]
    return Case(model.eval(), images, calibration, options.folder, options.threads)


def measure(row: Row, options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of the fastest of several runs, peak memory, and the labels' file."""
    loaded = case(options)
    with torch.inference_mode():
        predict = row.load(loaded)
        first = predict()
        logits = first.float().numpy() if isinstance(first, torch.Tensor) else np.array(first)
        start = time.process_time()
        seconds = min(timed(predict) for _ in range(options.repeats))
        cpu = (time.process_time() - start) / options.repeats
    labels = options.folder / f"{time.time_ns()}.npy"
    np.save(labels, logits.argmax(1).astype(np.uint8))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"seconds": seconds, "cpu": cpu, "peak": peak, "labels": str(labels)}


def needed(options: argparse.Namespace) -> float:
    """Operations that cannot be left out: the elided network's."""
    loaded = case(options)
    model = elide(loaded.model)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model(loaded.tensor())
    return float(counter.get_total_flops())


def results(options: argparse.Namespace, command: list[str]) -> Iterator[tuple[str, Row, Any]]:
    """Each row's measurements, or the last line of why there are none."""
    rows = ROWS | (CUDA_ROWS if torch.cuda.is_available() else {})
    for name, row in rows.items():
        if options.rows and not any(part in name for part in options.rows):
            continue
        call = [*command, "--row", name, "--folder", str(options.folder)]
        done = subprocess.run(call, capture_output=True, text=True, env=os.environ)
        lines = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines()
        yield name, row, json.loads(lines[-1]) if done.returncode == 0 else lines[-1:]


def report(options: argparse.Namespace, command: list[str]) -> None:
    torch.set_num_threads(options.threads)
    peaks = {name: peak_flops(getattr(torch, name)) for name in ("float32", "bfloat16")}
    flop = needed(options)
    print(
        f"{platform.processor() or platform.machine()}, {options.threads} threads, torch "
        f"{torch.__version__}, {options.size[0]} x {options.size[1]}, {flop / 1e9:.0f} GFLOP, "
        + ", ".join(f"{peak / 1e9:.0f} GFLOP/s {name}" for name, peak in peaks.items())
    )
    print(f"{'':<26}{'seconds':>9}{'of CPU':>8}{'to peer':>9}{'of peak':>9}{'GiB':>7}{'labels':>9}")
    best: dict[str, float] = {}
    right = None
    for name, row, result in results(options, command):
        if isinstance(result, list):
            print(f"{name:<26} left out: {' '.join(result)[:100]}")
            continue
        labels = np.load(result["labels"])
        right = labels if right is None else right
        seconds = result["seconds"]
        if not row.ours:
            for precision in {row.precision, "any"}:
                best[precision] = min(seconds, best.get(precision, seconds))
        ratio = seconds / best.get(row.precision, seconds)
        share = flop / peaks["float32" if row.precision == "float32" else "bfloat16"] / seconds
        same = np.mean(labels == right) if labels.shape == right.shape else np.nan
        print(
            f"{name:<26}{seconds:>9.3f}{result['cpu']:>8.2f}{ratio:>9.2f}{share:>9.0%}"
            f"{result['peak'] / 2**30:>7.2f}{same:>9.2%}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="random", help="a checkpoint or a shipped model")
    parser.add_argument("--geometry", default="reference", choices=("reference", "same"))
    parser.add_argument("--size", type=int, nargs=2, default=(375, 500))
    parser.add_argument("--picture", type=Path, help="a photograph, resized to --size")
    parser.add_argument("--calibration", type=Path, help="a folder of photographs, for int8")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--rows", nargs="*", help="only those that have one of these in their name")
    parser.add_argument("--row", help="internal: measure this one, print JSON")
    parser.add_argument("--folder", type=Path, help="internal: for files")
    options = parser.parse_args()
    if options.row:
        row = (ROWS | CUDA_ROWS)[options.row]
        print(json.dumps(measure(row, options)))
    else:
        with tempfile.TemporaryDirectory() as folder:
            options.folder = Path(folder)
            report(options, [sys.executable, *sys.argv])


if __name__ == "__main__":
    main()
