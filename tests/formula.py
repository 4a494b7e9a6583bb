"""The formula behind the answers of the real Caffe: parameters, inputs and labels from names.

Source: oracles/README.md, beside the answers. Every number is ``splitmix64(h(name) + i)``, where
``h`` is FNV-1a, so that a net's parameters need no file. splitmix64 is by Sebastiano Vigna
(https://prng.di.unimi.it/splitmix64.c, public domain), here with the state given instead of kept;
FNV-1a is by Fowler, Noll and Vo, here with the offset basis of the oracles, which is not the usual.

Numpy arrays of uint64 wrap around without a warning; numpy scalars warn, so none take part.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt

# The oracles lie beside the checkout, on machines that have them; two are copied to DATA.
ORACLES = Path(__file__).resolve().parents[2] / "shared" / "oracles"
DATA = Path(__file__).resolve().parent / "data"

_FNV_BASIS = 1469598103934665603
_FNV_PRIME = 1099511628211


def fnv1a(name: str) -> int:
    """64-bit FNV-1a of the UTF-8 bytes of ``name``, from the oracles' offset basis."""
    value = _FNV_BASIS
    for byte in name.encode():
        value = (value ^ byte) * _FNV_PRIME % 2**64
    return value


def uniform(name: str, count: int) -> npt.NDArray[np.float64]:
    """(count,) float64 in [0, 1), multiples of 2**-53: ``u(h(name), i)`` for i < ``count``."""
    state = np.arange(count, dtype=np.uint64) + np.uint64(fnv1a(name))
    state += np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    state ^= state >> np.uint64(31)
    return (state >> np.uint64(11)).astype(np.float64) * 2.0**-53


def parameter(layer: str, j: int, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """Parameter ``j`` (0 weight, 1 bias) of ``layer``: float32 of ``shape``, Caffe's layout.

    For convolutions and inner products, with shape[0] = num_output; others are not random.
    """
    count = math.prod(shape)
    scale = 0.1 if j else math.sqrt(6 / (count / shape[0]))
    values = scale * (2 * uniform(f"{layer}/{j}", count) - 1)
    return values.astype(np.float32).reshape(shape)


def bilinear(shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """Fixed upsampling of a Deconvolution: float32 (C, C, K, K), one kernel on the diagonal.

    The outer product of a triangle of K points, as the authors' surgery.py (upsample_filt) has it.
    """
    channels, _, size, _ = shape
    half = (size + 1) // 2
    centre = half - (1 if size % 2 else 0.5)
    triangle = 1 - np.abs(np.arange(size) - centre) / half
    out = np.zeros(shape, np.float32)
    out[range(channels), range(channels)] = np.outer(triangle, triangle)
    return out


def input_blob(name: str, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """Input blob ``name``: float32 of ``shape`` (N, C, H, W), whole numbers from -112 to 143."""
    values = np.floor(256 * uniform(f"input/{name}", math.prod(shape))) - 112
    return values.astype(np.float32).reshape(shape)


def sgd_label(t: int, height: int = 97, width: int = 131) -> npt.NDArray[np.int64]:
    """Label of training step ``t``: int64 (1, 1, height, width), 0 to 20, and 255 for void.

    Constant on cells of 16 x 16 pixels; about one cell in ten is void.
    """
    rows, columns = np.arange(height)[:, None] // 16, np.arange(width)[None, :] // 16
    cells = rows * 64 + columns
    value = uniform(f"label/{t}", int(cells.max()) + 1)[cells]
    return np.where(value < 0.1, 255, np.floor(21 * value)).astype(np.int64)[None, None]
