"""Writing files whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from fullyconv.errors import FullyConvError


def write_whole(
    path: str | os.PathLike[str], write: Callable[[BinaryIO], object], durable: bool = True
) -> None:
    """Write to a temporary name beside ``path``, then rename: it is complete, or not there.

    Whatever goes wrong (a full disk, an error in ``write``, Ctrl-C), an older file of that name is
    kept as it was.

    Args:
        path: The file to make or replace; its folder is made if need be.
        write: Called with the temporary file, open for writing bytes.
        durable: Wait until the disk has it. A power cut may else leave the new name without
            content: cheap to make again for one of many results, not for a checkpoint.

    Raises:
        FullyConvError: If the file cannot be written.
    """
    path = Path(path)
    part = path.parent / f".{secrets.token_hex(8)}.part"
    try:
        _make_folder(path.parent)
        with part.open("xb") as file:
            write(file)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        part.replace(path)
    except (OSError, RuntimeError) as error:
        # torch.save hides the system's error behind one of its own
        cause = error if isinstance(error, OSError) else error.__context__
        if isinstance(cause, KeyboardInterrupt):
            raise KeyboardInterrupt from error
        if not isinstance(cause, OSError):
            raise
        raise _unwritable(path, cause) from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink()


def write_bytes(path: str | os.PathLike[str], content: bytes, durable: bool = True) -> None:
    """:func:`write_whole` of content that is there already."""
    write_whole(path, lambda file: file.write(content), durable)


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:  # the system's own words would be "File exists"
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)) from error


def write_json(path: str | os.PathLike[str], values: Any) -> None:
    """Write plain values as an indented JSON file, whole or not at all.

    Raises:
        FullyConvError: If the file cannot be written.
    """
    write_text(path, json.dumps(values, indent=1))


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a text file, whole or not at all.

    Raises:
        FullyConvError: If the file cannot be written.
    """
    # a name from JSON may hold half a character, which no encoding has
    content = text.encode(errors="replace")
    write_whole(path, lambda file: file.write(content))


def write_folder(path: str | os.PathLike[str], write: Callable[[Path], object], mark: str) -> None:
    """Write a folder of files under a temporary name, then rename: it is complete, or not there.

    Args:
        path: The folder to make or replace.
        write: Called with the temporary folder.
        mark: File that an older folder must hold to be replaced: no other one is touched.

    Raises:
        FullyConvError: If the folder cannot be written, or holds something else.
    """
    path = Path(path).absolute()
    part, old = (path.parent / f".{secrets.token_hex(8)}.part" for _ in range(2))
    try:
        _make_folder(path.parent)
        if path.exists() and not (path / mark).exists() and (path.is_file() or any(path.iterdir())):
            raise FullyConvError(
                f"{path}: holds something else than {mark} and its files; give another folder, or "
                "move it away"
            )
        part.mkdir()
        write(part)
        if path.exists():
            path.rename(old)
        part.rename(path)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        if old.exists() and not path.exists():
            old.rename(path)
        for folder in (part, old):
            shutil.rmtree(folder, ignore_errors=True)


def append_line(path: str | os.PathLike[str], line: str) -> None:
    """Add a line to a text file.

    Raises:
        FullyConvError: If the file cannot be written.
    """
    try:
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(line + "\n")
    except OSError as error:
        raise _unwritable(Path(path), error) from error


def _unwritable(path: Path, error: OSError) -> FullyConvError:
    return FullyConvError(
        f"{path}: cannot be written ({error.strerror or error}); check the folder, its "
        "permissions and the free space"
    )
