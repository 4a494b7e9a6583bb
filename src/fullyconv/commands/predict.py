"""``fcn predict``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from fullyconv.commands.photos import Report, Say, Tick, each_photo
from fullyconv.errors import UsageError


def predict(
    sources: Annotated[list[str], tyro.conf.Positional, tyro.conf.arg(metavar="PHOTO")],
    model: str = "camvid",
    out: Path = Path("predictions"),
    save: str = "auto",
    runtime: str = "auto",
    precision: str = "float32",
    flip: tyro.conf.FlagCreatePairsOff[bool] = False,
    scales: str = "1",
    again: tyro.conf.FlagCreatePairsOff[bool] = False,
    every: int = 1,
    frames: Literal["drop", "queue"] = "drop",
    tiles: tyro.conf.FlagCreatePairsOff[bool] = False,
    bands: Annotated[tuple[int, ...], tyro.conf.arg(metavar="BAND ...")] = (),
    scale: Annotated[tuple[float, float] | None, tyro.conf.arg(metavar="LOW HIGH")] = None,
    polygons: Literal["no", "geojson", "gpkg"] = "no",
    memory: Annotated[int | None, tyro.conf.arg(metavar="MB")] = None,
) -> int:
    """Label every pixel of photographs of any size, and of films.

    What an earlier run into the same folder has finished with the same settings is passed over.

    Args:
        sources: Photographs and films: files, folders (with their sub-folders), patterns, lists
            (NAME.txt or @NAME, a path on each line), https addresses, camera:0, and - for the
            standard input.
        model: Name of a shipped model (camvid: streets; nyudv2: rooms), a checkpoint, or what
            fcn export wrote.
        out: Folder for the results; - writes the one result to the standard output.
        save: Any of mask, color, overlay and probs, comma-separated; auto: mask,overlay, and mask
            to the standard output.
        runtime: Engine: torch, torch-compiled, onnx, openvino, ncnn; auto takes the one that is
            done first.
        precision: float32, or bfloat16 (openvino, torch): faster on some processors, less exact.
        flip: Average with the mirrored photograph: twice the time, a little more accurate.
        scales: Average over the photograph at these scales: 0.75,1,1.25.
        again: Label again what is finished.
        every: Of films: label every so-manieth frame only.
        frames: Of cameras: drop frames to keep up, or queue them (up to 100).
        tiles: Read everything by windows, as is done with georeferenced rasters and with what is
            too large for memory; their labels become GeoTIFFs.
        bands: Of rasters: the bands that are red, green and blue, from 1; of a network trained on
            bands, those in the order of training.
        scale: Of rasters: the numbers that become black and white.
        polygons: Of rasters: write the labels as polygons, too: geojson, or gpkg (GeoPackage).
        memory: Megabytes that labelling may take; what takes more is done in tiles.
    """
    from fullyconv.prediction import predicting as verb

    to_stdout = str(out) == "-"
    if save == "auto":
        save = "mask" if to_stdout else "mask,overlay"
    options: dict[str, Any] = {
        "model": model,
        "save": save,
        "runtime": runtime,
        "precision": precision,
        "flip": flip,
        "scales": scales,
    }
    if to_stdout:
        content = verb.encoded(sources, **options)
        if sys.stdout.isatty():
            raise UsageError("a picture is not written to a terminal; add > FILE, or --out FOLDER")
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
        return 0

    raster = _raster_options(bands, scale, polygons, memory)

    def run(report: Report, tick: Tick, say: Say) -> list[str]:
        return verb.predict(
            sources, out=out, again=again, every=every, frames=frames, tiles=tiles,
            raster=raster, report=report, tick=tick, say=say, **options,
        )  # fmt: skip

    return each_photo(run, _described, "labelled", out / verb.SUMMARY)


def _raster_options(
    bands: tuple[int, ...], scale: tuple[float, float] | None, polygons: str, memory: int | None
) -> Any:
    from fullyconv.prediction.rasters.labelling import RasterOptions

    megabytes = None if memory is None else memory * 10**6
    polygons = "" if polygons == "no" else polygons
    return RasterOptions(bands or None, scale, polygons=polygons, memory=megabytes)


def _described(result: Any) -> str:
    if hasattr(result, "resumed"):
        return f"({result.height} x {result.width})"
    shares = ", ".join(f"{name} {100 * s:.1f} %" for name, s in result.shares().items())
    if hasattr(result, "labels"):
        height, width = result.labels.shape
        return f"({height} x {width})\n  {shares}"
    said = f"({result.height} x {result.width}, {result.frames} frames)\n  {shares}"
    if result.dropped:
        said += f"\n  {result.dropped} frames were left out to keep up with the camera"
    if result.damaged:
        said += f"\n  {result.damaged} frames are damaged"
    return said + (f"\n  {result.trouble}" if result.trouble else "")
