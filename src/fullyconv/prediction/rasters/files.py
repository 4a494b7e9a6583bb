"""Labels of a raster on disk: rows as they are finished, then a GeoTIFF of them."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np

from fullyconv.errors import FullyConvError
from fullyconv.files import write_text
from fullyconv.labels import Ids, LabelSpace
from fullyconv.prediction.rasters.sources import at_work, gdal

_TILE = 512  # side of the tiles that are stored, in pixels


@dataclass(frozen=True)
class PartFile:
    """Rows of bytes that are kept when the program is killed: beside the file they will become.

    Attributes:
        path: The file; ``OUT.part``.
        height: Rows.
        shape: Of a row: (W,), or (layers, W).
        dtype: Of its numbers.
    """

    path: Path
    height: int
    shape: tuple[int, ...]
    dtype: type[np.uint8] | type[np.uint16] = np.uint8

    @property
    def _row_bytes(self) -> int:
        return int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize

    def write(self, row: int, rows: Ids) -> None:
        """Put rows into their place, and see to it that they stay.

        Raises:
            FullyConvError: If they cannot be written.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("r+b" if self.path.exists() else "w+b") as file:
                file.seek(row * self._row_bytes)
                file.write(np.ascontiguousarray(rows).data)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise unwritable(self.path, str(error.strerror or error)) from error

    def rows(self) -> Iterator[tuple[int, Ids]]:
        """All rows, some at a time, with the number of the first."""
        with self.path.open("rb") as file:
            for start in range(0, self.height, _TILE):
                count = min(_TILE, self.height - start)
                data: Ids = np.frombuffer(file.read(count * self._row_bytes), self.dtype)
                yield start, data.reshape(count, *self.shape)


def unwritable(path: Path, why: str) -> FullyConvError:
    """The error for output that cannot be written."""
    return FullyConvError(
        f"{path}: cannot be written ({why}); what is finished is kept: check the folder and the "
        "free space, and run the same again"
    )


def write_geotiff(
    path: Path, part: PartFile, space: LabelSpace, place: dict[str, Any], layers: bool
) -> None:
    """Make a GeoTIFF of finished rows, whole or not at all, and check it.

    Tiled, compressed (deflate). Labels have a colour table, and 255 (of more than 255 classes
    65535) as the value of what is not known; the classes' names are in the tag ``categories`` and,
    for GDAL, in ``PATH.aux.xml``.

    Args:
        path: The file.
        part: Its rows; with ``layers``, (classes, W) of probabilities, 255 being 1.
        space: The classes.
        place: Coordinate system and transform.
        layers: Whether there is one layer per class.

    Raises:
        FullyConvError: If it cannot be written.
    """
    library = gdal()
    temporary = path.parent / f".{secrets.token_hex(8)}.tif"
    profile = {
        "driver": "GTiff",
        "height": part.height,
        "width": part.shape[-1],
        "count": part.shape[0] if layers else 1,
        "dtype": np.dtype(part.dtype).name,
        "tiled": True,
        "blockxsize": _TILE,
        "blockysize": _TILE,
        "compress": "deflate",
        "interleave": "band",
        "NUM_THREADS": "ALL_CPUS",
        "BIGTIFF": "IF_SAFER",
        **place,
    }
    if not layers:
        profile["nodata"] = space.ignore_index
    try:
        with at_work(library):
            with library.open(temporary, "w", **profile) as file:
                _describe(file, space, layers)
                for start, rows in part.rows():
                    window = ((start, start + len(rows)), (0, part.shape[-1]))
                    file.write(rows.transpose(1, 0, 2) if layers else rows[None], window=window)
            _check(library, temporary, part, layers)
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    except (OSError, library.errors.RasterioError) as error:
        raise unwritable(path, str(error)) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
    if not layers:
        write_text(f"{path}.aux.xml", _names(space))


def _describe(file: Any, space: LabelSpace, layers: bool) -> None:
    file.update_tags(categories=json.dumps(space.categories))
    if layers:
        for number, name in enumerate(space.categories, 1):
            file.set_band_description(number, name)
    else:
        colors = {number: (*color, 255) for number, color in enumerate(space.palette)}
        file.write_colormap(1, {**colors, space.ignore_index: (0, 0, 0, 0)})


def _check(library: Any, path: Path, part: PartFile, layers: bool) -> None:
    """Read it back: GDAL does not always say that a disk was full."""
    with library.open(path, NUM_THREADS="ALL_CPUS") as file:
        for start, rows in part.rows():
            window = ((start, start + len(rows)), (0, part.shape[-1]))
            written = file.read(window=window)
            if not np.array_equal(written, rows.transpose(1, 0, 2) if layers else rows[None]):
                raise OSError("what was written is not what is there; is the disk full?")


def _names(space: LabelSpace) -> str:
    names = "\n".join(f"      <Category>{escape(name)}</Category>" for name in space.categories)
    return (
        '<PAMDataset>\n  <PAMRasterBand band="1">\n    <CategoryNames>\n'
        f"{names}\n    </CategoryNames>\n  </PAMRasterBand>\n</PAMDataset>\n"
    )


def remove(paths: Sequence[Path]) -> None:
    """Delete files that may not be there."""
    for path in paths:
        with contextlib.suppress(OSError):
            path.unlink()
