"""Caffe's nets with weights (``.caffemodel``), read and written.

Field numbers and layer types are those of BVLC Caffe, src/caffe/proto/caffe.proto and
src/caffe/util/upgrade_proto.cpp. All three generations of layers are read: V2 (``layer``), V1
(``layers``) and V0 (a layer inside a V1 layer). V2 is written.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from fullyconv.caffe.blob import blob_problem, encode_blob, read_blob
from fullyconv.caffe.wire import (
    BYTES,
    VARINT,
    Field,
    FloatArray,
    WireFile,
    encode_head,
    encode_text,
    pieces_size,
    write_pieces,
)
from fullyconv.errors import FullyConvError

# What the fields of a net's message are, and those of a layer's in its three generations.
_NAME, _LAYERS, _LAYER = 1, 2, 100
_V2 = {1: "name", 2: "type", 3: "bottom", 4: "top", 7: "blobs"}
_V1 = {1: "layer", 2: "bottom", 3: "top", 4: "name", 5: "type", 6: "blobs"}
_V0 = {1: "name", 2: "type", 50: "blobs"}

# V1LayerParameter.LayerType, from 0 on. 40 is not BVLC's: it was Crop in the branch of Caffe that
# FCN was trained with, before Crop was merged (so says netron, tools/caffe-schema.js).
_V1_TYPES = (
    *("", "Accuracy", "BNLL", "Concat", "Convolution", "Data", "Dropout", "EuclideanLoss"),
    *("Flatten", "HDF5Data", "HDF5Output", "Im2col", "ImageData", "InfogainLoss", "InnerProduct"),
    *("LRN", "MultinomialLogisticLoss", "Pooling", "ReLU", "Sigmoid", "Softmax"),
    *("SoftmaxWithLoss", "Split", "TanH", "WindowData", "Eltwise", "Power"),
    *("SigmoidCrossEntropyLoss", "HingeLoss", "MemoryData", "ArgMax", "Threshold", "DummyData"),
    *("Slice", "MVN", "AbsVal", "Silence", "ContrastiveLoss", "Exp", "Deconvolution", "Crop"),
)
# V0's names are today's in lower case with underscores, but for these four.
_V0_TYPES = {name.lower(): name for name in _V1_TYPES} | {
    "conv": "Convolution",
    "images": "ImageData",
    "pool": "Pooling",
    "softmaxloss": "SoftmaxWithLoss",
}


@dataclass(frozen=True, slots=True, eq=False)  # arrays have no one answer to ==
class CaffeLayer:
    """A layer of a Caffe net: its wiring and its weights, not its settings.

    Attributes:
        name: Caffe's name of the layer ("conv1_1"); weights are matched by it.
        type: V2 name of the type ("Convolution"), also for older files; a V1 number n that Caffe
            does not know gives "V1 type n".
        blobs: Parameters, float32 (float64 where stored as doubles), in the shape that the file
            states: weight (out, in / groups, kh, kw) and bias (out,) of a convolution; older files
            state four axes for everything, a bias as (1, 1, 1, out). Read from a file they are
            read-only views of it, perhaps unaligned: copy (``np.array``) before torch gets them.
        bottoms: Names of the input blobs.
        tops: Names of the output blobs.
    """

    name: str
    type: str
    blobs: tuple[FloatArray, ...] = ()
    bottoms: tuple[str, ...] = ()
    tops: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class CaffeNet:
    """A Caffe net: its name (may be empty) and its layers in the file's order."""

    name: str
    layers: tuple[CaffeLayer, ...]


def read_caffemodel(path: str | os.PathLike[str]) -> CaffeNet:
    """Read a ``.caffemodel`` of any generation without loading it into memory.

    The weights are views of the mapped file. It must not be changed in place while they are in
    use; replacing it, as ``write_caffemodel`` does, is safe. A file cut exactly between two layers
    reads as a shorter net (the format has no end mark): check that all wanted layers are there.

    Args:
        path: The file, as Caffe writes it with ``snapshot_format: BINARYPROTO`` (the default).

    Raises:
        FullyConvError: The file cannot be read, is cut short or damaged, or is something else.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> kernel = np.zeros((2, 1, 3, 3), np.float32)
        >>> net = CaffeNet("tiny", (CaffeLayer("conv1", "Convolution", (kernel,)),))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_caffemodel(f"{folder}/tiny.caffemodel", net)
        ...     layer = read_caffemodel(f"{folder}/tiny.caffemodel").layers[0]
        >>> layer.name, layer.type, layer.blobs[0].shape
        ('conv1', 'Convolution', (2, 1, 3, 3))
    """
    file = WireFile(path)
    file.refuse_other_kinds("a .caffemodel")
    file.place = "layer 0"
    name, generations = "", set()
    layers: list[CaffeLayer] = []
    for item in file.fields(0, file.size):
        if item.number == _NAME:
            name = file.text(item, "the net's name")
        elif item.number in (_LAYERS, _LAYER):
            generations.add(item.number)
            if len(generations) > 1:
                raise file.error(
                    item.offset, "both V1 and V2 layers, expected one kind; the file is damaged"
                )
            layers.append(_read_layer(file, item, len(layers)))
            file.place = f"layer {len(layers)}, after {_quoted(layers[-1].name)}"
    if not layers:
        raise file.error(file.size, "the file has no layers, expected a net with weights")
    return CaffeNet(name, tuple(layers))


def write_caffemodel(path: str | os.PathLike[str], net: CaffeNet) -> None:
    """Write ``net`` as a ``.caffemodel`` (V2, packed numbers) that Caffe can load.

    A layer's settings (kernel size, stride) are not written: Caffe takes them from the prototxt,
    and only the weights, by layer name, from here.

    Args:
        path: The file to make or replace; it is never left half-written.
        net: Blobs float32 or float64 (kept as doubles), of at most 32 axes.

    Raises:
        FullyConvError: The net has no layers, a blob is not one Caffe can have, or the file cannot
            be written.
    """
    if not net.layers:
        raise FullyConvError(f"{path} was to hold a net without layers; give it one at least.")
    pieces: list[bytes | FloatArray] = [encode_text(_NAME, net.name)]
    for layer in net.layers:
        content: list[bytes | FloatArray] = [encode_text(1, layer.name), encode_text(2, layer.type)]
        content += [encode_text(3, name) for name in layer.bottoms]
        content += [encode_text(4, name) for name in layer.tops]
        for index, blob in enumerate(layer.blobs):
            problem = blob_problem(blob)
            if problem:
                name = _quoted(layer.name)
                raise FullyConvError(f"{path}, layer {name}, blob {index}: {problem}.")
            parts = encode_blob(blob)
            content += [encode_head(7, pieces_size(parts)), *parts]
        pieces += [encode_head(_LAYER, pieces_size(content)), *content]
    write_pieces(path, pieces)


@dataclass(slots=True)
class _Draft:
    """What has been read so far of layer ``index``."""

    index: int
    name: str = ""
    type: str = ""
    blobs: list[FloatArray] = field(default_factory=list)
    bottoms: list[str] = field(default_factory=list)
    tops: list[str] = field(default_factory=list)


def _read_layer(file: WireFile, item: Field, index: int) -> CaffeLayer:
    draft = _Draft(index)
    _fill(draft, file, item, _V2 if item.number == _LAYER else _V1)
    return CaffeLayer(
        draft.name, draft.type, tuple(draft.blobs), tuple(draft.bottoms), tuple(draft.tops)
    )


def _fill(draft: _Draft, file: WireFile, layer: Field, meanings: dict[int, str]) -> None:
    """Add the fields of the message ``layer``, which mean ``meanings``, to ``draft``."""
    file.expect(layer, "layer", BYTES)
    for item in file.fields(layer.start, layer.stop):
        match meanings.get(item.number):
            case "name":
                draft.name = file.text(item, "name")
                file.place = f"layer {draft.index} {_quoted(draft.name)}"
            case "type":
                draft.type = _read_type(file, item, meanings)
            case "bottom":
                draft.bottoms.append(file.text(item, "bottom"))
            case "top":
                draft.tops.append(file.text(item, "top"))
            case "layer":  # in V1 only, and V0 has none itself: no deeper than this
                _fill(draft, file, item, _V0)
            case "blobs":
                file.expect(item, "blobs", BYTES)
                place = file.place
                file.place = f"{place}, blob {len(draft.blobs)}"
                draft.blobs.append(read_blob(file, item.start, item.stop))
                file.place = place


def _read_type(file: WireFile, item: Field, meanings: dict[int, str]) -> str:
    if meanings is _V1:
        file.expect(item, "type", VARINT)
        known = 0 <= item.value < len(_V1_TYPES)
        return _V1_TYPES[item.value] if known else f"V1 type {item.value}"
    name = file.text(item, "type")
    return _V0_TYPES.get(name.replace("_", ""), name) if meanings is _V0 else name


def _quoted(name: str) -> str:
    """``name`` for a message, whatever is in it and however long it is."""
    return repr(name if len(name) <= 60 else f"{name[:60]}...")
