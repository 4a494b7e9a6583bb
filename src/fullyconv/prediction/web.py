"""One picture from the web, held in memory; bounded in bytes and in time."""

from __future__ import annotations

import time
from http.client import HTTPException
from urllib import request
from urllib.error import HTTPError

from fullyconv.download import open_url
from fullyconv.errors import FullyConvError

MAX_BYTES = 200 * 1024**2
MAX_SECONDS = 60.0  # for the whole picture
_SILENCE = 15.0  # seconds without an answer
_BLOCK = 1 << 18


def fetch(url: str, max_bytes: int = MAX_BYTES, max_seconds: float = MAX_SECONDS) -> bytes:
    """What lies at an address of the web (http or https; redirects are followed).

    Raises:
        FullyConvError: If the server cannot be reached, refuses, is too slow, breaks off, or offers
            more than ``max_bytes``.
    """
    deadline = time.monotonic() + max_seconds
    received = bytearray()
    try:
        asked = request.Request(url, headers={"User-Agent": "fullyconv"})
        with open_url(asked, min(_SILENCE, max_seconds)) as response:
            length = response.headers["Content-Length"] or ""
            expected = int(length) if length.isdecimal() else None
            if (expected or 0) > max_bytes:
                raise _too_large(url, max_bytes)
            while block := response.read1(_BLOCK):  # what has arrived, not a full block
                received += block
                if len(received) > max_bytes:
                    raise _too_large(url, max_bytes)
                if time.monotonic() > deadline:
                    raise TimeoutError(f"not complete after {max_seconds:g} seconds")
    except HTTPError as error:
        with error:
            answer = f"the server answers {error.code} ({error.reason})"
            raise FullyConvError(f"{url}: {answer}; check the address") from error
    except (OSError, HTTPException, ValueError) as error:  # ValueError: no address of a host
        reason = getattr(error, "reason", error)
        raise FullyConvError(
            f"{url}: cannot be fetched ({reason}); check the address and the connection"
        ) from error
    if expected is not None and len(received) < expected:
        raise FullyConvError(
            f"{url}: the connection was lost after {len(received)} of {expected} bytes; try again"
        )
    return bytes(received)


def _too_large(url: str, limit: int) -> FullyConvError:
    return FullyConvError(
        f"{url}: is larger than the {limit:,} bytes that are taken from the web; download it, and "
        "give the file"
    )
