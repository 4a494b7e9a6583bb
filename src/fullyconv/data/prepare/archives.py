"""Reading the published archives without trusting them."""

from __future__ import annotations

import re
import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from fullyconv.errors import FullyConvError
from fullyconv.progress import progress_bar

MAX_BYTES = 64 * 2**30
"""Archives that unpack to more are refused; the largest published one has some 5 GB."""
MAX_FILES = 500_000
"""Archives of more members are refused; VOC 2012's has some 60,000."""

_BLOCK = 2**20


class _Member(NamedTuple):
    name: str
    content: IO[bytes] | None
    """None for what is not a plain file."""
    is_folder: bool


def is_archive(path: Path) -> bool:
    """Whether a file is a tar (also compressed) or zip archive, by its content.

    Raises:
        FullyConvError: If the file cannot be read.
    """
    try:
        return tarfile.is_tarfile(path) or zipfile.is_zipfile(path)
    except OSError as error:
        raise FullyConvError(f"{path}: cannot be read ({error.strerror or error})") from error
    except Exception as error:  # a compressed file that breaks off
        raise _damaged(path, error) from error


def unpack(
    archive: Path, into: Path, members: str, progress: bool = True, most: int | None = None
) -> None:
    """Unpack those members of an archive whose path matches the regular expression.

    Args:
        archive: tar, tar.gz, tar.bz2, tar.xz or zip.
        into: Empty folder.
        members: Searched in each member's path; the others are left in the archive.
        progress: Show a bar.
        most: Bytes that it may unpack to; None for :data:`MAX_BYTES`.

    Raises:
        FullyConvError: If a member would land outside of ``into`` or is a link, the archive is
            damaged or too large, or the disk is full.
    """
    try:
        _unpack(archive, into, re.compile(members), progress, MAX_BYTES if most is None else most)
    except FullyConvError:
        raise
    except OSError as error:
        if error.errno is None:
            raise _damaged(archive, error) from error
        raise FullyConvError(
            f"{archive}: cannot be unpacked into {into} ({error.strerror}); check the free "
            "space, or unpack it yourself and give the folder"
        ) from error
    except Exception as error:  # zlib, lzma, tarfile and zipfile have many
        raise _damaged(archive, error) from error


def _unpack(archive: Path, into: Path, wanted: re.Pattern[str], progress: bool, most: int) -> None:
    written = 0
    with _members(archive) as found:
        bar = progress_bar(found, f"unpacking {archive.name}", disable=not progress, unit=" files")
        for number, member in enumerate(bar):
            if number >= MAX_FILES:
                raise FullyConvError(f"{archive}: more than {MAX_FILES:,} members; refused")
            path = _inside(member.name, archive)
            if member.is_folder or not wanted.search(path.as_posix()):
                continue
            if member.content is None:
                raise FullyConvError(
                    f"{archive}: {member.name!r} is a link or device, not a file; unpack the "
                    "archive yourself and give the folder"
                )
            written += _write(member.content, into / path, most - written, most, archive)


def _damaged(archive: Path, error: Exception) -> FullyConvError:
    return FullyConvError(
        f"{archive}: the archive is damaged or cut short ({error}); download it again"
    )


@contextmanager
def _members(archive: Path) -> Iterator[Iterable[_Member]]:
    if tarfile.is_tarfile(archive):
        with tarfile.open(archive, "r:*") as tar:
            yield _of_tar(tar)
    else:
        with zipfile.ZipFile(archive) as zipped:
            yield _of_zip(zipped)


def _of_zip(archive: zipfile.ZipFile) -> Iterator[_Member]:
    for info in archive.infolist():
        # the upper half are Unix's mode bits: 0o120000 is a symbolic link
        if info.is_dir() or (info.external_attr >> 16) & 0o170000 == 0o120000:
            yield _Member(info.filename, None, info.is_dir())
        else:
            with archive.open(info) as content:
                yield _Member(info.filename, content, False)


def _of_tar(archive: tarfile.TarFile) -> Iterator[_Member]:
    for info in archive:
        content = archive.extractfile(info) if info.isfile() else None
        yield _Member(info.name, content, info.isdir())
    for _ in range(MAX_BYTES // _BLOCK):  # the compressed file's own checksum is at its very end
        if not archive.fileobj.read(_BLOCK):
            break


def _inside(name: str, archive: Path) -> PurePosixPath:
    """A member's path, relative and without steps upwards."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in name or "\0" in name:
        raise FullyConvError(
            f"{archive}: {name!r} leads out of the archive's own folder; this is not the published "
            "archive, do not use it"
        )
    return path


def _write(content: IO[bytes], path: Path, room: int, most: int, archive: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with path.open("xb") as file:
        while block := content.read(_BLOCK):
            written += len(block)
            if written > room:
                raise FullyConvError(
                    f"{archive}: unpacks to more than {most / 2**30:g} GB; refused"
                )
            file.write(block)
    return written
