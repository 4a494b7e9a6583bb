"""Around every request: how many there are, how long they take, and that each gets its answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fullyconv.serve.metrics import Metrics
from fullyconv.serve.problems import busy, problem

_LINGER = 2.0  # seconds for which a refused request is read on


class Watch:
    """Middleware that counts requests, bounds how many are open, and lets refusals arrive.

    An answer that is sent while the client is still sending may be lost: the connection is closed
    on bytes that nobody has read, and the client sees that instead. So they are read, for a while,
    unless the client waits for leave to send them (``Expect: 100-continue``).

    Args:
        app: What is watched.
        metrics: Told of each request.
        max_requests: How many may be open.
        paths: Addresses that are counted under their own name; others are ``other``.
    """

    def __init__(
        self, app: ASGIApp, metrics: Metrics, max_requests: int, paths: Collection[str]
    ) -> None:
        self.app, self.metrics, self.max_requests = app, metrics, max_requests
        self.paths = frozenset(paths)
        self.open = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        reading = _Reading(scope, receive)
        path = scope["path"] if scope["path"] in self.paths else "other"
        status, begun = 500, time.monotonic()

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                await reading.linger()
            await send(message)

        self.open += 1
        self.metrics.open.set(self.open)
        try:
            full = self.open > self.max_requests and path.startswith("/v1/")
            app = self._full if full else self.app  # those who ask for its health get an answer
            await app(scope, reading, answer)
        finally:
            self.open -= 1
            self.metrics.open.set(self.open)
            self.metrics.requests.labels(path, status).inc()
            self.metrics.seconds.labels(path).observe(time.monotonic() - begun)

    async def _full(self, scope: Scope, receive: Receive, send: Send) -> None:
        error = busy(f"{self.max_requests} requests are open already; come again later", 5)
        await problem(error.status, str(error), error.headers)(scope, receive, send)


class _Reading:
    """The client's side of a request, and whether all of it was read."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self._receive, self._scope = receive, scope
        self._begun = self._complete = False

    async def __call__(self) -> Message:
        self._begun = True
        message = await self._receive()
        self._complete = self._complete or not message.get("more_body", False)
        return message

    async def linger(self) -> None:
        """Read what is on its way, and forget it."""
        headers = dict(self._scope["headers"])
        sends = headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers
        asks = headers.get(b"expect", b"").lower() == b"100-continue" and not self._begun
        if self._complete or not sends or asks:
            return
        try:
            await asyncio.wait_for(self._read_on(), _LINGER)
        except asyncio.TimeoutError:
            return

    async def _read_on(self) -> None:
        while not self._complete:
            await self()
