"""Files and folders by address, wherever fsspec reaches; its errors as one sentence each."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeVar

from fullyconv import files
from fullyconv.errors import FullyConvError, UsageError
from fullyconv.extras import optional
from fullyconv.prediction.photos import kind_of
from fullyconv.prediction.web import MAX_BYTES, fetch

_Got = TypeVar("_Got")
_TRIES, _PAUSE = 4, 0.25  # seconds before the second try, four times as many before each next
_BLOCK = 1 << 20  # bytes
_VERSIONS = ("ETag", "etag", "md5Hash", "content_md5", "mtime", "LastModified", "last_modified")


class Entry(NamedTuple):
    """What a listing says.

    Attributes:
        address: Where it is; a path where it is on this machine.
        size: Bytes; None of what does not say (the web).
        version: What changes with the content: a checksum or a time.
        is_folder: Whether it is one.
    """

    address: str
    size: int | None
    version: str
    is_folder: bool = False

    @property
    def name(self) -> str:
        """Its name in its folder."""
        return self.address.rstrip("/").rpartition("/")[2]


def is_web(address: str) -> bool:
    """Whether it is an http or https address."""
    return kind_of(address) == "url"


def _open(address: str) -> tuple[Any, str, bool]:
    """File system, the path in it, and whether it is this machine's."""
    fsspec = optional("fsspec", "cluster", "for --engine ray")
    scheme = address.partition("://")[0]
    try:
        system, path = fsspec.core.url_to_fs(address, use_listings_cache=False)
    except ImportError as error:
        raise FullyConvError(
            f"{address}: needs a package that is not installed ({error}); s3:// is in "
            'pip install "fullyconv[cluster]", the others are at their own fsspec packages'
        ) from error
    except ValueError as error:
        raise UsageError(
            f"{address}: {scheme}:// is no kind of address that is known ({error}); paths, s3://, "
            "gs://, az:// and what else fsspec knows are"
        ) from error
    return system, path, "local" in _protocols(system)


def _protocols(system: Any) -> tuple[str, ...]:
    return (system.protocol,) if isinstance(system.protocol, str) else tuple(system.protocol)


def whole_address(address: str) -> str:
    """An address with its scheme; of a path on this machine the absolute path.

    Raises:
        FullyConvError: If there is no such kind of address.
    """
    system, path, local = _open(address)
    return str(path) if local else str(system.unstrip_protocol(path))


def join(address: str, *names: str) -> str:
    """An address inside a folder.

    Example:
        >>> join("s3://bucket/out/", ".", "a/b", "c.png")
        's3://bucket/out/a/b/c.png'
    """
    return "/".join([address.rstrip("/"), *(name for name in names if name not in ("", "."))])


def list_folder(address: str) -> list[Entry]:
    """What lies in a folder, by name; of a file, itself.

    Raises:
        FullyConvError: If it cannot be listed.
    """
    system, path, local = _open(address)
    found = _patiently(address, lambda: system.ls(path, detail=True))
    entries = [_entry(system, info, local) for info in found]
    here = whole_address(address).rstrip("/")
    # object stores list a folder's own placeholder, too
    inside = [entry for entry in entries if entry.address.rstrip("/") != here]
    return sorted(inside or [entry for entry in entries if not entry.is_folder])


def fitting(pattern: str) -> list[Entry]:
    """The files that a pattern fits, by name.

    Raises:
        FullyConvError: If it cannot be looked for.
    """
    system, path, local = _open(pattern)
    found = _patiently(pattern, lambda: system.glob(path, detail=True))
    entries = [_entry(system, info, local) for info in found.values()]
    return sorted(entry for entry in entries if not entry.is_folder)


def look(address: str) -> Entry | None:
    """What an address holds; None if there is nothing.

    Raises:
        FullyConvError: If that cannot be found out.
    """
    system, path, local = _open(address)
    try:
        return _entry(system, _patiently(address, lambda: system.info(path)), local)
    except FullyConvError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return None
        raise


def _entry(system: Any, info: Any, local: bool) -> Entry:
    name = str(info["name"])
    address = name if local else str(system.unstrip_protocol(name))
    version = next((str(info[key]) for key in _VERSIONS if info.get(key)), "")
    size = info.get("size")
    return Entry(address, None if size is None else int(size), version, info["type"] == "directory")


def read_bytes(address: str, size: int | None = None, most: int = MAX_BYTES) -> bytes:
    """What lies at an address.

    Args:
        address: Of a file.
        size: Its bytes, where a listing said so.
        most: A larger file is refused; None of a size is one of the web.

    Raises:
        FullyConvError: If it cannot be read, or is too large.
    """
    if is_web(address):
        return fetch(address, most)
    check_size(address, size or 0, most)
    system, path, _ = _open(address)
    return bytes(_patiently(address, lambda: system.cat_file(path)))


def check_size(said: str, size: int, most: int = MAX_BYTES) -> None:
    """Raise if a photograph has more bytes than are read of one.

    Raises:
        FullyConvError: If it has.
    """
    if size > most:
        raise FullyConvError(
            f"{said}: holds {size:,} bytes, and no more than {most:,} are read of a photograph; "
            "make it smaller"
        )


@contextmanager
def reading(address: str) -> Iterator[IO[bytes]]:
    """A file, open to be read from its beginning, as far as one likes.

    Raises:
        FullyConvError: If it cannot be opened.
    """
    system, path, _ = _open(address)
    with _patiently(address, lambda: system.open(path, "rb")) as file:
        yield file


def fetch_file(address: str, folder: Path) -> Path:
    """A file on this machine: itself, or a copy in ``folder``.

    Raises:
        FullyConvError: If it cannot be read.
    """
    system, path, local = _open(address)
    if local:
        if not Path(path).is_file():
            raise FullyConvError(f"{address}: there is no such file")
        return Path(path)
    folder.mkdir(exist_ok=True)
    copy = folder / "fetched"
    _patiently(address, lambda: system.get_file(path, str(copy)))
    return copy


def write_bytes(address: str, content: bytes, durable: bool = False) -> None:
    """Write a file, whole or not at all where the place can do so: here, and in object stores.

    Raises:
        FullyConvError: If it cannot be written.
    """
    system, path, local = _open(address)
    if local:
        files.write_bytes(path, content, durable)
        return

    def write() -> None:
        _make_folder(system, path)
        system.pipe_file(path, content)

    _patiently(address, write, "written")


def put_file(address: str, file: Path) -> None:
    """Write what a file of this machine holds; see :func:`write_bytes`.

    Raises:
        FullyConvError: If it cannot be written.
    """
    system, path, local = _open(address)
    if local:
        with file.open("rb") as content:
            files.write_whole(path, lambda out: shutil.copyfileobj(content, out, _BLOCK))
        return

    def write() -> None:
        _make_folder(system, path)
        system.put_file(str(file), path)

    _patiently(address, write, "written")


def _make_folder(system: Any, path: str) -> None:
    """Where folders have to be made; object stores have none, and would try to make a bucket."""
    if not {"s3", "s3a", "gs", "gcs", "az", "abfs", "http"} & set(_protocols(system)):
        system.makedirs(path.rpartition("/")[0], exist_ok=True)


def _patiently(address: str, work: Callable[[], _Got], done: str = "read") -> _Got:
    """Do it; what may pass by itself is tried again."""
    for left in reversed(range(_TRIES)):
        try:
            return work()
        except FileNotFoundError as error:
            raise FullyConvError(f"{address}: there is no such file or folder") from error
        except Exception as error:  # each file system has its own
            if left and not _is_final(error):
                time.sleep(_PAUSE * 4 ** (_TRIES - 1 - left))
                continue
            raise _sentence(address, error, done) from error
    raise AssertionError("the last try returns or raises")


def _is_final(error: Exception) -> bool:
    kinds = (PermissionError, IsADirectoryError, NotADirectoryError, NotImplementedError)
    return isinstance(error, kinds) or "Credentials" in type(error).__name__


def _sentence(address: str, error: Exception, done: str) -> FullyConvError:
    if "Credentials" in type(error).__name__:
        return FullyConvError(
            f"{address}: no credentials were found ({error}); set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, or give this machine a role"
        )
    if isinstance(error, PermissionError):
        return FullyConvError(
            f"{address}: cannot be {done} ({error}); check the credentials and their permissions"
        )
    said = str(error) or type(error).__name__
    return FullyConvError(f"{address}: cannot be {done} ({said}); check the address and try again")
