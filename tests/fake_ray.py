"""As much of Ray as the workers use, in this process; actors die when they are told to."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any


class ActorDiedError(Exception):
    """What Ray raises of a call whose process has died."""


class FakeRay:
    """Runs each call when it is made.

    Args:
        dies: Whether a process dies of a call: given the method's name and its arguments.
        resources: What the cluster has.
    """

    exceptions = SimpleNamespace(RayActorError=ActorDiedError)

    def __init__(
        self,
        dies: Callable[[str, tuple[Any, ...]], bool] = lambda name, args: False,
        resources: dict[str, float] | None = None,
    ) -> None:
        self.dies, self.resources = dies, resources or {"CPU": 2.0}
        self.started: dict[str, Any] | None = None
        self.options: dict[str, Any] = {}
        self.actors = 0

    def is_initialized(self) -> bool:
        return self.started is not None

    def init(self, **options: Any) -> None:
        self.started = options

    def shutdown(self) -> None:
        self.started = None

    def cluster_resources(self) -> dict[str, float]:
        return self.resources

    def remote(self, kind: Any) -> Any:
        def options(**options: Any) -> Any:
            self.options = options
            return SimpleNamespace(remote=lambda *args: Actor(self, kind(*args)))

        return SimpleNamespace(options=options)

    def put(self, value: Any) -> Any:
        return value

    def wait(self, refs: list[Any], timeout: float | None) -> tuple[list[Any], list[Any]]:
        return refs[:1], refs[1:]

    def get(self, ref: Any) -> Any:
        if ref.died:
            raise ActorDiedError("The actor died\nand much more")
        return ref.value


class Actor:
    def __init__(self, ray: FakeRay, worker: Any) -> None:
        self._ray, self._worker = ray, worker
        ray.actors += 1

    def __getattr__(self, name: str) -> Any:
        def remote(*args: Any) -> Any:
            if self._ray.dies(name, args):
                return Ref(died=True)
            return Ref(value=getattr(self._worker, name)(*args))

        return SimpleNamespace(remote=remote)


class Ref:
    def __init__(self, value: Any = None, died: bool = False) -> None:
        self.value, self.died = value, died
