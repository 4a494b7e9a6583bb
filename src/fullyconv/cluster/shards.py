"""Tars of photographs, as WebDataset has them: read without trusting them, and written."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Container, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from fullyconv.cluster.addresses import check_size, reading
from fullyconv.errors import FullyConvError
from fullyconv.images import IMAGE_SUFFIXES
from fullyconv.prediction.photos import named
from fullyconv.prediction.web import MAX_BYTES

_MOST = 200_000  # members; Python takes a kilobyte for each


class Member(NamedTuple):
    """A photograph in a tar.

    Attributes:
        member: Its name there.
        folder: Sub-folder of its results.
        name: Their name there.
        offset: Where its bytes begin in the tar.
        size: How many they are.
    """

    member: str
    folder: str
    name: str
    offset: int
    size: int


def members(shard: Path, said: str) -> tuple[list[Member], list[str]]:
    """The photographs in a tar, and the names of members that are refused.

    As in WebDataset what a name has after its first dot is the kind, and the rest says what belongs
    together: ``0001.seg.png`` beside ``0001.jpg`` is no photograph of its own. A name that occurs
    twice means its last member, as when a tar is unpacked.

    Args:
        shard: The tar.
        said: What errors call it.

    Raises:
        FullyConvError: If it is no tar, is damaged, or has too many members.
    """
    found: dict[str, tuple[int, int]] = {}
    refused: list[str] = []
    for info in _read(shard, said):
        path = PurePosixPath(info.name)
        if path.suffix.lower() not in IMAGE_SUFFIXES or path.name.startswith("."):
            continue
        if not info.isreg() or info.issparse() or _leads_out(info.name):
            refused.append(info.name)
            continue
        found[path.as_posix()] = (info.offset_data, info.size)
    keys = {str(path.with_suffix("")) for path in map(PurePosixPath, found)}
    order = sorted(found, key=lambda name: PurePosixPath(name).parts)
    order.sort(key=lambda name: PurePosixPath(name).parent.parts)
    kept = [name for name in order if not _belongs(PurePosixPath(name), keys)]
    placed = ((name, Path(PurePosixPath(name).parent)) for name in kept)
    return [
        Member(name, folder.as_posix(), own, *found[name])
        for name, folder, own in named(placed, _names, alone=True)
    ], refused


def _read(shard: Path, said: str) -> Iterator[tarfile.TarInfo]:
    try:
        with tarfile.open(shard, "r:") as tar:
            for number, info in enumerate(tar):
                if number >= _MOST:
                    raise FullyConvError(f"{said}: has more than {_MOST:,} members; split it")
                yield info
            if tar.offset > shard.stat().st_size:
                raise tarfile.ReadError("unexpected end of data")
    except (tarfile.TarError, OSError, ValueError, EOFError) as error:
        raise _damaged(said, error) from error


def first_members(address: str, count: int) -> list[tuple[str, bytes]]:
    """Name and bytes of the first photographs of a tar, which is read no further than needed.

    Raises:
        FullyConvError: If it is no tar, or damaged before that.
    """
    found: list[tuple[str, bytes]] = []
    try:
        with reading(address) as file, tarfile.open(fileobj=file, mode="r|") as tar:
            for info in tar:
                path = PurePosixPath(info.name)
                if not info.isreg() or path.suffix.lower() not in IMAGE_SUFFIXES:
                    continue
                content = tar.extractfile(info) if info.size <= MAX_BYTES else None
                if content is not None:
                    found.append((f"{address}/{info.name}", content.read()))
                if len(found) == count:
                    break
    except (tarfile.TarError, OSError, ValueError, EOFError) as error:
        raise _damaged(address, error) from error
    return found


def _damaged(said: str, error: Exception) -> FullyConvError:
    return FullyConvError(
        f"{said}: this is no tar, or is damaged or cut short ({error}); shards are tars that are "
        "not compressed"
    )


def _leads_out(name: str) -> bool:
    path = PurePosixPath(name)
    return path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name


def _belongs(path: PurePosixPath, keys: set[str]) -> bool:
    """Whether it is part of the sample of another photograph."""
    key = path.name.partition(".")[0]
    return bool(key) and path.stem != key and str(path.parent / key) in keys


def _names(member: str) -> tuple[str, str]:
    path = PurePosixPath(member)
    return path.stem, path.name


def read_member(shard: Path, member: Member) -> bytes:
    """The bytes of a member; may be called from many threads.

    Raises:
        FullyConvError: If it is too large, or the tar ends before it does.
    """
    check_size(member.member, member.size)
    with shard.open("rb") as file:
        content = os.pread(file.fileno(), member.size, member.offset)
    if len(content) < member.size:
        raise FullyConvError(f"{member.member}: the tar ends in the middle of it; make it again")
    return content


class ShardWriter:
    """A tar of results, made on this machine.

    Args:
        tar: Open for writing.
    """

    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar

    def add(self, name: str, content: bytes) -> None:
        """Append a file; nothing in it depends on when or by whom."""
        info = tarfile.TarInfo(name)
        info.size, info.mode = len(content), 0o644
        self._tar.addfile(info, io.BytesIO(content))


@contextmanager
def writing(
    file: Path, said: str, older: Path | None = None, kept: Container[str] = ()
) -> Iterator[ShardWriter]:
    """Write a tar, beginning with what an older one holds.

    Args:
        file: The tar to write.
        said: What errors call it.
        older: The older one.
        kept: Names that are taken from it; a run that was killed may have left others.

    Raises:
        FullyConvError: If it cannot be written, or an older one not be read.
    """
    try:
        with tarfile.open(file, "w", format=tarfile.PAX_FORMAT) as tar:
            if older is not None:
                with tarfile.open(older, "r:") as old:
                    for info in filter(lambda info: info.name in kept, old):
                        tar.addfile(info, old.extractfile(info))
            yield ShardWriter(tar)
    except (tarfile.TarError, OSError) as error:
        raise FullyConvError(
            f"{said}: the tar of results cannot be written ({error}); check the free space of the "
            "temporary folder"
        ) from error
