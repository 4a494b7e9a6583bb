"""Which splits and files a data set has, and which of them belong together."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fullyconv.bands import BAND_SUFFIXES
from fullyconv.data.check.finding import Findings
from fullyconv.data.sources import read_label_space
from fullyconv.errors import FullyConvError
from fullyconv.images import composed, opened
from fullyconv.labels import LabelSpace
from fullyconv.preprocess import CHANNELS

_OTHER_NAMES = {
    "images": ("image", "imgs", "img", "jpegimages", "pictures", "photos", "rgb"),
    "labels": ("label", "masks", "mask", "annotations", "annots", "segmentationclass", "gt"),
}

IMPORT = "fcn data import DIR --out NEWDIR makes ids of their colours, and classes.json"
"""What to do with label files that are coloured pictures."""

LABELLED = ("", "train", "val")
"""Splits that are of no use without labels."""

# What tools add to the name of a picture or of its mask; compared without regard to case
_ADDED = re.compile(
    r"^(mask|label|labels|gt|seg|image|img)[_-]"
    r"|[_-](gtfine_labelids|gtfine_labeltrainids|gtfine_color|leftimg8bit|labelids|masks?|labels?|"
    r"segmentation|segm?|annotations?|annot?|groundtruth|gt|l|color|colou?r_mask|image|img|rgb|sat)$",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Sample:
    """One picture, what lies beside it, and its labels; small, as there may be a million.

    Attributes:
        split: Name of its split; empty if the data set has none.
        stem: Name of its files without suffix.
        suffixes: Suffixes of its files by the folder they lie in: images, hha, depth, labels,
            further heads; shared by all samples of the same kind.
        label_stem: Name of the label file, if it is another one; empty otherwise.
    """

    split: str
    stem: str
    suffixes: Mapping[str, str]
    label_stem: str = ""

    @property
    def files(self) -> dict[str, str]:
        """File names by the folder they lie in."""
        return {kind: self.name(kind) for kind in self.suffixes}

    def name(self, kind: str) -> str:
        """A file's name."""
        stem = self.label_stem if kind == "labels" and self.label_stem else self.stem
        return stem + self.suffixes[kind]

    def path(self, kind: str) -> str:
        """A file's path relative to the data set's folder."""
        return os.path.join(self.split, kind, self.name(kind))  # noqa: PTH118 - a million of them


@dataclass(frozen=True)
class Layout:
    """What lies in a data set's folder.

    Attributes:
        root: The folder.
        splits: Names of the splits, "train" first where there is one; ("",) if there are none.
        samples: Everything that has at least one file, sorted within each split.
        ambiguous: Split and stem of which there are several files.
        inputs: Folders of pictures.
        heads: What the ids mean in each folder of labels, None where that is not known.
    """

    root: Path
    splits: tuple[str, ...]
    samples: list[Sample]
    ambiguous: set[tuple[str, str]]
    inputs: tuple[str, ...]
    heads: dict[str, LabelSpace | None]


def read_layout(root: Path, space: LabelSpace | None, findings: Findings) -> Layout:
    """Find the files of a data set by its names alone.

    Args:
        root: Folder with images/ and labels/, or with splits that hold them.
        space: What the ids in labels/ mean.
        findings: What is wrong with folders and names is added to them.

    Raises:
        FullyConvError: If there is no such folder, or it holds no data set.
    """
    splits = _splits(root)
    heads: dict[str, LabelSpace | None] = {"labels": space}
    for path in sorted(root.glob("classes-*.json")):
        try:
            heads[path.stem.removeprefix("classes-")] = read_label_space(path)
        except FullyConvError as error:
            findings.add("classes", (path.name,), str(error))
    present = [k for k in CHANNELS if any((root / split / k).is_dir() for split in splits)]
    inputs = tuple(dict.fromkeys(["images", *present]))
    layout = Layout(root, splits, [], set(), inputs, heads)
    for split in splits:
        found = {}
        for kind in (*inputs, *heads):
            found[kind] = _files(layout, split, kind, findings)
        _pair(layout, split, found, findings)
    return layout


def _splits(root: Path) -> tuple[str, ...]:
    if not root.is_dir():
        raise FullyConvError(f"{root}: there is no such folder; give the folder of a data set")
    if any((root / kind).is_dir() for kind in ("images", "labels")):
        return ("",)
    inside = sorted(p.name for p in root.iterdir() if p.is_dir() and p.name[:1] != ".")
    splits = [n for n in inside if any((root / n / k).is_dir() for k in ("images", "labels"))]
    if not splits:
        held = ", ".join(inside[:8]) or "no folder"
        raise FullyConvError(
            f"{root}: expected the folders images/ and labels/ in it, or splits such as train/ "
            f"that hold them, but it holds {held}"
        )
    return tuple(sorted(splits, key=lambda name: (name != "train", name)))


def _files(layout: Layout, split: str, kind: str, findings: Findings) -> dict[str, str] | None:
    """Suffixes of the pictures in one folder by stem; None if there is no such folder."""
    folder = layout.root / split / kind
    if not folder.is_dir():
        return None
    names = []
    with os.scandir(folder) as entries:
        for entry in entries:
            stem, suffix = os.path.splitext(entry.name)  # noqa: PTH122 - a million of them
            where = os.path.join(split, kind, entry.name)  # noqa: PTH118
            if entry.name.startswith(".") or entry.name in ("Thumbs.db", "desktop.ini"):
                findings.add("junk", (where,))
            elif entry.is_dir():
                findings.add("sub-folder", (where,))
            elif suffix.lower() in BAND_SUFFIXES:
                names.append((stem, sys.intern(suffix)))
            else:
                findings.add("junk", (where,), "no picture by its suffix")
    found: dict[str, str] = {}
    for stem, suffix in sorted(names):
        if stem in found:
            both = (os.path.join(split, kind, stem + s) for s in (suffix, found[stem]))  # noqa: PTH118
            findings.add("same-stem", both)
            layout.ambiguous.add((split, stem))
        else:
            found[stem] = suffix
    return found


Found = dict[str, dict[str, str] | None]  # suffixes by stem, by folder; None: no such folder


def _pair(layout: Layout, split: str, found: Found, findings: Findings) -> None:
    """Put the files of one split together, and say which have no partner."""
    _report_folders(layout.root / split, split, found, findings)
    labels = found["labels"] or {}
    partners = _partners(found["images"] or {}, labels)
    elsewhere = set(partners.values())
    shared: dict[tuple[tuple[str, str], ...], dict[str, str]] = {}
    for stem in sorted(set().union(*(files or {} for files in found.values())) - elsewhere):
        suffixes = {kind: files[stem] for kind, files in found.items() if files and stem in files}
        if stem in partners:
            suffixes["labels"] = labels[partners[stem]]
        suffixes = shared.setdefault(tuple(suffixes.items()), suffixes)
        sample = Sample(split, stem, suffixes, partners.get(stem, ""))
        if composed(sample.label_stem or stem) != composed(stem):
            findings.add("names-differ", (sample.path("labels"), sample.path("images")))
        _report_orphans(layout, sample, found, findings)
        layout.samples.append(sample)


def _report_orphans(layout: Layout, sample: Sample, found: Found, findings: Findings) -> None:
    there = sample.suffixes
    for kind in (kind for kind, files in found.items() if files and kind not in there):
        if kind == "images":
            first = next(k for k in (*layout.heads, *there) if k in there)
            findings.add("labels-without-picture", (sample.path(first),))
        elif "images" in there and kind in layout.heads:
            detail = "" if kind == "labels" else f"none in {kind}/"
            findings.add("picture-without-labels", (sample.path("images"),), detail)
        elif "images" in there:
            findings.add("input-missing", (sample.path("images"),), f"none in {kind}/")


def _partners(images: dict[str, str], labels: dict[str, str]) -> dict[str, str]:
    """Picture stems to label stems, of those that differ by what a tool added to the name."""
    lonely = {_plain(stem): stem for stem in images if stem not in labels}
    found: dict[str, str] = {}
    for stem in labels if lonely else ():
        image = lonely.get(_plain(stem))
        if stem not in images and image is not None:
            found.setdefault(image, stem)
    return found


def _plain(stem: str) -> str:
    return _ADDED.sub("", composed(stem)).lower()


def _holds_colors(folder: Path) -> bool:
    """Whether label files are coloured pictures, by the first of them."""
    files = (path for path in sorted(folder.iterdir()) if path.suffix.lower() in BAND_SUFFIXES)
    with suppress(FullyConvError), opened(next(files, folder)) as image:
        return image.mode in ("RGB", "RGBA")
    return False


def _report_folders(folder: Path, split: str, found: Found, findings: Findings) -> None:
    for kind in ("images", "labels"):
        # a split to predict on needs no labels
        if found[kind] or (found[kind] is None and kind == "labels" and split not in LABELLED):
            continue
        inside = sorted(p.name for p in folder.iterdir() if p.is_dir())
        near = [name for name in inside if name.lower() in _OTHER_NAMES[kind]]
        detail = f"no {kind}/" if found[kind] is None else f"no picture in {kind}/"
        if near:
            detail += f", but {near[0]}/: rename it"
            if kind == "labels" and _holds_colors(folder / near[0]):
                detail = f"no labels/, but {near[0]}/ of coloured pictures: {IMPORT}"
        findings.add("folder", (split or ".",), detail)
