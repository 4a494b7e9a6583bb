"""Pictures wait in a queue, and go through the network one after the other."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from starlette.requests import ClientDisconnect

from fullyconv.errors import FullyConvError
from fullyconv.prediction.prediction import Prediction
from fullyconv.prediction.predictor import Predictor
from fullyconv.serve.metrics import Metrics
from fullyconv.serve.problems import RequestError, busy
from fullyconv.serve.settings import Settings

_AHEAD = 3  # pictures: one is decoded and one encoded while one is in the network
_WARM = (360, 480)  # pixels of the picture that is labelled before anybody asks


@dataclass(eq=False)
class _Job:
    read: Callable[[], NDArray[np.uint8]]
    write: Callable[[Prediction, float], bytes]
    answer: asyncio.Future[bytes]
    since: float = field(default_factory=time.monotonic)
    begun: bool = False


class Labeller:
    """Labels pictures for many clients.

    One picture at a time is in the network, with all processors; the next one is decoded, and the
    last one made labels and encoded, meanwhile. The event loop only waits.

    Args:
        predictor: Labels them.
        settings: How many may wait, and for how long.
        metrics: Told of every picture.

    Attributes:
        waiting: Pictures in the queue.
        seconds_per_megapixel: Of the network, on this machine; 0 until it was measured.
        trouble: Why the model cannot be used, if it cannot.
    """

    def __init__(self, predictor: Predictor, settings: Settings, metrics: Metrics) -> None:
        self.predictor, self.settings, self.metrics = predictor, settings, metrics
        self.waiting = self._under_way = 0
        self.seconds_per_megapixel = 0.0
        self.trouble = ""
        self._typical = 0.1  # seconds of a picture, as of late

    async def start(self) -> None:
        """Make the threads, and label a first picture behind the scenes."""
        self._network = ThreadPoolExecutor(1, "network")
        self._around = ThreadPoolExecutor(_AHEAD - 1, "around")
        self._queue: asyncio.Queue[_Job] = asyncio.Queue()
        self._warm = asyncio.Event()
        self._tasks = [asyncio.create_task(self._serve()) for _ in range(_AHEAD)]
        self._tasks.append(asyncio.create_task(self._warm_up()))

    async def stop(self) -> None:
        """End the threads; whoever still waits gets no answer."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for pool in (self._network, self._around):
            pool.shutdown(wait=True, cancel_futures=True)

    @property
    def ready(self) -> bool:
        """Whether a first picture was labelled."""
        return self._warm.is_set() and not self.trouble

    async def warm(self) -> None:
        """Wait until the speed is known."""
        await self._warm.wait()

    async def run(
        self,
        read: Callable[[], NDArray[np.uint8]],
        write: Callable[[Prediction, float], bytes],
        gone: Callable[[], Coroutine[Any, Any, None]],
    ) -> bytes:
        """Label a picture.

        Args:
            read: Gives the pixels; in a thread.
            write: Gives the answer, of the prediction and the seconds that it took; in a thread.
            gone: Waits until nobody waits for the answer any more.

        Raises:
            RequestError: If too many wait, or it took too long.
            ClientDisconnect: If nobody waits any more.
            FullyConvError: What ``read``, the network or ``write`` raises.
        """
        if self.waiting + self._under_way >= self.settings.queue + _AHEAD:
            raise busy(
                f"{self.waiting} pictures are waiting already; come again later",
                self.waiting * self._typical,
                429,
            )
        job = _Job(read, write, asyncio.get_running_loop().create_future())
        self.waiting += 1
        self._queue.put_nowait(job)
        left = asyncio.create_task(gone())
        try:
            await asyncio.wait(
                (job.answer, left),
                timeout=self.settings.seconds,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if job.answer.done():
                return job.answer.result()
            if left.done():
                raise ClientDisconnect
            if job.begun:
                raise RequestError(
                    504,
                    f"labelling took more than {self.settings.seconds:g} seconds; it goes on "
                    "without an answer. Send a smaller picture",
                )
            raise busy(
                f"the picture had to wait for more than {self.settings.seconds:g} seconds",
                self.waiting * self._typical,
            )
        finally:
            left.cancel()
            job.answer.cancel()  # whoever takes it from the queue passes it over
            if not job.begun:
                self.waiting -= 1

    async def _serve(self) -> None:
        while True:
            job = await self._queue.get()
            if job.answer.done():  # nobody waits for it
                continue
            job.begun = True
            self.waiting -= 1
            self._under_way += 1
            self.metrics.stages.labels("queue").observe(time.monotonic() - job.since)
            try:
                content = await self._through(job)
            except Exception as error:
                if not job.answer.done():
                    job.answer.set_exception(error)
            else:
                if not job.answer.done():
                    job.answer.set_result(content)
            finally:
                self._under_way -= 1
            del job

    async def _through(self, job: _Job) -> bytes:
        loop = asyncio.get_running_loop()
        pixels, decoding = await loop.run_in_executor(self._around, self._timed, "decode", job.read)
        if job.answer.done():
            return b""
        prediction, labelling = await loop.run_in_executor(
            self._network, self._timed, "network", self.predictor, pixels
        )
        self._typical += 0.1 * (labelling - self._typical)
        self.metrics.pixels.inc(pixels.shape[0] * pixels.shape[1])
        if job.answer.done():
            return b""
        content: bytes = (
            await loop.run_in_executor(
                self._around, self._timed, "encode", job.write, prediction, decoding + labelling
            )
        )[0]
        return content

    def _timed(self, stage: str, call: Callable[..., Any], *args: Any) -> tuple[Any, float]:
        begun = time.monotonic()
        result = call(*args)
        seconds = time.monotonic() - begun
        self.metrics.stages.labels(stage).observe(seconds)
        return result, seconds

    async def _warm_up(self) -> None:
        picture = np.zeros((*_WARM, 3), np.uint8)
        try:
            for _ in range(2):  # the first time takes longer
                begun = time.monotonic()
                await asyncio.get_running_loop().run_in_executor(
                    self._network, lambda: self.predictor(picture).labels
                )
                seconds = time.monotonic() - begun
        except FullyConvError as error:
            self.trouble = str(error)
        else:
            self._typical = seconds
            self.seconds_per_megapixel = seconds / (picture.size / 3e6)
        self._warm.set()
