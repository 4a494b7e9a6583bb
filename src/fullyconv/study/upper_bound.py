"""The best scores that coarse predictions allow (appendix A): how little resolution costs."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import isnan
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from fullyconv.config import DataConfig
from fullyconv.data.folder import pictures
from fullyconv.data.sources import CLASSES, label_space
from fullyconv.errors import FullyConvError, UsageError, did_you_mean
from fullyconv.images import read_labels, save_image
from fullyconv.labels import Ids, LabelSpace
from fullyconv.metrics import ConfusionMatrix
from fullyconv.models.layers import bilinear_kernel
from fullyconv.progress import progress_bar
from fullyconv.study.result import Figure, Row, Study
from fullyconv.visualize import beside

# CVPR 2015, appendix A
PUBLISHED = {128: 50.9, 64: 73.3, 32: 86.1, 16: 92.8, 8: 96.4, 4: 98.5}
"""Mean IU in per cent by factor."""
_SOURCE = "CVPR 2015, appendix A (a subset of PASCAL VOC 2011 val)"


@dataclass(frozen=True)
class Rule:
    """How labels are made coarse and fine again.

    Attributes:
        told: In words.
        down: From shares of the classes (1, K, H, W) and a factor to (1, K, h, w).
        up: From the latter, the factor and (H, W) to (1, K, H, W).
    """

    told: str
    down: Callable[[Tensor, int], Tensor]
    up: Callable[[Tensor, int, torch.Size], Tensor]


def _bilinear(shares: Tensor, factor: int) -> Tensor:
    """Weighted by the kernel that upsamples by the factor; beyond the edge there is no weight."""
    kernel = bilinear_kernel(2 * factor - factor % 2)
    before = factor // 2  # so that cells are centred on blocks of factor pixels
    after = [
        len(kernel) - before + (side - 1) // factor * factor - side for side in shares.shape[-2:]
    ]
    inside = torch.cat([shares, torch.ones_like(shares[:, :1])], 1)
    padded = F.pad(inside, (before, after[1], before, after[0])).transpose(0, 1)
    weighted = F.conv2d(padded, kernel[None, None], stride=factor).transpose(0, 1)
    return weighted[:, :-1] / weighted[:, -1:]


def _average(shares: Tensor, factor: int) -> Tensor:
    return F.avg_pool2d(shares, factor, ceil_mode=True, count_include_pad=False)


def _interpolate(shares: Tensor, factor: int, size: torch.Size) -> Tensor:
    return F.interpolate(shares, scale_factor=factor, mode="bilinear")[..., : size[0], : size[1]]


def _majority(shares: Tensor, factor: int) -> Tensor:
    winner = _average(shares, factor).argmax(1)
    return F.one_hot(winner, shares.shape[1]).permute(0, 3, 1, 2).float()


def _repeat(shares: Tensor, factor: int, size: torch.Size) -> Tensor:
    return F.interpolate(shares, scale_factor=factor, mode="nearest")[..., : size[0], : size[1]]


def _middle(shares: Tensor, factor: int) -> Tensor:
    rows, columns = (
        (torch.arange(0, side, factor) + factor // 2).clamp(max=side - 1)
        for side in shares.shape[-2:]
    )
    return shares[..., rows[:, None], columns]


RULES = {
    "bilinear": Rule(
        "each class's share around every factor-th pixel, weighted by the bilinear kernel that "
        "upsamples by the factor, then upsampled by it; the largest share wins",
        _bilinear,
        _interpolate,
    ),
    "average": Rule(
        "each class's share of every block of factor x factor pixels, then upsampled by the "
        "bilinear kernel; the largest share wins",
        _average,
        _interpolate,
    ),
    "majority": Rule(
        "every block of factor x factor pixels gets its most frequent label", _majority, _repeat
    ),
    "nearest": Rule(
        "every block of factor x factor pixels gets the label of the middle one", _middle, _repeat
    ),
}
"""By name, as ``--rule`` takes it; the first is the one closest to the paper's figures."""


def coarse(labels: Ids, factor: int, rule: Rule, has_background: bool) -> Ids:
    """Labels as a prediction would have them that knows them at 1/factor of the size alone.

    Args:
        labels: (H, W) class ids, as :meth:`~fullyconv.labels.LabelSpace.encode` has them.
        factor: By which they are made coarse and fine again.
        rule: How.
        has_background: Whether void counts as class 0; else it has no share.

    Returns:
        (H, W) class ids of the same type, without void, unless there is nothing else.

    Example:
        >>> labels = np.array([[0, 1, 2, 2]] * 2, np.uint8)
        >>> coarse(labels, 2, RULES["nearest"], True).tolist()
        [[1, 1, 2, 2], [1, 1, 2, 2]]
    """
    void = np.iinfo(labels.dtype).max
    if has_background:
        labels = np.where(labels == void, labels.dtype.type(0), labels)
    present = np.unique(labels)
    present = present[present != void]
    if not present.size:
        return labels
    masks = torch.from_numpy((labels == present[:, None, None]).astype(np.float32)[None])
    shares = rule.up(rule.down(masks, factor), factor, masks.shape[-2:])
    # ten times as fast as argmax, which is slow along the first axis
    found: Ids = present[shares[0].max(0).indices.numpy()]
    return found


def upper_bound(
    labels: str | os.PathLike[str],
    *,
    factors: Sequence[int] = tuple(PUBLISHED),
    space: str = "auto",
    rule: str = "bilinear",
    out: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> Study:
    """Score label maps that were made coarse and fine again against themselves.

    Args:
        labels: Folder of label files, or one that holds them in ``labels/``.
        factors: By which they are made coarse.
        space: What the ids mean: a name, or auto for a ``classes.json`` in the folder or in one
            of the two above it.
        rule: Name of one of :data:`RULES`.
        out: Folder to save the study in, with a figure; nothing is written without.
        progress: Show a progress bar.

    Raises:
        UsageError: If there is no such rule or label space, or a factor is below 1 or given twice.
        FullyConvError: If a file or folder is not as expected, or ``out`` cannot be written.
    """
    if rule not in RULES:
        raise UsageError(f"there is no rule {rule!r}. {did_you_mean(rule, [*RULES])}")
    if not factors or min(factors) < 1 or len(set(factors)) < len(factors):
        given = ", ".join(map(str, factors)) or "none"
        raise UsageError(
            f"the factors are {given}; they must be whole numbers from 1 up, each once"
        )
    start = time.perf_counter()
    files = _files(Path(labels))
    classes = _space(files[0].parent, space)
    confusions = {
        factor: ConfusionMatrix(classes.num_classes, classes.ignore_index) for factor in factors
    }
    richest, most = files[0], 0
    for file in progress_bar(files, "label files", disable=not progress, leave=False):
        truth = classes.encode(read_labels(file), file)
        if min(truth.shape) < max(factors):
            raise FullyConvError(
                f"{file}: has {truth.shape[0]} x {truth.shape[1]} pixels, fewer than the factor "
                f"{max(factors)}; leave out that factor or this file"
            )
        for factor, confusion in confusions.items():
            confusion.update(coarse(truth, factor, RULES[rule], _has_background(classes)), truth)
        if len(np.unique(truth)) > most:
            richest, most = file, len(np.unique(truth))
    scores = {factor: 100 * c.compute().mean_iou for factor, c in confusions.items()}
    ours = [Row(f"1/{f}", (f, None if isnan(iou) else iou)) for f, iou in scores.items()]
    papers = [Row(f"1/{f}", (f, PUBLISHED[f]), _SOURCE) for f in factors if f in PUBLISHED]
    command = ["fcn", "study", "upper-bound", str(labels), "--labels", space, "--rule", rule]
    command += ["--factors", ",".join(map(str, factors))]
    study = Study(
        name="upper-bound",
        title="Upper bounds on mean IU",
        question="Which mean IU would a network reach that knows the truth, but only at a fraction "
        "of the picture's size (appendix A)?",
        rule=_told(rule, classes),
        varied="resolution",
        columns=("factor", "mean IU, %"),
        rows=(*ours, *papers),
        chart=("factor", "mean IU, %"),
        about={
            "command": shlex.join(command),
            "labels": str(labels),
            "label maps": len(files),
            "classes": classes.num_classes,
            "rule": rule,
            "seconds": round(time.perf_counter() - start, 1),
        },
    )
    if out is None:
        return study
    return _saved(study, Path(out), richest, classes, factors, RULES[rule])


def _has_background(space: LabelSpace) -> bool:
    return space.categories[0] == "background"


def _told(rule: str, space: LabelSpace) -> str:
    void = "counts as background" if _has_background(space) else "has no share"
    return (
        f"Rule {rule!r}: {RULES[rule].told}. Before that void {void}; in the score it is not "
        "counted. The paper does not state its rule: docs/howto/studies.md compares those that "
        "were tried with its figures."
    )


def _files(folder: Path) -> list[Path]:
    """The label files in a folder, or in its ``labels/``, by name."""
    if not folder.is_dir():
        raise FullyConvError(f"{folder}: no such folder; give one of label files")
    inside = folder / "labels"
    return [*pictures(inside if inside.is_dir() else folder).values()]


def _space(folder: Path, name: str) -> LabelSpace:
    if name != "auto":
        return label_space(DataConfig(labels=name))
    folder = folder.resolve()
    for root in (folder, *folder.parents[:2]):
        if (root / CLASSES).is_file():
            return label_space(DataConfig(root=root))
    raise FullyConvError(
        f"{folder}: neither here nor in the two folders above is a {CLASSES} that says what the "
        "ids mean; name a label space with --labels, such as --labels voc"
    )


def _saved(
    study: Study, out: Path, file: Path, space: LabelSpace, factors: Sequence[int], rule: Rule
) -> Study:
    """Draw one label map at every factor, and save the study with it."""
    truth = space.encode(read_labels(file), file)
    maps = {"truth": truth}
    maps |= {f"1/{f}": coarse(truth, f, rule, _has_background(space)) for f in factors}
    save_image(out / _PICTURE, _panels(maps, space), "PNG")
    caption = f"{file.stem}, the label map of the most classes, as it is and at every factor."
    study = replace(study, figures=(Figure(_PICTURE, caption),))
    study.save(out)
    return study


_PICTURE = "label-map.png"
_ACROSS = 4  # panels in a row


def _panels(maps: dict[str, Ids], space: LabelSpace) -> Image.Image:
    """Label maps of one size, named, four in a row."""
    height, width = next(iter(maps.values())).shape
    font_size = max(10, height // 16)
    bar = font_size * 3 // 2
    panels = []
    for name, labels in maps.items():
        panel = Image.new("RGB", (width, height + bar), "white")
        ImageDraw.Draw(panel).text((2, 0), name, "black", ImageFont.load_default(font_size))
        panel.paste(Image.fromarray(space.colorize(labels)), (0, bar))
        panels.append(np.asarray(panel))
    across = min(_ACROSS, len(panels))
    panels += [np.full_like(panels[0], 255)] * (-len(panels) % across)
    rows = [beside(*panels[i : i + across]) for i in range(0, len(panels), across)]
    return Image.fromarray(np.concatenate(rows))
