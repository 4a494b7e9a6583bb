"""The photographs that files, folders and patterns name."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, count
from pathlib import Path

from fullyconv.errors import FullyConvError, UsageError
from fullyconv.images import IMAGE_SUFFIXES


def find_photos(sources: Iterable[str | os.PathLike[str]]) -> Iterator[tuple[Path, Path]]:
    """Photographs named by files, folders (with their sub-folders) and patterns.

    Yields:
        Each file, and the sub-folder its results belong in.

    Raises:
        FullyConvError: If a source names nothing.
    """
    for source in sources:
        path = Path(source)
        if path.is_dir():
            files = sorted(p for p in path.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
            if not files:
                raise FullyConvError(f"{path}: no picture in this folder")
            yield from ((file, file.parent.relative_to(path)) for file in files)
        elif path.exists() or not any(c in str(source) for c in "*?["):
            yield path, Path()
        else:
            anchor = Path(path.anchor)
            files = sorted(anchor.glob(str(path.relative_to(anchor))))
            if not files:
                raise FullyConvError(f"{source}: no file fits this pattern")
            yield from ((file, Path()) for file in files)


def list_photos(
    sources: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
) -> list[tuple[Path, Path, str]]:
    """Photographs, each once, with where their results belong.

    Args:
        sources: One or several files, folders and patterns; see :func:`find_photos`.

    Returns:
        For each its file, the sub-folder of its results, and their name, which no other has there:
        the file's without suffix; with it, where two differ in nothing else; and a number after
        that.

    Raises:
        FullyConvError: If a source names nothing.
    """
    if isinstance(sources, str | os.PathLike):
        sources = [sources]
    if not sources:
        raise UsageError("no photograph is given; name files, folders or patterns")
    photos = list(dict.fromkeys(find_photos(sources)))
    stems = Counter((folder, path.stem) for path, folder in photos)
    used: set[tuple[Path, str]] = set()
    listed = []
    for path, folder in photos:
        plain = path.stem if stems[folder, path.stem] == 1 else path.name
        numbered = (f"{path.name}-{number}" for number in count(2))
        name = next(n for n in chain([plain], numbered) if (folder, n) not in used)
        used.add((folder, name))
        listed.append((path, folder, name))
    return listed
