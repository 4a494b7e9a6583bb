"""A folder of pictures end to end, from files to files: pictures per second and where time goes.

    python benchmarks/folder.py PHOTOS [--model camvid] [--runtime auto] [--repeat 3]

Prints, for one picture on one thread, the milliseconds of each step; then pictures per second of
``fullyconv.predict`` over the folder, the processor time of each, and the peak of memory.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from PIL import Image

import fullyconv
from fullyconv.images import encode_image
from fullyconv.prediction.photos import list_photos
from fullyconv.prediction.predictor import Predictor
from fullyconv.prediction.sources import read_source
from fullyconv.visualize import beside, legend


def steps(photos: Path, model: str, runtime: str, count: int = 20) -> dict[str, float]:
    """Median milliseconds of each step over some pictures, one after the other."""
    predictor = Predictor(model, runtime)
    times: dict[str, list[float]] = {}

    def timed(name: str, call: Callable[..., Any], *args: Any) -> Any:
        start = time.perf_counter()
        result = call(*args)
        times.setdefault(name, []).append(1000 * (time.perf_counter() - start))
        return result

    for photo in islice(list_photos(photos), count):
        pixels = timed("read and decode", read_source, photo.path)
        said = timed("preprocess and network", predictor, pixels)
        timed("labels", getattr, said, "labels")
        shares = timed("shares", said.shares)
        blended = timed("overlay", said.overlay)
        order = [shares.get(name, 0.0) for name in said.categories]
        table = timed("legend", legend, said.space, order, len(blended))
        shown = Image.fromarray(beside(blended, table))
        timed("encode overlay", partial(encode_image, quality=92), shown, "JPEG")
        timed("encode mask", said.encode, "mask")
    return {name: sorted(values)[len(values) // 2] for name, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("--model", default="camvid")
    parser.add_argument("--runtime", default="auto")
    parser.add_argument("--save", default="mask,overlay")
    parser.add_argument("--repeat", type=int, default=3)
    args = parser.parse_args()
    for name, milliseconds in steps(args.photos, args.model, args.runtime).items():
        print(f"{name:24}{milliseconds:8.2f} ms")
    count = sum(1 for _ in list_photos(args.photos))
    rates, processor = [], 0.0
    for _ in range(args.repeat):
        with tempfile.TemporaryDirectory() as out:
            start, used = time.perf_counter(), time.process_time()
            fullyconv.predict(
                args.photos, model=args.model, runtime=args.runtime, save=args.save, out=out
            )
            rates.append(count / (time.perf_counter() - start))
            processor = 1000 * (time.process_time() - used) / count
    print(f"{count} pictures, {args.model}, runtime {args.runtime}, saving {args.save}:")
    print(f"best {max(rates):.1f}, median {sorted(rates)[len(rates) // 2]:.1f} pictures per second")
    print(f"{processor:.1f} ms of processor time a picture")
    print(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB peak memory")


if __name__ == "__main__":
    main()
