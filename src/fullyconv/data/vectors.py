"""Outlines drawn in a geographic information system: their classes and shapes, on a raster's grid.

Read by fiona (GeoJSON, shapefile, GeoPackage, FlatGeobuf, ...), reprojected by rasterio.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fullyconv.errors import FullyConvError
from fullyconv.extras import optional
from fullyconv.labels import Ids, id_type

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Outline:
    """One area and its class.

    Attributes:
        category: Its class, as the file names it.
        geometry: GeoJSON, in the coordinates that were asked for.
        box: Left, bottom, right, top of it.
    """

    category: str
    geometry: Mapping[str, Any]
    box: Box


def read_outlines(path: str | os.PathLike[str], field: str, crs: Any) -> list[Outline]:
    """The areas of a vector file, in the order of the file.

    Args:
        path: Any format that fiona reads.
        field: Attribute that holds the class; empty if all areas are of one, ``object``.
        crs: Coordinate system to have them in; None to leave them as they are.

    Raises:
        FullyConvError: If fiona is missing, or the file or the field cannot be read.
    """
    fiona = optional("fiona", "raster", "for vector labels")
    optional("rasterio", "raster", "for vector labels")
    from fiona.errors import FionaError
    from rasterio.errors import RasterioError
    from rasterio.features import bounds
    from rasterio.warp import transform_geom

    outlines = []
    try:
        with fiona.open(path) as source:
            own = source.crs_wkt or None
            known = list(source.schema["properties"])
            if field and field not in known:
                raise FullyConvError(
                    f"{path}: its areas have no field {field!r}; they have "
                    f"{', '.join(known) or 'none at all'}: name one with --field"
                )
            for feature in source:
                geometry = feature["geometry"]
                if geometry is None or geometry["type"] not in ("Polygon", "MultiPolygon"):
                    continue
                shape = geometry.__geo_interface__
                if crs is not None and own is not None:
                    try:
                        shape = transform_geom(own, crs, shape)
                    except Exception:  # GDAL's kinds have no public base
                        continue  # beyond what the raster's coordinates can say: not on it
                category = feature["properties"][field] if field else "object"
                if category is None:
                    raise FullyConvError(
                        f"{path}: area {feature['id']} has no {field!r}; give it a class, or take "
                        "it out"
                    )
                outlines.append(Outline(str(category), shape, bounds(shape)))
    except (FionaError, RasterioError, OSError, ValueError) as error:
        raise FullyConvError(f"{path}: cannot be read as areas ({error})") from error
    if not outlines:
        raise FullyConvError(f"{path}: there is no polygon in it")
    return outlines


def draw(
    outlines: Sequence[Outline],
    ids: Mapping[str, int],
    window: Any,
    shape: tuple[int, int],
    fill: int,
) -> Ids:
    """Label ids (H, W) of a window of a raster: uint8 of up to 255 classes, uint16 of more.

    A pixel belongs to the areas that hold its centre; of several the last one counts.

    Args:
        outlines: In the raster's coordinates.
        ids: Of each class.
        window: The window's affine transform (rasterio's).
        shape: Its height and width in pixels.
        fill: Id where there is no area.
    """
    from rasterio.features import rasterize
    from rasterio.transform import array_bounds

    left, bottom, right, top = array_bounds(*shape, window)
    seen = [
        (outline.geometry, ids[outline.category])
        for outline in outlines
        if outline.box[0] < right
        and outline.box[2] > left
        and outline.box[1] < top
        and outline.box[3] > bottom
    ]
    if not seen:
        return np.full(shape, fill, id_type(len(ids)))
    drawn: Ids = rasterize(
        seen, out_shape=shape, fill=fill, transform=window, dtype=id_type(len(ids))
    )
    return drawn
