"""The photographs and films that files, folders, patterns and lists name; one at a time."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, count
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple, TypeVar
from urllib.parse import unquote, urlsplit

from fullyconv.errors import FullyConvError, UsageError
from fullyconv.images import IMAGE_SUFFIXES

CLIP_SUFFIXES = frozenset({".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v"})
STDIN = "-"
LINES, SUMMARY = "predictions.jsonl", "predictions.json"
"""What a run writes beside its results: the first for the next run, the second for readers."""

Kind = Literal["photo", "url", "stdin", "clip", "camera"]
Sources = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
_Found = TypeVar("_Found", bound=Hashable)


class Photo(NamedTuple):
    """Something to label, and where its results belong.

    Attributes:
        path: The file; as text what is none: an address, ``camera:0``, ``-``.
        folder: Sub-folder of its results.
        name: Their name there.
    """

    path: Path | str
    folder: Path
    name: str


def kind_of(path: Path | str) -> Kind:
    """What a source is, by its looks.

    Example:
        >>> [kind_of(source) for source in ("a.jpg", "a.MP4", "camera:0", "-", "https://b.org/a")]
        ['photo', 'clip', 'camera', 'stdin', 'url']
    """
    text = str(path)
    if re.match(r"https?://", text, re.IGNORECASE):
        return "url"
    if re.fullmatch(r"camera:\d+", text):
        return "camera"
    if text == STDIN:
        return "stdin"
    return "clip" if Path(text).suffix.lower() in CLIP_SUFFIXES else "photo"


def find_photos(
    sources: Iterable[str | os.PathLike[str]],
    out: str | os.PathLike[str] | None = None,
    suffixes: frozenset[str] = IMAGE_SUFFIXES,
) -> Iterator[tuple[Path | str, Path]]:
    """What files, folders (with their sub-folders), patterns, lists and so on name.

    A folder is read when its turn comes: of a million pictures never more than those of one folder
    are held in memory.

    Args:
        sources: Files; folders; patterns; list files (``NAME.txt`` or ``@NAME``) with one path,
            pattern or address on each line, relative to the folder of the list; addresses of
            pictures on the web; ``camera:0``; ``-`` for a picture on the standard input. In folders
            hidden files, films, and results of an earlier run are passed over.
        out: Folder of the results; pictures that lie in there are passed over in folders.
        suffixes: Of what is a picture in a folder.

    Yields:
        Each file, and the sub-folder its results belong in.

    Raises:
        FullyConvError: If a source names nothing, or a list cannot be read.
        UsageError: If it is an address of another kind, or a camera without a number.
    """
    for source in sources:
        text, path = os.fspath(source), Path(source)
        _refuse_address(text)
        if kind_of(text) not in ("photo", "clip"):
            yield text, Path()
        elif text.startswith("@") or (path.suffix.lower() == ".txt" and not path.is_dir()):
            yield from _listed(Path(text.removeprefix("@")))
        elif path.is_dir():
            found = _walk(path, Path(), None if out is None else Path(out).absolute(), suffixes)
            first = next(found, None)
            if first is None:
                ours = ", but for results of fcn predict; name the folder of the photographs"
                raise FullyConvError(
                    f"{path}: no picture in this folder{ours if _is_ours(path) else ''}"
                )
            yield first
            yield from found
        else:
            yield from ((file, Path()) for file in _fitting(text))


def _refuse_address(text: str) -> None:
    """Say what is wrong with what looks like an address or a camera, and is none that is read."""
    scheme = re.match(r"(\w[\w+.-]+)://", text)
    if scheme and kind_of(text) != "url":
        raise UsageError(
            f"{text}: {scheme[1]} is not spoken here; give an http or https address, or download "
            "the file and name it; --engine ray takes addresses of more kinds"
        )
    looks = kind_of(text) == "photo" and text.lower().startswith("camera:")
    if looks and not Path(text).exists():
        raise UsageError(f"{text}: cameras are numbered; write camera:0 for the first")


def _fitting(source: str) -> list[Path]:
    """The files that a pattern fits; a path as it is."""
    path = Path(source)
    with _readable(path):
        if path.exists() or not any(c in source for c in "*?["):
            return [path]
        anchor = Path(path.anchor)
        files = sorted(anchor.glob(str(path.relative_to(anchor))))
    if not files:
        raise FullyConvError(f"{source}: no file fits this pattern")
    return files


def _walk(
    root: Path, folder: Path, out: Path | None, suffixes: frozenset[str], ours: bool = False
) -> Iterator[tuple[Path, Path]]:
    """Its pictures, with their sub-folders; in a folder of results (``ours``) not those."""
    here = root / folder
    with _readable(here), os.scandir(here) as entries:
        shown = [(e.name, e.is_dir()) for e in entries if not e.name.startswith(".")]
    at = here.absolute()
    ours = ours or _is_ours(here) or (out is not None and at.is_relative_to(out))
    for name, is_folder in sorted(shown):
        written = ours and re.search(r"-(mask|color|overlay)\.(png|jpg|tif)$", name)
        if not is_folder and Path(name).suffix.lower() in suffixes and not written:
            yield here / name, folder
    for name, is_folder in sorted(shown):
        if is_folder and at / name != out and not leads_up(at / name):
            yield from _walk(root, folder / name, out, suffixes, ours)


def _is_ours(folder: Path) -> bool:
    """Whether a run has written its results into a folder."""
    return (folder / LINES).is_file() or (folder / SUMMARY).is_file()


def leads_up(path: Path) -> bool:
    """Whether it is a link to a folder above, which would be walked for ever."""
    return path.is_symlink() and path.parent.resolve().is_relative_to(path.resolve())


def _listed(path: Path) -> Iterator[tuple[Path | str, Path]]:
    """What the lines of a list name; sub-folders are kept where a line has some."""
    with _readable(path), path.open(encoding="utf-8-sig") as lines:
        given = names_in(lines, path, "path")
    for name in given:
        _refuse_address(name)
        if kind_of(name) not in ("photo", "clip"):
            yield name, Path()
            continue
        for file in _fitting(str(path.parent / name)):
            inside = ".." not in Path(name).parts and not Path(name).is_absolute()
            yield file, file.relative_to(path.parent).parent if inside else Path()


def names_in(lines: Iterable[str], said: object, what: str) -> list[str]:
    """What the lines of a list name; empty ones and comments (#) are passed over.

    Args:
        lines: Of the list.
        said: What errors call it.
        what: What stands on each line.

    Raises:
        FullyConvError: If nothing is named.
    """
    names = (line.strip() for line in lines)
    given = [name for name in names if name and not name.startswith("#")]
    if not given:
        raise FullyConvError(f"{said}: this list names nothing; write one {what} on each line")
    return given


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise FullyConvError(f"{path}: there is no such file") from error
    except UnicodeDecodeError as error:
        raise FullyConvError(f"{path}: this list is not text in UTF-8; save it as such") from error
    except OSError as error:
        raise FullyConvError(f"{path}: cannot be read ({error.strerror or error})") from error
    except ValueError as error:  # a pattern that is none, a zero byte
        raise FullyConvError(f"{path}: is no path or pattern ({error})") from error


def list_photos(
    sources: Sources,
    out: str | os.PathLike[str] | None = None,
    suffixes: frozenset[str] = IMAGE_SUFFIXES,
) -> Iterator[Photo]:
    """Photographs, each once, with where their results belong.

    Args:
        sources: One or several; see :func:`find_photos`.
        out: See :func:`find_photos`.
        suffixes: See :func:`find_photos`.

    Yields:
        Each with a name that no other has in its sub-folder: the file's without suffix; with it,
        where two of a folder differ in nothing else, or an earlier source has taken the first; and
        a number after that. The names are the same again when nothing has changed.

    Raises:
        FullyConvError: If a source names nothing.
        UsageError: If there is no source.
    """
    if isinstance(sources, str | os.PathLike):
        sources = [sources]
    if not sources:
        raise UsageError("no photograph is given; name files, folders or patterns")
    alone = len(sources) == 1 and Path(sources[0]).is_dir()  # then no name comes twice
    for path, folder, name in named(find_photos(sources, out, suffixes), own_name, alone):
        yield Photo(path, folder, name)


def named(
    found: Iterable[tuple[_Found, Path]],
    name_of: Callable[[_Found], tuple[str, str]],
    alone: bool = False,
) -> Iterator[tuple[_Found, Path, str]]:
    """Give each of what was found a name that no other has in its sub-folder.

    Args:
        found: Each with the sub-folder of its results; those of one sub-folder together.
        name_of: The name without and with its suffix.
        alone: Nothing comes twice, and no sub-folder does: then less is kept in memory.

    Yields:
        Each, once, with its sub-folder and name.
    """
    seen: set[_Found] = set()
    used: set[tuple[Path, str]] = set()
    for folder, paths in _by_folder(found):
        if not alone:
            paths = [path for path in dict.fromkeys(paths) if path not in seen]
            seen.update(paths)
        stems = Counter(name_of(path)[0] for path in paths)
        if alone:
            used = set()
        for path in paths:
            stem, full = name_of(path)
            plain = stem if stems[stem] == 1 else full
            numbered = (f"{full}-{number}" for number in count(2))
            name = next(n for n in chain([plain, full], numbered) if (folder, n) not in used)
            used.add((folder, name))
            yield path, folder, name


def _by_folder(found: Iterable[tuple[_Found, Path]]) -> Iterator[tuple[Path, list[_Found]]]:
    """Neighbours whose results belong in one folder, together."""
    group: list[_Found] = []
    current = Path()
    for path, folder in found:
        if group and folder != current:
            yield current, group
            group = []
        current = folder
        group.append(path)
    if group:
        yield current, group


def own_name(path: Path | str) -> tuple[str, str]:
    """Name of a source without and with its suffix, as a file may have it."""
    if isinstance(path, Path):
        return path.stem, path.name
    kind = kind_of(path)
    if kind == "url":
        last = PurePosixPath(unquote(urlsplit(path).path)).name
        name = PurePosixPath(re.sub(r"[^\w.-]", "_", last) or "image")
        return name.stem, name.name
    return ("image", "image") if kind == "stdin" else (path.replace(":", "-"),) * 2
