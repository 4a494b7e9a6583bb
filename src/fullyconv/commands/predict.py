"""``fcn predict``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import tyro

from fullyconv.commands.photos import Report, each_photo


def predict(
    sources: Annotated[list[str], tyro.conf.Positional, tyro.conf.arg(metavar="PHOTO")],
    model: str = "camvid",
    out: Path = Path("predictions"),
    save: str = "mask,overlay",
    runtime: str = "auto",
    precision: str = "float32",
) -> int:
    """Label every pixel of photographs of any size.

    Args:
        sources: Photographs: files, folders (with their sub-folders) and patterns.
        model: Name of a shipped model (camvid: streets; nyudv2: rooms), or a checkpoint, or
            what fcn export wrote.
        out: Folder for the results.
        save: Any of mask, color, overlay and probs, comma-separated.
        runtime: Engine: torch, torch-compiled, onnx, openvino, ncnn; auto takes the one that is
            done first.
        precision: float32, or bfloat16 (openvino, torch): faster on some processors, less exact.
    """
    from fullyconv import predicting as verb

    def describe(result: Any) -> str:
        return ", ".join(f"{name} {100 * s:.1f} %" for name, s in result.shares().items())

    def run(report: Report) -> list[str]:
        return verb.predict(
            sources,
            model=model,
            out=out,
            save=save,
            runtime=runtime,
            precision=precision,
            report=report,
        )

    return each_photo(run, describe, "labelled", out / verb.SUMMARY)
