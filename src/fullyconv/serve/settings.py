"""What a server may spend on its clients; each field is a flag of ``fcn serve``."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fullyconv.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Limits and addresses of a server.

    Attributes:
        host: Address to listen at; 0.0.0.0 is every one of this machine.
        port: Port; 0 takes any that is free.
        max_bytes: Bytes of one request; more is answered with 413.
        max_pixels: Pixels of one picture, counted before it is decoded; more is answered with 413.
        queue: Pictures that may wait, beside the three under way; more are answered with 429.
        seconds: Time of one request from its last byte to its answer; then it is answered with
            503, or 504 if its picture is being labelled.
        client_seconds: Time for a client to send its request, which is then answered with 408; and
            to take its answer.
        max_held: Bytes of all requests that are held at once; more are answered with 503.
        max_requests: Requests that may be open at once, slow ones included; more are answered with
            503.
        memory: Bytes that labelling one picture may take; one that takes more is labelled in tiles,
            with the same result.
        token: What clients must send as "Authorization: Bearer TOKEN"; the environment's
            FULLYCONV_TOKEN, which other people of the machine do not see, does the same.
        origins: Pages of other sites that may use the server (CORS): https://example.org.

    Raises:
        UsageError: If a number makes no sense, or the token cannot be sent in a header.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    max_bytes: int = 20_000_000
    max_pixels: int = 30_000_000
    queue: int = 64
    seconds: float = 60.0
    client_seconds: float = 30.0
    max_held: int = 500_000_000
    max_requests: int = 1000
    memory: int = 2_000_000_000
    token: str = ""
    origins: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("max_bytes", "max_pixels", "queue", "max_held", "max_requests", "memory"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("seconds", "client_seconds"):
            if not 0 < getattr(self, name) < math.inf:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be above 0")
        if not 0 <= self.port <= 65535:
            raise UsageError(f"port is {self.port}; ports are 0 to 65535")
        if not (self.token.isascii() and self.token.isprintable()) or " " in self.token:
            raise UsageError("a token is made of ASCII characters without spaces")
