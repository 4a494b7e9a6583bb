"""``fcn predict``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from fullyconv.cluster.options import ClusterOptions
from fullyconv.commands.cluster import predict_far
from fullyconv.commands.photos import Report, Say, Tick, each_photo
from fullyconv.errors import UsageError

# Settings of films and rasters as they are where nobody has said anything
_STILL: dict[str, Any] = {"every": 1, "frames": "drop", "tiles": False}
_STILL |= {"bands": None, "scale": None, "polygons": ""}


def predict(
    sources: Annotated[list[str], tyro.conf.Positional, tyro.conf.arg(metavar="PHOTO")],
    model: str = "camvid",
    out: Annotated[str, tyro.conf.arg(metavar="FOLDER")] = "predictions",
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
    engine: Literal["process", "ray"] = "process",
    cluster: ClusterOptions = ClusterOptions(),  # noqa: B008
) -> int:
    """Label every pixel of photographs of any size, and of films.

    What an earlier run into the same folder has finished with the same settings is passed over.

    Args:
        sources: Photographs and films: files, folders (with their sub-folders), patterns, lists
            (NAME.txt or @NAME, a path on each line), https addresses, camera:0, and - for the
            standard input.
        model: Name of a shipped model (camvid: streets; nyudv2: rooms), a checkpoint, a run
            folder, or what fcn export wrote.
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
        engine: process: here; ray: by many workers, on this machine or others. PHOTO and out may
            then be addresses (s3://bucket/photos), and PHOTO tars.
        cluster: Of ray.
    """
    if save == "auto":
        save = "mask" if out == "-" else "mask,overlay"
    options: dict[str, Any] = {"model": model, "save": save, "runtime": runtime}
    options |= {"precision": precision, "flip": flip, "scales": scales}
    megabytes = None if memory is None else memory * 10**6
    here = {"every": every, "frames": frames, "tiles": tiles}
    raster = {
        "bands": bands or None,
        "scale": scale,
        "polygons": "" if polygons == "no" else polygons,
    }
    if engine == "ray":
        if out == "-" or {**here, **raster} != _STILL:
            raise UsageError(
                "--every, --frames, --tiles, --bands, --scale, --polygons and --out - are not for "
                "--engine ray, which labels photographs; leave them out, or it"
            )
        return predict_far(sources, out, megabytes, again, cluster, options)
    if out == "-":
        return _piped(sources, options)
    return _into_folder(sources, out, {**options, **here, "again": again}, raster, megabytes)


def _piped(sources: list[str], options: dict[str, Any]) -> int:
    from fullyconv.prediction.predicting import encoded

    content = encoded(sources, **options)
    if sys.stdout.isatty():
        raise UsageError("a picture is not written to a terminal; add > FILE, or --out FOLDER")
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()
    return 0


def _into_folder(
    sources: list[str],
    out: str,
    options: dict[str, Any],
    raster: dict[str, Any],
    memory: int | None,
) -> int:
    from fullyconv.prediction import predicting as verb
    from fullyconv.prediction.rasters.labelling import RasterOptions

    def run(report: Report, tick: Tick, say: Say) -> list[str]:
        return verb.predict(
            sources, out=out, raster=RasterOptions(**raster, memory=memory), report=report,
            tick=tick, say=say, **options,
        )  # fmt: skip

    return each_photo(run, _described, "labelled", Path(out, verb.SUMMARY), recorded=True)


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
