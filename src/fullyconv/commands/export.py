"""``fcn export``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import tyro


def export(
    model: Annotated[str, tyro.conf.Positional],
    to: Literal["onnx", "openvino", "torch", "ncnn"],
    out: Path | None = None,
    size: str = "",
    precision: Literal["float32", "float16", "int8"] = "float32",
    calibrate: Path | None = None,
    verify_on: Path | None = None,
) -> int:
    """Write a model for another engine, and check that it says the same.

    Args:
        model: Name of a shipped model (camvid, nyudv2), a checkpoint, or a run folder.
        to: Engine.
        out: File to write; if not given, beside the checkpoint, with its name; of a shipped model
            in this folder.
        size: HEIGHTxWIDTH of the only pictures it shall take; without, it takes any.
        precision: How weights are stored: float32; float16, half the size; int8 (openvino), which
            is faster and changes some labels.
        calibrate: Folder of pictures for int8; with images/ and labels/ in it, the change of the
            mean IU is printed too.
        verify_on: Folder of pictures to compare on, beside random ones.
    """
    from fullyconv import exporting as verb

    result = verb.export(
        model,
        to,
        out=out,
        size=_size(size),
        precision=precision,
        calibrate=calibrate,
        verify_on=verify_on,
        say=partial(print, flush=True),
    )
    print(result.table())
    if result.change is not None:
        print(result.change)
    if result.note:
        print(result.note)
    for path in result.files:
        print(f"{path} ({verb.bytes_of(path) / 1e6:.1f} MB)")
    return 0


def _size(text: str) -> tuple[int, int] | None:
    from fullyconv.errors import UsageError

    height, cross, width = text.lower().partition("x")
    if not text:
        return None
    if not (cross and height.isdigit() and width.isdigit()):
        raise UsageError(f"size is {text!r}; give HEIGHTxWIDTH, such as 360x480")
    return int(height), int(width)
