"""Georeferenced rasters and outlines cut into tiles: pictures and labels as training reads them."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullyconv.bands import gdal_format
from fullyconv.data.prepare.layout import label_picture
from fullyconv.data.sources import CLASSES
from fullyconv.data.vectors import Outline, draw, read_outlines
from fullyconv.errors import FullyConvError, UsageError
from fullyconv.extras import optional
from fullyconv.files import write_json, write_whole
from fullyconv.images import save_image
from fullyconv.labels import Ids, LabelSpace
from fullyconv.progress import progress_bar

_BLOCK = 4  # tiles along a side of what is scored or trained on together: neighbours look alike


@dataclass
class Tiled:
    """What came of it.

    Attributes:
        tiles: Tiles of each split.
        empty: Tiles left out: no data, or no label.
        pixels: Labelled pixels of each class.
    """

    tiles: Counter[str] = field(default_factory=Counter)
    empty: int = 0
    pixels: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        total = max(1, sum(self.pixels.values()))
        shares = ", ".join(f"{name} {100 * n / total:.3g} %" for name, n in self.pixels.items())
        made = ", ".join(f"{n} in {split}/" for split, n in self.tiles.items())
        return f"{made or 'no tile'}; {self.empty} without data or labels left out\n{shares}"


def cut_tiles(
    rasters: Sequence[str | os.PathLike[str]],
    labels: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    attribute: str = "",
    classes: Sequence[str] = (),
    background: bool = True,
    size: int = 512,
    val: float = 0.2,
    seed: int = 0,
    progress: bool = True,
) -> Tiled:
    """Cut rasters into tiles, and draw the labels of each from areas in a vector file.

    A tile keeps bands, number type, no-data value and place of its raster. Where the raster has no
    data, labels are void. Blocks of neighbouring tiles go to ``val`` together.

    Args:
        rasters: Files that rasterio reads, georeferenced.
        labels: File of polygons that fiona reads, in any coordinate system.
        out: Data set folder to make.
        attribute: Attribute of the polygons that holds their class.
        classes: The classes in the order of their ids; all that the file names, if not given.
        background: Whether what lies outside of all polygons is a class; else it is void.
        size: Height and width of a tile in pixels; those at the raster's end are smaller.
        val: Share of the blocks that are set aside to score.
        seed: Of the choice of blocks.
        progress: Show a progress bar.

    Raises:
        UsageError: If a number makes no sense.
        FullyConvError: If packages are missing, a file cannot be read or written, raster and
            polygons do not meet, or the folder holds something already.
    """
    if size < 32 or not 0 <= val < 1:
        raise UsageError(f"size is {size} and val {val}; at least 32, and from 0 to below 1")
    out = Path(out)
    if out.exists() and any(out.iterdir()):
        raise FullyConvError(f"{out}: this folder holds something already; name a new one")
    made, ids, met = Tiled(), dict[str, int](), False
    space: LabelSpace | None = None
    for path in rasters:
        with _opened(path) as raster:
            outlines = read_outlines(labels, attribute, raster.crs)
            if space is None:
                space = _space(outlines, classes, background)
                ids = {name: space.index(name) for name in space.categories}
                write_json(out / CLASSES, space.to_dict())
            if raster.crs is None and raster.transform.is_identity:
                raise FullyConvError(
                    f"{path}: it does not say where it lies (no georeference), so no area can be "
                    "drawn on it"
                )
            outlines = [outline for outline in outlines if outline.category in ids]
            met = met or any(_meets(outline, raster.bounds) for outline in outlines)
            fill = 0 if background else space.ignore_index
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # GDAL's on ground control points and the like
                for tile in _tiles(raster, size, val, seed, progress):
                    drawn = draw(outlines, ids, tile.transform, tile.shape, fill)
                    _write(tile, raster, drawn, out, space, made)
    if not met:
        raise FullyConvError(
            f"{labels}: its areas and the rasters do not meet; do both say where they lie?"
        )
    return made


@dataclass(frozen=True)
class _Tile:
    """One tile: its name, split, place and numbers (bands, H, W)."""

    name: str
    split: str
    transform: Any
    values: NDArray[Any]
    known: NDArray[np.bool_]

    @property
    def shape(self) -> tuple[int, int]:
        height, width = self.known.shape
        return height, width


def _space(outlines: Sequence[Outline], classes: Sequence[str], background: bool) -> LabelSpace:
    found = sorted({outline.category for outline in outlines})
    names = tuple(classes or found)
    unknown = sorted(set(names) - set(found))
    if unknown:
        raise UsageError(
            f"no area is of the class {unknown[0]!r}; there are {', '.join(found[:20])}"
        )
    return LabelSpace(categories=("background", *names) if background else names)


def _meets(outline: Outline, bounds: tuple[float, float, float, float]) -> bool:
    """Whether the boxes around an area and around a raster overlap."""
    left, bottom, right, top = outline.box
    return left < bounds[2] and right > bounds[0] and bottom < bounds[3] and top > bounds[1]


def _opened(path: str | os.PathLike[str]) -> Any:
    rasterio = optional("rasterio", "raster", "for rasters")
    from rasterio.errors import NotGeoreferencedWarning

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            return rasterio.open(path, driver=gdal_format(path))
    except Exception as error:  # GDAL's kinds have no public base
        raise FullyConvError(f"{path}: cannot be read as a raster ({error})") from error


def _tiles(raster: Any, size: int, val: float, seed: int, progress: bool) -> Iterator[_Tile]:
    from rasterio.windows import Window

    rows, columns = -(-raster.height // size), -(-raster.width // size)
    aside = _blocks_aside(-(-rows // _BLOCK), -(-columns // _BLOCK), val, seed)
    name = Path(raster.name).stem
    for number in progress_bar(range(rows * columns), name, disable=not progress, leave=False):
        row, column = divmod(number, columns)
        top, left = row * size, column * size
        window = Window(left, top, min(size, raster.width - left), min(size, raster.height - top))
        try:
            values = raster.read(window=window)
            known = raster.dataset_mask(window=window) > 0
        except Exception as error:
            raise FullyConvError(f"{raster.name}: cannot be read at {window} ({error})") from error
        split = "val" if aside[row // _BLOCK, column // _BLOCK] else "train"
        place = raster.window_transform(window)
        yield _Tile(f"{name}-{row:04d}-{column:04d}", split, place, values, known)


def _blocks_aside(rows: int, columns: int, val: float, seed: int) -> NDArray[np.bool_]:
    """Which blocks are scored: the share asked for, and at least one where there are several."""
    count = rows * columns
    aside = round(val * count)
    if val > 0 and count > 1:
        aside = min(max(1, aside), count - 1)
    chosen = np.zeros(count, bool)
    chosen[np.random.default_rng(seed).permutation(count)[:aside]] = True
    return chosen.reshape(rows, columns)


def _write(tile: _Tile, raster: Any, drawn: Ids, out: Path, space: LabelSpace, made: Tiled) -> None:
    drawn[~tile.known] = space.ignore_index
    counts = np.bincount(drawn.ravel(), minlength=space.num_classes)[: space.num_classes]
    if not counts.any():
        made.empty += 1
        return
    folder = out / tile.split
    content = _encoded(tile, raster)
    write_whole(folder / "images" / f"{tile.name}.tif", lambda file: file.write(content))
    picture = label_picture(drawn, space.palette)
    save_image(folder / "labels" / f"{tile.name}.png", picture, "PNG")
    made.tiles[tile.split] += 1
    made.pixels.update(dict(zip(space.categories, counts.tolist(), strict=True)))


def _encoded(tile: _Tile, raster: Any) -> bytes:
    """The tile as a GeoTIFF."""
    from rasterio.io import MemoryFile

    height, width = tile.shape
    profile: Mapping[str, Any] = {
        "driver": "GTiff",
        "height": height,
        "width": width,
        "count": raster.count,
        "dtype": raster.dtypes[0],
        "crs": raster.crs,
        "transform": tile.transform,
        "nodata": raster.nodata,
        "compress": "deflate",
        "photometric": "rgb" if raster.count == 3 and raster.dtypes[0] == "uint8" else "minisblack",
    }
    with MemoryFile() as memory:
        with memory.open(**profile) as file:
            file.write(tile.values)
        content: bytes = memory.read()
    return content
