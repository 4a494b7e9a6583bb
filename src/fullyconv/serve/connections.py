"""Connections that do not get on are closed; and how a server ends."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from fullyconv.serve.problems import MEDIA_TYPE, problem

HEADER_SECONDS = 10.0
_GRACE = 0.2  # seconds for what is in the system's buffers when the server ends


class Config(uvicorn.Config):
    """uvicorn's settings and ours.

    Args:
        app: The application.
        header_seconds: From a connection, or the first byte of a later request on it, to the end
            of the request's headers.
        answer_seconds: For a client to take an answer.
        **options: uvicorn's.
    """

    def __init__(
        self, app: Any, *, header_seconds: float, answer_seconds: float, **options: Any
    ) -> None:
        super().__init__(app, **options)
        self.header_seconds, self.answer_seconds = header_seconds, answer_seconds


class Connection(H11Protocol):
    """A connection that is closed if headers do not come, or answers are not taken.

    uvicorn waits for ever, so that a thousand connections with half a line each would leave the
    server none to accept. The bodies of requests have a time of their own
    (:mod:`fullyconv.serve.body`).
    """

    config: Config
    _headers: asyncio.TimerHandle | None = None
    _answer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client is there."""
        super().connection_made(transport)
        self._wait_for_headers()

    def data_received(self, data: bytes) -> None:
        """Some bytes are there: a whole request, or less, or more."""
        super().data_received(data)
        self._wait_for_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone, or was sent away."""
        for timer in (self._headers, self._answer):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The client takes its answer more slowly than we send it."""
        super().pause_writing()
        self._answer = self.loop.call_later(self.config.answer_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """The client has caught up."""
        if self._answer is not None:
            self._answer.cancel()
        super().resume_writing()

    def _wait_for_headers(self) -> None:
        if self._under_way():
            if self._headers is not None:
                self._headers.cancel()
                self._headers = None
        elif self._headers is None:
            self._headers = self.loop.call_later(self.config.header_seconds, self._no_headers)

    def _no_headers(self) -> None:
        self._headers = None
        if not self._under_way():
            self.transport.close()

    def _under_way(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and not cycle.response_complete

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP."""
        body = problem(400, "this is not a request of HTTP/1.1").body
        headers = [("content-type", MEDIA_TYPE), ("connection", "close")]
        head = h11.Response(status_code=400, headers=headers, reason=b"Bad Request")
        for event in (head, h11.Data(data=bytes(body)), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


class Server(uvicorn.Server):
    """A server that reads what has arrived before it ends."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept nobody new; take the requests that are under way; answer all of them."""
        for server in self.servers:
            server.close()
        await asyncio.sleep(_GRACE)
        await super().shutdown(sockets)
