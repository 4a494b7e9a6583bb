"""Any folder of pictures and coloured masks of the same names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from fullyconv.data.importers.colors import hexadecimal, number, packed, read_places, read_table
from fullyconv.data.importers.found import Category, Export, Found, Importer
from fullyconv.data.importers.source import Source, is_picture, split_of
from fullyconv.errors import FullyConvError, shortened
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
_HOPELESS = 4096  # colours of masks that have few each: the rest need not be read
_WHY = "as in masks saved as JPEG or with smooth edges"
_LOSS = "save the masks without loss"

Pair = tuple[str, Path, Path]  # a mask as the export calls it, its picture, its file


def read(source: Source) -> Export:
    """Every mask that has a picture; colours without a table are classes named by themselves."""
    files = [path for path in source.files if is_picture(path)]
    tables = source.matching(_TABLES)
    photos = source.pictures(without=_MASKS)
    pairs: list[Pair] = []
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
        export.categories, pairs = _told_apart(pairs, export)
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


def _told_apart(pairs: list[Pair], export: Export) -> tuple[list[Category], list[Pair]]:
    """Every colour of all masks, and the masks that can be such; the others are problems.

    A mask of more colours than there are ids is none. Those that cannot be read are told of later.
    """
    masks: Counter[int] = Counter()  # of each colour
    own: dict[str, NDArray[np.int32]] = {}
    wrong: dict[str, str] = {}
    unreadable: FullyConvError | None = None
    for name, _, path in progress_bar(pairs, "looking for colours", leave=False):
        try:
            colors = np.unique(packed(read_colors(path)))
        except FullyConvError as error:
            unreadable = unreadable or error
            continue
        if len(colors) > IGNORE_INDEX:
            wrong[name] = f"{name}: {len(colors):,} colours, {_WHY}; {_LOSS}"
            continue
        own[name] = colors
        masks.update(colors.tolist())
        if len(masks) > _HOPELESS:
            break
    if len(masks) > IGNORE_INDEX or (wrong and not masks):
        alone = {n: sum(masks[c] == 1 for c in colors.tolist()) for n, colors in own.items()}
        joint = sorted((name for name in own if alone[name]), key=lambda name: -alone[name])
        worst = [*wrong, *joint]
        raise FullyConvError(
            f"{len(worst)} masks hold more than {IGNORE_INDEX} colours, by themselves or together, "
            f"{_WHY} ({shortened(worst)}); add a table of colours, such as labelmap.txt with lines "
            f"like car:128,0,0::, and {_LOSS}"
        )
    if not masks and unreadable is not None:
        raise unreadable
    export.notes.append(
        "no table of colours (labelmap.txt), so each colour is a class of its own; name them with "
        "--classes '#000000=background,...'"
    )
    export.problems += wrong.values()
    export.spoken_of.update(photo for name, photo, _ in pairs if name in wrong)
    named = [Category(hexadecimal(v), (v >> 16, v >> 8 & 255, v & 255)) for v in sorted(masks)]
    return named, [pair for pair in pairs if pair[0] not in wrong]


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
