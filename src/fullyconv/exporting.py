"""A checkpoint as a file for another engine, checked against the network before it is kept."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from safetensors import safe_open
from torch import nn

from fullyconv.checkpoint import Header, load_model, model_path, read_header
from fullyconv.errors import FullyConvError, UsageError, did_you_mean
from fullyconv.extras import optional
from fullyconv.models.fast.stages import Stages
from fullyconv.networks import SHIPPED_MODELS
from fullyconv.prediction.photos import list_photos
from fullyconv.preprocess import Preprocess
from fullyconv.progress import say_nothing
from fullyconv.quantizing import Change, Pictures, quantize
from fullyconv.runtimes.open import open_runtime
from fullyconv.runtimes.torch import TorchRuntime
from fullyconv.verifying import (
    SIZES,
    Check,
    compare,
    logits_by,
    photo_inputs,
    random_inputs,
    scored_by,
)

_SUFFIXES = {"onnx": ".onnx", "openvino": ".xml", "torch": ".pt2", "ncnn": ".ncnn"}
FORMATS = tuple(_SUFFIXES)
PRECISIONS = {
    "onnx": ("float32", "float16"),
    "openvino": ("float32", "float16", "int8"),
    "torch": ("float32",),
    "ncnn": ("float32", "float16"),
}
"""How each format can store weights."""

BOUNDS = {"float32": 1e-4, "float16": 2e-2}
"""Largest difference of scores from the network's that is let pass, relative to the largest."""
LEAST_AGREEMENT = 0.9
"""Of int8: share of the pixels of the user's pictures that must keep their label."""
_LOGITS = 3  # of the random pictures, of which the logits of every pixel are compared too
_PHOTOS = 5  # of the user's pictures, given to both


@dataclass(frozen=True)
class Export:
    """An exported file and how it was checked.

    Attributes:
        files: What was written, the one to open first.
        checks: Each picture that was given to the network and to the file.
        bound: Largest difference that was let pass; None for int8.
        change: What int8 changes; None for other precisions.
        note: What else there is to know; may be empty.
    """

    files: tuple[Path, ...]
    checks: tuple[Check, ...]
    bound: float | None
    change: Change | None = None
    note: str = ""

    def table(self) -> str:
        """The checks as text."""
        return _table(self.checks)


def export(
    model: str | os.PathLike[str],
    to: str,
    *,
    out: str | os.PathLike[str] | None = None,
    size: tuple[int, int] | None = None,
    precision: str = "float32",
    calibrate: str | os.PathLike[str] | None = None,
    verify_on: str | os.PathLike[str] | None = None,
    say: Callable[[str], object] | None = None,
) -> Export:
    """Write a checkpoint for another engine, with everything needed to use it, and check it.

    The file is opened by its own engine and given pictures of several sizes; where its scores are
    not those of the network, nothing is left under its name.

    Args:
        model: Name of a shipped model, a checkpoint, or a run folder.
        to: ``"onnx"``, ``"openvino"``, ``"torch"`` or ``"ncnn"``.
        out: File to write (for ncnn a folder); if not given, beside the checkpoint, with its name;
            of a shipped model in the working folder.
        size: Height and width of the only pictures it shall take; any, if not given.
        precision: How weights are stored: ``"float32"``; ``"float16"``, half the size, computing
            in float32; or ``"int8"`` (OpenVINO), computing in whole numbers.
        calibrate: Pictures for int8: a folder of them, or of images/ and labels/, which also gives
            the change of the mean IU.
        verify_on: Pictures to compare on, beside random ones.
        say: Told of what will be done, before it is.

    Raises:
        UsageError: If there is no such format or precision, or int8 is given no pictures.
        FullyConvError: If the checkpoint cannot be read, a package is missing, the file cannot be
            written, or does not say what the network says.
    """
    _check_request(to, precision, size, calibrate)
    say = say or say_nothing
    if size is not None and verify_on is not None:
        raise UsageError(
            "a file for pictures of one size is checked on noise of that size; leave out the "
            "pictures to verify on"
        )
    source = model_path(model)
    beside = source.with_suffix(_SUFFIXES[to])
    target = Path(out or (beside.name if str(model) in SHIPPED_MODELS else beside))
    if target.suffix != _SUFFIXES[to]:
        raise UsageError(f"{target}: a file for {to} ends in {_SUFFIXES[to]}")
    header = read_header(source)
    network = load_model(source)
    pictures = Pictures(calibrate, header) if calibrate is not None else None
    photos = [] if verify_on is None else [photo.path for photo in list_photos(verify_on)]
    with _beside(target) as folder:
        part = folder / target.name
        say(f"writing {target}")
        note, change = _write(network, header, to, part, size, precision, pictures)
        say("comparing it with PyTorch")
        checks = _compared(network, header.preprocess, to, part, _sizes(to, size), photos)
        bound = BOUNDS.get(precision)
        _judge(target, checks, bound, change)
        files = _install(folder, target)
    if precision == "float32" and _is_half(source):
        note = "\n".join(filter(None, (note, _twice(to))))
    return Export(tuple(files), tuple(checks), bound, change, note)


def _is_half(checkpoint: Path) -> bool:
    """Whether its weights are stored in float16."""
    with safe_open(checkpoint, "pt") as file:
        return any(file.get_slice(name).get_dtype() == "F16" for name in file.keys())  # noqa: SIM118


def _twice(to: str) -> str:
    """Why the file is larger than the checkpoint, and how to have it smaller."""
    half = [other for other, precisions in PRECISIONS.items() if "float16" in precisions]
    smaller = "--precision float16 writes half of it, with the checkpoint's weights as they are"
    if to not in half:
        smaller = f"{to} has no other; of {', '.join(half)} {smaller}"
    return f"weights are in float32 here, in float16 in the checkpoint: twice its size; {smaller}"


def _check_request(
    to: str,
    precision: str,
    size: tuple[int, int] | None,
    calibrate: str | os.PathLike[str] | None,
) -> None:
    if to not in FORMATS:
        raise UsageError(f"there is no format {to!r}. {did_you_mean(to, [*FORMATS])}")
    if precision not in PRECISIONS[to]:
        raise UsageError(
            f"{to} files have no precision {precision!r} here. "
            f"{did_you_mean(precision, [*PRECISIONS[to]])}"
        )
    if precision == "int8" and calibrate is None:
        raise UsageError(
            "int8 chooses its ranges by pictures of yours: name their folder (--calibrate)"
        )
    if precision != "int8" and calibrate is not None:
        raise UsageError(f"pictures to calibrate on are for int8, not for {precision}")
    if size is not None and min(size) < 1:
        raise UsageError(f"size is {size}; height and width must be at least 1")


def _sizes(to: str, size: tuple[int, int] | None) -> list[tuple[int, int]]:
    if size is not None:
        return [size] * 2
    # maps of one cell are constants to torch.export
    return [s for s in SIZES if to != "torch" or min(s) > 64]


def _write(
    network: nn.Module,
    header: Header,
    to: str,
    path: Path,
    size: tuple[int, int] | None,
    precision: str,
    pictures: Pictures | None,
) -> tuple[str, Change | None]:
    """Write the file; returns what there is to say of it, and what int8 changes."""
    half = precision == "float16"
    if to == "torch":
        from fullyconv.runtimes.torch_writer import write_torch

        smallest = write_torch(network, header, Stages(network).plan, path, size)
        return (
            f"it takes pictures of at least {smallest} x {smallest}" if size is None else ""
        ), None
    if to == "ncnn":
        from fullyconv.runtimes.ncnn_writer import write_ncnn

        write_ncnn(network, header, path, half=half, size=size)
        return "", None
    from fullyconv.runtimes.onnx_writer import write_onnx

    if to == "onnx":
        write_onnx(network, header, path, size, half)
        return "", None
    return "", _write_openvino(network, header, path, size, half, pictures)


def _write_openvino(
    network: nn.Module,
    header: Header,
    path: Path,
    size: tuple[int, int] | None,
    half: bool,
    pictures: Pictures | None,
) -> Change | None:
    from fullyconv.runtimes.onnx_writer import write_onnx
    from fullyconv.runtimes.openvino import read
    from fullyconv.runtimes.openvino_writer import write_openvino

    optional("openvino", "deploy")
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        any_size = pictures is not None  # those it is calibrated on may have any
        plan = write_onnx(network, header, Path(folder) / "graph.onnx", None if any_size else size)
        model = read(Path(folder) / "graph.onnx")
        change = None
        if pictures is not None:
            model, change = quantize(model, header, plan, pictures)
            header = replace(header, info={**header.info, "int8": change.to_dict()})
            if size is not None:
                model.reshape({"images": [-1, len(header.preprocess.mean), *size]})
        write_openvino(model, header, plan, path, half)
        del model  # it maps the file
    return change


def _compared(
    network: nn.Module,
    preprocess: Preprocess,
    to: str,
    path: Path,
    sizes: Sequence[tuple[int, int]],
    photos: Sequence[Path | str],
) -> list[Check]:
    """Give pictures to the network and to the file, in its own engine."""
    inputs = chain(random_inputs(preprocess, sizes), photo_inputs(preprocess, photos[:_PHOTOS]))
    expected = scored_by(TorchRuntime(network, "cpu"))
    if to == "torch":
        from fullyconv.runtimes.torch_writer import scores_of

        return compare(expected, scores_of(path), inputs)
    runtime = open_runtime(path, to).runtime
    checks = compare(expected, scored_by(runtime), inputs)
    if to != "ncnn":  # what other programs take
        noise = random_inputs(preprocess, sizes[:_LOGITS])
        renamed = ((f"{what}, logits", images) for what, images in noise)
        checks += compare(expected, logits_by(runtime), renamed)
    return checks


def _judge(path: Path, checks: list[Check], bound: float | None, change: Change | None) -> None:
    if bound is not None:
        worst = max(check.difference for check in checks)
        if not worst <= bound:  # also where it is no number
            raise FullyConvError(
                f"{path}: not written, since its scores differ from the network's by {worst:.2g} "
                f"of the largest, more than {bound:g}:\n{_table(checks)}"
            )
    elif change is not None and not change.label_agreement >= LEAST_AGREEMENT:
        raise FullyConvError(
            f"{path}: not written, since too much changes ({change}), less than "
            f"{100 * LEAST_AGREEMENT:g} %; calibrate on more pictures, or use float16"
        )


def _table(checks: list[Check] | tuple[Check, ...]) -> str:
    width = max(len("picture"), *(len(check.what) for check in checks))
    rows = [f"{'picture':<{width}}   largest difference   equal labels"]
    rows += [
        f"{check.what:<{width}}   {check.difference:18.1e}   {100 * check.agreement:10.3f} %"
        for check in checks
    ]
    return "\n".join(rows)


@contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """A temporary folder on the same disk as the target; whatever is left in it is removed."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=".", suffix=".part", dir=target.parent))
    except OSError as error:
        raise FullyConvError(
            f"{target}: cannot be written ({error.strerror}); check the folder, its permissions "
            "and the free space"
        ) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _install(folder: Path, target: Path) -> list[Path]:
    """Move what was written to its place, the file to open last."""
    made = sorted(folder.iterdir(), key=lambda path: path.name == target.name)
    for path in made:
        there = target.parent / path.name
        if there.is_dir():
            shutil.rmtree(there)
        path.replace(there)
    return [target.parent / path.name for path in reversed(made)]


def bytes_of(path: Path) -> int:
    """Size of a file, or of the files in a folder."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)
