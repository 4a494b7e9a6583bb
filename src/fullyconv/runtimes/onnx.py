"""The ONNX Runtime engine."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullyconv.errors import FullyConvError
from fullyconv.extras import optional
from fullyconv.runtimes.engine import (
    as_input,
    asked,
    check_classes,
    description,
    first_line,
    made,
)
from fullyconv.runtimes.onnx_file import OnnxFile
from fullyconv.runtimes.runtime import Maps
from fullyconv.runtimes.threads import processors

_Session = tuple[Any, list[str]]  # and the maps that it takes


class OnnxRuntime:
    """A network exported to .onnx, on the processor.

    For each combination of given and wanted maps the part of the graph between them is a session
    of its own, made when it is first asked for.

    Args:
        path: The file.
        threads: Of a run; as many as this process may use without.

    Attributes:
        plan: The network's geometry.
        header: What the file says about itself.
        streams: Runs that :meth:`side_by_side` does at once.

    Raises:
        FullyConvError: If ONNX Runtime is not installed, or the file cannot be read, was not
            exported by fullyconv, or holds a graph that does not fit its header.
    """

    def __init__(self, path: str | os.PathLike[str], threads: int | None = None) -> None:
        self.path, self.streams = path, threads or processors()
        self._lock, self._common = Lock(), threads is not None
        self._file = OnnxFile(path)
        self.header, self.plan = description(path, self._file.metadata)
        check_classes(path, self.header, (*self._file.shape("scores"), 0, 0)[1])
        self._engine = optional("onnxruntime", "deploy")
        if self._common:
            _share_memory(self._engine)
        self._sessions: dict[tuple[frozenset[str], tuple[str, ...]], _Session] = {}
        self._session(("images",), ("scores",))  # what nobody can use is refused at once

    def run(self, given: Maps, wanted: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """Compute maps of a network from other ones, as every engine does.

        Raises:
            FullyConvError: If there is too little memory, or the maps do not fit the graph.
        """
        maps, names = asked(given, wanted)
        if not names:
            return maps
        with self._lock:
            session, taken = self._session(tuple(given), names)
        feeds = {name: as_input(given[name]) for name in taken}
        fixed = self._file.shape("images")
        arrays = made(self.path, feeds, lambda: session.run(names, feeds), fixed)
        return maps | dict(zip(names, arrays, strict=True))

    def side_by_side(self) -> AbstractContextManager[OnnxRuntime]:
        """The same network for ``streams`` threads at once, as every engine gives it."""
        return nullcontext(self if self.streams == 1 else OnnxRuntime(self.path, threads=1))

    def _session(self, given: tuple[str, ...], wanted: tuple[str, ...]) -> _Session:
        key = (frozenset(given), wanted)
        if key not in self._sessions:
            model, taken = self._file.cut(given, wanted)
            options = self._engine.SessionOptions()
            options.intra_op_num_threads = self.streams
            options.log_severity_level = 3  # errors, which are raised anyway
            if self._common:
                options.add_session_config_entry("session.use_env_allocators", "1")
            try:
                session = self._engine.InferenceSession(
                    model, options, providers=["CPUExecutionProvider"]
                )
            except Exception as error:  # each failure is of a class of its own
                raise FullyConvError(
                    f"{self.path}: ONNX Runtime does not take its graph ({first_line(error)}); "
                    "export the checkpoint again"
                ) from error
            self._sessions[key] = session, taken
        return self._sessions[key]


def _share_memory(engine: Any) -> None:
    """Let sessions that ask for it take turns at one arena, which grows by what they need.

    Else each of a network's pieces has one of its own, that doubles whenever it is too small.
    """
    where = engine.OrtMemoryInfo(
        "Cpu", engine.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, engine.OrtMemType.DEFAULT
    )
    grown = {"arena_extend_strategy": 1, "max_mem": 0}  # 1: as requested
    rest = {"initial_chunk_size_bytes": -1, "max_dead_bytes_per_chunk": -1}
    engine.create_and_register_allocator(where, engine.OrtArenaCfg(grown | rest))
