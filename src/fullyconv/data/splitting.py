"""A data set split into train, val and test: groups stay together, classes are shared out."""

from __future__ import annotations

import csv
import os
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fullyconv.data.exporters.layout import Labelled, labelled
from fullyconv.data.folder import picture_names
from fullyconv.data.importers.reading import read_text
from fullyconv.data.prepare.layout import take_over
from fullyconv.data.sources import CLASSES, read_label_space
from fullyconv.data.stratify import stratify
from fullyconv.errors import FullyConvError, UsageError
from fullyconv.files import write_text
from fullyconv.images import composed, read_labels
from fullyconv.labels import LabelSpace
from fullyconv.progress import progress_bar

PathLike = str | os.PathLike[str]

_FOLDER = "__"  # what an import puts between the folders of a picture's path and its name
_SHOWN = 5
_OFF = 0.05  # of a share of the pictures: beyond, it is said


@dataclass(frozen=True)
class Split:
    """A data set split.

    Attributes:
        root: Folder of the new data set, or of the lists.
        names: Pictures of each part.
        groups: How many groups each part has.
        pixels: (parts, C) int64: of each class in each part.
        labels: The classes.
        shares: Which part of the pictures was asked for.
    """

    root: Path
    names: dict[str, list[str]]
    groups: dict[str, int]
    pixels: NDArray[np.int64]
    labels: LabelSpace
    shares: dict[str, float]

    def __str__(self) -> str:
        """A table: pictures, groups, and the share of each class's pixels in each part.

        Below it, where groups cannot be parted so, what was asked for.
        """
        width = max(8, *map(len, self.labels.categories))
        lines = [f"{self.root}: share of each class in each part"]
        lines.append(" ".join([f"{'':{width}}", *(f"{part:>8}" for part in self.names)]))
        for title, counts in (
            ("pictures", [len(names) for names in self.names.values()]),
            ("groups", list(self.groups.values())),
        ):
            lines.append(" ".join([f"{title:{width}}", *(f"{count:8}" for count in counts)]))
        for name, column in zip(self.labels.categories, self.pixels.T, strict=True):
            share = [
                f"{count / column.sum():8.1%}" if column.sum() else "     n/a" for count in column
            ]
            lines.append(" ".join([f"{name:{width}}", *share]))
        pictures = sum(map(len, self.names.values()))
        for part, asked in self.shares.items():
            got = len(self.names[part]) / pictures
            if abs(got - asked) > max(_OFF, 1 / pictures):
                lines.append(
                    f"{part} has {got:.0%} of the pictures where {asked:.0%} were asked for: "
                    f"{sum(self.groups.values())} groups cannot be parted so; finer ones can"
                )
        return "\n".join(lines)


def split_data(
    root: PathLike,
    out: PathLike,
    *,
    val: float = 0.2,
    test: float = 0.0,
    group: str | None = None,
    seed: int = 0,
    lists: bool = False,
    progress: bool = True,
) -> Split:
    """Split a data set into ``train``, ``val`` and where wanted ``test``.

    Args:
        root: Data set with a ``classes.json``; if it is split already, its parts are put together.
        out: Folder of the new data set, which must be empty or new; its files are hard links, or
            copies on another file system.
        val: Share of the pictures, 0 to 1.
        test: The same.
        group: Which pictures stay together: a regular expression whose first group (or whole match)
            in a picture's name names its scene, patient or tile; ``folder`` for the folder it had
            in the export; or a .csv file of lines ``name,group``. None: each on its own.
        seed: Another one gives another split.
        lists: Write only ``train.txt`` and so on: a name on each line, as ``SPLIT/NAME`` where the
            data set is split already.
        progress: Show a bar.

    Returns:
        What went where.

    Raises:
        UsageError: If the shares or the expression cannot be.
        FullyConvError: If a file is damaged, a picture has no group or a name is there twice, there
            are too few groups, or ``out`` is in use.
    """
    root, out = Path(root), Path(out)
    shares = {"train": 1 - val - test, "val": val, "test": test}
    shares = {part: share for part, share in shares.items() if share > 1e-9}
    if min(val, test) < 0 or "train" not in shares or len(shares) < 2:
        raise UsageError(
            f"shares of {val:g} for val and {test:g} for test cannot be; give parts of 1 that "
            "leave some to train on, such as --val 0.2"
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FullyConvError(f"{out}: is there already; choose a new folder")
    space, samples = read_label_space(root / CLASSES), labelled(root)
    groups = _groups(samples, group)
    places = {name: place for place, name in enumerate(sorted({*groups}))}
    members = np.array([places[name] for name in groups])
    amounts = np.zeros((len(places), 1 + space.num_classes))
    reading = progress_bar(samples, "reading labels", disable=not progress, leave=False)
    for member, sample in zip(members, reading, strict=True):
        amounts[member, 0] += 1
        amounts[member, 1:] += _count(sample, space)
    chosen = stratify(amounts, list(shares.values()), seed)
    part_of = chosen[members]
    if lists:
        _write_lists(out, samples, part_of, list(shares))
    else:
        _write_layout(root, out, samples, part_of, list(shares))
    return Split(
        out,
        {
            p: [s.name for s, i in zip(samples, part_of, strict=True) if i == n]
            for n, p in enumerate(shares)
        },
        {part: int((chosen == number).sum()) for number, part in enumerate(shares)},
        np.stack([amounts[chosen == n, 1:].sum(0).astype(np.int64) for n in range(len(shares))]),
        space,
        shares,
    )


def _count(sample: Labelled, space: LabelSpace) -> NDArray[np.int64]:
    """Pixels of each class."""
    ids = space.encode(read_labels(sample.labels), sample.labels)
    return np.bincount(ids.ravel(), minlength=space.num_classes)[: space.num_classes]


def _groups(samples: Sequence[Labelled], group: str | None) -> list[str]:
    """The group of each picture."""
    if group is None:
        return [f"{sample.split}/{sample.name}" for sample in samples]
    cure = "add lines for them"
    if group == "folder":
        cure = "they lie in no folder of the export; give an expression or a .csv file instead"
        found = [s.name.rpartition(_FOLDER)[0] if _FOLDER in s.name else None for s in samples]
    elif group.lower().endswith(".csv"):
        table = _table(Path(group))
        found = [table.get(s.name, table.get(composed(s.image.name))) for s in samples]
    else:
        cure = (
            r"add what fits them within the brackets, such as ^(scene\d+|.*), which makes each its "
            "own group, or give a .csv file of lines name,group"
        )
        found = _matched(samples, group)
    without = [sample.name for sample, name in zip(samples, found, strict=True) if name is None]
    if without:
        raise FullyConvError(
            f"--group {group}: {len(without)} of {len(samples)} pictures have no group "
            f"({', '.join(without[:_SHOWN])}{', ...' if len(without) > _SHOWN else ''}); {cure}"
        )
    return [name for name in found if name is not None]


def _matched(samples: Sequence[Labelled], expression: str) -> list[str | None]:
    try:
        pattern = re.compile(expression)
    except re.error as error:
        raise UsageError(f"--group {expression}: no regular expression ({error})") from error
    matches = [pattern.search(sample.name) for sample in samples]
    return [match and match[1 if pattern.groups else 0] for match in matches]


def _table(path: Path) -> dict[str, str]:
    rows = csv.reader(read_text(path).splitlines())
    return {composed(row[0].strip()): row[1].strip() for row in rows if len(row) > 1}


def _write_lists(
    out: Path, samples: Sequence[Labelled], part_of: NDArray[np.int64], parts: Sequence[str]
) -> None:
    for number, part in enumerate(parts):
        own = [s for s, place in zip(samples, part_of, strict=True) if place == number]
        lines = (f"{sample.split}/{sample.name}".lstrip("/") + "\n" for sample in own)
        write_text(out / f"{part}.txt", "".join(lines))


def _write_layout(
    root: Path,
    out: Path,
    samples: Sequence[Labelled],
    part_of: NDArray[np.int64],
    parts: Sequence[str],
) -> None:
    """Every file of the same name, depth and further heads among them, whole or not at all."""
    times = Counter(sample.name for sample in samples)
    twice = min((name for name, count in times.items() if count > 1), default=None)
    if twice is not None:
        raise FullyConvError(f"{root}: {twice} is in several of its parts; rename one of them")
    kinds = {split: _kinds(root / split) for split in {sample.split for sample in samples}}
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".split-", dir=out.parent) as folder:
        made = Path(folder) / out.name
        for sample, number in zip(samples, part_of.tolist(), strict=True):
            for kind, files in kinds[sample.split].items():
                if file := files.get(sample.name):
                    source = root / sample.split / kind / file
                    take_over(source, made / parts[number] / kind / file)
        for table in root.glob("classes*.json"):
            shutil.copy(table, made / table.name)
        if out.exists():
            out.rmdir()
        made.replace(out)


def _kinds(folder: Path) -> dict[str, dict[str, str]]:
    """The folders of pictures beside ``images/``, and the names of their files by stem."""
    inside = [path for path in folder.iterdir() if path.is_dir() and path.name[0] != "."]
    found = {}
    for path in inside:
        if not (path / "images").is_dir():  # that would be a split
            found[path.name] = picture_names(path)
    return found
