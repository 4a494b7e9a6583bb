"""One file from the web: resumable, bounded, and one process at a time."""

from __future__ import annotations

import contextlib
import logging
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from http.client import HTTPException, HTTPMessage, HTTPResponse
from pathlib import Path
from typing import IO, BinaryIO
from urllib import request
from urllib.error import HTTPError
from urllib.parse import urlsplit

from fullyconv.errors import FullyConvError
from fullyconv.progress import progress_bar

_LIMIT = 2 * 1024**3  # bytes; no larger file is taken
_BLOCK = 1 << 18  # bytes
_TIMEOUT = 30.0  # seconds without an answer
_WAIT = 0.5  # seconds between two looks at another process's lock
_log = logging.getLogger(__name__)


if sys.platform == "win32":  # pragma: no cover
    import msvcrt

    def _try_lock(file: BinaryIO) -> bool:
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except PermissionError:
            return False
        return True

else:
    import fcntl

    def _try_lock(file: BinaryIO) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a file's lock, which the system frees when a process ends in whatever way."""
    lock = path.with_name(f".{path.name}.lock")
    with contextlib.ExitStack() as stack:
        try:
            lock.parent.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(lock.open("ab"))
            if not _try_lock(file):
                _log.warning("%s: waiting for another process that downloads it", path.name)
                while not _try_lock(file):
                    time.sleep(_WAIT)
        except OSError as error:
            raise unwritable(lock, error) from error
        yield


def unwritable(path: Path, error: OSError) -> FullyConvError:
    """The error for a file that the disk does not take."""
    return FullyConvError(
        f"{path}: cannot be written ({error.strerror or error}); make room there, or set "
        "FULLYCONV_HOME to another folder"
    )


@dataclass(frozen=True)
class Job:
    """A download: its name on the progress bar, from where, to where, and what else to do."""

    name: str
    url: str
    part: Path
    size: int | None
    advice: str

    @property
    def tag(self) -> Path:
        """File that says which version of the content ``part`` is of."""
        return self.part.with_name(f"{self.part.name}.tag")

    @property
    def limit(self) -> int:
        """Bytes that are taken at most."""
        return self.size or _LIMIT


def transfer(job: Job, progress: bool) -> None:
    """Download into ``part``, from where it ends if the server can."""
    response, start = _ask(job, *_kept(job))
    if response is None:
        return
    with response:
        length = response.headers["Content-Length"] or ""
        total = start + int(length) if length.isdecimal() else job.size
        _refuse(job, response.headers.get_content_type(), total, start)
        with job.part.open("ab" if start else "wb") as out:
            if not start:
                job.tag.write_text(_tag(response.headers), "latin-1")
            received = _receive(job, response, out, start, total, progress)
    if received > job.limit:
        job.part.unlink()
        raise FullyConvError(f"{job.url}: gives more than the {job.limit} bytes that are expected")
    if received < (total or 1):
        raise _broken(job, received, total, "the server closed it")


def _kept(job: Job) -> tuple[int, str]:
    """Bytes there are of a version that can be told, and its tag."""
    if not job.part.is_file() or not job.tag.is_file():
        return 0, ""
    tag = job.tag.read_text("latin-1").strip()
    return (job.part.stat().st_size, tag) if tag else (0, "")


def _tag(headers: Message) -> str:
    """What identifies a version of a file: a strong ETag, else its date."""
    etag = str(headers["ETag"] or "")
    return etag if etag.startswith('"') else str(headers["Last-Modified"] or "")


def _ask(job: Job, start: int, tag: str) -> tuple[HTTPResponse | None, int]:
    """Ask for the bytes from ``start`` on, if the file is still the one of ``tag``.

    Returns:
        The answer and the byte it begins with; None if nothing is missing.
    """
    headers = {"User-Agent": "fullyconv"}
    if start:
        headers |= {"Range": f"bytes={start}-", "If-Range": tag}
    try:
        response = open_url(request.Request(job.url, headers=headers))
    except HTTPError as error:
        with error:
            if error.code != 416 or not start:
                answer = f"the server answers {error.code} ({error.reason})"
                raise FullyConvError(f"{job.url}: {answer}; {job.advice}") from error
            complete = error.headers["Content-Range"] == f"bytes */{start}"
        return (None, start) if complete else _ask(job, 0, "")
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise FullyConvError(f"{job.url}: cannot be reached ({reason}); {job.advice}") from error
    if response.status != 206 or not start:
        return response, 0
    span = str(response.headers["Content-Range"] or "")
    if span.startswith(f"bytes {start}-") and _tag(response.headers) in ("", tag):
        return response, start
    response.close()  # another part, or one of another version
    return _ask(job, 0, "")


def _refuse(job: Job, kind: str, total: int | None, start: int) -> None:
    """Raise if what the server offers is not the file, or has no room here."""
    if kind == "text/html":
        raise FullyConvError(f"{job.url}: answers with a web page, not the file; {job.advice}")
    if total is None:
        return
    if total > job.limit or (job.size and total != job.size) or not total:
        expected = f"{'' if job.size else 'at most '}{job.limit}"
        raise FullyConvError(
            f"{job.url}: offers {total} bytes, but {expected} are expected; nothing was "
            f"downloaded; {job.advice}"
        )
    free = shutil.disk_usage(job.part.parent).free
    if free < total - start:
        raise FullyConvError(
            f"{job.part.parent}: has {free} bytes of free space, but {total - start} are needed; "
            "make room there, or set FULLYCONV_HOME to another folder"
        )


def _receive(
    job: Job, response: HTTPResponse, out: BinaryIO, start: int, total: int | None, progress: bool
) -> int:
    """Write what arrives, with a bar, and return where it ends."""
    received = start
    with progress_bar(
        desc=job.name, total=total, initial=start, unit="B", unit_scale=True, disable=not progress
    ) as bar:
        while received <= job.limit:
            try:
                block = response.read(_BLOCK)
            except (OSError, HTTPException) as error:
                raise _broken(job, received, total, str(error)) from error
            if not block:
                break
            out.write(block)
            received += len(block)
            bar.update(len(block))
    return received


def _broken(job: Job, received: int, total: int | None, reason: str) -> FullyConvError:
    return FullyConvError(
        f"{job.url}: the connection was lost after {received} of {total or 'unknown'} bytes "
        f"({reason}); what arrived is kept, and fcn weights get {job.name} goes on from there"
    )


class _Redirects(request.HTTPRedirectHandler):
    """Follows redirects on the web only, and none from https to http."""

    def redirect_request(
        self,
        req: request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> request.Request | None:
        allowed = ("https",) if req.type == "https" else ("http", "https")
        if urlsplit(newurl).scheme not in allowed:
            raise HTTPError(newurl, code, f"a redirect to {newurl} is refused", headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def open_url(asked: request.Request, timeout: float = _TIMEOUT) -> HTTPResponse:
    """Like urlopen, but for http and https only; ``timeout`` in seconds without an answer."""
    opener = request.OpenerDirector()
    for handler in (
        request.ProxyHandler(),
        request.HTTPHandler(),
        request.HTTPSHandler(),
        request.HTTPDefaultErrorHandler(),
        _Redirects(),
        request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    response: HTTPResponse = opener.open(asked, timeout=timeout)
    return response
