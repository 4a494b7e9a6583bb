"""What can be repaired without a doubt, into a new folder; the original is never touched."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from fullyconv.data.check.facts import Facts, LabelFacts, examine_sample, label_pixels
from fullyconv.data.check.finding import MOST_EXAMPLES, Findings
from fullyconv.data.check.label_rules import color_ids, label_finding, void_id
from fullyconv.data.check.layout import LABELLED, Layout, Sample, read_layout
from fullyconv.data.check.report import Report
from fullyconv.data.check.rules import size_finding
from fullyconv.data.parallel import in_parallel
from fullyconv.data.sources import CLASSES
from fullyconv.errors import FullyConvError
from fullyconv.files import write_json, write_whole
from fullyconv.images import opened, save_image
from fullyconv.labels import LabelSpace

_HARMLESS = ("constant-mask", "all-void", "perhaps-0-255")
_TURNS = {  # EXIF orientations, and how a picture becomes as people see it
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_REPAIRED = ("colour-mask", "palette-order", "void-habit", "mask-0-255")


@dataclass
class Fixed:
    """What was repaired.

    Attributes:
        out: The new folder.
        written: Samples in it.
        repaired: How many label files were repaired, by kind of finding.
        left_out: How many samples were not taken over.
        reasons: Sentences about the first of them.
    """

    out: Path
    written: int = 0
    repaired: Counter[str] = field(default_factory=Counter)
    left_out: int = 0
    reasons: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        done = ", ".join(f"{kind} {count:,}" for kind, count in self.repaired.items())
        lines = [f"left out: {reason}" for reason in self.reasons[:8]]
        if self.left_out > 8:
            lines.append(f"and {self.left_out - 8:,} more left out")
        lines.append(f"{self.out}: {self.written:,} samples; repaired: {done or 'nothing'}")
        return "\n".join(lines)


def fix(
    report: Report,
    out: str | os.PathLike[str],
    *,
    workers: int | None = None,
    progress: bool = True,
) -> Fixed:
    """Write what is sound and what can be repaired into a new folder.

    Colours become ids, void ids of other habits become 255, 0/255 masks become 0/1, labels that
    the EXIF orientation of their picture passed by are turned, names are made the same. A sample
    that cannot be repaired without a doubt is left out and named. Pictures are copied as they are.

    Args:
        report: What :func:`check` found.
        out: A folder that is empty, or not there yet, and not inside the data set.
        workers: As for :func:`check`.
        progress: Show a bar.

    Raises:
        FullyConvError: If the folder is not new, a file cannot be written, or it is not known what
            the ids mean.
    """
    folder = Path(out)
    if report.root.resolve() in (folder.resolve(), *folder.resolve().parents):
        raise FullyConvError(f"{folder} is in the data set itself; name a new folder elsewhere")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FullyConvError(f"{folder} is there already; name a new folder")
    if report.labels is None:
        raise FullyConvError(
            f"{report.root}: without a {CLASSES} that can be read nothing can be repaired; write "
            "it first"
        )
    kinds = {found.kind.name for found in report.findings}
    space = _space(report.labels, kinds)
    layout = read_layout(report.root, space, Findings())
    write_json(folder / CLASSES, space.to_dict())
    for head, other in layout.heads.items():
        if other is not None and head != "labels":
            write_json(folder / f"classes-{head}.json", other.to_dict())
    masks = "mask-0-255" in kinds
    work = partial(_repair, replace(layout, samples=[]), folder, masks)
    fixed = Fixed(folder)
    results = in_parallel(
        work, layout.samples, workers=workers, title="repairing", progress=progress
    )
    for repaired, reason in results:
        fixed.repaired.update(repaired)
        fixed.written += not reason
        fixed.left_out += bool(reason)
        if reason and len(fixed.reasons) < MOST_EXAMPLES:
            fixed.reasons.append(reason)
    return fixed


def _space(space: LabelSpace, kinds: set[str]) -> LabelSpace:
    """What the ids in the new folder mean."""
    if "ids-from-1" in kinds:
        ids = tuple(range(1, space.num_classes + 1))
        space = replace(space, raw_ids=ids, void=tuple({*space.void, 0} - {*ids}))
    if "void-habit" in kinds and space.ignore_index not in (*space.raw_ids, *space.void):
        space = replace(space, void=(*space.void, space.ignore_index))
    return space


class _LeftOut(Exception):  # noqa: N818 - no error: it says why a sample is not taken over
    """Why a sample cannot be repaired without a doubt."""


def _repair(layout: Layout, out: Path, masks: bool, sample: Sample) -> tuple[list[str], str]:
    """Take one sample over; the kinds that were repaired, and why it was left out, if it was."""
    first = sample.path("images" if "images" in sample.suffixes else next(iter(sample.suffixes)))
    try:
        _refuse_incomplete(layout, sample, first)
        facts = examine_sample(layout.root, frozenset(layout.heads), sample)
        done: list[str] = []
        new = {}
        for kind, found in facts.items():
            space = layout.heads.get(kind)
            repairs = _repairs(sample.path(kind), found, facts["images"], space, masks)
            if repairs and space is not None:
                path = layout.root / sample.path(kind)
                new[kind] = _pixels(path, space, repairs, facts["images"])
                done += repairs
    except _LeftOut as reason:
        return [], str(reason)
    if sample.label_stem:
        done.append("names-differ")
    _write(layout, out, sample, new)
    return done, ""


def _refuse_incomplete(layout: Layout, sample: Sample, first: str) -> None:
    if (sample.split, sample.stem) in layout.ambiguous:
        raise _LeftOut(f"{first}: same-stem")
    needed = {"images"} | ({"labels"} if sample.split in LABELLED else set())
    kinds = (*layout.inputs, *layout.heads)
    needed |= {kind for kind in kinds if (layout.root / sample.split / kind).is_dir()}
    missing = sorted(needed - {*sample.suffixes})
    if missing:
        raise _LeftOut(f"{first}: it has no partner in {missing[0]}/")


def _repairs(
    path: str, found: Facts, picture: Facts, space: LabelSpace | None, masks: bool
) -> list[str]:
    """The kinds of finding of one file that are to be repaired."""
    if found.problem:
        raise _LeftOut(f"{path}: {found.problem}")
    turn = None if found is picture else size_finding(picture.size or (0, 0), picture, found)
    if turn is not None and turn[0] == "size-mismatch":
        raise _LeftOut(f"{path}: size-mismatch, {turn[1]}")
    repairs = ["exif-rotation"] if turn is not None and turn[0] == "exif-rotation" else []
    wrong = label_finding(found, space) if isinstance(found, LabelFacts) else None
    if wrong is None or wrong[0] in _HARMLESS or (wrong[0] == "mask-0-255" and not masks):
        return repairs
    if wrong[0] not in _REPAIRED:
        raise _LeftOut(f"{path}: {wrong[0]}, {wrong[1]}")
    return [*repairs, wrong[0]]


def _pixels(
    path: Path, space: LabelSpace, repairs: list[str], picture: Facts
) -> NDArray[np.integer[Any]]:
    """The repaired ids of a label file."""
    with opened(path) as image:
        image.load()
        if "exif-rotation" not in repairs:
            image = ImageOps.exif_transpose(image)
        elif picture.turned in _TURNS:  # drawn on the picture as it is stored
            image = image.transpose(_TURNS[picture.turned])
        colors = np.asarray(image.convert("RGB"))
        ids = label_pixels(image)
    if colors.shape[:2] != picture.size:
        raise _LeftOut(f"{path}: it does not fit its picture however it is turned")
    if "colour-mask" in repairs or "palette-order" in repairs:
        ids = np.zeros(colors.shape[:2], np.uint16)
        for color, raw in color_ids(space).items():
            ids[(colors == np.array(color, np.uint8)).all(-1)] = raw
    elif "void-habit" in repairs:
        known = np.isin(ids, [*space.raw_ids, *space.void])
        ids = np.where(known, ids, void_id(space))
    elif "mask-0-255" in repairs:
        ids = np.where(ids == 255, 1, ids)
    return ids.astype(np.uint8 if ids.max() < 256 else np.uint16)


def _write(
    layout: Layout, out: Path, sample: Sample, new: dict[str, NDArray[np.integer[Any]]]
) -> None:
    for kind, suffix in sample.suffixes.items():
        source = layout.root / sample.path(kind)
        target = out / sample.split / kind
        if kind in new:
            image, space = Image.fromarray(new[kind]), layout.heads[kind]
            if new[kind].dtype == np.uint8 and space is not None:
                colors = dict(zip(space.raw_ids, space.palette, strict=True))
                image.putpalette([c for i in range(256) for c in colors.get(i, (224, 224, 192))])
            save_image(target / f"{sample.stem}.png", image, "PNG")
        else:
            with source.open("rb") as file:
                write_whole(target / f"{sample.stem}{suffix}", partial(shutil.copyfileobj, file))
