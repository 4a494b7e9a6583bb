"""Finding a data set's folders inside what the user gave, however deep it was unpacked."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from fullyconv.errors import FullyConvError

_DEPTH = 4  # SOURCE/TrainVal/VOCdevkit/VOC2011: VOC 2011's own archive is three deep


def folders(sources: Sequence[Path]) -> Iterator[Path]:
    """The sources and the folders in them, the shallow ones first."""
    level = [path for path in sources if path.is_dir()]
    for _ in range(_DEPTH + 1):
        yield from level
        level = [inner for outer in level for inner in _inner(outer)]


def _inner(folder: Path) -> list[Path]:
    with os.scandir(folder) as entries:  # knows folders from files without a look at each
        names = [entry.name for entry in entries if entry.is_dir() and entry.name[0] != "."]
    return [folder / name for name in sorted(names)]


def find_folder(
    sources: Sequence[Path], needed: Sequence[str], what: str, prefer: Sequence[str] = ()
) -> Path:
    """The folder that holds every path of ``needed``.

    Args:
        sources: Where to look.
        needed: Paths in it; those that end in a slash are folders.
        what: Named in the error.
        prefer: Folder names to choose by if there are several.

    Raises:
        FullyConvError: If there is none, or several and no name decides; says what was looked for
            and what was found.
    """
    found, nearest, best = [], None, 0
    for folder in folders(sources):
        held = [name for name in needed if _holds(folder, name)]
        if len(held) == len(needed):
            found.append(folder)
        elif len(held) > best:
            nearest, best = folder, len(held)
    if not found:
        looked = ", ".join(needed)
        raise FullyConvError(
            f"no {what} here: a folder is needed that holds {looked}; "
            f"{_contents(sources)}{_lack(nearest, needed)}"
        )
    if len(found) > 1 and found[0] not in sources:
        preferred = sorted(
            (folder for folder in found if folder.name in prefer),
            key=lambda folder: list(prefer).index(folder.name),
        )
        if not preferred:
            names = ", ".join(str(folder) for folder in found[:5])
            raise FullyConvError(f"several folders hold {what}: {names}; give one of them")
        return preferred[0]
    return found[0]


def find_file(sources: Sequence[Path], wanted: Callable[[str], bool]) -> Path | None:
    """The first file, given or in the folders, whose name is wanted."""
    given = [path for path in sources if path.is_file()]
    inside = (path for folder in folders(sources) for path in sorted(folder.iterdir()))
    for path in (*given, *inside):
        if wanted(path.name) and path.is_file():
            return path
    return None


def _holds(folder: Path, name: str) -> bool:
    path = folder / name
    return path.is_dir() if name.endswith("/") else path.is_file()


def _lack(folder: Path | None, needed: Sequence[str]) -> str:
    if folder is None:
        return ""
    lacks = ", ".join(name for name in needed if not _holds(folder, name))
    return f"; nearest is {folder}, which lacks {lacks}"


def _contents(sources: Sequence[Path]) -> str:
    """What lies in the sources."""
    parts = []
    for path in sources:
        if path.is_dir():
            names = sorted(p.name + ("/" if p.is_dir() else "") for p in path.iterdir())
            more = ", ..." if len(names) > 8 else ""
            parts.append(f"{path} holds {', '.join(names[:8]) or 'nothing'}{more}")
        else:
            parts.append(f"{path} is a file")
    return "; ".join(parts)
