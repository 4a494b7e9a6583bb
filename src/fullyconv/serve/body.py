"""Requests are read with bounds: on bytes, on time, and on what all of them hold together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import ClientDisconnect, Request

from fullyconv.serve.problems import RequestError, busy
from fullyconv.serve.settings import Settings


class Intake:
    """Reads the bodies of requests.

    Args:
        settings: The bounds.

    Attributes:
        held: Bytes of all bodies in memory.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.held = 0

    @asynccontextmanager
    async def body(self, request: Request) -> AsyncIterator[bytes]:
        """What the client sent; counted as held until the end of the block.

        What the client says of its length is believed only where that refuses it sooner.

        Raises:
            RequestError: If it is too large, too slow, or too much beside the others.
            ClientDisconnect: If the client broke off.
        """
        declared = request.headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > self.settings.max_bytes:
            raise self._too_large()
        received = bytearray()
        counted = 0
        try:
            deadline = time.monotonic() + self.settings.client_seconds
            more = True
            while more:
                block, more = await self._block(request, deadline)
                self.held += len(block)
                counted += len(block)
                if counted > self.settings.max_bytes:
                    raise self._too_large()
                if self.held > self.settings.max_held:
                    raise busy("the server holds as many bytes as it may; come again later", 5)
                received += block
            yield bytes(received)
        finally:
            self.held -= counted

    async def _block(self, request: Request, deadline: float) -> tuple[bytes, bool]:
        """The next bytes, and whether more are to come."""
        try:
            message = await asyncio.wait_for(request.receive(), deadline - time.monotonic())
        except asyncio.TimeoutError as error:  # before 3.11 this was not the builtin one
            raise RequestError(
                408,
                f"the request was not complete after {self.settings.client_seconds:g} seconds",
                {"Connection": "close"},
            ) from error
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        return message.get("body", b""), message.get("more_body", False)

    def _too_large(self) -> RequestError:
        return RequestError(
            413,
            f"the request is larger than the {self.settings.max_bytes:,} bytes that are taken "
            "here; make the picture smaller, or store it with more compression",
        )
