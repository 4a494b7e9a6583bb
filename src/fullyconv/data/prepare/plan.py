"""What a preparer says before any file is written: which pictures, in which split, made how."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullyconv.errors import FullyConvError, shortened
from fullyconv.images import read_photo
from fullyconv.labels import Color, Ids, LabelSpace


@dataclass(frozen=True)
class Copied:
    """A file to be taken over byte for byte, and the size of its picture."""

    path: Path
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Drawn:
    """Pixels to be written as PNG.

    Attributes:
        pixels: (H, W) uint8 or uint16, or (H, W, 3) uint8 RGB.
        palette: Colours of the ids if the pixels are ids; None for grey and RGB.
    """

    pixels: Ids
    palette: tuple[Color, ...] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Height and width."""
        return self.pixels.shape[:2]


Contents = Mapping[str, Copied | Drawn]


@dataclass(frozen=True)
class Item:
    """One picture with its labels.

    Attributes:
        split: Folder it goes to.
        name: File name without suffix.
        suffixes: Suffix of each file to make, by the name of its folder (``images``, ``labels``).
        read: Reads and checks the source files; a worker process calls it, so it must be picklable.
    """

    split: str
    name: str
    suffixes: Mapping[str, str]
    read: Callable[[], Contents]

    def files(self, root: Path) -> dict[str, Path]:
        """Where each file goes."""
        return {
            kind: root / self.split / kind / f"{self.name}{suffix}"
            for kind, suffix in self.suffixes.items()
        }


@dataclass
class Plan:
    """All pictures of a data set, and what is to be told about the others.

    Attributes:
        labels: What the ids in the label files that are made mean.
        items: Pictures to make.
        missing: Pictures that a list names and the source lacks, by split and reason.
        left_out: Sentences about pictures that are left out on purpose.
        notes: Sentences about what was found.
        more_labels: What the ids in other folders of ids mean, by folder.
    """

    labels: LabelSpace
    items: list[Item] = field(default_factory=list)
    missing: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    more_labels: dict[str, LabelSpace] = field(default_factory=dict)

    def add(
        self,
        split: str,
        name: str,
        needed: Mapping[str, Path],
        suffixes: Mapping[str, str],
        read: Callable[[], Contents],
    ) -> None:
        """Plan one picture, or note it as missing if a file of ``needed`` is not there."""
        for kind, path in needed.items():
            if not path.is_file():
                reason = f"no {kind} {path.parent.name}/*{path.suffix}"
                self.missing.setdefault((split, reason), []).append(name)
                return
        self.items.append(Item(split, name, suffixes, read))

    def add_pair(
        self,
        split: str,
        name: str,
        image: Path,
        labels: Path,
        read: Callable[..., Contents],
        *more: Any,
        called: str = "labels",
    ) -> None:
        """Plan a picture that has one file of labels; ``read`` is given both, and ``more``."""
        self.add(
            split,
            name,
            {"picture": image, called: labels},
            {"images": image.suffix, "labels": ".png"},
            partial(read, image, labels, *more),
        )

    def expect(self, split: str, count: int, published: int) -> None:
        """Note a list that is not as long as the published one."""
        if count != published:
            self.notes.append(f"{split} lists {count} pictures; the published one {published}")


@dataclass(frozen=True)
class Request:
    """What is to be prepared.

    Attributes:
        sources: Folders, unpacked archives among them, and single .mat files.
        out: Root of the layout.
        splits: Splits to make.
        scratch: Folder for what must lie on the disk meanwhile.
    """

    sources: tuple[Path, ...]
    out: Path
    splits: tuple[str, ...]
    scratch: Path


@dataclass(frozen=True)
class Preparer:
    """How one published data set is prepared.

    Attributes:
        description: What it is, in a sentence.
        download: What to download, from where, in words.
        structure: What is expected in the source.
        splits: Splits made unless others are asked for.
        plan: Finds the pictures.
        members: Regular expression for the paths to unpack from an archive.
        more_splits: Splits made only if asked for.
    """

    description: str
    download: str
    structure: str
    splits: tuple[str, ...]
    plan: Callable[[Request], Plan]
    members: str
    more_splits: tuple[str, ...] = ()


def stored(labels: LabelSpace) -> LabelSpace:
    """The same classes as files of this layout hold them: ids 0 to C - 1, void as usual."""
    return LabelSpace(categories=labels.categories, palette=labels.palette)


def picture(path: Path) -> Copied:
    """A photograph to take over as it is; it is decoded once, so a damaged one is found here."""
    return Copied(path, read_photo(path).shape[:2])


def drawn_labels(labels: LabelSpace, raw: NDArray[np.integer[Any]], source: Path) -> Drawn:
    """Ids as the published files hold them, to be written as class ids."""
    return Drawn(labels.encode(raw, source), labels.palette)


def without(
    names: Iterable[str], held_out: Iterable[str], what: str, left_out: list[str]
) -> list[str]:
    """Names that are not held out; appends a sentence to ``left_out`` if there are any others."""
    names, held = list(names), set(held_out)
    kept = [name for name in names if name not in held]
    if len(kept) < len(names):
        gone = [name for name in names if name in held]
        left_out.append(f"{what}: {len(gone)} ({shortened(gone)})")
    return kept


def checked_name(name: str, source: object) -> str:
    """A name from outside that is to become a file's.

    Raises:
        FullyConvError: If it would be a path to somewhere else, or hidden.
    """
    if not name or name.startswith(".") or any(c in name for c in '/\\:*?"<>|\0'):
        raise FullyConvError(f"{source}: {name!r} is not a plain file name")
    return name
