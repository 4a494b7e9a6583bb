"""What a server counts of itself, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

MEDIA_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """Counters of one app; two apps in one process do not share them."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "fullyconv_requests", "Requests answered", ["path", "status"], registry=self._registry
        )
        self.seconds = Histogram(
            "fullyconv_request_seconds",
            "From a request's headers to the end of its answer",
            ["path"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.stages = Histogram(
            "fullyconv_stage_seconds",
            "Of a picture: waiting in the queue, decode, network, encode",
            ["stage"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.pixels = Counter("fullyconv_pixels", "Pixels labelled", registry=self._registry)
        self.queue = Gauge("fullyconv_queue_length", "Pictures that wait", registry=self._registry)
        self.open = Gauge(
            "fullyconv_open_requests", "Requests that are not answered yet", registry=self._registry
        )
        self.held = Gauge("fullyconv_held_bytes", "Bytes of requests held", registry=self._registry)

    def watch(self, queue: Callable[[], float], held: Callable[[], float]) -> None:
        """Whom to ask for the length of the queue and the bytes held."""
        self.queue.set_function(queue)
        self.held.set_function(held)

    def text(self) -> bytes:
        """All of them, in Prometheus' text format."""
        return generate_latest(self._registry)
