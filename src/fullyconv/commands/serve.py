"""``fcn serve``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import tyro

from fullyconv.serve.settings import Settings

if TYPE_CHECKING:
    from fullyconv.prediction.predictor import Predictor


def serve(
    model: Annotated[str, tyro.conf.Positional] = "camvid",
    settings: Annotated[Settings, tyro.conf.arg(name="")] = Settings(),  # noqa: B008 - frozen
    runtime: str = "auto",
    precision: str = "float32",
) -> int:
    """Serve a model over HTTP, with a web page to try it.

    Args:
        model: Name of a shipped model (camvid, nyudv2), a checkpoint, a run folder, or what
            fcn export wrote.
        settings: Address and limits.
        runtime: Engine: torch, torch-compiled, onnx, openvino, ncnn; auto takes the fastest.
        precision: float32, or bfloat16 (openvino, torch).
    """
    from fullyconv.serve import running as verb

    def ready(address: str, predictor: Predictor) -> None:
        print(f"{model} ({predictor.engine}): {address}", flush=True)
        print("Ctrl-C ends it.", flush=True)

    verb.serve(model, settings, runtime=runtime, precision=precision, ready=ready)
    return 0
