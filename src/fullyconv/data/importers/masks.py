"""Any folder of pictures and coloured masks of the same names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

from fullyconv.data.importers.colors import hexadecimal, number, packed, read_places, read_table
from fullyconv.data.importers.found import Category, Export, Found, Importer
from fullyconv.data.importers.source import Source, is_picture, split_of
from fullyconv.errors import FullyConvError
from fullyconv.images import read_colors
from fullyconv.labels import IGNORE_INDEX
from fullyconv.progress import progress_bar

_MASKS = r"(^|/)(masks?|labels?|annotations?|gt|ground_?truth|\w*annot|\w*_labels|\w*_masks)/"
_TABLES = (
    r"(^|/)(labelmap\.txt|label_?colou?rs?\.txt|class_dict\.csv|colou?rs?\.(txt|csv|json)"
    r"|labelmap\.(csv|json)|classes\.(csv|json))$"
)
_ENDINGS = ("", "_mask", "_label", "_labels", "_L", "_gt", "-mask", "-color", "_color")
_BLACK = 0


def read(source: Source) -> Export:
    """Every mask that has a picture; colours without a table are classes named by themselves."""
    files = [path for path in source.files if is_picture(path)]
    tables = source.matching(_TABLES)
    photos = source.pictures(without=_MASKS)
    pairs: list[tuple[str, Path, Path]] = []
    export = Export()
    for path in (p for p in files if _is_mask(p)):
        stem = PurePosixPath(path).stem
        wanted = [stem.removesuffix(ending) for ending in _ENDINGS if stem.endswith(ending)]
        if photo := export.photo(path, photos, *(_picture(path, name) for name in wanted)):
            pairs.append((path, photo, source.path(path)))
    if not pairs:
        return export
    if tables:
        export.categories = read_table(source.path(tables[0]))
        export.notes.append(f"colours as in {tables[0]}")
    else:
        export.categories = _colors_in([mask for *_, mask in pairs], export)
    places = {number(c.color): i for i, c in enumerate(export.categories) if c.color is not None}
    export.complete = _BLACK in places or not tables
    if tables:
        places.setdefault(_BLACK, -1)
    for path, photo, mask in pairs:
        reader = partial(_found, mask, places)
        split = split_of(path) or split_of(photo.relative_to(source.root).as_posix())
        export.add(photo.name, split, photo, reader)
    return export


def _is_mask(path: str) -> bool:
    return re.search(_MASKS, path, re.IGNORECASE) is not None


def _picture(mask: str, name: str) -> str:
    """Where the picture of a mask may lie: beside the masks' folder, in any folder."""
    above = PurePosixPath(mask).parent.parent
    return (above / "images" / name).as_posix()


def _colors_in(masks: list[Path], export: Export) -> list[Category]:
    """Every colour of all masks; those that cannot be read, unless all, are told of later."""
    found: set[int] = set()
    problem: FullyConvError | None = None
    for path in progress_bar(masks, "looking for colours", leave=False):
        try:
            found.update(np.unique(packed(read_colors(path))).tolist())
        except FullyConvError as error:
            problem = problem or error
            continue
        if len(found) > IGNORE_INDEX:
            raise FullyConvError(
                f"{path}: more than {IGNORE_INDEX} colours so far, as in masks saved as JPEG or "
                "with smooth edges; add a table of colours, such as labelmap.txt with lines like "
                "car:128,0,0::, and save the masks without loss"
            )
    if not found and problem is not None:
        raise problem
    export.notes.append(
        "no table of colours (labelmap.txt), so each colour is a class of its own; name them with "
        "--classes '#000000=background,...'"
    )
    return [Category(hexadecimal(v), (v >> 16, v >> 8 & 255, v & 255)) for v in sorted(found)]


def _found(mask: Path, places: Mapping[int, int]) -> Found:
    return Found(mask=read_places(mask, places))


IMPORTER = Importer(
    tool="coloured masks",
    button="whatever writes one coloured PNG for each picture",
    structure="images/ and masks/ (or labels/, annotations/), and labelmap.txt where there is one",
    recognise=lambda source: (
        source.may_be(_TABLES) and any(_is_mask(path) for path in source.files if is_picture(path))
    ),
    read=read,
)
