"""What the facts of one label file say is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping

from fullyconv.data.check.facts import LabelFacts
from fullyconv.labels import Color, LabelSpace, voc_palette

BETWEEN = 0.15
"""Share of edge pixels with an id between both sides from which a mask counts as interpolated.

Measured on masks of CamVid, VOC and NYUDv2: at most 0.02 as they are and 0.06 shrunk to a quarter
with nearest neighbour; at least 0.27 after any bilinear or bicubic resizing.
"""
_PHOTOGRAPH = 300  # colours, most of them unknown, that no mask holds
_SHOWN = 5
_MASK_VALUES = {0, 255}  # of a two-class mask as painting programs save it

VOID_COLORS: tuple[Color, ...] = ((0, 0, 0), (224, 224, 192))
"""Colours that mean void where no class has them: CamVid's and most tools', and PASCAL VOC's."""

_HABITS = {
    255: "255 is void for PASCAL VOC and most tools",
    0: "0 is often 'not labelled'",
    65535: "65535 is -1 in 16 bits",
    -1: "-1 is often void",
}


def label_finding(facts: LabelFacts, space: LabelSpace | None) -> tuple[str, str] | None:
    """The first thing that is wrong with a label file: kind and detail; None if nothing is.

    Args:
        facts: What decoding it told.
        space: What its ids mean; None if that is not known, which leaves damage alone.
    """
    if facts.problem:
        return facts.problem, facts.sentence
    if space is None:
        return None
    if facts.colors:
        return _color_finding(facts, space)
    if facts.between > BETWEEN:
        return "interpolated", f"{facts.distinct} different ids"
    known = {*space.raw_ids, *space.void}
    outside = {raw: count for raw, count in facts.ids.items() if raw not in known}
    if outside:
        return _outside_finding(outside, facts, space)
    if _wrong_order(facts, space):
        return "palette-order", _order_detail(facts, space)
    if {*facts.ids} == _MASK_VALUES and is_mask_space(space):
        return "mask-0-255", f"255: {facts.ids[255]:,} px"
    if not {*facts.ids} & {*space.raw_ids}:
        return "all-void", ""
    if len(facts.ids) == 1:
        return "constant-mask", f"only {space.categories[space.raw_ids.index(*facts.ids)]!r}"
    return None


def is_mask_space(space: LabelSpace) -> bool:
    """Whether there are two classes, 0 and 1, and 255 is void."""
    return space.raw_ids == (0, 1) and 255 in space.void


def _color_finding(facts: LabelFacts, space: LabelSpace) -> tuple[str, str]:
    known = color_ids(space)
    unknown = {color: count for color, count in facts.colors.items() if color not in known}
    if not unknown and facts.distinct == len(facts.colors):
        return "colour-mask", f"{facts.distinct} colours, all of them known"
    if _pixels(unknown) > _pixels(facts.colors) / 2 and facts.distinct >= _PHOTOGRAPH:
        return "unknown-colours", f"{facts.distinct:,} colours, as in a photograph"
    if facts.between > BETWEEN:
        return "interpolated", f"{facts.distinct:,} different colours"
    return "unknown-colours", _listed({str(color): n for color, n in unknown.items()})


def _outside_finding(
    outside: Mapping[int, int], facts: LabelFacts, space: LabelSpace
) -> tuple[str, str]:
    detail = _listed({f"id {raw}": count for raw, count in outside.items()})
    by_colour = {facts.palette.get(raw) for raw in facts.ids}
    if len(by_colour) == len(facts.ids) and by_colour <= {*color_ids(space)}:
        return "colour-mask", f"{detail}, while the colours are all known"
    if {*outside} <= {*_HABITS}:
        return "void-habit", f"{detail}; {_HABITS[next(iter(outside))]}"
    return "ids-outside", detail


def color_ids(space: LabelSpace) -> dict[Color, int]:
    """The id in label files that each colour stands for; void colours too, where there is void.

    A colour that two classes share stands for none.
    """
    ids: dict[Color, int] = {}
    if space.void:
        ids = dict.fromkeys(VOID_COLORS, void_id(space))
    ids.update(zip(space.palette, space.raw_ids, strict=True))
    return {color: raw for color, raw in ids.items() if space.palette.count(color) < 2}


def void_id(space: LabelSpace) -> int:
    """Of the ids that are void, the one to write: the usual one, if it is among them."""
    usual = space.ignore_index
    return usual if usual in space.void else space.void[0]


def _pixels(colors: Mapping[Color, int]) -> int:
    return sum(colors.values())


def _wrong_order(facts: LabelFacts, space: LabelSpace) -> bool:
    """Whether the colours of a palette picture are those of classes, but of other ones."""
    if space.raw_ids != tuple(range(space.num_classes)) and space.palette == voc_palette(
        space.num_classes
    ):
        return False  # the colours were not given, and go by another numbering
    ids = {color: raw for color, raw in color_ids(space).items() if raw not in space.void}
    used = {raw: color for raw, color in facts.palette.items() if raw not in space.void}
    if len({*used.values()}) < max(2, len(used)) or not {*used.values()} <= {*ids}:
        return False  # all are black, or of no class: this palette means nothing
    return any(ids[color] != raw for raw, color in used.items())


def _order_detail(facts: LabelFacts, space: LabelSpace) -> str:
    names = dict(zip(space.raw_ids, space.categories, strict=True))
    ids = color_ids(space)
    raw = next(r for r, color in facts.palette.items() if r in names and ids[color] != r)
    color = facts.palette[raw]
    return f"index {raw} is {names[raw]!r}, its colour {color} {names[ids[color]]!r}"


def _listed(counts: Mapping[str, int]) -> str:
    """Names with their pixels, the most frequent first."""
    most = sorted(counts.items(), key=lambda item: -item[1])
    said = ", ".join(f"{name} ({count:,} px)" for name, count in most[:_SHOWN])
    return said + (f" and {len(most) - _SHOWN} more" if len(most) > _SHOWN else "")
