"""``fcn data tiles``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro


def tiles(
    rasters: Annotated[list[Path], tyro.conf.Positional, tyro.conf.arg(metavar="RASTER")],
    labels: Path,
    out: Path,
    field: str = "",
    classes: Annotated[tuple[str, ...], tyro.conf.arg(metavar="CLASS")] = (),
    background: bool = True,
    size: int = 512,
    val: float = 0.2,
    seed: int = 0,
) -> int:
    """Cut georeferenced rasters into tiles, their labels drawn from polygons in a vector file.

    Args:
        rasters: GeoTIFFs or whatever rasterio reads.
        labels: Polygons: GeoJSON, shapefile, GeoPackage, ...
        out: Data set folder to make.
        field: Attribute of the polygons that holds their class.
        classes: Classes in the order of their ids; all that the file names, if not given.
        background: What lies outside of all polygons is a class; else it is void.
        size: Height and width of a tile in pixels.
        val: Share that is set aside to score, in blocks of neighbouring tiles.
        seed: Of the choice of blocks.
    """
    from fullyconv.data.raster_tiles import cut_tiles

    made = cut_tiles(
        rasters,
        labels,
        out,
        attribute=field,
        classes=classes,
        background=background,
        size=size,
        val=val,
        seed=seed,
        progress=True,
    )
    print(f"{out}: {made}\nNext: fcn new {out}")
    return 0
