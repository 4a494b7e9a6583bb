"""Coloured masks, and the tables that say what the colours mean."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullyconv.data.importers.found import Category
from fullyconv.data.importers.reading import read_json, read_text
from fullyconv.data.prepare.layout import VOID_COLOR
from fullyconv.errors import FullyConvError
from fullyconv.images import read_colors
from fullyconv.labels import Color, voc_palette

_SHOWN = 6
_NUMBERS = re.compile(r"\s*(\d{1,3})[\s,;]+(\d{1,3})[\s,;]+(\d{1,3})\s*")
_MAX_TABLE = 2**20


def packed(colors: NDArray[np.uint8]) -> NDArray[np.int32]:
    """One number a colour: (..., 3) uint8 to (...) int32."""
    parts = colors.astype(np.int32)
    return (parts[..., 0] << 16) | (parts[..., 1] << 8) | parts[..., 2]


def number(color: Color) -> int:
    """The same of one colour."""
    return (color[0] << 16) | (color[1] << 8) | color[2]


def hexadecimal(value: int) -> str:
    """A colour as people write it.

    Example:
        >>> hexadecimal(0x80FF00)
        '#80ff00'
    """
    return f"#{value:06x}"


def from_hexadecimal(text: Any) -> Color | None:
    """A colour from ``#rrggbb``; None for anything else."""
    if not isinstance(text, str) or not re.fullmatch(r"#?[0-9a-fA-F]{6}", text):
        return None
    value = int(text.removeprefix("#"), 16)
    return value >> 16, value >> 8 & 255, value & 255


def read_places(path: Path, places: Mapping[int, int]) -> NDArray[np.int16]:
    """A coloured mask as places in a list of categories.

    Args:
        path: Palette, grey or RGB picture without loss.
        places: By colour, as :func:`number` has it; -1 for no label.

    Returns:
        (H, W) int16.

    Raises:
        FullyConvError: If it cannot be read or holds other colours; they are counted.
    """
    codes = packed(read_colors(path))
    known = np.array(sorted(places), np.int32)
    at = np.searchsorted(known, codes).clip(max=len(known) - 1)
    strange = known[at] != codes
    if strange.any():
        values, counts = np.unique(codes[strange], return_counts=True)
        order = np.argsort(-counts)
        found = ", ".join(f"{hexadecimal(int(values[i]))} ({counts[i]} px)" for i in order[:_SHOWN])
        more = f" and {len(values) - _SHOWN} more" if len(values) > _SHOWN else ""
        raise FullyConvError(
            f"{path}: colours that are no class's: {found}{more}; add them to the table of "
            "colours, or save the mask without loss and without smooth edges"
        )
    labels: NDArray[np.int16] = np.array([places[int(code)] for code in known], np.int16)[at]
    return labels


def read_table(path: Path) -> list[Category]:
    """Names and colours from CVAT's labelmap.txt, lines of numbers and a name, CSV, or JSON.

    Raises:
        FullyConvError: If nothing in it is a colour with a name, or a colour is given twice.
    """
    if path.suffix.lower() == ".json":
        categories = _of_json(read_json(path))
    else:
        lines = read_text(path, _MAX_TABLE).splitlines()
        categories = [c for place, line in enumerate(_content(lines)) if (c := _of(line, place))]
    if not categories:
        raise FullyConvError(
            f"{path}: no line like car:128,0,0:: or car,128,0,0 is in it, which names a colour"
        )
    colors = [category.color for category in categories]
    for index, color in enumerate(colors):
        if color in colors[:index]:
            names = [c.name for c in categories if c.color == color]
            raise FullyConvError(f"{path}: {names[0]!r} and {names[1]!r} have one colour")
    return categories


def _content(lines: list[str]) -> list[str]:
    return [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]


def _of(line: str, place: int) -> Category | None:
    """``name:r,g,b::`` (CVAT), ``r g b name`` (Cityscapes, CamVid), ``name,r,g,b``, ``name,#hex``.

    CVAT leaves the colour empty where it is VOC's for that place.
    """
    if ":" in line:
        name, colors = line.split(":")[:2]
        numbers = _NUMBERS.fullmatch(colors)
        if not colors.strip():
            return Category(name, voc_palette(place + 1)[place])
    elif numbers := _NUMBERS.match(line):
        name = line[numbers.end() :].strip(" ,;")
    else:
        name, _, rest = line.replace(";", ",").partition(",")
        if color := from_hexadecimal(rest.strip()):
            return Category(name.strip(), color)
        numbers = _NUMBERS.fullmatch(rest)
    if numbers is None or not name or max(map(int, numbers.groups())) > 255:
        return None
    r, g, b = map(int, numbers.groups())
    return Category(name.strip(), (r, g, b))


def _of_json(values: Any) -> list[Category]:
    """``{"car": [128, 0, 0]}``, ``{"car": "#800000"}``, or our own classes.json."""
    if not isinstance(values, dict):
        return []
    if "categories" in values:
        names, colors = values["categories"], values.get("palette")
        values = dict(zip(names, map(list, colors or voc_palette(len(names))), strict=True))
        values.setdefault("void", list(VOID_COLOR))
    found = []
    for name, value in values.items():
        color = from_hexadecimal(value)
        if color is None and isinstance(value, list) and len(value) == 3:
            color = (int(value[0]), int(value[1]), int(value[2]))
        if color is not None:
            found.append(Category(name, color))
    return found
