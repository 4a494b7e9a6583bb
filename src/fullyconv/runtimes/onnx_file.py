"""An .onnx file read just far enough to cut a graph out of it; the onnx package is not needed.

Field numbers: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence

from fullyconv.caffe.wire import VARINT, Field, WireFile, encode_head, encode_text, encode_varint
from fullyconv.errors import FullyConvError

_GRAPH, _METADATA = 7, 14  # of a model
_NODE, _INITIALIZER, _INPUT, _OUTPUT, _VALUE_INFO = 1, 5, 11, 12, 13  # of a graph
_INPUTS, _OUTPUTS, _TENSOR_NAME = 1, 2, 8  # of a node; of an initializer
_FLOAT = 1  # TensorProto.DataType


class OnnxFile:
    """A graph of named maps.

    Args:
        path: The file.

    Attributes:
        metadata: Texts by key.
        inputs: Names of the graph's inputs.
        outputs: Names of its outputs.

    Raises:
        FullyConvError: If it cannot be read, is cut short, or no model.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._wire = wire = WireFile(path)
        wire.refuse_other_kinds("an .onnx file")
        self.metadata: dict[str, str] = {}
        self._around: list[bytes] = []  # everything outside the graph, as it is
        graph = None
        for field in wire.fields(0, wire.size):
            if field.number == _GRAPH:
                graph = field
                continue
            self._around.append(wire.data[field.offset : field.stop])
            if field.number == _METADATA:
                key, value = ("".join(self._texts(field, n)[:1]) for n in (1, 2))
                self.metadata[key] = value
        if graph is None:
            raise wire.error(0, "this is no .onnx file: it holds no graph")
        fields = list(wire.fields(graph.start, graph.stop))
        self._nodes = [
            (f, self._texts(f, _INPUTS), self._texts(f, _OUTPUTS))
            for f in fields
            if f.number == _NODE
        ]
        self._weights = self._named(fields, _INITIALIZER, _TENSOR_NAME)
        self._inputs = self._named(fields, _INPUT, 1)
        self._outputs = self._named(fields, _OUTPUT, 1)
        self.inputs, self.outputs = list(self._inputs), list(self._outputs)

    def cut(self, given: Collection[str], wanted: Sequence[str]) -> tuple[bytes, list[str]]:
        """The model that makes some maps from others, without anything that these do not need.

        Args:
            given: Maps that there are.
            wanted: Maps to make, none of them given.

        Returns:
            The model, and which of the given maps it takes.

        Raises:
            FullyConvError: If a map is not in the graph, or cannot be made from those given.
        """
        needed, nodes = set(wanted), []
        for field, inputs, outputs in reversed(self._nodes):
            made = needed.intersection(outputs).difference(given)
            if made:
                nodes.append(self._bytes(field))
                needed -= made
                needed.update(name for name in inputs if name)
        taken = [name for name in given if name in needed]
        missing = sorted(needed.difference(given).difference(self._weights))
        if missing:
            raise FullyConvError(
                f"{self._wire.path}: its graph cannot make {', '.join(wanted)} from "
                f"{', '.join(given)}: {missing[0]} is missing"
            )
        parts = nodes[::-1]
        parts += [self._bytes(f) for name, f in self._weights.items() if name in needed]
        parts += [self._declared(_INPUT, self._inputs, name) for name in taken]
        parts += [self._declared(_OUTPUT, self._outputs, name) for name in wanted]
        parts.append(encode_text(2, "fullyconv"))
        size = sum(map(len, parts))
        return b"".join([*self._around, encode_head(_GRAPH, size), *parts]), taken

    def shape(self, name: str) -> tuple[int, ...]:
        """Sizes of an input's or output's axes; 0 where they vary or are not known."""
        field = self._inputs.get(name) or self._outputs.get(name)
        if field is None:
            return ()
        for number in (2, 1, 2):  # its type, of a tensor, that has a shape
            inner = [f for f in self._wire.fields(field.start, field.stop) if f.number == number]
            if not inner:
                return ()
            field = inner[0]
        axes = [f for f in self._wire.fields(field.start, field.stop) if f.number == 1]
        return tuple(self._axis(axis) for axis in axes)

    def _axis(self, axis: Field) -> int:
        values = self._wire.fields(axis.start, axis.stop)
        return next((f.value for f in values if f.number == 1 and f.wire == VARINT), 0)

    def _declared(self, number: int, there: dict[str, Field], name: str) -> bytes:
        """An input or output, as the file has it, or of any shape (a, b, c, d)."""
        if name in there:
            field = there[name]
            return (
                encode_head(number, field.stop - field.start)
                + self._wire.data[field.start : field.stop]
            )
        shape = 4 * encode_head(1, 0)
        tensor = encode_varint(1 << 3 | VARINT) + encode_varint(_FLOAT)
        tensor += encode_head(2, len(shape)) + shape
        kind = encode_head(1, len(tensor)) + tensor
        value = encode_text(1, name) + encode_head(2, len(kind)) + kind
        return encode_head(number, len(value)) + value

    def _named(self, fields: Sequence[Field], number: int, name: int) -> dict[str, Field]:
        return {"".join(self._texts(f, name)[:1]): f for f in fields if f.number == number}

    def _texts(self, field: Field, number: int) -> list[str]:
        inner = self._wire.fields(field.start, field.stop)
        return [self._wire.text(f, "a name") for f in inner if f.number == number]

    def _bytes(self, field: Field) -> bytes:
        return self._wire.data[field.offset : field.stop]
