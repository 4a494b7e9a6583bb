"""From addresses to the parts that workers are given."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from fullyconv.cluster.addresses import (
    Entry,
    fitting,
    is_web,
    join,
    list_folder,
    look,
    read_bytes,
    whole_address,
)
from fullyconv.errors import FullyConvError, UsageError
from fullyconv.images import IMAGE_SUFFIXES
from fullyconv.prediction.journal import run_of
from fullyconv.prediction.photos import kind_of, leads_up, named, names_in, own_name

SHARD = ".tar"
_BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}")
_MOST = 10_000_000  # addresses that one pattern of braces may name


class Item(NamedTuple):
    """A photograph, or a shard of many, and where its results belong.

    Attributes:
        address: Where it is.
        folder: Sub-folder of its results.
        name: Their name there.
        size: Bytes; None if nobody says.
        mark: What tells it, as it is now, and the place of its results from others.
    """

    address: str
    folder: str
    name: str
    size: int | None
    mark: str

    @property
    def is_shard(self) -> bool:
        """Whether it is a tar of photographs."""
        return self.address.lower().endswith(SHARD)


@dataclass(frozen=True)
class Part:
    """What a worker is given at once: some photographs, or one shard."""

    items: tuple[Item, ...]

    @property
    def key(self) -> str:
        """Its name in the manifest: the same for the same photographs in the same state."""
        return run_of({"marks": [item.mark for item in self.items]})

    @property
    def is_shard(self) -> bool:
        """Whether it is a tar of photographs."""
        return self.items[0].is_shard

    def singles(self) -> list[Part]:
        """Its photographs one by one."""
        return [Part((item,)) for item in self.items]


def find_items(sources: Sequence[str], out: str) -> Iterator[Item]:
    """The photographs and shards that addresses name, each once, in the order of their names.

    A folder is listed when its turn comes: never more than one is held in memory.

    Args:
        sources: Pictures, tars, folders with their sub-folders, patterns, WebDataset's numbers in
            braces, and lists (NAME.txt or @NAME) with one of these on each line.
        out: Address of the results, passed over in folders.

    Raises:
        FullyConvError: If a source names nothing, cannot be listed, or is none for a cluster.
        UsageError: If there is no source, or the results would lie among the photographs.
    """
    if not sources:
        raise UsageError("no photograph is given; name files, folders or patterns")
    out = whole_address(out).rstrip("/")
    alone = len(sources) == 1 and not is_list(sources[0])
    for entry, folder, name in named(_found(sources, out), _names, alone):
        place = folder.as_posix()
        mark = f"{place}/{name} {entry.size} {entry.version}"
        if is_web(entry.address):
            mark = f"{place}/{name} {entry.address}"
        yield Item(entry.address, place, name, entry.size, mark)


def in_parts(items: Iterable[Item], size: int) -> Iterator[Part]:
    """Photographs in parts of ``size``; each shard is a part."""
    waiting: list[Item] = []
    for item in items:
        if item.is_shard:
            yield Part((item,))
            continue
        waiting.append(item)
        if len(waiting) == size:
            yield Part(tuple(waiting))
            waiting = []
    if waiting:
        yield Part(tuple(waiting))


def is_list(source: str) -> bool:
    """Whether a source names others."""
    return source.startswith("@") or source.lower().endswith(".txt")


def _names(entry: Entry) -> tuple[str, str]:
    """The name of its results without and with its suffix."""
    if is_web(entry.address):
        return own_name(entry.address)
    path = PurePosixPath(entry.name)
    if path.suffix.lower() == SHARD:  # a picture of the same name keeps it
        return f"{path.stem}-labels", f"{path.name}-labels"
    return path.stem, path.name


def _found(sources: Iterable[str], out: str) -> Iterator[tuple[Entry, Path]]:
    for source in sources:
        if is_list(source):
            yield from _listed(source.removeprefix("@"), out)
        else:
            yield from _named_by(source, out)


def _listed(address: str, out: str) -> Iterator[tuple[Entry, Path]]:
    try:
        text = read_bytes(address).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FullyConvError(
            f"{address}: this list is not text in UTF-8; save it as such"
        ) from error
    beside = whole_address(address).rpartition("/")[0]
    for name in names_in(text.splitlines(), address, "address"):
        known = "://" in name or name.startswith("/")
        yield from _named_by(name if known else join(beside, name), out)


def _named_by(source: str, out: str) -> Iterator[tuple[Entry, Path]]:
    """What one address names."""
    if kind_of(source) in ("camera", "clip", "stdin"):
        raise UsageError(
            f"{source} is no photograph, folder or shard; it is labelled without --engine ray"
        )
    if source.lower().endswith((".tar.gz", ".tgz", ".tar.zst", ".zip")):
        raise UsageError(f"{source}: shards are tars that are not compressed; unpack it")
    for address in _expanded(source):
        if is_web(address) and not address.lower().endswith(("/", SHARD)):
            yield Entry(address, None, ""), Path()
            continue
        if not is_web(address) and any(c in address for c in "*["):
            entries = fitting(address)
            if not entries:
                raise FullyConvError(f"{address}: no file fits this pattern")
            yield from ((entry, Path()) for entry in entries)
            continue
        entry = look(address)
        if entry is None:
            raise FullyConvError(f"{address}: there is no such file or folder")
        yield from [(entry, Path())] if not entry.is_folder else _folder(address, out)


def _expanded(source: str) -> Iterator[str]:
    """WebDataset's braces: ``train-{000..099}.tar`` names 100 shards.

    Example:
        >>> list(_expanded("a-{08..10}.tar"))
        ['a-08.tar', 'a-09.tar', 'a-10.tar']
    """
    found = _BRACES.search(source)
    if found is None:
        yield source
        return
    first, last = int(found[1]), int(found[2])
    if not 0 <= last - first < _MOST:
        raise UsageError(f"{source}: numbers in braces rise, and are at most {_MOST:,}")
    for number in range(first, last + 1):
        text = str(number).zfill(len(found[1]))
        yield from _expanded(source[: found.start()] + text + source[found.end() :])


def _folder(address: str, out: str) -> Iterator[tuple[Entry, Path]]:
    root = whole_address(address).rstrip("/")
    if root == out:
        raise UsageError(
            f"{address} holds the photographs, and is to hold the results; give another --out"
        )
    found = _walk(root, Path(), out)
    first = next(found, None)
    if first is None:
        raise FullyConvError(f"{address}: no picture and no {SHARD} in this folder")
    yield first
    yield from found


def _walk(root: str, folder: Path, out: str) -> Iterator[tuple[Entry, Path]]:
    entries = list_folder(join(root, folder.as_posix()) + "/" * is_web(root))
    for entry in entries:
        if entry.name == "..":
            raise FullyConvError(f"{entry.address}: this name leads out of its folder; rename it")
    shown = [entry for entry in entries if not entry.name.startswith(".")]
    suffixes = IMAGE_SUFFIXES | {SHARD}
    for entry in shown:
        if not entry.is_folder and PurePosixPath(entry.name).suffix.lower() in suffixes:
            yield entry, folder
    for entry in shown:
        if (
            entry.is_folder
            and entry.address.rstrip("/") != out
            and not leads_up(Path(entry.address))
        ):
            yield from _walk(root, folder / entry.name, out)
