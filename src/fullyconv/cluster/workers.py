"""Processes with a model each, on this machine or on many: Ray's actors, and nothing else of it.

Ray Data would do the same with less of our code and less of our say. Here (1) photographs never
leave the worker that reads them: what travels is addresses; (2) a part whose worker dies is
counted, tried again, tried photograph by photograph, and given up, while Ray Data repeats it for
ever or drops its block; (3) parts are made while others are worked on, so that a listing need not
fit into memory; (4) neither pandas nor pyarrow is needed.
"""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
import shutil
import tempfile
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from fullyconv.checkpoint import model_path
from fullyconv.cluster.estimate import Measured
from fullyconv.cluster.labelling import Made, PartLabelling, decoded
from fullyconv.cluster.manifest import Manifest
from fullyconv.cluster.options import ClusterOptions
from fullyconv.cluster.plan import Part
from fullyconv.errors import FullyConvError
from fullyconv.extras import optional
from fullyconv.files import write_bytes
from fullyconv.networks import SHIPPED_MODELS
from fullyconv.prediction.pipeline import flow
from fullyconv.prediction.predicting import MANY, open_predictor
from fullyconv.prediction.prediction import Output
from fullyconv.runtimes.threads import physical

_DEATHS = 3  # of workers at one part
_PAUSE = 0.5  # seconds
_FIRST = 600.0  # seconds for the first worker of a cluster, which may have to grow
_WAIT = 120.0  # for the others; those that come later join in
_OBJECTS = 128 * 1024**2  # bytes of Ray's shared memory, beside the model's files


@dataclass(frozen=True)
class Task:
    """What a worker is to do with its parts; sent to it.

    Attributes:
        model: Name of a shipped model, or path on the machine that began the run.
        digest: Of the model's files.
        kinds: What to write of each photograph.
        runtime: Engine.
        precision: Of it.
        flip: Average with the mirrored photograph.
        scales: Average over these.
        memory: Bytes that labelling one may take.
        again: Also what is finished.
        threads: Processors of a worker.
    """

    model: str
    digest: str
    kinds: tuple[Output, ...]
    runtime: str
    precision: str
    flip: bool
    scales: tuple[float, ...]
    memory: int | None
    again: bool
    threads: int


class Refusal(NamedTuple):
    """An error meant for users, as a worker returns it: Ray would wrap its traceback around it."""

    said: str


class Worker:
    """One process: a model, and the parts it is given."""

    def __init__(self, task: Task, manifest: Manifest) -> None:
        os.environ["OMP_NUM_THREADS"] = str(task.threads)
        self.task, self.manifest = task, manifest

    def open(self, files: dict[str, bytes] | None) -> dict[str, Any] | Refusal:
        """Open the model; what it says of its classes.

        Args:
            files: Of the model; None of a shipped one. No argument of the constructor, since Ray
                may have lost it when it starts a worker again.
        """
        task = self.task
        try:
            predictor = open_predictor(
                self._model(files), task.runtime, task.precision, task.flip, task.scales,
                photos=MANY, memory=task.memory or _memory(task.threads),
            )  # fmt: skip
        except FullyConvError as error:
            return Refusal(str(error))
        if predictor.header.preprocess.bands:
            return Refusal(
                f"{task.model}: is a network of bands, whose files are not read at addresses; fcn "
                "predict takes it without --engine ray"
            )
        self.predictor = predictor
        self.labelling = PartLabelling(predictor, task.kinds, self.manifest, task.threads)
        labels = predictor.labels
        return {"categories": labels.categories, "palette": labels.palette}

    def label(self, part: Part) -> Made | Refusal:
        """Label a part."""
        try:
            return self.labelling.label(part, self.task.again)
        except FullyConvError as error:
            return Refusal(str(error))

    def measure(self, photos: Sequence[tuple[str, bytes]]) -> Measured:
        """Label some photographs, and write nothing; the first once more before, to warm up."""
        done: list[tuple[int, int]] = []

        def finish(photo: tuple[str, bytes], made: Any) -> tuple[int, int]:
            return len(photo[1]), sum(len(c) for _, c in made.files(self.task.kinds))

        def report(photo: tuple[str, bytes], made: tuple[int, int] | FullyConvError) -> None:
            if not isinstance(made, FullyConvError):
                done.append(made)

        started = 0.0
        for some in (photos[:1], photos):
            done.clear()
            started = time.perf_counter()
            flow(
                some, lambda photo: decoded(*photo), lambda _, pixels: self.predictor(pixels),
                finish, report, workers=max(2, self.task.threads),
            )  # fmt: skip
        seconds = time.perf_counter() - started
        return Measured(len(done), seconds, sum(a for a, _ in done), sum(b for _, b in done))

    def _model(self, files: dict[str, bytes] | None) -> str:
        """The model on this machine: where it was, if that is the same one, or a copy."""
        task = self.task
        if files is None:
            return task.model
        here = Path(task.model)
        if here.exists() and digest_of(files_of(here)) == task.digest:
            return task.model
        folder = tempfile.mkdtemp(prefix="fcn-model-")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        for name, content in files.items():
            write_bytes(Path(folder, name), content, durable=False)
        return str(Path(folder, here.name))


def _memory(threads: int) -> int:
    """Bytes that one worker may take, of half of what is free on its machine."""
    import psutil

    beside = max(1, (os.cpu_count() or 1) // threads)
    return int(psutil.virtual_memory().available // (2 * beside))


def files_of(model: str | os.PathLike[str]) -> dict[str, bytes]:
    """The files of a model, by their names beside each other.

    Raises:
        FullyConvError: If there is none.
    """
    path = model_path(model)
    if path.is_dir():
        files = [file for file in sorted(path.rglob("*")) if file.is_file()]
    else:
        weights = path.with_suffix(".bin")  # OpenVINO's
        files = [path, weights] if path.suffix == ".xml" and weights.exists() else [path]
    return {str(file.relative_to(path.parent)): file.read_bytes() for file in files}


def digest_of(files: dict[str, bytes]) -> str:
    """What tells the files of a model from others."""
    digest = hashlib.sha256()
    for name, content in files.items():
        digest.update(f"{name} {len(content)} ".encode(errors="replace"))
        digest.update(content)
    return digest.hexdigest()


def travels(model: str) -> bool:
    """Whether a model has to be sent to the workers: they have the shipped ones."""
    return model not in SHIPPED_MODELS


@contextmanager
def started(options: ClusterOptions, model_bytes: int) -> Iterator[Any]:
    """Ray, connected to a cluster or to one of its own on this machine, which ends with this.

    One of its own listens on 127.0.0.1 alone and wants a token; usage is not reported, and there is
    no dashboard.

    Raises:
        FullyConvError: If Ray is not installed, or there is no such cluster.
    """
    own = options.address is None and not os.environ.get("RAY_ADDRESS")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    if own:  # as Ray does by itself on macOS; before it is imported
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
        os.environ["RAY_AUTH_MODE"], os.environ["RAY_AUTH_TOKEN"] = "token", secrets.token_hex(32)
    ray = optional("ray", "cluster", "for --engine ray")
    quiet = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    mine = not ray.is_initialized()
    try:
        if mine and own:
            ray.init(
                address="local",
                num_cpus=_own_workers(options) * options.threads,
                include_dashboard=False,
                object_store_memory=_OBJECTS + 2 * model_bytes,
                **quiet,
            )
        elif mine:
            ray.init(address=options.address, **quiet)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        raise FullyConvError(
            f"{options.address or 'Ray'}: cannot be reached or begun ({error}); give the HOST:PORT "
            "that ray start printed, or leave it out for this machine alone"
        ) from error
    try:
        yield ray
    finally:
        if mine:
            ray.shutdown()


def _own_workers(options: ClusterOptions) -> int:
    return options.workers or max(1, physical() // options.threads)


def how_many(ray: Any, options: ClusterOptions) -> int:
    """How many workers there are to be."""
    if options.workers is not None:
        return options.workers
    there = ray.cluster_resources()
    if options.gpus:
        return max(1, int(there.get("GPU", 0) // options.gpus))
    return max(1, int(there.get("CPU", 1) // options.threads))


class Pool:
    """Workers, each with one part at a time.

    Args:
        ray: Started.
        options: How many, and of what.
        task: For all of them.
        manifest: Of the results.
        files: Of the model, where the workers do not have it.
        say: Told when a worker dies.

    Attributes:
        about: What the model says of its classes.
        deaths: Workers that have died.
    """

    def __init__(
        self,
        ray: Any,
        options: ClusterOptions,
        task: Task,
        manifest: Manifest,
        files: dict[str, bytes] | None,
        say: Callable[[str], object],
    ) -> None:
        self.ray, self.say = ray, say
        self.about: dict[str, Any] = {}
        self.deaths = 0
        # Ray starts a worker again that has died; what it was doing is our affair
        kind = ray.remote(Worker).options(
            num_cpus=options.threads, num_gpus=options.gpus, max_restarts=-1, max_task_retries=0
        )
        self._files = None if files is None else ray.put(files)
        actors = [kind.remote(task, manifest) for _ in range(how_many(ray, options))]
        self._opening = {actor.open.remote(self._files): actor for actor in actors}
        self._idle: list[Any] = []
        self._tries = self._most = _DEATHS * len(actors)

    def open(self) -> int:
        """Wait until the workers have opened the model; how many there are.

        Raises:
            FullyConvError: If they cannot.
        """
        began = time.monotonic()
        while self._opening and time.monotonic() - began < (_WAIT if self._idle else _FIRST):
            for ref in self._ready(list(self._opening), timeout=1.0):
                self._opened(ref)
        if not self._idle:
            raise FullyConvError(
                f"no worker has begun in {_FIRST:.0f} seconds: the cluster has "
                f"{self.ray.cluster_resources()}; ask for fewer threads or GPUs for each"
            )
        if self._opening:
            self.say(f"{len(self._opening)} workers have not begun; they join in when they do")
        return len(self._idle)

    def _ready(self, refs: list[Any], timeout: float | None = None) -> list[Any]:
        ready, _ = self.ray.wait(refs, timeout=timeout)
        return list(ready)

    def _opened(self, ref: Any) -> None:
        actor = self._opening.pop(ref)
        try:
            self.about = self._got(ref)
        except self.ray.exceptions.RayActorError as error:
            self._tries -= 1
            time.sleep(_PAUSE)  # it is being started again
            if self._tries < 0:
                raise FullyConvError(
                    f"workers die while they open the model ({_first(error)}); give them more "
                    "memory, or take fewer"
                ) from error
            self._opening[actor.open.remote(self._files)] = actor
        else:
            self._tries = self._most
            self._idle.append(actor)

    def _got(self, ref: Any) -> Any:
        said = self.ray.get(ref)
        if isinstance(said, Refusal):
            raise FullyConvError(said.said)
        return said

    def measure(self, photos: Sequence[tuple[str, bytes]]) -> list[Measured]:
        """What some photographs take, on all workers at the same time."""
        refs = [actor.measure.remote(photos) for actor in self._idle]
        try:
            return [self.ray.get(ref) for ref in refs]
        except self.ray.exceptions.RayActorError as error:
            raise FullyConvError(
                f"a worker died at the first photographs ({_first(error)}); give workers more "
                "memory, or take fewer"
            ) from error

    def run(self, parts: Iterator[Part]) -> Iterator[Made]:
        """Label parts, as they come; what became of each, in the order in which they end.

        Raises:
            FullyConvError: If results cannot be written.
        """
        again: deque[tuple[Part, int]] = deque()
        fresh = ((part, 0) for part in parts)
        busy: dict[Any, tuple[Any, Part, int]] = {}
        while True:
            while self._idle:
                todo = again.popleft() if again else next(fresh, None)
                if todo is None:
                    break
                actor = self._idle.pop()
                busy[actor.label.remote(todo[0])] = (actor, *todo)
            if not busy and (self._idle or not self._opening):
                return
            for ref in self._ready([*busy, *self._opening]):
                if ref in self._opening:
                    self._opened(ref)
                    continue
                actor, part, deaths = busy.pop(ref)
                try:
                    yield self._got(ref)
                except self.ray.exceptions.RayActorError as error:
                    self._opening[actor.open.remote(self._files)] = actor
                    yield from self._died(part, deaths + 1, error, again)
                else:
                    self._idle.append(actor)

    def _died(
        self, part: Part, deaths: int, error: Exception, again: deque[tuple[Part, int]]
    ) -> Iterator[Made]:
        """A part whose worker died: once more, one by one, or given up."""
        self.deaths += 1
        first = part.items[0].address
        if deaths < _DEATHS:
            self.say(f"a worker died; its part of {len(part.items)} (from {first}) is done again")
            again.append((part, deaths))
        elif len(part.items) > 1:
            self.say(f"{deaths} workers died at the same part (from {first}): one by one")
            again.extend((single, _DEATHS - 1) for single in part.singles())
        else:
            said = f"{first}: workers die of it ({_first(error)}); see whether it is very large"
            yield Made(failures=[(first, said)])


def _first(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
