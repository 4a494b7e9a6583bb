"""From a model's name or file to an engine that runs it."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from fullyconv.checkpoint import Header, model_path, read_header
from fullyconv.errors import FullyConvError, UsageError, did_you_mean
from fullyconv.networks import SHIPPED_MODELS
from fullyconv.runtimes.measured import SPEEDS, quickest
from fullyconv.runtimes.runtime import Runtime

RUNTIMES = ("auto", "torch", "torch-compiled", "onnx", "openvino", "ncnn")
PRECISIONS = ("float32", "bfloat16")

_MODULES = {"onnx": "onnxruntime", "torch-compiled": "torch"}  # where it is not the engine's name
_BFLOAT16 = ("openvino", "torch", "torch-compiled")
_CHECKPOINT, _ONNX, _OPENVINO, _NCNN = ".safetensors", ".onnx", ".xml", "a folder"
_OPENS = {
    _CHECKPOINT: ("torch", "torch-compiled"),
    _ONNX: ("onnx", "openvino"),
    _OPENVINO: ("openvino",),
    _NCNN: ("ncnn",),
}
_EXPORTED = ("onnx", "openvino", "ncnn")  # engines that open what fcn export --to ENGINE writes
_GPU = Path("/dev/nvidiactl")  # where there is one that PyTorch computes on
_MEGAPIXELS = 0.5  # of a picture whose size nobody has looked at


class Opened(NamedTuple):
    """An engine with a model in it.

    Attributes:
        runtime: The engine.
        header: What the model's file says about itself.
        engine: The engine's name.
    """

    runtime: Runtime
    header: Header
    engine: str


def open_runtime(
    model: str | os.PathLike[str],
    runtime: str = "auto",
    precision: str = "float32",
    photos: int = 1,
) -> Opened:
    """Open a model with an engine.

    Args:
        model: Name of a shipped model, a checkpoint (.safetensors), a run folder (its best), or
            what ``fcn export`` wrote: an .onnx or .xml file, or an ncnn folder.
        runtime: Engine; ``"auto"`` takes, of those that are installed and can open the model,
            the one that is done first (:mod:`fullyconv.runtimes.measured`).
        precision: ``"float32"``, or ``"bfloat16"``: faster on processors that multiply it, and
            less exact.
        photos: About how many pictures there are to label.

    Raises:
        FullyConvError: If there is no such model, the file is damaged or no model of fullyconv, or
            the engine is not installed or cannot open it.
        UsageError: If there is no such engine or precision, or the engine does not have it.
    """
    if runtime not in RUNTIMES:
        raise UsageError(f"there is no runtime {runtime!r}. {did_you_mean(runtime, [*RUNTIMES])}")
    if precision not in PRECISIONS:
        raise UsageError(
            f"there is no precision {precision!r} to run at. "
            f"{did_you_mean(precision, [*PRECISIONS])}"
        )
    able = _BFLOAT16 if precision == "bfloat16" else RUNTIMES
    if runtime != "auto" and runtime not in able:
        raise UsageError(f"{runtime} has no {precision} here; these have: {', '.join(able)}")
    files = _files(model)
    if runtime == "auto":
        runtime = _choice(model, [name for name in files if name in able], photos)
    if runtime not in files:
        raise _cannot_open(model, runtime, [*files])
    return _open(files[runtime], runtime, precision)


def _files(model: str | os.PathLike[str]) -> dict[str, Path]:
    """The file of a model for each engine that can open it."""
    path = model_path(model)
    if path.suffix == ".pt2":
        raise FullyConvError(
            f"{model}: fullyconv opens no .pt2 file, since such files may hold pickles; give the "
            "checkpoint it was exported from"
        )
    kind = _NCNN if path.is_dir() else path.suffix
    files = dict.fromkeys(_OPENS.get(kind, _OPENS[_CHECKPOINT]), path)
    if model in SHIPPED_MODELS:  # a ready export lies beside the checkpoint
        files |= dict.fromkeys(_OPENS[_ONNX], path.with_suffix(_ONNX))
    return files


def _choice(model: str | os.PathLike[str], engines: list[str], photos: int) -> str:
    """The engine to take where nobody said; measured ones alone."""
    known = [name for name in engines if name in SPEEDS]
    if _GPU.exists() and "torch" in known and photos > 1:
        return "torch"
    there = [name for name in known if find_spec(_MODULES.get(name, name)) is not None]
    if not known:
        raise UsageError(f"{model}: no engine that opens it has this precision")
    return quickest(there or known[:1], photos * _MEGAPIXELS)


def _cannot_open(model: str | os.PathLike[str], runtime: str, able: list[str]) -> FullyConvError:
    known = ", ".join(able)
    if runtime in _EXPORTED and "torch" in able:
        return FullyConvError(
            f"{model}: {runtime} opens exported models; fcn export {model} --to "
            f"{runtime} writes one (engines that open this as it is: {known})"
        )
    return FullyConvError(f"{model}: {runtime} does not open this; engines that do: {known}")


def _open(path: Path, runtime: str, precision: str) -> Opened:
    if runtime == "onnx":
        from fullyconv.runtimes.onnx import OnnxRuntime

        onnx = OnnxRuntime(path)
        return Opened(onnx, onnx.header, runtime)
    if runtime == "openvino":
        from fullyconv.runtimes.openvino import OpenVinoRuntime

        openvino = OpenVinoRuntime(path, precision)
        return Opened(openvino, openvino.header, runtime)
    if runtime == "ncnn":
        from fullyconv.runtimes.ncnn import NcnnRuntime

        ncnn = NcnnRuntime.load(path)
        return Opened(ncnn, ncnn.folder.header, runtime)
    header = read_header(path)
    from fullyconv.runtimes.torch import TorchRuntime

    return Opened(TorchRuntime.load(path, precision, runtime != "torch"), header, runtime)
