"""``fcn heatmap``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import tyro

from fullyconv.commands.photos import Report, each_photo


def heatmap(
    sources: Annotated[list[str], tyro.conf.Positional, tyro.conf.arg(metavar="PHOTO")],
    classes: Annotated[
        tuple[str, ...],
        tyro.conf.UseAppendAction,
        tyro.conf.arg(name="class", metavar="NAME"),
    ] = (),
    top: int = 3,
    classifier: str = "efficientnet_lite0",
    weights: str = "auto",
    shrink: int = 0,
    out: Path = Path("heatmaps"),
) -> int:
    """Show where in photographs a classifier sees a class: a heat map for each of its classes.

    Args:
        sources: Photographs: files, folders (with their sub-folders) and patterns.
        classes: A class of ImageNet to draw: a name, part of one, or an index, "tabby cat"; once
            for each.
        top: Without --class: how many of the most probable classes to draw.
        classifier: efficientnet_lite0, vgg16, alexnet, googlenet or another backbone.
        weights: Its weights with the last layer, .caffemodel, .pth or .safetensors; auto: those on
            this machine.
        shrink: Shrink photographs whose shorter side is longer than this, in pixels; 0: never.
            The classifiers know things about 200 pixels wide.
        out: Folder for the results.
    """
    from fullyconv import heatmaps as verb

    def describe(result: Any) -> str:
        top_classes = result.top(max(top, len(result.drawn)))
        shown = {category.index: category for category in (*result.drawn, *top_classes)}
        height, width = result.image.shape[:2]
        shares = (
            f"{category.label} {verb.percent(result.probabilities[index])}"
            for index, category in shown.items()
        )
        return f"({height} x {width})\n  {', '.join(shares)}"

    def run(report: Report, *_: object) -> list[str]:
        return verb.save_heatmaps(
            sources,
            classes,
            top=top,
            classifier=classifier,
            weights=weights,
            shrink=shrink,
            out=out,
            report=report,
        )

    return each_photo(run, describe, "classified", out)
