"""Labels of a raster as polygons: GeoJSON, or a GeoPackage."""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from fullyconv.extras import optional
from fullyconv.files import write_whole
from fullyconv.labels import LabelSpace
from fullyconv.prediction.rasters.files import unwritable
from fullyconv.prediction.rasters.sources import at_work, gdal

POLYGON_FORMATS = ("geojson", "gpkg")


def write_polygons(path: Path, labels: Path, space: LabelSpace) -> int:
    """Write what is of one class and hangs together as polygons.

    GeoJSON in longitude and latitude, as it has to be, where the labels have a coordinate system; a
    GeoPackage in that system itself. Without one: columns and rows.

    Args:
        path: The file: ``.geojson``, whose polygons are in memory at once, or ``.gpkg``.
        labels: A GeoTIFF of :func:`~fullyconv.prediction.rasters.files.write_geotiff`.
        space: The classes.

    Returns:
        How many polygons there are.

    Raises:
        FullyConvError: If it cannot be written, or what writes it is not installed.
    """
    library = gdal()
    with at_work(library), library.open(labels) as raster:
        if path.suffix == ".gpkg":
            return _write_geopackage(path, raster, space)
        return _write_geojson(path, raster, space)


def _features(raster: Any, space: LabelSpace) -> Iterator[dict[str, Any]]:
    shapes = import_module("rasterio.features").shapes
    for shape, value in shapes(gdal().band(raster, 1), transform=raster.transform):
        if value != space.ignore_index:
            said = {"id": int(value), "category": space.categories[int(value)]}
            yield {"type": "Feature", "properties": said, "geometry": shape}


def _write_geojson(path: Path, raster: Any, space: LabelSpace) -> int:
    warp = import_module("rasterio.warp")
    count = 0

    def write(file: Any) -> None:
        nonlocal count
        file.write(b'{"type": "FeatureCollection", "features": [')
        for feature in _features(raster, space):
            if raster.crs:
                feature["geometry"] = warp.transform_geom(
                    raster.crs, "OGC:CRS84", feature["geometry"]
                )
            file.write((",\n" if count else "\n").encode() + json.dumps(feature).encode())
            count += 1
        file.write(b"\n]}\n")

    write_whole(path, write)
    return count


def _check(fiona: Any, path: Path, count: int) -> None:
    """Read it back, as GeoTIFFs are."""
    with fiona.open(path) as file:
        if len(file) != count:
            raise OSError("not all polygons are there; is the disk full?")


def _write_geopackage(path: Path, raster: Any, space: LabelSpace) -> int:
    fiona = optional("fiona", "raster", "for GeoPackages")
    errors = import_module("fiona.errors")
    temporary = path.parent / f".{secrets.token_hex(8)}.gpkg"
    schema = {"geometry": "Polygon", "properties": {"id": "int", "category": "str"}}
    place = {"crs_wkt": raster.crs.to_wkt()} if raster.crs else {}
    count = 0

    def features() -> Iterator[dict[str, Any]]:
        nonlocal count
        for feature in _features(raster, space):
            count += 1
            yield feature

    try:
        with fiona.open(
            temporary, "w", driver="GPKG", schema=schema, layer=path.stem, **place
        ) as file:
            file.writerecords(features())
        _check(fiona, temporary, count)
        temporary.replace(path)
    except (OSError, RuntimeError, errors.FionaError) as error:
        raise unwritable(path, str(error)) from error
    finally:
        for left in path.parent.glob(f"{temporary.name}*"):  # and SQLite's journal
            with contextlib.suppress(OSError):
                left.unlink()
    return count
