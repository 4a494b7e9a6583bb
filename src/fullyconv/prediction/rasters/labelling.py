"""One raster of any size labelled by windows, and gone on with where it was broken off."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullyconv.errors import FullyConvError, UsageError
from fullyconv.files import write_json
from fullyconv.labels import LabelSpace, id_type
from fullyconv.prediction.predictor import Predictor
from fullyconv.prediction.rasters.files import PartFile, remove, write_geotiff
from fullyconv.prediction.rasters.polygons import POLYGON_FORMATS, write_polygons
from fullyconv.prediction.rasters.raster import Raster, open_raster
from fullyconv.prediction.rasters.sources import gdal
from fullyconv.prediction.tile_plan import Tiling, plan_tiles
from fullyconv.prediction.tiling import Band, label_bands, map_cells

_SHARE = 4  # of the available memory, one part of so many is used
_MOST = 960 << 20  # bytes, so that all of the program takes less than 1.5 GiB
_WAITING = 16  # bands that may wait to be written, some megabytes each: they come many at once
_NEAR = 1e-2  # by which the scores of one model may differ between engines, of the largest


@dataclass(frozen=True)
class RasterOptions:
    """What is made of a raster.

    Attributes:
        bands: Its channels to take, from 1, as red, green, blue; None for all that there are.
        scale: Values that become black and white; None for the whole range of 8 or 16 bits.
        probabilities: Write them too: a layer of 8 bits per class, 255 being 1.
        polygons: Write them too: ``"geojson"`` or ``"gpkg"``; empty for none.
        memory: Bytes that tiles may take; None for a quarter of what is free, at most 960 MiB.

    Raises:
        UsageError: If a number makes no sense.
    """

    bands: tuple[int, ...] | None = None
    scale: tuple[float, float] | None = None
    probabilities: bool = False
    polygons: str = ""
    memory: int | None = None

    def __post_init__(self) -> None:
        if self.bands is not None and (not self.bands or min(self.bands) < 1):
            raise UsageError(f"bands are {self.bands}; they are numbered from 1")
        if self.scale is not None and not self.scale[0] < self.scale[1]:
            raise UsageError(f"scale is {self.scale}; it rises from what becomes black to white")
        if self.memory is not None and self.memory <= 0:
            raise UsageError(f"memory is {self.memory} bytes; it must be above 0")
        if self.polygons and self.polygons not in POLYGON_FORMATS:
            raise UsageError(
                f"polygons is {self.polygons!r}; they are written as {' or '.join(POLYGON_FORMATS)}"
            )


@dataclass(frozen=True)
class RasterResult:
    """What became of a raster.

    Attributes:
        files: Written.
        damaged: Blocks that could not be read, and are void: rows and columns, from and up to.
        resumed: Rows that had been labelled before.
        height: Of the raster, in pixels.
        width: Of the raster, in pixels.
    """

    files: list[Path]
    damaged: list[tuple[int, int, int, int]]
    resumed: int
    height: int
    width: int


@dataclass(frozen=True)
class _Output:
    """A file that is to be made: of a head of the network, labels or probabilities."""

    path: Path
    space: LabelSpace
    first: int  # of its classes among all scores
    part: PartFile
    layers: bool

    def write(self, band: Band, unknown: NDArray[np.bool_] | None) -> None:
        scores = band.scores.part(self.first, self.first + self.space.num_classes)
        if not self.layers:
            rows = scores.labels()
            if unknown is not None:
                rows[unknown] = self.space.ignore_index
        else:
            logits = scores.logits()
            logits -= logits.max(0)
            np.exp(logits, out=logits)
            logits *= 255 / logits.sum(0)
            rows = np.rint(logits, out=logits).astype(np.uint8)
            if unknown is not None:
                rows[:, unknown] = 0
            rows = rows.transpose(1, 0, 2)
        self.part.write(band.start, rows)


def label_raster(
    source: str | os.PathLike[str],
    predictor: Predictor,
    out: str | os.PathLike[str],
    options: RasterOptions | None = None,
    *,
    before: Callable[[Tiling, int], object] | None = None,
    progress: Callable[[int], object] | None = None,
) -> RasterResult:
    """Label a raster of any size, within bounded memory.

    Finished rows are kept in ``OUT.part``, and what made them in ``OUT.part.json``: after a kill,
    the same call goes on behind them, with the same result.

    Args:
        source: The raster; see :func:`fullyconv.prediction.rasters.raster.open_raster`.
        predictor: The model.
        out: GeoTIFF of the labels; further files are named after it (``NAME-probs.tif``,
            ``NAME.geojson`` or ``NAME.gpkg``, ``NAME-HEAD.tif``).
        options: What is made.
        before: Told of the tiles, and of the rows that are done, before the work starts.
        progress: Told of the rows that are done, after each band.

    Raises:
        FullyConvError: If the raster cannot be read or does not fit the network, output cannot be
            written, memory is too little, or ``OUT.part`` is of something else.
    """
    gdal()
    out, options = Path(out), options or RasterOptions()
    if out.suffix.lower() not in (".tif", ".tiff"):
        raise UsageError(f"{out}: labels of a raster are a GeoTIFF, whose name ends in .tif")
    preprocess, runtime = predictor.header.preprocess, predictor.runtime
    if "depth" in preprocess.inputs:
        raise FullyConvError(f"{source}: this network takes depth, which no raster here has")
    channels = len(preprocess.mean)
    with open_raster(
        source, options.bands, options.scale, channels, numbers=preprocess.bands
    ) as raster:
        height, width = raster.source.height, raster.source.width
        outputs = _outputs(out, predictor, height, width, options)
        journal = _Journal(out, _job(raster, predictor, options))
        sides, done, damaged = journal.read()
        raster.damaged.extend(damaged)
        tiling = plan_tiles(
            runtime.plan,
            map_cells(runtime, channels, height, width),
            budget=options.memory or _budget(),
            pixel_bytes=channels * preprocess.dtype.itemsize,
            classes=sum(o.space.num_classes for o in outputs if not o.layers),
            sides=sides,
            streams=runtime.streams,
        )
        start = next((n for n, (_, stop) in enumerate(tiling.bands) if stop > done), None)
        if before is not None:
            before(tiling, done)

        def write(band: Band) -> None:
            unknown = raster.unknown(band.start, band.stop)
            for output in outputs:
                output.write(band, unknown)
            journal.write(tiling.sides, band.stop, raster.damaged)
            if progress is not None:
                progress(band.stop)

        if start is not None:
            with _Behind(write) as behind:
                for band in label_bands(runtime, raster.read, preprocess, tiling, start):
                    behind(band)
        place = raster.source.place
    files = _finish(out, outputs, place, options)
    remove([*(output.part.path for output in outputs), journal.path])
    return RasterResult(files, raster.damaged, done, height, width)


class _Behind:
    """Bands written by a thread of its own; what it raises is raised here."""

    def __init__(self, write: Callable[[Band], None]) -> None:
        self._write, self._thread = write, ThreadPoolExecutor(1)
        self._waiting: list[Future[None]] = []

    def __enter__(self) -> _Behind:
        return self

    def __exit__(self, kind: object, *error: object) -> None:
        self._thread.shutdown(cancel_futures=kind is not None)
        if kind is None:
            for future in self._waiting:
                future.result()

    def __call__(self, band: Band) -> None:
        while len(self._waiting) >= _WAITING:
            self._waiting.pop(0).result()
        self._waiting.append(self._thread.submit(self._write, band))


class _Journal:
    """What is known of a raster whose labels are being made: how, and how far they are."""

    def __init__(self, out: Path, job: dict[str, Any]) -> None:
        self.path, self._out, self._job = Path(f"{out}.part.json"), out, job

    def read(self) -> tuple[Any, int, list[tuple[int, int, int, int]]]:
        """Sides of the tiles, None if they are to be chosen; rows done; blocks damaged."""
        try:
            values = json.loads(self.path.read_text("utf-8"))
            job, probe = values["job"], np.asarray(values["job"].pop("scores"))
            sides, done = values["sides"], int(values["done"])
            damaged = [tuple(block) for block in values["damaged"]]
        except FileNotFoundError:
            return None, 0, []
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise self._other("is not readable") from error
        ours = {name: value for name, value in self._job.items() if name != "scores"}
        for name in ours:
            if job.get(name) != ours[name]:
                raise self._other(
                    f"is of another run ({name} is {job.get(name)}, not {ours[name]})"
                )
        now = np.asarray(self._job["scores"])
        if probe.shape != now.shape or abs(probe - now).max() > _NEAR * abs(now).max():
            raise self._other("was made by another model")
        return sides, done, damaged

    def write(self, sides: Any, done: int, damaged: Sequence[tuple[int, int, int, int]]) -> None:
        values = {"job": self._job, "sides": sides, "done": done, "damaged": list(damaged)}
        write_json(self.path, values)

    def _other(self, what: str) -> FullyConvError:
        return FullyConvError(
            f"{self.path}: it {what}; delete it and {self._out.name}.part to begin anew, or write "
            "to another file"
        )


def _job(raster: Raster, predictor: Predictor, options: RasterOptions) -> dict[str, Any]:
    """What must be the same for work to be gone on with."""
    status = raster.path.stat()
    preprocess = predictor.header.preprocess
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, len(preprocess.mean)), np.uint8)
    images = preprocess(noise.astype(preprocess.dtype))[None]
    said = predictor.runtime.run({"images": images}, ["scores"])["scores"]
    return {
        "source": str(raster.path.resolve()),
        "bytes": status.st_size,
        "changed": status.st_mtime_ns,
        "bands": list(raster.bands),
        "scale": None if raster.scale is None else list(raster.scale),
        "probabilities": options.probabilities,
        "categories": list(predictor.labels.categories),
        "pieces": [piece.target for piece in predictor.runtime.plan.pieces],
        "scores": said.mean((0, 2, 3)).astype(float).round(6).tolist(),
    }


def _outputs(
    out: Path, predictor: Predictor, height: int, width: int, options: RasterOptions
) -> list[_Output]:
    outputs: list[_Output] = []
    first = 0
    for head, space in {"": predictor.labels, **predictor.header.heads}.items():
        path = out.with_name(f"{out.stem}-{head}{out.suffix}") if head else out
        kind = id_type(space.num_classes)
        part = PartFile(Path(f"{path}.part"), height, (width,), kind)
        outputs.append(_Output(path, space, first, part, False))
        if options.probabilities:
            path = path.with_name(f"{path.stem}-probs.tif")
            part = PartFile(Path(f"{path}.part"), height, (space.num_classes, width))
            outputs.append(_Output(path, space, first, part, True))
        first += space.num_classes
    return outputs


def _finish(
    out: Path, outputs: Sequence[_Output], place: dict[str, Any], options: RasterOptions
) -> list[Path]:
    files = []
    for output in outputs:
        write_geotiff(output.path, output.part, output.space, place, output.layers)
        files.append(output.path)
        if options.polygons and not output.layers:
            path = output.path.with_suffix(f".{options.polygons}")
            write_polygons(path, output.path, output.space)
            files.append(path)
    return files


def _budget() -> int:
    import psutil

    return min(_MOST, int(psutil.virtual_memory().available) // _SHARE)
