"""The tool's classes as those of the data set: renamed, merged, left out, in the order wanted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fullyconv.data.importers.found import Category, Found, Region, Unlabelled
from fullyconv.errors import FullyConvError, UsageError, did_you_mean
from fullyconv.labels import Color, Ids, LabelSpace, id_type

BACKGROUND, VOID = "background", "void"
BACKGROUND_NAMES = frozenset({BACKGROUND, "_background_", "__background__"})
VOID_NAMES = frozenset({VOID, "__ignore__", "_ignore_", "ignore"})


@dataclass(frozen=True)
class ClassMap:
    """What becomes of each of the tool's classes.

    Attributes:
        labels: The data set's classes.
        ids: By the tool's names: a class's id, void's, None for one that is left out.
        table: (categories + 1,) uint8, uint16 of more than 255 classes: the same by place in the
            tool's list; the last is for pixels without a label.
    """

    labels: LabelSpace
    ids: Mapping[str, int | None]
    table: Ids

    def paint(self, found: Found, height: int, width: int) -> Ids:
        """The label file (H, W) of one picture, of the type of :attr:`table`.

        Regions are drawn one after the other, each over those before it; what is left out is not
        drawn. A region that leaves the picture is clipped and noted in ``found``.

        Raises:
            FullyConvError: If a region is of an unknown class or cannot be drawn, or a mask is of
                another size.
        """
        if found.mask is not None:
            if found.mask.shape != (height, width):
                h, w = found.mask.shape
                raise FullyConvError(
                    f"its mask has {h} x {w} pixels, but the picture {height} x {width} (as it is "
                    "seen, after any EXIF rotation)"
                )
            return self.table[found.mask]
        painted = np.full((height, width), self.table[-1])
        for number, region in enumerate(found.regions, 1):
            try:
                self._draw(painted, region, found)
            except FullyConvError as error:
                raise FullyConvError(f"region {number} ({region.label!r}): {error}") from error
        return painted

    def _draw(self, painted: Ids, region: Region, found: Found) -> None:
        if region.label not in self.ids:
            raise FullyConvError("its class is not in the export's own list of classes")
        new = self.ids[region.label]
        if new is None:
            return
        height, width = painted.shape
        if any(shape.leaves(height, width) for shape in region.shapes):
            found.notes.append(f"a region {region.label!r} reaches outside; it is clipped")
        for shape in region.shapes:
            mask, top, left = shape.draw(height, width)
            h, w = mask.shape
            painted[top : top + h, left : left + w][mask] = new


def parse_classes(text: str) -> dict[str, str]:
    """``a,b=c`` as what each of the tool's classes becomes, in the order given.

    Raises:
        UsageError: If a name is empty or given twice.

    Example:
        >>> parse_classes("road, car=vehicle, bus=vehicle, sky=void")
        {'road': 'road', 'car': 'vehicle', 'bus': 'vehicle', 'sky': 'void'}
    """
    wanted: dict[str, str] = {}
    for part in text.split(","):
        old, _, new = (piece.strip() for piece in part.partition("="))
        new = new or ("" if "=" in part else old)
        if not old or not new or old in wanted:
            raise UsageError(
                f"--classes {text!r}: {part.strip()!r} is empty or given twice; write the tool's "
                "names, such as road,car=vehicle,bus=vehicle,sky=void"
            )
        wanted[old] = new
    return wanted


def class_map(
    categories: Sequence[Category],
    wanted: Mapping[str, str] | None,
    unlabelled: Unlabelled,
    complete: bool,
) -> ClassMap:
    """What becomes of each of the tool's classes.

    Args:
        categories: The tool's.
        wanted: New name by the tool's, ``void`` among them; classes that are not named are left
            out. None: all as they are, those whose names say so background or void.
        unlabelled: What pixels without a label are.
        complete: Whether there are none.

    Raises:
        UsageError: If a class does not exist.
        FullyConvError: If no class is left, or there are too many.
    """
    names = [category.name for category in categories]
    for name in wanted or ():
        if name not in names:
            raise UsageError(f"the export has no class {name!r}. {did_you_mean(name, names)}")
    if wanted is None:
        wanted = {c.name: _usual(c, unlabelled) for c in categories}
    targets = list(dict.fromkeys(new for new in wanted.values() if new != VOID))
    left_out = any(name not in wanted for name in names)
    if unlabelled == BACKGROUND and BACKGROUND not in targets and (left_out or not complete):
        targets.insert(0, BACKGROUND)
    if not targets:
        raise FullyConvError("the export has no class that could be learned; is it empty?")
    labels = LabelSpace(categories=tuple(targets), palette=_colors(categories, wanted, targets))
    others = labels.ignore_index
    if unlabelled == BACKGROUND and BACKGROUND in targets:
        others = targets.index(BACKGROUND)
    places = {VOID: labels.ignore_index, **{name: i for i, name in enumerate(targets)}}
    ids = {name: places[wanted[name]] if name in wanted else None for name in names}
    table = [others if (i := ids[name]) is None else i for name in names]
    return ClassMap(labels, ids, np.array([*table, others], id_type(labels.num_classes)))


def _usual(category: Category, unlabelled: Unlabelled) -> str:
    if category.void or category.name.lower() in VOID_NAMES:
        return VOID
    if category.name.lower() in BACKGROUND_NAMES:
        return BACKGROUND if unlabelled == BACKGROUND else VOID
    return category.name


def _colors(
    categories: Sequence[Category], wanted: Mapping[str, str], targets: Sequence[str]
) -> tuple[Color, ...]:
    """The tool's colours, if each class has one of its own; else none, which means VOC's."""
    chosen: dict[str, Color | None] = {BACKGROUND: (0, 0, 0)} if BACKGROUND in targets else {}
    kept = {*targets}
    for category in categories:
        new = wanted.get(category.name, VOID)
        if new in kept and (new not in chosen or (new == BACKGROUND and category.color)):
            chosen[new] = category.color
    colors = [color for name in targets if (color := chosen.get(name)) is not None]
    return tuple(colors) if len(set(colors)) == len(targets) else ()


def unique(categories: Sequence[Category]) -> list[Category]:
    """The categories, those of a name that was there before left out."""
    first: dict[str, Category] = {}
    for category in categories:
        first.setdefault(category.name, category)
    return list(first.values())
