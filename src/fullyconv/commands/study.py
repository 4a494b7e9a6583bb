"""``fcn study``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from fullyconv.commands.group import Group
from fullyconv.commands.training_studies import TRAINING
from fullyconv.errors import UsageError


def _upper_bound(
    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="LABELS")],
    factors: Annotated[tuple[str, ...], tyro.conf.arg(metavar="INT,INT...")] = (
        "128,64,32,16,8,4",  # appendix A's
    ),
    labels: str = "auto",
    rule: str = "bilinear",
    out: Path = Path("studies/upper-bound"),
) -> int:
    """The best mean IU that coarse predictions allow (appendix A).

    Args:
        folder: Label files, or a split of a data set with labels/ in it.
        factors: By which the label maps are made coarse and fine again.
        labels: What the ids mean: voc, camvid, ..., or auto for the classes.json beside them.
        rule: How they are made coarse and fine: bilinear, average, majority or nearest.
        out: Folder for study.json and a figure.
    """
    from fullyconv.study.upper_bound import upper_bound

    found = upper_bound(
        folder, factors=_whole(factors), space=labels, rule=rule, out=out, progress=True
    )
    print(f"{found.table()}\n{out}")
    return 0


def _whole(texts: Sequence[str]) -> list[int]:
    """Numbers, with commas or spaces between them."""
    words = " ".join(texts).replace(",", " ").split()
    wrong = [word for word in words if not word.isdecimal()]
    if wrong:
        raise UsageError(f"the factor {wrong[0]!r} is no whole number; write --factors 32,16,8")
    return [int(word) for word in words]


def _dense_inference(
    backbone: Annotated[str, tyro.conf.Positional] = "alexnet",
    size: tuple[int, int] = (500, 500),
    width: float = 1.0,
    batch: int = 10,
    repeats: int = 3,
    out: Path = Path("studies/dense-inference"),
) -> int:
    """A whole image at once against patch by patch: times forward and backward (section 3.1).

    Args:
        backbone: alexnet, vgg16, googlenet, efficientnet_lite0, ...
        size: Height and width of the image.
        width: Factor on the network's channels; below 1 for small copies.
        batch: Patches in one forward pass.
        repeats: Measurements of each, of which the median counts.
        out: Folder for study.json.
    """
    from fullyconv.study.dense_inference import dense_inference

    found = dense_inference(
        backbone, size, width=width, batch=batch, repeats=repeats, out=out, progress=True
    )
    print(f"{found.table()}\n{out}")
    return 0


def _shift_and_stitch(
    backbones: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="NAME")] = (
        "vgg16",
    ),
    stride: int = 8,
    width: float = 1.0,
    size: int = 0,
    repeats: int = 3,
    out: Path = Path("studies/shift-and-stitch"),
) -> int:
    """A finer output from the same weights: by shifted pictures, or by dilation (section 3.2).

    Args:
        backbones: alexnet, vgg16, googlenet, efficientnet_lite0, ...; several at once.
        stride: The stride to reach, from 32.
        width: Factor on the networks' channels; below 1 for small copies.
        size: Side of the picture; 0 for what the receptive field needs.
        repeats: Measurements of each, of which the fastest counts.
        out: Folder for study.json.
    """
    from fullyconv.study.shift_and_stitch import shift_and_stitch

    found = shift_and_stitch(backbones, stride=stride, width=width, size=size, repeats=repeats)
    found.save(out)
    print(f"{found.table()}\n{out}")
    return 0


def _report(
    folder: Annotated[Path, tyro.conf.Positional] = Path("studies"),
    out: Path = Path("studies.html"),
) -> int:
    """Every study in a folder and below it on one page.

    Args:
        folder: Where studies were saved.
        out: The page to write.
    """
    from fullyconv.study.report import report

    print(report(folder, out))
    return 0


study = Group(
    "Run one of the paper's studies and show its table beside what was published.",
    {
        **TRAINING,
        "upper-bound": _upper_bound,
        "dense-inference": _dense_inference,
        "shift-and-stitch": _shift_and_stitch,
        "report": _report,
    },
)
