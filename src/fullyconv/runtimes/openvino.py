"""The OpenVINO engine."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock, local
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fullyconv.checkpoint import Header
from fullyconv.errors import FullyConvError
from fullyconv.extras import optional
from fullyconv.models.fast.plan import Plan
from fullyconv.runtimes.engine import (
    HEADER,
    PLAN,
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

_PRECISIONS = {"float32": "f32", "bfloat16": "bf16"}
_KEPT = 32  # compiled graphs; those of 8 bits need one for each size of picture
_Shapes = tuple[tuple[str, tuple[int, ...]], ...]


class _Compiled(NamedTuple):
    """A part of the graph, the maps that it takes, and of each thread what runs it."""

    part: Any
    taken: list[str]
    thread: local


class OpenVinoRuntime:
    """A network exported to .onnx or .xml, on the processor.

    For each combination of given and wanted maps the part of the graph between them is compiled
    when it is first asked for; in 8 bits also for each size of picture, since OpenVINO crashes on
    such graphs of any size (https://github.com/openvinotoolkit/openvino/issues/37577).

    Args:
        path: The file.
        precision: ``"float32"``, or ``"bfloat16"``: less exact, and faster where the processor
            multiplies it.

    Attributes:
        plan: The network's geometry.
        header: What the file says about itself.
        streams: Runs that :meth:`side_by_side` does at once.

    Raises:
        FullyConvError: If OpenVINO is not installed, or the file cannot be read, was not exported
            by fullyconv, or holds a graph that does not fit its header.
    """

    def __init__(self, path: str | os.PathLike[str], precision: str = "float32") -> None:
        engine = optional("openvino", "deploy")
        texts = OnnxFile(path).metadata if Path(path).suffix == ".onnx" else None
        model = read(path)
        self._start(engine, model, path, precision)
        self.header, self.plan = description(path, texts or texts_of(model))
        check_classes(path, self.header, _channels(model))
        if not self._each_size:  # what nobody can use is refused at once
            self._compiled_for({"images": ()}, ("scores",))

    @classmethod
    def of(
        cls, model: Any, header: Header, plan: Plan, precision: str = "float32"
    ) -> OpenVinoRuntime:
        """Engine of an ``openvino.Model`` that is in memory."""
        runtime = cls.__new__(cls)
        runtime._start(optional("openvino", "deploy"), model, "the model", precision)
        runtime.header, runtime.plan = header, plan
        return runtime

    def _start(self, engine: Any, model: Any, path: str | os.PathLike[str], precision: str) -> None:
        self.path, self._engine, self._model = path, engine, model
        self.streams = processors()
        self._streamed: OpenVinoRuntime | None = None
        self._outputs = _by_name(model)
        # OpenVINO takes bfloat16 by itself where it is faster; it is asked for what was asked for
        self._settings = {
            "INFERENCE_PRECISION_HINT": _PRECISIONS[precision],
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": processors(),
        }
        self._each_size = any(n.get_type_name() == "FakeQuantize" for n in model.get_ops())
        self._lock = Lock()
        self._compiled: dict[tuple[_Shapes, tuple[str, ...]], _Compiled] = {}

    def run(self, given: Maps, wanted: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """Compute maps of a network from other ones, as every engine does.

        Raises:
            FullyConvError: If there is too little memory, or the maps do not fit the graph.
        """
        maps, names = asked(given, wanted)
        if not names:
            return maps
        sizes = {name: array.shape if self._each_size else () for name, array in given.items()}
        with self._lock:
            compiled = self._compiled_for(sizes, names)
        if not hasattr(compiled.thread, "request"):
            compiled.thread.request = compiled.part.create_infer_request()
        request = compiled.thread.request
        feeds = [as_input(given[name]) for name in compiled.taken]
        images = self._model.input("images").get_partial_shape()
        fixed = [axis.get_length() if axis.is_static else 0 for axis in images]
        arrays = made(self.path, given, lambda: request.infer(feeds, share_inputs=True), fixed)
        return maps | {name: arrays[number] for number, name in enumerate(names)}

    @contextmanager
    def side_by_side(self) -> Iterator[OpenVinoRuntime]:
        """The same network for ``streams`` threads at once, as every engine gives it."""
        if self.streams == 1:
            yield self
            return
        if self._streamed is None:
            self._streamed = engine = OpenVinoRuntime.of(self._model, self.header, self.plan)
            engine.path, engine.streams, engine._settings = self.path, 1, {**self._settings}
            del engine._settings["PERFORMANCE_HINT"]
            engine._settings["NUM_STREAMS"] = self.streams
        try:
            yield self._streamed
        finally:
            for compiled in self._streamed._compiled.values():
                compiled.part.release_memory()

    def _compiled_for(
        self, given: Mapping[str, tuple[int, ...]], wanted: tuple[str, ...]
    ) -> _Compiled:
        """The part between some maps; with sizes of theirs, for these alone."""
        key = (tuple(sorted(given.items())), wanted)
        if key not in self._compiled:
            part, taken = self._part(tuple(given), wanted)
            try:
                if any(given.values()):
                    part.reshape({i: list(given[name]) for i, name in enumerate(taken)})
                compiled = self._engine.Core().compile_model(part, "CPU", self._settings)
            except RuntimeError as error:
                raise FullyConvError(
                    f"{self.path}: OpenVINO does not take its graph ({first_line(error)}); export "
                    "the checkpoint again"
                ) from error
            if len(self._compiled) >= _KEPT:
                del self._compiled[next(iter(self._compiled))]
            self._compiled[key] = _Compiled(compiled, taken, local())
        return self._compiled[key]

    def _part(self, given: tuple[str, ...], wanted: tuple[str, ...]) -> tuple[Any, list[str]]:
        """The model from some maps to others, and which of those it takes."""
        model = self._model.clone()
        outputs = _by_name(model)
        absent = [name for name in wanted if name not in outputs]
        parameters: dict[str, Any] = {}
        for name in set(given).intersection(outputs):
            node = outputs[name].get_node()
            if node.get_type_name() != "Parameter":
                node = self._parameter(f"given {name}", outputs[name].get_partial_shape())
                for consumer in outputs[name].get_target_inputs():
                    consumer.replace_source_output(node.output(0))
            parameters[node.get_friendly_name()] = name, node
        results = [] if absent else [self._engine.opset13.result(outputs[n]) for n in wanted]
        reached = _parameters(results)
        absent += [name for name in reached if name not in parameters]
        if absent:
            raise FullyConvError(
                f"{self.path}: its graph cannot make {', '.join(wanted)} from "
                f"{', '.join(given)}: {absent[0]} is missing"
            )
        taken = [parameters[name] for name in reached]
        part = self._engine.Model(results, [node for _, node in taken], "fullyconv")
        return part, [name for name, _ in taken]

    def _parameter(self, name: str, like: Any) -> Any:
        """An input of any size with as many channels as the map in whose place it is."""
        shape = self._engine.PartialShape([-1, like[1], -1, -1])
        parameter = self._engine.opset13.parameter(shape, np.float32)
        parameter.set_friendly_name(name)
        return parameter


def read(path: str | os.PathLike[str]) -> Any:
    """The ``openvino.Model`` of a file.

    Raises:
        FullyConvError: If OpenVINO is not installed or cannot read it.
    """
    engine = optional("openvino", "deploy")
    if not Path(path).is_file():
        raise FullyConvError(f"{path}: there is no such file")
    try:
        return engine.Core().read_model(os.fspath(path))
    except RuntimeError as error:
        raise FullyConvError(
            f"{path}: OpenVINO cannot read it, it is damaged or cut short, or its weights (.bin) "
            f"are not beside it ({first_line(error)})"
        ) from error


def texts_of(model: Any) -> dict[str, str]:
    """What :func:`fullyconv.runtimes.engine.describe` wrote into a model."""
    return {
        key: str(model.get_rt_info([key]).astype(str))
        for key in (HEADER, PLAN)
        if model.has_rt_info([key])
    }


def _by_name(model: Any) -> dict[str, Any]:
    """The outputs of all nodes by the names of their maps."""
    return {
        name: output
        for node in model.get_ordered_ops()
        if node.get_type_name() != "Result"
        for output in node.outputs()
        for name in output.get_names()
    }


def _parameters(results: Sequence[Any]) -> list[str]:
    """Names of the inputs that the results depend on."""
    waiting, seen, found = list(results), set(), []
    while waiting:
        node = waiting.pop()
        name = node.get_friendly_name()
        if name in seen:
            continue
        seen.add(name)
        if node.get_type_name() == "Parameter":
            found.append(name)
        waiting += [value.get_node() for value in node.input_values()]
    return found


def _channels(model: Any) -> int:
    """Of the map ``scores``; 0 if it is not there, or of any number."""
    output = _by_name(model).get("scores")
    shape = output.get_partial_shape() if output is not None else None
    if shape is None or shape.rank.is_dynamic or len(shape) != 4 or shape[1].is_dynamic:
        return 0
    return int(shape[1].get_length())
