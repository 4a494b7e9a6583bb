"""A tool's export as it was given: a folder, an unpacked archive, or one file."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from fullyconv.data.prepare.archives import MAX_FILES
from fullyconv.errors import FullyConvError
from fullyconv.images import IMAGE_SUFFIXES, composed

MARK = "imported.json"
"""What an import leaves in its folder, and must find in one that holds anything already."""

_HEAD = 2**16
_SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
_FOLDERS = {*_SPLITS, "images", "img", "labels", "default", "..", ".", "/", ""}
_IN_NAME = re.compile(
    r"(?:^|[^a-z])(train(?:ing)?|val(?:id|idation)?|test(?:ing)?)(?=[^a-z]|$)", re.IGNORECASE
)


class Pictures:
    """The files of pictures that annotations may speak of, found by whatever they call them.

    Attributes:
        files: All of them.
    """

    def __init__(self, files: Iterable[Path]) -> None:
        self.files = list(dict.fromkeys(files))  # --images may name the export itself
        self._by_name: dict[str, list[Path]] = {}
        self._by_stem: dict[str, list[Path]] = {}
        for path in self.files:
            self._by_name.setdefault(composed(path.name), []).append(path)
            self._by_stem.setdefault(composed(path.stem), []).append(path)

    def find(self, called: str) -> Path | None:
        """The picture of that path, however its folders are called here.

        Args:
            called: Path or name, of any system, with or without a suffix.

        Returns:
            Its file; None if there is none.

        Raises:
            FullyConvError: If several would do.
        """
        wanted = PurePosixPath(composed(called).replace("\\", "/"))
        found = self._by_name.get(wanted.name) or self._by_stem.get(wanted.name, [])
        if len(found) < 2:
            return found[0] if found else None
        agree = [_common_tail(path, wanted) for path in found]
        best = [path for path, n in zip(found, agree, strict=True) if n == max(agree)]
        if len(best) > 1:
            raise FullyConvError(f"{called!r} may be {best[0]} or {best[1]}; keep one of them")
        return best[0]


def _common_tail(path: Path, wanted: PurePosixPath) -> int:
    """How many folders upwards from the file have the same names."""
    pairs = zip(reversed(path.parts[:-1]), reversed(wanted.parts[:-1]), strict=False)
    agree = [composed(ours) == theirs for ours, theirs in pairs]
    return agree.index(False) if False in agree else len(agree)


@dataclass(frozen=True)
class Source:
    """What was given.

    Attributes:
        root: Folder that holds it.
        given: Name of the one file that was given; empty for a folder.
        images: Further folders of pictures.
    """

    root: Path
    given: str = ""
    images: tuple[Path, ...] = ()

    @cached_property
    def files(self) -> list[str]:
        """Paths relative to the root, sorted; beside a given file none of what imports made."""
        if self.given and self.images:
            return [self.given]
        files = sorted(walk(self.root))
        made = tuple(path.removesuffix(MARK) for path in files if path.endswith(f"/{MARK}"))
        return [path for path in files if not path.startswith(made)] if self.given else files

    def path(self, relative: str) -> Path:
        """Where a file of the export lies."""
        return self.root / relative

    def matching(self, pattern: str) -> list[str]:
        """Annotation files whose relative path matches; the one that was given, if one was."""
        wanted = re.compile(pattern, re.IGNORECASE)
        files = [self.given] if self.given else self.files
        return [path for path in files if wanted.search(path)]

    def may_be(self, tables: str) -> bool:
        """Whether a format of folders is to be looked for: no file was given but a table of it."""
        return not self.given or bool(self.matching(tables))

    def folder(self, *names: str) -> Path | None:
        """The shallowest folder that holds all these folders or files."""
        parents = {PurePosixPath(file).parents[i] for file in self.files for i in _depths(file)}
        known = {*map(PurePosixPath, self.files), *parents}
        for parent in sorted(parents, key=lambda p: (len(p.parts), p)):
            if all(parent / name in known for name in names):
                return self.root / parent
        return None

    def pictures(self, without: str = r"$^", within: str = "") -> Pictures:
        """The pictures of the export and of the further folders.

        Args:
            without: Regular expression of relative paths that are masks, not pictures.
            within: Regular expression of the others.
        """
        masks, wanted = re.compile(without, re.IGNORECASE), re.compile(within, re.IGNORECASE)
        own = [p for p in self.files if is_picture(p) and not masks.search(p) and wanted.search(p)]
        more = [folder / p for folder in self.images for p in walk(folder) if is_picture(p)]
        return Pictures([*(self.root / path for path in own), *more])

    def says(self, path: str, *words: str) -> bool:
        """Whether all the words occur at the beginning or end of a file: a look, not a reading."""
        try:
            with (self.root / path).open("rb") as file:
                look = file.read(_HEAD)
                file.seek(max(0, file.seek(0, os.SEEK_END) - _HEAD))
                look += file.read(_HEAD)
        except OSError:
            return False
        return all(word.encode() in look for word in words)


def _depths(file: str) -> range:
    return range(len(PurePosixPath(file).parents))


def walk(folder: Path) -> Iterator[str]:
    """Relative paths of the files in a folder and its sub-folders, hidden ones left out.

    Raises:
        FullyConvError: If it cannot be read or holds too many.
    """
    if not folder.is_dir():
        raise FullyConvError(f"{folder}: there is no such folder")
    count = 0
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name[0] not in "." and name != "__MACOSX"]
        inside = PurePosixPath(Path(parent).relative_to(folder).as_posix())
        prefix = f"{inside}/" if inside.parts else ""  # once: there may be a million names
        for name in names:
            if name.startswith("."):
                continue
            count += 1
            if count > MAX_FILES:
                raise FullyConvError(
                    f"{folder}: more than {MAX_FILES:,} files; give the folder of "
                    "the export alone, and that of the pictures with --images"
                )
            yield prefix + name


def is_picture(path: str) -> bool:
    """Whether a file's name is that of a picture."""
    return PurePosixPath(path).suffix.lower() in IMAGE_SUFFIXES


def split_of(path: str) -> str:
    """The split that a path speaks of: ``train``, ``val``, ``test``, or empty.

    Example:
        >>> split_of("data/valid/images/a.jpg")
        'val'
    """
    parts = PurePosixPath(path.replace("\\", "/")).parts
    for part in reversed(parts[:-1]):
        if part.lower() in _SPLITS:
            return _SPLITS[part.lower()]
    return ""


def split_in_name(path: str) -> str:
    """The split in the name of an annotation file, or in that of its folders.

    Example:
        >>> split_in_name("annotations/instances_train2017.json")
        'train'
    """
    found = _IN_NAME.search(PurePosixPath(path).stem)
    return _SPLITS[found[1].lower()] if found else split_of(path)


def plain_name(path: str) -> str:
    """A file name without suffix from a path; folders other than a split's stand before it.

    Example:
        >>> plain_name("train/images/street 4/a:1.jpg")
        'street 4__a_1'
    """
    parts = PurePosixPath(composed(path).replace("\\", "/")).parts
    folders = [part for part in parts[:-1] if part.lower() not in _FOLDERS]
    stem = parts[-1] if parts else ""
    if is_picture(stem):
        stem = PurePosixPath(stem).stem
    name = re.sub(r'[:*?"<>|\x00-\x1f]', "_", "__".join([*folders, stem])).strip(". ")
    if not name:
        raise FullyConvError(f"{path!r} is no name of a picture")
    return name
