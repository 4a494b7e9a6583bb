"""Weights by name: who publishes them, under what terms, and a checked copy on this machine.

A file lies in :func:`cache_folder` under its publisher's name, FILE. Beside it may lie FILE.part
and FILE.part.tag (a download that broke off, and the version of the file it is of), FILE.rejected
(the last download with a wrong checksum, never used), FILE.sha256 (the checksum at first use, where
the publisher states none) and .FILE.lock (empty; one process downloads, the others wait for it).
Where a checksum is pinned at first use, this module's logger warns, and :func:`verify` says so.

Environment:
    ``FULLYCONV_HOME``: The folder, instead of ``~/.cache/fullyconv``.
    ``FULLYCONV_OFFLINE``: ``1`` to download nothing.
    ``FULLYCONV_MIRROR``: Address of a folder with the same file names, asked instead of publishers.
"""

from __future__ import annotations

import datetime
import hashlib
import importlib.util
import logging
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

from fullyconv.download import Job, locked, transfer, unwritable
from fullyconv.errors import FullyConvError, UsageError, did_you_mean
from fullyconv.files import write_whole
from fullyconv.weights_table import WEIGHTS, WeightFile

__all__ = ["WEIGHTS", "Verified", "WeightFile", "cache_folder", "get", "list_weights", "verify"]

_BLOCK = 1 << 18  # bytes
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Verified:
    """A file whose checksum ("sha256 397923af...") is right, and who says so.

    ``origin`` is "published", "pinned at first use YYYY-MM-DD", or "not pinned" where none is
    published and the folder cannot be written.
    """

    name: str
    path: Path
    checksum: str
    origin: str


def cache_folder() -> Path:
    """Folder of the files: ``$FULLYCONV_HOME``, else ``fullyconv`` in the user's cache."""
    if home := os.environ.get("FULLYCONV_HOME"):
        return Path(home).expanduser()
    user = Path(os.environ.get("XDG_CACHE_HOME", ""))  # XDG: ignored unless absolute
    return (user if user.is_absolute() else Path.home() / ".cache") / "fullyconv"


def list_weights(name: str = "") -> list[tuple[WeightFile, Path | None]]:
    """Every file there is, or the one, and where it is on this machine (unchecked), or None.

    Raises:
        UsageError: If there is no such name.
    """
    entries = [_named(name)] if name else WEIGHTS.values()
    return [(entry, _present(entry)) for entry in entries]


def get(
    name: str,
    *,
    source: str | os.PathLike[str] | None = None,
    offline: bool = False,
    progress: bool = True,
) -> Path:
    """Path of a file whose checksum is right; downloaded if it is not on this machine.

    Args:
        name: One of :data:`WEIGHTS`.
        source: The file, got by hand: it is checked and copied into the cache.
        offline: Download nothing, as with ``FULLYCONV_OFFLINE=1``.
        progress: Show a bar while downloading, on a terminal.

    Raises:
        UsageError: If there is no such name, or ``FULLYCONV_MIRROR`` is no address.
        FullyConvError: If the file cannot be had, or its checksum is wrong.
    """
    entry = _named(name)
    if not entry.address:
        raise FullyConvError(f"{name}: there is no such file to get. {entry.note}")
    if source is not None:
        return _copy(entry, Path(source))
    if path := _present(entry):
        return _verified(entry, path).path
    if not entry.on_the_web:
        raise FullyConvError(f"{name} is not installed: {entry.how}")
    if offline or os.environ.get("FULLYCONV_OFFLINE", "0") not in ("", "0"):
        raise FullyConvError(f"{name} is not on this machine, and offline: {_by_hand(entry)}")
    return _download(entry, progress)


def verify(name: str) -> Verified:
    """Check a file on this machine again.

    Raises:
        UsageError: If there is no such name.
        FullyConvError: If the file is not there, or its checksum is wrong.
    """
    entry = _named(name)
    path = _present(entry)
    if path is None:
        raise FullyConvError(f"{name} is not on this machine: {entry.how}")
    return _verified(entry, path)


def _named(name: str) -> WeightFile:
    if name not in WEIGHTS:
        fitting = [known for known, entry in WEIGHTS.items() if entry.holds == name]
        known = f"Those for {name} are {' or '.join(fitting)}" if fitting else ""
        known = known or did_you_mean(name, list(WEIGHTS), "fcn weights list names them")
        raise UsageError(f"there are no weights {name!r}. {known}")
    return WEIGHTS[name]


def _cached(entry: WeightFile, suffix: str = "") -> Path:
    return cache_folder() / f"{entry.file}{suffix}"


def _present(entry: WeightFile) -> Path | None:
    """The file in the cache or in an installed package, whatever it holds."""
    if not entry.address:
        return None
    if (path := _cached(entry)).is_file():
        return path
    if entry.on_the_web:
        return None
    spec = importlib.util.find_spec(entry.address)  # of a top-level package: imports nothing
    if spec is None or spec.origin is None:
        return None
    return next((Path(spec.origin).parent / "models").glob("*.pth"), None)


def _by_hand(entry: WeightFile) -> str:
    return (
        f"fetch {entry.address} elsewhere and run fcn weights get {entry.name} --from FILE, or put "
        f"it at {_cached(entry)}"
    )


class _MismatchError(FullyConvError):
    """The checksum is wrong."""


def _verified(entry: WeightFile, path: Path, advice: str = "") -> Verified:
    """Compare a file with its checksum; pin one where there is none."""
    advice = advice or f"it is not used: delete it and run {entry.how}"
    try:
        with path.open("rb") as file:
            checksum, origin = _compare(entry, path, file, None, advice)
    except OSError as error:
        raise FullyConvError(f"{path}: cannot be read ({error.strerror or error})") from error
    return Verified(name=entry.name, path=path, checksum=checksum, origin=origin)


def _copy(entry: WeightFile, source: Path) -> Path:
    """Copy a file got by hand into the cache, if its checksum is right."""
    advice = "it was not copied; get the right file"
    try:
        with source.open("rb") as file:
            write_whole(_cached(entry), lambda out: _compare(entry, source, file, out, advice))
    except OSError as error:
        raise FullyConvError(f"{source}: cannot be read ({error.strerror or error})") from error
    return _cached(entry)


def _compare(
    entry: WeightFile, path: Path, file: BinaryIO, copy: BinaryIO | None, advice: str
) -> tuple[str, str]:
    """Checksum of ``file``, the content of ``path``, and its origin; copied on the way."""
    expected, origin = _expected(entry)
    hashes = {kind: hashlib.new(kind, usedforsecurity=False) for kind in expected or ("sha256",)}
    while block := file.read(_BLOCK):
        for running in hashes.values():
            running.update(block)
        if copy:
            copy.write(block)
    found = {kind: running.hexdigest() for kind, running in hashes.items()}
    for kind, value in expected.items():
        if not found[kind].startswith(value):
            if origin != "published":
                advice += f"; if the change is meant, delete {_cached(entry, '.sha256')}"
            raise _MismatchError(
                f"{path}: its {kind} is {found[kind]}, but that of {entry.name} is {value} "
                f"({origin}); {advice}"
            )
    kind, value = next(iter(found.items()))
    return f"{kind} {value}", origin or _pin(entry, value)


def _expected(entry: WeightFile) -> tuple[dict[str, str], str]:
    """Checksums by kind and their origin; empty if none is published and none pinned yet."""
    published = {"sha256": entry.sha256, "sha1": entry.sha1}
    if known := {kind: value for kind, value in published.items() if value}:
        return known, "published"
    pin = _cached(entry, ".sha256")
    if not pin.exists():
        return {}, ""
    match = re.match(rb"# (pinned at first use [\d-]{10}).*\n([0-9a-f]{64}) ", pin.read_bytes())
    if match is None:
        raise FullyConvError(f"{pin}: holds no checksum; delete it, and the next use pins one")
    return {"sha256": match[2].decode()}, match[1].decode()


def _pin(entry: WeightFile, sha256: str) -> str:
    """Keep the checksum of a file whose publisher states none; returns its origin."""
    origin = f"pinned at first use {datetime.date.today().isoformat()}"
    line = f"# {origin}, {entry.address}\n{sha256}  {entry.file}\n"  # sha256sum -c reads it
    try:
        write_whole(_cached(entry, ".sha256"), lambda file: file.write(line.encode()))
    except FullyConvError as error:
        _log.warning("%s: no checksum is published, and none was pinned: %s", entry.name, error)
        return "not pinned"
    _log.warning("%s: no checksum is published; %s: %s", entry.name, origin, sha256)
    return origin


def _download(entry: WeightFile, progress: bool) -> Path:
    path, part, rejected = (_cached(entry, suffix) for suffix in ("", ".part", ".rejected"))
    by_hand = _by_hand(entry)
    job = Job(entry.name, _url(entry), part, entry.size, by_hand)
    with locked(path):
        if path.is_file():  # another process was faster
            return _verified(entry, path).path
        try:
            transfer(job, progress)
            try:
                _verified(entry, part, f"it is kept as {rejected} and not used; {by_hand}")
            except _MismatchError:
                part.replace(rejected)
                raise
            part.replace(path)
            job.tag.unlink(missing_ok=True)
        except OSError as error:
            raise unwritable(path, error) from error
    return path


def _url(entry: WeightFile) -> str:
    mirror = os.environ.get("FULLYCONV_MIRROR", "")
    if mirror and urlsplit(mirror).scheme not in ("http", "https"):
        raise UsageError(f"FULLYCONV_MIRROR is {mirror!r}; it must begin with http:// or https://")
    return f"{mirror.rstrip('/')}/{entry.file}" if mirror else entry.address
