"""Caffe's arrays (BlobProto), and the mean images that are files of one such array.

Field numbers and limits are those of BVLC Caffe, src/caffe/proto/caffe.proto and
src/caffe/blob.cpp.
"""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np
import numpy.typing as npt

from fullyconv.caffe.wire import (
    BYTES,
    VARINT,
    FloatArray,
    FloatType,
    WireFile,
    encode_head,
    encode_varint,
    write_pieces,
)
from fullyconv.errors import FullyConvError

_MAX_COUNT = 2**31 - 1  # INT_MAX
_MAX_AXES = 32  # kMaxBlobAxes

_LEGACY_AXES = {1: "num", 2: "channels", 3: "height", 4: "width"}
_DATA, _SHAPE, _DOUBLE_DATA = 5, 7, 8
_NUMBERS: dict[int, tuple[str, FloatType]] = {
    _DATA: ("data", np.dtype("<f4")),
    _DOUBLE_DATA: ("double_data", np.dtype("<f8")),
}


def read_blob(file: WireFile, start: int, stop: int) -> FloatArray:
    """Array of the BlobProto in bytes ``start:stop`` of ``file``.

    As in Caffe, num, channels, height and width win over a shape, and doubles over floats; a blob
    with neither kind of shape is a scalar.

    Returns:
        float32, or float64 from double_data, in the stored shape; a read-only and perhaps
        unaligned view of the file if the numbers are packed in one piece, as Caffe does.

    Raises:
        FullyConvError: The message is damaged, or its shape does not fit its numbers.
    """
    legacy: dict[int, int] = {}
    axes: list[int] = []
    parts: dict[int, list[FloatArray]] = {_DATA: [], _DOUBLE_DATA: []}
    for item in file.fields(start, stop):
        if item.number in _LEGACY_AXES:
            file.expect(item, _LEGACY_AXES[item.number], VARINT)
            legacy[item.number] = item.value
        elif item.number == _SHAPE:
            file.expect(item, "shape", BYTES)
            _read_axes(file, item.start, item.stop, axes)
        elif item.number in _NUMBERS:
            parts[item.number].append(file.numbers(item, *_NUMBERS[item.number]))
    shape = tuple(legacy.get(number, 0) for number in _LEGACY_AXES) if legacy else tuple(axes)
    floats, doubles = parts[_DATA], parts[_DOUBLE_DATA]
    numbers = _join(doubles if any(part.size for part in doubles) or not floats else floats)
    problem = _shape_problem(shape)
    # math.prod is exact: no product of sizes can overflow into the right count.
    if not problem and math.prod(shape) != numbers.size:
        problem = f"shape {shape} has {math.prod(shape)} numbers, but {numbers.size} are stored"
    if problem:
        raise file.error(start, f"{problem}; the file is damaged")
    return numbers.reshape(shape)


def blob_problem(blob: FloatArray) -> str:
    """Why ``blob`` cannot be stored for Caffe, as half a sentence; empty if it can."""
    if blob.dtype.kind != "f" or blob.dtype.itemsize not in (4, 8):
        return f"{blob.dtype} numbers, expected float32 or float64; convert them"
    return _shape_problem(blob.shape)


def encode_blob(blob: FloatArray) -> list[bytes | FloatArray]:
    """One BlobProto in pieces: its numbers, packed, then its shape, as in Caffe's own files.

    Args:
        blob: float32 (stored as data) or float64 (double_data), any shape.
    """
    number = _DATA if blob.dtype.itemsize == 4 else _DOUBLE_DATA
    axes = b"".join(encode_varint(size) for size in blob.shape)
    shape = encode_head(1, len(axes)) + axes
    return [encode_head(number, blob.nbytes), blob, encode_head(_SHAPE, len(shape)) + shape]


def read_mean(path: str | os.PathLike[str]) -> npt.NDArray[np.float32]:
    """Read a mean image (``.binaryproto``) as Caffe's compute_image_mean writes it.

    Args:
        path: The file.

    Returns:
        (C, H, W) float32, a copy; for Caffe's colour nets BGR in 0-255.

    Raises:
        FullyConvError: The file cannot be read, is damaged, or holds no single image.
    """
    file = WireFile(path)
    file.refuse_other_kinds("a mean .binaryproto")
    file.place = "mean image"
    mean = read_blob(file, 0, file.size)
    shape = mean.shape[1:] if mean.ndim == 4 and mean.shape[0] == 1 else mean.shape
    if len(shape) != 3:
        raise file.error(0, f"shape {mean.shape}, expected (1, C, H, W); give one mean image")
    with np.errstate(over="ignore"):  # doubles too large for float32 become infinite, as in Caffe
        return mean.reshape(shape).astype(np.float32)


def write_mean(path: str | os.PathLike[str], mean: npt.NDArray[Any]) -> None:
    """Write a mean image (``.binaryproto``) that Caffe and its Python tools can load.

    Args:
        path: The file to make or replace; it is never left half-written.
        mean: (C, H, W), real; stored as float32.

    Raises:
        FullyConvError: The mean is not (C, H, W), or the file cannot be written.
    """
    if mean.ndim != 3:
        raise FullyConvError(
            f"{path} was to hold a mean of shape {mean.shape}, expected (C, H, W); reshape it."
        )
    # num, channels, height and width: older tools of Caffe know no other shape.
    axes = b"".join(
        encode_varint(number << 3 | VARINT) + encode_varint(size)
        for number, size in zip(_LEGACY_AXES, (1, *mean.shape), strict=True)
    )
    numbers = np.asarray(mean, np.float32)
    write_pieces(path, [axes, encode_head(_DATA, numbers.nbytes), numbers])


def _read_axes(file: WireFile, start: int, stop: int, axes: list[int]) -> None:
    """Append the sizes of one BlobShape, packed or one by one, to ``axes``."""
    for item in file.fields(start, stop):
        if item.number != 1:
            continue
        file.expect(item, "dim", VARINT, BYTES)
        offset = item.start
        while offset < item.stop:
            size, offset = file.varint(offset, item.stop)
            axes.append(size - ((size >> 63) << 64))  # two's complement
            if len(axes) > _MAX_AXES:
                raise file.error(
                    item.offset, f"more than {_MAX_AXES} axes, the most in Caffe; it is damaged"
                )


def _join(parts: list[FloatArray]) -> FloatArray:
    if len(parts) == 1:
        return parts[0]  # the usual case: still a view of the file
    return np.concatenate(parts) if parts else np.empty(0, np.float32)


def _shape_problem(shape: tuple[int, ...]) -> str:
    if len(shape) > _MAX_AXES:
        return f"{len(shape)} axes, expected at most {_MAX_AXES}"
    # Zeros are left out: numpy, too, refuses (0, 2**62, 2**62).
    if any(size < 0 for size in shape) or math.prod(size for size in shape if size) > _MAX_COUNT:
        return f"shape {shape}, expected sizes from 0 on and at most {_MAX_COUNT} numbers"
    return ""
