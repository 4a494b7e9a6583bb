"""``fcn evaluate``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from fullyconv.config import Mask


@dataclass(frozen=True)
class _Evaluate:
    """The verb, or with ``--protocols`` the list of them."""

    description: str

    def run(self, args: Sequence[str], prog: str) -> int:
        """Score, or list."""
        if list(args) == ["--protocols"]:
            return _list_protocols()
        return tyro.cli(_evaluate, args=list(args), prog=prog)

    def whole(self) -> Any:
        """Its flags."""
        return _evaluate


evaluate = _Evaluate(
    "Score a model on labelled pictures: the paper's four numbers and each class's IU."
)


def _list_protocols() -> int:
    from fullyconv.protocols import PROTOCOLS

    width = max(map(len, PROTOCOLS))
    for name, rule in PROTOCOLS.items():
        print(f"{name:<{width}}  {rule.description} (fcn data prepare {rule.data}: {rule.split}/)")
    return 0


def _evaluate(
    model: Annotated[str, tyro.conf.Positional],
    data: Annotated[Path, tyro.conf.Positional],
    split: str | None = None,
    protocol: str = "",
    mask: Mask | None = None,
    foreground: tuple[str, ...] = (),
    boundary: int = 0,
    worst: int = 0,
    out: Path | None = None,
) -> int:
    """Score a model on labelled pictures: the paper's four numbers and each class's IU.

    They are printed; --out also writes them.

    Args:
        model: Name of a shipped model (camvid, nyudv2), a checkpoint, or a run folder.
        data: Data set folder, which holds the split's folder; or has images/ and labels/ itself.
        split: Sub-folder with images/ and labels/, or a list of names, LISTS/val.txt, as
            fcn data split --lists writes it; val, if not given and there is one.
        protocol: Count as a published score was counted, and print it beside this one. It says the
            split. fcn evaluate --protocols lists them with what each counts.
        mask: What is hidden of each picture by its labels; as the model was trained, if not given.
        foreground: Classes that are foreground; as the model was trained, if not given.
        boundary: Also score the pixels up to this far from a boundary on their own.
        worst: How many of the worst pictures to name, and to show beside the scores' file.
        out: JSON file for the scores and the confusion matrix; beside it, a page that shows
            them. Nothing is written without it.
    """
    _check_early(model, data, split, protocol, out)
    from fullyconv import evaluation as verb
    from fullyconv.processes import this_process

    result = verb.evaluate(
        model,
        data,
        split=split,
        rule=protocol,
        mask=mask,
        foreground=foreground,
        boundary=boundary,
        worst=worst,
        out=out,
        progress=True,
    )
    if this_process().is_main_process:
        print(result.table())
        if out is not None:
            print(f"{out}\n{out.with_suffix('.html')}")
    return 0


def _check_early(model: str, data: Path, split: str | None, name: str, out: Path | None) -> None:
    """Raise for what does not fit before torch is loaded, which takes seconds."""
    from fullyconv.checkpoint import model_path, read_header
    from fullyconv.data.folder import usual_split
    from fullyconv.data.sources import open_truth
    from fullyconv.errors import UsageError
    from fullyconv.protocols import protocol

    if out is not None and out.is_dir():
        raise UsageError(f"{out} is a folder; --out names the .json file of the scores")
    counted = protocol(name) if name else None
    path = model_path(model)
    if path.suffix not in (".onnx", ".xml", ".pt2") and not path.is_dir():  # an engine opens these
        header = read_header(path)
        if counted is not None:
            counted.check(header.labels)
            split = counted.split
        open_truth(data, usual_split(data) if split is None else split, header, model)
