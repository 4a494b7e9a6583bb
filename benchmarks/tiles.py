"""Memory and rate of labelling a raster far larger than memory, beside whole pictures.

    python benchmarks/tiles.py [--size 20000] [--runtime auto] [--model camvid] [--memory MB]

Makes an RGB TIFF out of examples/*.jpg, shifted and shaded anew in every block, in a temporary
folder, and labels it in a process of its own, whose peak resident memory is printed. The rate of
whole pictures of 1000 x 1000, labels included, is taken in that process, with the same engine, for
a quarter of a minute before and after: both rates are kept up, and whoever else uses the machine
shows in their difference. --overhead prints what is computed twice for each backbone instead.
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
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
BLOCK = 512
WHOLE_SECONDS = 15.0


def make(path: Path, height: int, width: int) -> None:
    import rasterio

    rng = np.random.default_rng(0)
    photos = [np.asarray(Image.open(p).convert("RGB")) for p in sorted(EXAMPLES.glob("*.jpg"))]
    big = [
        np.tile(p, (-(-2 * BLOCK // p.shape[0]), -(-2 * BLOCK // p.shape[1]), 1)) for p in photos
    ]
    profile = {"driver": "GTiff", "dtype": "uint8", "count": 3, "height": height, "width": width}
    layout = {"tiled": True, "blockxsize": BLOCK, "blockysize": BLOCK, "interleave": "pixel"}
    place = {"crs": "EPSG:32633", "transform": rasterio.transform.from_origin(4e5, 5e6, 0.1, 0.1)}
    with rasterio.open(path, "w", **profile, **layout, **place) as file:
        for top in range(0, height, BLOCK):
            rows = min(BLOCK, height - top)
            strip = np.empty((rows, width, 3), np.uint8)
            for left in range(0, width, BLOCK):
                photo = big[rng.integers(len(big))]
                y, x = rng.integers(0, BLOCK, 2)
                columns = min(BLOCK, width - left)
                part = photo[y : y + rows, x : x + columns] * rng.uniform(0.6, 1)
                strip[:, left : left + columns] = part.astype(np.uint8)
            file.write(strip.transpose(2, 0, 1), window=((top, top + rows), (0, width)))


def timed(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def kept_up(action: Callable[[], object]) -> float:
    """Seconds that an action takes, on the average of a quarter of a minute."""
    action()
    times: list[float] = []
    while sum(times) < WHOLE_SECONDS:
        times.append(timed(action))
    return sum(times) / len(times)


def measure(options: argparse.Namespace) -> None:
    """In a process of its own: label, and print what was measured as JSON."""
    from fullyconv.prediction.predictor import Predictor
    from fullyconv.prediction.rasters.labelling import RasterOptions, label_raster
    from fullyconv.scores import Scores

    predictor = Predictor(options.model, options.runtime)
    photo = np.tile(np.asarray(Image.open(next(EXAMPLES.glob("*.jpg"))).convert("RGB")), (3, 3, 1))
    photo = np.ascontiguousarray(photo[:1000, :1000])
    height, width = photo.shape[:2]

    def whole() -> None:
        given = {"images": predictor.header.preprocess(photo)[None]}
        coarse = predictor.runtime.run(given, ["scores"])["scores"][0]
        Scores(coarse, predictor.runtime.plan.landing, height, width).labels()

    before = kept_up(whole)
    at_first = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    memory = options.memory << 20 if options.memory else None
    seconds = timed(
        lambda: label_raster(
            options.raster,
            predictor,
            options.raster.with_name("labels.tif"),
            RasterOptions(memory=memory),
            before=lambda tiling, _: print(f"{tiling.describe()} {tiling.sides}", file=sys.stderr),
        )
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    rates = [height * width / 1e6 / took for took in (before, kept_up(whole))]
    print(json.dumps({"seconds": seconds, "peak": peak, "first": at_first, "whole": rates}))


def overheads() -> None:
    from fullyconv.errors import FullyConvError
    from fullyconv.models.create import create_model
    from fullyconv.prediction.tile_plan import plan_tiles
    from fullyconv.prediction.tiling import map_cells
    from fullyconv.runtimes.torch import TorchRuntime

    sizes = [(4000, 6000), (20000, 20000)]
    budgets = (512, 1280, 4096)
    names = [f"{h} x {w}, {b} MiB" for h, w in sizes for b in budgets]
    print("| network | " + " | ".join(names) + " |\n|---|" + "---:|" * len(names))
    for backbone in ("efficientnet_lite0", "alexnet", "vgg16", "googlenet"):
        for geometry in ("same", "reference"):
            if (backbone, geometry) == ("efficientnet_lite0", "reference"):
                continue
            model = create_model(f"fcn8s_{backbone}", num_classes=21, geometry=geometry)
            runtime, row = TorchRuntime(model, "cpu"), []
            for height, width in sizes:
                cells = map_cells(runtime, 3, height, width)
                for budget in budgets:
                    try:
                        tiling = plan_tiles(runtime.plan, cells, budget=budget << 20, classes=21)
                        row.append(f"{tiling.overhead:.0%}")
                    except FullyConvError:
                        row.append("does not fit")
            print(f"| {backbone}, {geometry} | " + " | ".join(row) + " |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, nargs="+", default=[20000], help="height and width")
    parser.add_argument("--runtime", default="auto")
    parser.add_argument("--model", default="camvid")
    parser.add_argument("--memory", type=int, help="MiB that tiles may take")
    parser.add_argument("--overhead", action="store_true")
    parser.add_argument("--raster", type=Path, help="internal: label this one, print JSON")
    options = parser.parse_args()
    if options.overhead:
        overheads()
        return
    if options.raster:
        measure(options)
        return
    height, width = options.size[0], options.size[-1]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.tif"
        made = timed(lambda: make(path, height, width))
        print(f"{height} x {width}, {path.stat().st_size / 1e6:,.0f} MB, made in {made:.0f} s")
        command = [sys.executable, __file__, "--raster", str(path), "--runtime", options.runtime]
        command += ["--model", options.model]
        command += ["--memory", str(options.memory)] if options.memory else []
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=os.environ).stdout
    result = json.loads(output.splitlines()[-1])
    rate = height * width / 1e6 / result["seconds"]
    before, after = result["whole"]
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} processors, runtime "
        f"{options.runtime}\nlabelled in {result['seconds']:.1f} s: {rate:.2f} megapixels/s, "
        f"{2 * rate / (before + after):.2f} of that of whole pictures of 1000 x 1000 ({before:.2f} "
        f"before, {after:.2f} after)\n"
        f"peak resident memory {result['peak']:,.0f} MiB, {result['first']:,.0f} of it before the "
        "first tile"
    )


if __name__ == "__main__":
    main()
