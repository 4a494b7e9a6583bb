"""What labelling a raster prints."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from tqdm import tqdm

from fullyconv.predictor import Predictor
from fullyconv.raster_labels import RasterOptions, label_raster
from fullyconv.tile_plan import Tiling


def raster(source: Path, predictor: Predictor, out: Path, options: RasterOptions) -> int:
    """Label one raster, say what it will take and how far it is, and return the exit status.

    Args:
        source: The raster.
        predictor: The model.
        out: GeoTIFF of the labels.
        options: What is made.
    """
    started = time.perf_counter()
    bar = tqdm(unit="px", unit_scale=True, disable=None, leave=False)
    width = resumed = 0

    def before(tiling: Tiling, done: int) -> None:
        nonlocal width, resumed
        width, resumed = tiling.width, done
        bar.write(f"{source}: {tiling.describe()}")
        if done:
            bar.write(f"  {done} of {tiling.height} rows are there already")
        bar.reset(tiling.height * width)
        bar.initial = done * width
        bar.update(done * width)

    def progress(rows: int) -> None:
        bar.update(rows * width - bar.n)

    try:
        result = label_raster(source, predictor, out, options, before=before, progress=progress)
    finally:
        bar.close()
    for file in result.files:
        print(file)
    print(f"labelled in {time.perf_counter() - started:.1f} s")
    for top, bottom, left, right in result.damaged:
        print(
            f"fcn: {source}: rows {top} to {bottom - 1}, columns {left} to {right - 1} cannot be "
            "read; they are void in the labels",
            file=sys.stderr,
        )
    return 1 if result.damaged else 0
