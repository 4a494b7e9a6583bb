"""Connections that do not get on: closed after a while. And how a server ends."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

_SILENCE = 10.0  # seconds from a connection to the end of a request's headers
_GRACE = 0.2  # seconds for what is in the system's buffers already


class Connection(H11Protocol):
    """A connection that is closed if the headers of its first request do not come.

    uvicorn itself waits for ever, so that a thousand connections with half a line each would leave
    the server none to accept.
    """

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait."""
        super().connection_made(transport)
        self._timer = self.loop.call_later(_SILENCE, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        """End to wait."""
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def _give_up(self) -> None:
        if self.cycle is None:
            self.transport.close()

    def on_response_complete(self) -> None:
        """Wait for the next request, no longer than for the first."""
        super().on_response_complete()


class Server(uvicorn.Server):
    """A server that reads what has arrived before it ends."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept nobody new; take the requests that are under way; answer all of them."""
        for server in self.servers:
            server.close()
        await asyncio.sleep(_GRACE)
        await super().shutdown(sockets)
