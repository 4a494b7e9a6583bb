"""Rasters read and labelled by windows, against the same pixels labelled at once."""

from __future__ import annotations

import contextlib
import importlib
import json
import multiprocessing
import os
import re
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from fullyconv import cli
from fullyconv.checkpoint import Header
from fullyconv.errors import FullyConvError, UsageError
from fullyconv.labels import CAMVID, SIFTFLOW_GEOMETRIC, LabelSpace
from fullyconv.models.create import create_model
from fullyconv.networks import model_config
from fullyconv.prediction.predicting import predict
from fullyconv.prediction.predictor import Predictor
from fullyconv.prediction.rasters.files import PartFile, write_geotiff
from fullyconv.prediction.rasters.labelling import RasterOptions, label_raster
from fullyconv.prediction.rasters.polygons import write_polygons
from fullyconv.prediction.rasters.raster import is_raster, open_raster
from fullyconv.prediction.rasters.sources import TiffSource, at_work
from fullyconv.preprocess import CAFFE
from fullyconv.runtimes.torch import TorchRuntime

rasterio: Any = pytest.importorskip("rasterio")
importlib.import_module("rasterio.shutil")
# rasterio.transform multiplies in a way that its own dependency wants to give up
pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    ["fullyconv.prediction.rasters.labelling", "fullyconv.runtimes.torch", "rasterio"]
)
SMALL = RasterOptions(memory=4 << 20)


def predictor(seed: int = 0) -> Predictor:
    torch.manual_seed(seed)
    config = model_config("fcn8s_alexnet", num_classes=11, width=1 / 16)
    model = create_model(config).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    header = Header(model=config, labels=CAMVID, preprocess=CAFFE)
    return Predictor.of(TorchRuntime(model, "cpu"), header)


def pixels(height: int = 430, width: int = 300, bands: int = 3) -> np.ndarray:
    coarse = np.random.default_rng(3).integers(0, 256, (height // 8 + 1, width // 8 + 1, bands))
    return coarse.repeat(8, 0).repeat(8, 1)[:height, :width].astype(np.uint8)


def write(path: Path, values: np.ndarray, **profile: Any) -> Path:
    height, width, count = values.shape
    place = {"crs": "EPSG:32633", "transform": rasterio.transform.from_origin(5e5, 5e6, 0.5, 0.5)}
    settings = {"driver": "GTiff", "dtype": values.dtype, "tiled": True} | place | profile
    settings |= {"blockxsize": 64, "blockysize": 64, "compress": "deflate"}
    colors = settings.pop("colormap", None)
    with (
        at_work(rasterio),
        rasterio.open(path, "w", height=height, width=width, count=count, **settings) as file,
    ):
        file.write(values.transpose(2, 0, 1))
        if colors:
            file.write_colormap(1, colors)
    return path


def read(path: Path) -> np.ndarray:
    with at_work(rasterio), rasterio.open(path) as file:
        values = file.read()
    return np.asarray(values[0] if len(values) == 1 else values)


def agree(labels: np.ndarray, image: np.ndarray, where: Any = np.True_) -> bool:
    """Equal to the whole picture's wherever no two classes are within rounding."""
    whole = predictor()(image)
    ordered = np.sort(whole.logits, 0)
    sure = ordered[-1] - ordered[-2] > 1e-4 * abs(ordered).max()
    return bool((labels == whole.labels)[sure & where].all())


def test_a_geotiff_keeps_its_place_and_says_its_classes(tmp_path: Path) -> None:
    image = pixels()
    source, out = write(tmp_path / "a.tif", image), tmp_path / "out" / "labels.tif"
    tilings: list[Any] = []
    rows: list[int] = []
    options = RasterOptions(probabilities=True, polygons="geojson", memory=4 << 20)
    result = label_raster(
        source,
        predictor(),
        out,
        options,
        before=lambda tiling, done: tilings.append((tiling, done)),
        progress=rows.append,
    )
    assert tilings[0][1] == 0
    assert tilings[0][0].tiles > 5
    assert rows == sorted(set(rows))
    assert rows[-1] == 430
    assert agree(read(out), image)
    with rasterio.open(source) as given, rasterio.open(out) as made:
        assert made.crs == given.crs
        assert made.transform == given.transform
        assert made.profile["compress"] == "deflate"
        assert made.profile["tiled"]
        assert made.nodata == 255
        assert [made.colormap(1)[n][:3] for n in range(11)] == list(CAMVID.palette)
        assert json.loads(made.tags()["categories"]) == list(CAMVID.categories)
    assert "<Category>bicyclist</Category>" in Path(f"{out}.aux.xml").read_text()
    probabilities = read(out.with_name("labels-probs.tif"))
    assert abs(probabilities / 255 - predictor()(image).probabilities()).max() <= 0.5 / 255 + 1e-5
    names = {"labels.tif", "labels.tif.aux.xml", "labels-probs.tif", "labels.geojson"}
    assert {path.name for path in out.parent.iterdir()} == names
    assert {path.name for path in result.files} == names - {"labels.tif.aux.xml"}


def test_polygons_are_the_labels(tmp_path: Path) -> None:
    """Drawn again, they are the same; void is left out; degrees where there is a place."""
    features = importlib.import_module("rasterio.features")
    labels = np.array([[0, 0, 1], [0, 255, 1], [2, 2, 1]], np.uint8).repeat(30, 0).repeat(40, 1)
    part = PartFile(tmp_path / "x.part", 90, (120,))
    part.write(0, labels)
    place = {"crs": "EPSG:32633", "transform": rasterio.transform.from_origin(5e5, 5e6, 0.5, 0.5)}
    for given in ({}, place):
        write_geotiff(tmp_path / "x.tif", part, CAMVID, given, layers=False)
        count = write_polygons(tmp_path / "x.geojson", tmp_path / "x.tif", CAMVID)
        found = json.loads((tmp_path / "x.geojson").read_text())["features"]
        assert count == len(found) == 3
        if not given:
            shapes = [(f["geometry"], f["properties"]["id"]) for f in found]
            drawn = features.rasterize(shapes, labels.shape, fill=255, dtype="uint8")
            assert np.array_equal(drawn, labels)
            assert found[0]["properties"]["category"] in CAMVID.categories
        else:
            longitude, latitude = found[0]["geometry"]["coordinates"][0][0]
            assert (round(longitude, 1), round(latitude)) == (15.0, 45)


@pytest.mark.parametrize("placed", [True, False])
def test_a_geopackage_holds_the_same_polygons(
    tmp_path: Path, placed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the raster's own coordinates: drawn again, they are the labels."""
    fiona = pytest.importorskip("fiona")
    features = importlib.import_module("rasterio.features")
    profile = {} if placed else {"crs": None, "transform": None}
    path = write(tmp_path / "a.tif", pixels(150, 130), **profile)
    label_raster(path, predictor(), tmp_path / "out.tif", RasterOptions(polygons="gpkg"))
    assert {p.name for p in tmp_path.iterdir()} == {
        "a.tif", "out.tif", "out.tif.aux.xml", "out.gpkg"
    }  # fmt: skip
    with at_work(rasterio), rasterio.open(tmp_path / "out.tif") as file:
        labels, transform = file.read(1), file.transform
    with fiona.open(tmp_path / "out.gpkg") as layer:
        assert (layer.driver, bool(layer.crs)) == ("GPKG", placed)
        found = [(f["geometry"].__geo_interface__, f["properties"]["id"]) for f in layer]
        assert {f["properties"]["category"] for f in layer} <= set(CAMVID.categories)
    drawn = features.rasterize(found, labels.shape, 255, transform=transform, dtype="uint8")
    assert np.array_equal(drawn, labels)
    (tmp_path / "out.gpkg").unlink()
    (tmp_path / "out.gpkg").mkdir()
    with pytest.raises(FullyConvError, match=r"out.gpkg: cannot be written .*what is finished is"):
        write_polygons(tmp_path / "out.gpkg", tmp_path / "out.tif", CAMVID)
    (tmp_path / "out.gpkg").rmdir()
    real = fiona.open
    nothing = contextlib.nullcontext(())
    monkeypatch.setattr(fiona, "open", lambda *a, **k: real(*a, **k) if k else nothing)
    with pytest.raises(FullyConvError, match="not all polygons are there; is the disk full"):
        write_polygons(tmp_path / "out.gpkg", tmp_path / "out.tif", CAMVID)
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("kind", ["npy", "grey", "palette", "16 bits", "scaled", "alpha", "chosen"])
def test_kinds_of_input(tmp_path: Path, kind: str) -> None:
    image, path = pixels(150, 130), tmp_path / "a.tif"
    options: dict[str, Any] = {}
    if kind == "npy":
        path = tmp_path / "a.npy"
        np.save(path, image)
    elif kind == "grey":
        write(path, image[..., :1])
        image = image[..., :1].repeat(3, 2)
    elif kind == "palette":
        colors = np.random.default_rng(0).integers(0, 256, (256, 3), np.uint8)
        write(path, image[..., :1], colormap={n: tuple(map(int, colors[n])) for n in range(256)})
        image = colors[image[..., 0]]
    elif kind == "16 bits":
        write(path, image.astype(np.uint16) * 257)
    elif kind == "scaled":
        write(path, (image.astype(np.float32) / 255 * 3 - 1))
        options = {"scale": (-1.0, 2.0)}
    elif kind == "alpha":
        write(
            path,
            np.concatenate([image, np.full_like(image[..., :1], 9)], 2),
            photometric="RGB",
            alpha="YES",
        )
    else:
        write(path, np.concatenate([image[..., ::-1], image, image], 2))
        options = {"bands": (3, 2, 1)}
    label_raster(path, predictor(), tmp_path / "out.tif", RasterOptions(**options))
    assert agree(read(tmp_path / "out.tif"), image)


@pytest.mark.parametrize("kind", ["BigTIFF", "COG", "JPEG 2000", "npy"])
def test_formats_of_large_pictures(tmp_path: Path, kind: str) -> None:
    """Each is what it says it is, and keeps its place where it has one."""
    image, placed = pixels(150, 130), kind != "npy"
    path = tmp_path / {"JPEG 2000": "a.jp2", "npy": "a.npy"}.get(kind, "a.tif")
    if kind == "BigTIFF":
        write(path, image, BIGTIFF="YES")
        assert path.read_bytes()[:4] == b"II+\0"
    elif kind == "npy":
        np.save(path, image)
    else:
        driver = "COG" if kind == "COG" else "JP2OpenJPEG"
        lossless = {} if kind == "COG" else {"QUALITY": "100", "REVERSIBLE": "YES"}
        if driver not in rasterio.drivers.raster_driver_extensions().values() and kind != "COG":
            pytest.skip(f"this GDAL has no {driver}")
        with at_work(rasterio):
            rasterio.shutil.copy(write(tmp_path / "t.tif", image), path, driver=driver, **lossless)
        assert kind != "COG" or b"LAYOUT=IFDS_BEFORE_DATA" in path.read_bytes()[:200]
        assert kind == "COG" or path.read_bytes()[4:8] == b"jP  "
    label_raster(path, predictor(), tmp_path / "out.tif", SMALL)
    assert agree(read(tmp_path / "out.tif"), image)
    with at_work(rasterio), rasterio.open(tmp_path / "out.tif") as labels:
        assert (labels.crs is not None) is placed
        assert placed == (labels.transform.c == 5e5)


def test_what_is_transparent_is_void(tmp_path: Path) -> None:
    image = pixels(150, 130)
    opaque = np.full_like(image[..., :1], 255)
    opaque[:40, 20:] = 0
    path = write(
        tmp_path / "a.tif", np.concatenate([image, opaque], 2), photometric="RGB", alpha="YES"
    )
    label_raster(path, predictor(), tmp_path / "out.tif", SMALL)
    labels = read(tmp_path / "out.tif")
    assert ((labels == 255) == (opaque[..., 0] == 0)).all()
    assert agree(labels, image, opaque[..., 0] != 0)


def test_pixels_without_a_value_are_void(tmp_path: Path) -> None:
    image = pixels(300, 200)
    image[100:200, 50:90] = 7
    image[:20] = 7
    label_raster(write(tmp_path / "a.tif", image, nodata=7), predictor(), tmp_path / "o.tif", SMALL)
    labels = read(tmp_path / "o.tif")
    unknown = (image == 7).all(2)
    assert (labels[unknown] == 255).all()
    assert agree(labels, image, ~unknown)


def test_a_damaged_block_is_void_and_the_rest_is_labelled(tmp_path: Path) -> None:
    """A tile in the middle is overwritten; the command says where, and fails."""
    image = pixels()
    source = write(tmp_path / "a.tif", image)
    tifffile = pytest.importorskip("tifffile")
    with tifffile.TiffFile(source) as file:
        page = file.pages[0]
        offset, size = page.dataoffsets[3 * 5 + 2], page.databytecounts[3 * 5 + 2]
    content = bytearray(source.read_bytes())
    content[offset : offset + size] = bytes(size)
    source.write_bytes(content)
    result = label_raster(source, predictor(), tmp_path / "o.tif", SMALL)
    assert result.damaged == [(192, 256, 128, 192)]
    labels = read(tmp_path / "o.tif")
    assert (labels[192:256, 128:192] == 255).all()
    assert (labels == 255).sum() == 64 * 64
    black = image.copy()
    black[192:256, 128:192] = 0
    assert agree(labels, black, labels != 255)


class Killed(BaseException):
    pass


def work(source: Path, out: Path, started: Any) -> None:
    """What a process does that is to be killed, slowly."""
    torch.set_num_threads(1)
    label_raster(source, predictor(), out, SMALL, progress=lambda rows: time.sleep(0.2))


def test_killed_and_gone_on_with(tmp_path: Path) -> None:
    """SIGKILL when some bands are done; the second run does the others, and the result is one."""
    source = write(tmp_path / "a.tif", pixels(1600, 200))
    label_raster(source, predictor(), tmp_path / "whole.tif", SMALL)
    out = tmp_path / "o.tif"
    journal = Path(f"{out}.part.json")
    process = FORKS.Process(target=work, args=(source, out, None))
    process.start()
    while process.is_alive() and not (
        journal.exists() and json.loads(journal.read_text())["done"] > 400
    ):
        time.sleep(0.01)
    process.kill()
    process.join()
    assert process.exitcode == -9
    assert not out.exists()
    done = json.loads(journal.read_text())["done"]
    assert 400 < done < 1600
    assert label_raster(source, predictor(), out, SMALL).resumed == done
    assert np.array_equal(read(out), read(tmp_path / "whole.tif"))
    assert not journal.exists()
    assert not Path(f"{out}.part").exists()


def stopped(source: Path, out: Path, bands: int = 2) -> None:
    """A run that ends after some bands."""

    def stop(rows: int, seen: list[int] = []) -> None:  # noqa: B006
        seen.append(rows)
        if len(seen) == bands:
            raise Killed

    with pytest.raises(Killed):
        label_raster(source, predictor(), out, SMALL, progress=stop)


def test_what_is_resumed_must_be_the_same(tmp_path: Path) -> None:
    source, out = write(tmp_path / "a.tif", pixels(900, 100)), tmp_path / "o.tif"
    stopped(source, out)
    with pytest.raises(FullyConvError, match="made by another model; delete it"):
        label_raster(source, predictor(seed=1), out, SMALL)
    with pytest.raises(FullyConvError, match="of another run .scale is None, not"):
        label_raster(source, predictor(), out, RasterOptions(scale=(0.0, 99.0)))
    os.utime(source)
    with pytest.raises(FullyConvError, match="of another run .changed is"):
        label_raster(source, predictor(), out, SMALL)
    Path(f"{out}.part.json").write_text("{")
    with pytest.raises(FullyConvError, match="is not readable; delete it"):
        label_raster(source, predictor(), out, SMALL)


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the middle of the rows, and in the end: both are said, and what is done is kept."""
    source, out = write(tmp_path / "a.tif", pixels(900, 100)), tmp_path / "o.tif"
    stopped(source, out)
    with monkeypatch.context() as patch:

        def full(*_: Any) -> None:
            raise OSError(28, "No space left on device")

        patch.setattr(os, "fsync", full)
        with pytest.raises(FullyConvError, match="No space left on device.; what is finished is"):
            label_raster(source, predictor(), out, SMALL)
    with monkeypatch.context() as patch:
        patch.setattr(np, "array_equal", lambda *_: False)
        with pytest.raises(FullyConvError, match="what was written is not what is there"):
            label_raster(source, predictor(), out, SMALL)
    assert not out.exists()
    result = label_raster(source, predictor(), out, SMALL)
    assert result.resumed == 900
    assert agree(read(out), pixels(900, 100))


def test_a_disk_that_is_really_full(tmp_path: Path, small_model: Path) -> None:
    """The system refuses more than 40 kB a file; rows before stay, and the next run goes on."""
    source, out = write(tmp_path / "a.tif", pixels(900, 100)), tmp_path / "out"
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))\n"
        "from fullyconv import cli; sys.exit(cli.run(sys.argv[1:]))"
    )
    options = ["predict", str(source), "--model", str(small_model), "--out", str(out)]
    options += ["--memory", "4"]
    done = subprocess.run(
        [sys.executable, "-c", code, *options], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "a-mask.tif.part: cannot be written (File too large); what is finished is" in done.stderr
    assert "Traceback" not in done.stderr
    assert (out / "a-mask.tif.part").stat().st_size == 40_000
    assert cli.run(options) == 0
    assert read(out / "a-mask.tif").shape == (900, 100)


def test_a_compression_that_is_not_known(tmp_path: Path, small_model: Path) -> None:
    path = write(tmp_path / "a.tif", pixels(90, 100))
    content = bytearray(path.read_bytes())
    (start,) = struct.unpack("<I", content[4:8])
    (entries,) = struct.unpack("<H", content[start : start + 2])
    at = next(
        offset
        for offset in range(start + 2, start + 2 + 12 * entries, 12)
        if content[offset : offset + 2] == struct.pack("<H", 259)
    )
    content[at + 8 : at + 10] = struct.pack("<H", 65123)
    path.write_bytes(content)
    with (
        pytest.raises(FullyConvError, match=r"a\.tif: .*65123 is not a known COMPRESSION"),
        open_raster(path),
    ):
        pass
    (said,) = predict([path], model=small_model, out=tmp_path / "out")
    assert "a.tif: this TIFF has a compression or layout that is not known here; save it" in said


def test_two_heads_are_two_files(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = create_model("siftflow-fcn8s", width=1 / 16).eval()
    heads = dict(zip(("semantic", "geometric"), (33, 3), strict=True))
    space = LabelSpace(categories=tuple(f"class {n}" for n in range(heads["semantic"])))
    header = Header(
        model=model_config("siftflow-fcn8s", width=1 / 16),
        labels=space,
        preprocess=CAFFE,
        heads={"geometric": SIFTFLOW_GEOMETRIC},
    )
    two = Predictor.of(TorchRuntime(model, "cpu"), header)
    np.save(tmp_path / "a.npy", pixels(90, 80))
    result = label_raster(tmp_path / "a.npy", two, tmp_path / "o.tif")
    assert [path.name for path in result.files] == ["o.tif", "o-geometric.tif"]
    expected = two(pixels(90, 80)).heads["geometric"].labels
    assert np.array_equal(read(tmp_path / "o-geometric.tif"), expected)


@pytest.mark.parametrize("settings", [{}, {"tile": (64, 48)}, {"planarconfig": "separate"}])
def test_tiff_without_rasterio(tmp_path: Path, settings: dict[str, Any]) -> None:
    tifffile = pytest.importorskip("tifffile")
    image = pixels(150, 130)
    values = image.transpose(2, 0, 1) if "planarconfig" in settings else image
    if "tile" not in settings:
        settings = settings | {"rowsperstrip": 32}
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb", compression="zlib", **settings)
    source = TiffSource(tmp_path / "a.tif")
    got = source.read([2, 0], (20, 145), (5, 111))
    assert np.array_equal(got, image[20:145, 5:111, [2, 0]])
    source.close()


def test_what_cannot_be_read(tmp_path: Path) -> None:
    def refused(path: Path, match: str, **options: Any) -> None:
        with pytest.raises(FullyConvError, match=match), open_raster(path, **options):
            pass

    image = pixels(70, 80)
    refused(tmp_path / "none.tif", "there is no such file")
    (tmp_path / "bad.tif").write_bytes(b"II*\0nonsense")
    refused(tmp_path / "bad.tif", "no raster that can be read here")
    (tmp_path / "bad.jp2").write_bytes(b"nonsense")
    refused(tmp_path / "bad.jp2", "no raster that can be read here")
    (tmp_path / "bad.npy").write_bytes(b"nonsense")
    refused(tmp_path / "bad.npy", "cannot be read as a NumPy array")
    np.save(tmp_path / "flat.npy", np.zeros(5))
    refused(tmp_path / "flat.npy", "float64 of shape .5,.")
    seven = write(tmp_path / "7.tif", np.concatenate([image, image, image[..., :1]], 2))
    refused(seven, "7 bands for a network that takes 3; choose them with --bands")
    with (
        pytest.raises(UsageError, match="bands 1 to 7, not 0, 1, 2"),
        open_raster(seven, (0, 1, 2)),
    ):
        pass
    with (
        pytest.raises(UsageError, match="scale 5 to 5 is empty"),
        open_raster(write(tmp_path / "a.tif", image), scale=(5, 5)),
    ):
        pass
    refused(
        write(tmp_path / "f.tif", image.astype(np.float32)), "numbers are float32, which has no"
    )


def test_depth_is_refused(tmp_path: Path) -> None:
    from dataclasses import replace

    one = predictor()
    depth = replace(CAFFE, mean=(1.0,), std=(1.0,), inputs=("depth",))
    one.header = replace(one.header, preprocess=depth)
    with pytest.raises(FullyConvError, match="this network takes depth"):
        label_raster(tmp_path / "a.npy", one, tmp_path / "o.tif")


def test_which_files_are_rasters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = pixels(70, 80)
    assert is_raster(write(tmp_path / "a.tif", image))
    plain = write(tmp_path / "b.tif", image, crs=None, transform=None)
    assert not is_raster(plain)
    np.save(tmp_path / "a.npy", image)
    assert is_raster(tmp_path / "a.npy")
    assert not is_raster(tmp_path / "none.tif")
    assert not is_raster(Path(__file__))
    from PIL import Image

    Image.fromarray(image).save(tmp_path / "a.png")
    assert not is_raster(tmp_path / "a.png")
    monkeypatch.setattr("fullyconv.prediction.rasters.raster.MAX_PIXELS", 100)
    assert is_raster(tmp_path / "a.png")
    assert is_raster(plain)


def test_without_rasterio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "rasterio", None)
    with pytest.raises(FullyConvError, match=r'pip install "fullyconv\[raster\]"'):
        label_raster(tmp_path / "a.tif", predictor(), tmp_path / "o.tif")


def test_the_command_reads_rasters_by_rows_and_photographs_whole(
    small_model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A georeferenced raster, one with a damaged block, and a photograph in one folder."""
    scenes = tmp_path / "scenes"
    scenes.mkdir()
    image = pixels(200, 300)
    place = rasterio.Affine(10, 0, 500_000, 0, -10, 5_000_000)
    good = {"crs": "EPSG:32633", "transform": place, "tiled": True, "blockxsize": 64}
    good |= {"blockysize": 64, "compress": "deflate"}
    write(scenes / "good.tif", image, **good)
    bad = write(scenes / "bad.tif", image, **good)
    with rasterio.open(bad) as file:
        offset = int(file.get_tag_item("BLOCK_OFFSET_1_1", "TIFF", bidx=1))
    content = bytearray(bad.read_bytes())
    content[offset : offset + 40] = bytes(40)
    bad.write_bytes(content)
    Image.fromarray(image).save(scenes / "photo.png")
    out = tmp_path / "out"
    command = ["predict", str(scenes), "--model", str(small_model), "--out", str(out)]
    assert cli.run([*command, "--memory", "8", "--polygons", "geojson"]) == 1
    said = capsys.readouterr()
    assert "200 x 300 pixels in " in said.out
    assert re.search(r"^1 of 2 rasters, 1 of 1 photographs labelled in", said.out, re.MULTILINE)
    assert "photo.png: polygons are written of rasters, which are read by windows" in said.out
    assert re.search(
        r"bad\.tif: rows 64 to 127, columns 64 to 127 cannot be read, and are", said.err
    )
    with rasterio.open(out / "good-mask.tif") as labels:
        assert labels.transform == place
        found = labels.read(1)
    expected = Predictor(small_model)(image)
    logits = np.sort(expected.logits, 0)
    sure = logits[-1] - logits[-2] > 1e-4 * abs(logits).max()
    assert np.array_equal(found[sure], expected.labels[sure])
    with Image.open(out / "photo-mask.png") as mask:
        assert np.array_equal(np.asarray(mask)[sure], expected.labels[sure])
    assert (out / "good-mask.geojson").exists()
    assert (
        cli.run([*command, "--memory", "8", "--polygons", "geojson"]) == 1
    )  # what is damaged, again
    assert "2 were labelled before" in capsys.readouterr().out
    with pytest.raises(UsageError, match="is read by windows and becomes a GeoTIFF"):
        cli.run([*command[:1], str(scenes / "good.tif"), *command[2:4], "--out", "-"])


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"bands": (0, 1, 2)}, "numbered from 1"),
        ({"scale": (10.0, 10.0)}, r"scale is \(10\.0, 10\.0\); it rises"),
        ({"memory": -5}, "memory is -5 bytes"),
        ({"polygons": "shp"}, "polygons is 'shp'; they are written as geojson or gpkg"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        RasterOptions(**options)


def test_labels_of_a_raster_are_a_geotiff(tmp_path: Path) -> None:
    source = write(tmp_path / "a.tif", pixels(40, 40))
    with pytest.raises(UsageError, match=r"whose name ends in \.tif"):
        label_raster(source, predictor(), tmp_path / "labels.png")
