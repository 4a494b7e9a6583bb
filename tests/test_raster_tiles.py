"""Rasters and polygons in coordinate systems of their own, cut into a data set that trains."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fullyconv import cli
from fullyconv.data.folder import FolderDataset
from fullyconv.data.proposal import propose
from fullyconv.data.raster_tiles import cut_tiles
from fullyconv.data.sources import read_label_space
from fullyconv.errors import FullyConvError, UsageError

rasterio = pytest.importorskip("rasterio")
fiona = pytest.importorskip("fiona")

LEFT, TOP, PIXEL = 500_000.0, 5_000_000.0, 10.0  # UTM zone 33
HEIGHT, WIDTH = 100, 170


def write_raster(path: Path, dtype: str = "uint8", bands: int = 3) -> np.ndarray:
    """Numbers that tell their place; a corner without data."""
    values = np.arange(bands * HEIGHT * WIDTH).reshape(bands, HEIGHT, WIDTH) % 250 + 1
    values[:, :10, :20] = 0
    with rasterio.open(
        path, "w", driver="GTiff", height=HEIGHT, width=WIDTH, count=bands, dtype=dtype,
        crs="EPSG:32633", transform=rasterio.Affine(PIXEL, 0, LEFT, 0, -PIXEL, TOP), nodata=0,
    ) as file:  # fmt: skip
        file.write(values.astype(dtype))
    return values


def rectangle(rows: tuple[int, int], columns: tuple[int, int]) -> list[list[float]]:
    """A ring around whole pixels, in the raster's coordinates."""
    y = [TOP - PIXEL * row for row in rows]
    x = [LEFT + PIXEL * column for column in columns]
    return [[x[0], y[0]], [x[1], y[0]], [x[1], y[1]], [x[0], y[1]], [x[0], y[0]]]


# Roof with a hole; a road over part of it, later in the file; a lake across a border of tiles
AREAS = [
    ("roof", [rectangle((5, 40), (30, 60)), rectangle((10, 20), (40, 50))]),
    ("road", [rectangle((35, 38), (0, 100))]),
    ("lake", [rectangle((50, 90), (100, 160))]),
]


def truth() -> np.ndarray:
    """The same by hand, ids in the order of the alphabet after the background."""
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    labels[5:40, 30:60] = 3
    labels[10:20, 40:50] = 0
    labels[35:38, 0:100] = 2
    labels[50:90, 100:160] = 1
    labels[:10, :20] = 255
    return labels


def write_areas(path: Path, crs: str = "EPSG:32633", driver: str = "GPKG") -> Path:
    from rasterio.warp import transform_geom

    schema = {"geometry": "Polygon", "properties": {"kind": "str"}}
    with fiona.open(path, "w", driver=driver, crs=crs, schema=schema) as file:
        for kind, rings in AREAS:
            shape = {"type": "Polygon", "coordinates": rings}
            geometry = transform_geom("EPSG:32633", crs, shape)
            file.write({"geometry": geometry, "properties": {"kind": kind}})
    return path


def put_together(root: Path, size: int) -> np.ndarray:
    whole = np.full((HEIGHT, WIDTH), 255, np.uint8)
    for file in root.glob("*/labels/*.png"):
        _, row, column = file.stem.split("-")
        labels = np.asarray(Image.open(file))
        top, left = int(row) * size, int(column) * size
        whole[top : top + labels.shape[0], left : left + labels.shape[1]] = labels
    return whole


@pytest.mark.parametrize(("crs", "driver", "suffix"), [
    ("EPSG:32633", "GPKG", "gpkg"),
    ("EPSG:4326", "GeoJSON", "geojson"),
    ("EPSG:3035", "ESRI Shapefile", "shp"),
])  # fmt: skip
def test_labels_lie_where_the_areas_are(crs: str, driver: str, suffix: str, tmp_path: Path) -> None:
    values = write_raster(tmp_path / "field.tif")
    areas = write_areas(tmp_path / f"areas.{suffix}", crs, driver)
    made = cut_tiles(
        [tmp_path / "field.tif"], areas, tmp_path / "out", attribute="kind", size=48, progress=False
    )
    space = read_label_space(tmp_path / "out" / "classes.json")
    assert space.categories == ("background", "lake", "road", "roof")
    assert np.array_equal(put_together(tmp_path / "out", 48), truth())
    assert made.pixels["lake"] == 40 * 60
    for file in (tmp_path / "out").glob("*/images/*.tif"):
        _, row, column = (int(p) if p.isdigit() else 0 for p in file.stem.split("-"))
        with rasterio.open(file) as tile:
            assert tile.crs == rasterio.CRS.from_epsg(32633)
            assert (tile.transform.c, tile.transform.f) == (
                LEFT + PIXEL * 48 * column,
                TOP - PIXEL * 48 * row,
            )
            expected = values[:, 48 * row : 48 * row + 48, 48 * column : 48 * column + 48]
            assert np.array_equal(tile.read(), expected)


def test_the_tiles_are_a_data_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_raster(tmp_path / "field.tif", "uint16", bands=5)
    areas = write_areas(tmp_path / "areas.gpkg")
    out = tmp_path / "out"
    command = ["data", "tiles", tmp_path / "field.tif", "--labels", areas, "--field", "kind"]
    assert cli.run([str(a) for a in (*command, "--out", out, "--size", 32, "--val", 0.3)]) == 0
    assert "in train/" in capsys.readouterr().out
    proposal = propose(out, progress=False)
    assert proposal.recipe.data.inputs == ("bands",)
    assert proposal.recipe.model.num_classes == 4
    labels = read_label_space(out / "classes.json")
    sample = FolderDataset(out, "val", labels, ("bands",))[0]
    assert sample.image.shape == (*sample.target.shape, 5)


def test_void_around_and_classes_in_another_order(tmp_path: Path) -> None:
    write_raster(tmp_path / "field.tif")
    areas = write_areas(tmp_path / "areas.gpkg")
    made = cut_tiles(
        [tmp_path / "field.tif"],
        areas,
        tmp_path / "out",
        attribute="kind",
        classes=("road", "lake"),
        background=False,
        size=40,
        val=0,
        progress=False,
    )
    expected = np.full((HEIGHT, WIDTH), 255, np.uint8)
    expected[truth() == 2] = 0
    expected[truth() == 1] = 1
    assert np.array_equal(put_together(tmp_path / "out", 40), expected)
    assert set(made.tiles) == {"train"}
    assert made.empty == 15 - made.tiles["train"] > 0


def test_one_kind_of_area(tmp_path: Path) -> None:
    write_raster(tmp_path / "field.tif")
    cut_tiles(
        [tmp_path / "field.tif"], write_areas(tmp_path / "a.gpkg"), tmp_path / "out", progress=False
    )
    space = read_label_space(tmp_path / "out" / "classes.json")
    assert space.categories == ("background", "object")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"attribute": "class"}, r"no field 'class'; they have kind"),
        ({"classes": ("roof", "roads"), "attribute": "kind"}, r"no area is of the class 'roads'"),
        ({"size": 8}, r"size is 8"),
        ({"val": 1.0}, r"val 1\.0"),
    ],
)
def test_what_does_not_fit_is_named(change: dict[str, Any], problem: str, tmp_path: Path) -> None:
    write_raster(tmp_path / "field.tif")
    areas = write_areas(tmp_path / "areas.gpkg")
    with pytest.raises(FullyConvError, match=problem):
        cut_tiles([tmp_path / "field.tif"], areas, tmp_path / "out", progress=False, **change)


def test_files_that_are_not_what_they_should_be(tmp_path: Path) -> None:
    write_raster(tmp_path / "field.tif")
    (tmp_path / "not.json").write_text("{}")
    points = {
        "type": "Feature",
        "geometry": {"type": "Point", "coordinates": [1, 2]},
        "properties": {},
    }
    (tmp_path / "points.geojson").write_text(
        json.dumps({"type": "FeatureCollection", "features": [points]})
    )
    away = {"type": "Polygon", "coordinates": [[[10, 40], [11, 40], [11, 41], [10, 40]]]}
    beyond = {"type": "Polygon", "coordinates": [[[100, 0], [101, 0], [101, 1], [100, 0]]]}
    (tmp_path / "far.geojson").write_text(
        json.dumps(
            {
                "type": "FeatureCollection",
                "features": [{**points, "geometry": g} for g in (beyond, away)],
            }
        )
    )
    raster, out = [tmp_path / "field.tif"], tmp_path / "out"
    with pytest.raises(FullyConvError, match="cannot be read as areas"):
        cut_tiles(raster, tmp_path / "not.json", out, progress=False)
    with pytest.raises(FullyConvError, match="no polygon in it"):
        cut_tiles(raster, tmp_path / "points.geojson", out, progress=False)
    for name in (None, "roof"):
        named = {**points, "geometry": away, "properties": {"kind": name}}
        several = [named, {**named, "properties": {"kind": "road"}}]
        text = json.dumps({"type": "FeatureCollection", "features": several})
        (tmp_path / f"{name}.geojson").write_text(text)
    with pytest.raises(FullyConvError, match="area 0 has no 'kind'"):
        cut_tiles(raster, tmp_path / "None.geojson", out, attribute="kind", progress=False)
    with pytest.raises(FullyConvError, match="do not meet"):  # all would be background
        cut_tiles(
            raster, tmp_path / "roof.geojson", tmp_path / "b", attribute="kind", progress=False
        )
    Image.new("RGB", (40, 40)).save(tmp_path / "photo.png")
    with pytest.raises(FullyConvError, match="does not say where it lies"):
        cut_tiles(
            [tmp_path / "photo.png"], tmp_path / "far.geojson", tmp_path / "c", progress=False
        )
    with pytest.raises(FullyConvError, match="do not meet"):
        cut_tiles(raster, tmp_path / "far.geojson", out, background=False, progress=False)
    with pytest.raises(FullyConvError, match="holds something already"):
        cut_tiles(raster, tmp_path / "far.geojson", out, progress=False)
    with pytest.raises(FullyConvError, match="cannot be read as a raster"):
        cut_tiles([tmp_path / "not.json"], raster[0], tmp_path / "new", progress=False)


def test_a_damaged_raster_is_named(tmp_path: Path) -> None:
    write_raster(tmp_path / "field.tif")
    content = (tmp_path / "field.tif").read_bytes()
    (tmp_path / "field.tif").write_bytes(content[: len(content) // 2])
    areas = write_areas(tmp_path / "areas.gpkg")
    with pytest.raises(FullyConvError, match=r"field\.tif: cannot be read"):
        cut_tiles([tmp_path / "field.tif"], areas, tmp_path / "out", size=32, progress=False)


def test_one_block_is_not_set_aside(tmp_path: Path) -> None:
    write_raster(tmp_path / "field.tif")
    areas = write_areas(tmp_path / "areas.gpkg")
    made = cut_tiles([tmp_path / "field.tif"], areas, tmp_path / "out", size=512, progress=False)
    assert set(made.tiles) == {"train"}
    with pytest.raises(UsageError):
        cut_tiles([tmp_path / "field.tif"], areas, tmp_path / "x", size=1, progress=False)
