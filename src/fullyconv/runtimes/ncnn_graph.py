"""ncnn's two files: layers as lines of text, and their weights one after the other.

The format: github.com/Tencent/ncnn, docs/developer-guide/param-and-model-file-structure.md;
the layers' parameters by number: operators.md beside it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fullyconv.errors import FullyConvError

Value = int | float | Sequence[int] | Sequence[float]
Array = NDArray[Any]

MAGIC = 7767517  # first line of every .param file
_FLOAT32, _FLOAT16 = 0, 0x01306B47  # what stands before a kernel in the .bin file
TO_END = -233  # where a crop ends that leaves nothing out
_CONVOLUTIONS = ("Convolution", "ConvolutionDepthWise")


@dataclass(eq=False)
class Layer:
    """One line of the text.

    Attributes:
        kind: ncnn's name of it.
        inputs: Blobs that it reads.
        outputs: Blobs that it makes.
        params: Its parameters by ncnn's numbers; a float is written as one, whatever its value.
        kernel: Weights that may be stored in float16, if it has any.
        weights: What follows them in the file, float32.
    """

    kind: str
    inputs: list[str]
    outputs: list[str]
    params: dict[int, Value]
    kernel: Array | None = None
    weights: list[Array] = field(default_factory=list)


class Graph:
    """A network as ncnn runs it: layers that make blobs (C, h, w) out of blobs.

    Args:
        winograd: Whether wide kernels may be stored transformed, which takes more space, and is
            faster.

    Attributes:
        layers: In the order in which they run.
        channels: Of each blob.
    """

    def __init__(self, winograd: bool = False) -> None:
        self.winograd = winograd
        self.layers: list[Layer] = []
        self.channels: dict[str, int] = {}
        self._kept: dict[str, None] = {}  # a set that keeps its order

    def input(self, name: str, channels: int) -> str:
        """A blob that the user gives."""
        return self.keep(self.add("Input", [], channels=channels), name)

    def add(
        self,
        kind: str,
        inputs: Sequence[str],
        params: Mapping[int, Value] | None = None,
        *,
        channels: int | None = None,
        kernel: Array | None = None,
        weights: Sequence[Array] = (),
    ) -> str:
        """Add a layer of one output, and return the name of it.

        Args:
            kind: ncnn's name of the layer.
            inputs: Blobs that it reads.
            params: Its parameters by number.
            channels: Of its output; as many as the first input's without.
            kernel: As of :class:`Layer`.
            weights: As of :class:`Layer`.
        """
        blob = str(len(self.channels))
        self.channels[blob] = self.channels[inputs[0]] if channels is None else channels
        layer = Layer(kind, [*inputs], [blob], dict(params or {}), kernel, [*weights])
        self.layers.append(layer)
        return blob

    def slice(self, blob: str, channels: Sequence[int]) -> list[str]:
        """Cut a blob along its channels; as it is if there is but one part."""
        if len(channels) == 1:
            return [blob]
        parts = [f"{blob}_{number}" for number in range(len(channels))]
        self.channels |= dict(zip(parts, channels, strict=True))
        self.layers.append(Layer("Slice", [blob], parts, {0: list(channels), 1: 0}))
        return parts

    def concat(self, blobs: Sequence[str]) -> str:
        """Join blobs along their channels; as it is if there is but one."""
        if len(blobs) == 1:
            return blobs[0]
        return self.add("Concat", blobs, {0: 0}, channels=sum(self.channels[b] for b in blobs))

    def keep(self, blob: str, name: str) -> str:
        """Give a blob the name by which the user asks for it."""
        if blob in self._kept:
            blob = self.add("Noop", [blob])
        for layer in self.layers:
            layer.inputs = [name if other == blob else other for other in layer.inputs]
            layer.outputs = [name if other == blob else other for other in layer.outputs]
        self.channels[name] = self.channels[blob]
        self._kept[name] = None
        return name

    def needs(self) -> dict[str, list[str]]:
        """The blobs with names, in the order in which they are made, and those each is made of."""
        made: dict[str, dict[str, None]] = {}
        for layer in self.layers:
            sources = [
                source
                for blob in layer.inputs
                for source in ([blob] if blob in self._kept else made[blob])
            ]
            made |= dict.fromkeys(layer.outputs, dict.fromkeys(sources))
        return {name: [*made[name]] for name in self._kept}

    def merge(self) -> None:
        """Merge what one layer of ncnn can do at once into it: exact but for rounding.

        Zeros padded in front of a convolution, and batch norm and rectifier behind it.
        """
        makers = {blob: layer for layer in self.layers for blob in layer.outputs}
        readers = Counter(blob for layer in self.layers for blob in layer.inputs)
        merged = []
        for layer in self.layers:
            before = makers[layer.inputs[0]] if layer.inputs else layer
            passed = layer.inputs and readers[layer.inputs[0]] == 1
            if not passed or layer.inputs[0] in self._kept:
                merged.append(layer)
            elif before.kind == "Padding" and _pad(before, layer):
                merged.remove(before)
                layer.inputs = before.inputs
                merged.append(layer)
            elif before.kind in _CONVOLUTIONS and 9 not in before.params and _fold(layer, before):
                before.outputs = layer.outputs
                makers[before.outputs[0]] = before
            else:
                merged.append(layer)
        self.layers = merged

    def write_text(self) -> str:
        """The .param file."""
        lines = list(self._split())
        blobs = sum(len(layer.outputs) for layer in lines)
        text = [str(MAGIC), f"{len(lines)} {blobs}"]
        for number, layer in enumerate(lines):
            counts = f"{len(layer.inputs)} {len(layer.outputs)}"
            names = " ".join(layer.inputs + layer.outputs)
            params = " ".join(_param(*param) for param in sorted(layer.params.items()))
            text.append(f"{layer.kind} {layer.kind}{number} {counts} {names} {params}".rstrip())
        return "\n".join(text) + "\n"

    def write_weights(self, file: BinaryIO, half: bool) -> None:
        """The .bin file.

        Args:
            file: Open for writing.
            half: Store kernels in float16.

        Raises:
            FullyConvError: If a weight is NaN or infinite, in float16 if that is asked for.
        """
        kind, flag = (np.float16, _FLOAT16) if half else (np.float32, _FLOAT32)
        for layer in self.layers:
            if layer.kernel is not None:
                file.write(np.uint32(flag).tobytes())
                content = _finite(layer.kernel, kind).tobytes()
                file.write(content)
                file.write(bytes(-len(content) % 4))  # ncnn reads float16 in steps of four bytes
            for array in layer.weights:
                file.write(_finite(array, np.float32).tobytes())

    def _split(self) -> Iterator[Layer]:
        """The layers, a blob that several of them read being copied for each."""
        readers = Counter(blob for layer in self.layers for blob in layer.inputs)
        given = Counter[str]()
        for layer in self.layers:
            inputs = []
            for blob in layer.inputs:
                inputs.append(f"{blob}_split{given[blob]}" if readers[blob] > 1 else blob)
                given[blob] += 1
            yield Layer(layer.kind, inputs, layer.outputs, layer.params)
            for blob in layer.outputs:
                if readers[blob] > 1:
                    copies = [f"{blob}_split{number}" for number in range(readers[blob])]
                    yield Layer("Split", [blob], copies, {})


def array(tensor: Tensor) -> NDArray[np.float32]:
    """A tensor's values, in the order of its axes."""
    values: NDArray[np.float32] = tensor.detach().float().cpu().contiguous().numpy()
    return values


def _finite(array: Array, kind: type[np.floating[Any]]) -> Array:
    with np.errstate(over="ignore"):
        stored = np.ascontiguousarray(array, kind)
    if not np.isfinite(stored).all():
        raise FullyConvError(
            f"a weight of the network is NaN or infinite in {stored.dtype.name}; "
            "check how it was trained, and store it in float32"
        )
    return stored


def _param(number: int, value: Value) -> str:
    if isinstance(value, int):
        return f"{number}={value}"
    if isinstance(value, float):
        return f"{number}={value:.9e}"
    # an array has its number counted downwards from -23300, and its length in front
    return ",".join([f"{-23300 - number}={len(value)}", *(_number(v) for v in value)])


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.9e}"


def _pad(padding: Layer, convolution: Layer) -> bool:
    """Let a convolution pad by itself the zeros that a layer before it pads."""
    zeros = {key: value for key, value in padding.params.items() if key > 3} == {}
    if convolution.kind not in _CONVOLUTIONS or not zeros:
        return False
    for side, other in ((14, 0), (16, 1), (4, 2), (15, 3)):  # top, bottom, left, right
        more = convolution.params[side], padding.params[other]
        convolution.params[side] = sum(n for n in more if isinstance(n, int))
    return True


def _fold(layer: Layer, convolution: Layer) -> bool:
    """Let a convolution do what a layer behind it does, if it can."""
    if layer.kind == "BatchNorm":
        assert convolution.kernel is not None
        scale, mean, variance, shift = (array.astype(np.float64) for array in layer.weights)
        scale = scale / np.sqrt(variance + layer.params[1])
        bias = convolution.weights[0] if convolution.weights else np.zeros(1)
        kernel = convolution.kernel.reshape(len(scale), -1) * scale[:, None]
        convolution.kernel = kernel.astype(np.float32)
        convolution.weights = [(bias - mean) * scale + shift]
        convolution.params[5] = 1
    elif layer.kind == "ReLU":
        slope = layer.params.get(0)
        convolution.params |= {9: 1} if slope is None else {9: 2, 10: [slope]}  # type: ignore[dict-item]
    elif layer.kind == "Clip":
        convolution.params |= {9: 3, 10: [layer.params[0], layer.params[1]]}  # type: ignore[dict-item]
    else:
        return False
    return True
