"""``fcn view``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

if TYPE_CHECKING:
    from fullyconv.serve.view_folder import Folder


def view(
    folder: Annotated[Path, tyro.conf.Positional],
    truth: Path | None = None,
    images: Path | None = None,
    classes: str | None = None,
    port: int = 8001,
) -> int:
    """Look through predictions or a data set in a browser on this machine; nothing is written.

    Args:
        folder: What fcn predict wrote, other masks, or a data set.
        truth: Data set with the true labels of the predicted pictures, or the predictions of
            another run: shown beside them, the worst first.
        images: Folder of the photographs, where they are not found by themselves.
        classes: A classes.json, a checkpoint or a known label space; without, the folder's own.
        port: Port on 127.0.0.1; 0 takes any that is free.
    """
    from fullyconv.serve import view as verb

    def ready(address: str, held: Folder) -> None:
        print(f"{len(held.items)} pictures ({held.kind}): {address}", flush=True)
        print("Ctrl-C ends it.", flush=True)

    verb.view(folder, truth=truth, images=images, classes=classes, port=port, ready=ready)
    return 0
