"""A real server beside the test, and what a client says to it."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any

from fullyconv.prediction.prediction import Prediction
from fullyconv.prediction.predictor import Predictor
from fullyconv.serve.app import create_app
from fullyconv.serve.running import listening, server
from fullyconv.serve.settings import Settings


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def problem(self, status: int) -> str:
        """The sentence of a problem, which must be whole (RFC 9457) and of that status."""
        assert (self.status, self.headers["content-type"]) == (status, "application/problem+json")
        said = self.json
        assert said.keys() == {"type", "title", "status", "detail"}
        assert said["status"] == status
        return str(said["detail"])


class Gate(Predictor):
    """A predictor that stands still until it is let go."""

    def __init__(self) -> None:
        super().__init__("camvid", "onnx")
        self.open = threading.Event()
        self.at_it = threading.Semaphore(0)

    def __call__(self, photo: Any) -> Prediction:
        self.at_it.release()
        assert self.open.wait(20)
        return super().__call__(photo)


@contextmanager
def serving(
    predictor: Predictor, name: str = "camvid", send_buffer: int = 0, **settings: Any
) -> Iterator[int]:
    """The port of a server in a thread."""
    limits = Settings(port=0, **settings)
    listener = listening(limits.host, limits.port)
    if send_buffer:  # else the system takes megabytes that nobody reads
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
    running = server(create_app(predictor, limits, name), limits)
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        running.should_exit = True
        thread.join(30)
    assert not thread.is_alive()


def ask(
    port: int,
    path: str,
    body: bytes | None = None,
    method: str = "",
    timeout: float = 30,
    **headers: str,
) -> Answer:
    """One request; ``content_type`` and the like are headers."""
    connection = HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method or ("GET" if body is None else "POST"), path, body, named)
        response = connection.getresponse()
        found = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, found, response.read())
    finally:
        connection.close()


def connect(port: int, said: bytes = b"") -> socket.socket:
    """A connection on which something was said."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=20)
    connection.sendall(said)
    return connection


def until(true: Any, seconds: float = 10) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def metric(port: int, name: str) -> float:
    """A line of /metrics."""
    for line in ask(port, "/metrics").body.decode().splitlines():
        if line.startswith(name + " "):
            return float(line.split()[-1])
    return 0.0
