"""Scoring a network on labelled pictures: the paper's four numbers from one confusion matrix."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from fullyconv.data.folder import FolderDataset, Sample
from fullyconv.files import write_json
from fullyconv.labels import LabelSpace
from fullyconv.metrics import ConfusionMatrix, Metrics
from fullyconv.prediction import Predictor
from fullyconv.preprocess import Pixels

Labeller = Callable[[Pixels], NDArray[np.uint8]]  # (H, W, C) to (H, W) class ids


def score(
    labeller: Labeller,
    dataset: FolderDataset,
    *,
    rank: int = 0,
    world: int = 1,
    look: Callable[[int, Sample, NDArray[np.uint8]], None] | None = None,
    progress: bool = True,
) -> ConfusionMatrix:
    """Count truth against prediction over this process's share of a data set.

    One picture at a time, at its own size; nothing but the matrix is kept.

    Args:
        labeller: From a picture to its labels.
        dataset: Labelled pictures.
        rank: Number of this process.
        world: Number of processes; none scores a picture that another scores.
        look: Called with index, sample and predicted labels of each picture.
        progress: Show a progress bar.
    """
    confusion = ConfusionMatrix(dataset.labels.num_classes)
    share = range(rank, len(dataset), world)
    for index in tqdm(share, "scoring", unit="picture", disable=not progress, leave=False):
        sample = dataset[index]
        preds = labeller(sample.image)
        confusion.update(preds, sample.target)
        if look is not None:
            look(index, sample, preds)
    return confusion


def evaluate(
    model: str | os.PathLike[str],
    data: str | os.PathLike[str],
    *,
    split: str = "val",
    out: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> Metrics:
    """Score a model on a folder of labelled pictures.

    Args:
        model: Name of a shipped model, or a checkpoint.
        data: Data set folder, which holds the split's folder.
        split: Sub-folder with ``images/`` and ``labels/``.
        out: JSON file for the scores, per-class IU and the confusion matrix.
        progress: Show a progress bar.

    Raises:
        FullyConvError: If the model or the data cannot be read, or do not fit each other.
    """
    predictor = Predictor(model)
    inputs = predictor.header.preprocess.inputs
    dataset = FolderDataset(data, split, predictor.labels, inputs)
    metrics = score(lambda image: predictor(image).labels, dataset, progress=progress).compute()
    if out is not None:
        result = {
            "model": os.fspath(model),
            "data": str(Path(data) / split),
            "pictures": len(dataset),
            **metrics.to_dict(predictor.labels.categories),
        }
        write_json(out, result)
    return metrics


def table(metrics: Metrics, space: LabelSpace) -> str:
    """The scores as text, classes from best to worst, in per cent as the paper prints them."""
    width = max(map(len, space.categories))
    order = np.argsort(-np.nan_to_num(metrics.per_class_iou, nan=-1))
    share = metrics.matrix.sum(1) / max(1, metrics.matrix.sum())
    rows = [f"{'class':<{width}}     IU   accuracy   share of pixels"]
    for i in order:
        iou, accuracy = metrics.per_class_iou[i], metrics.per_class_accuracy[i]
        rows.append(
            f"{space.categories[i]:<{width}}  {_percent(iou)}      {_percent(accuracy)}"
            f"            {_percent(share[i])}"
        )
    rows += [
        "",
        f"pixel accuracy          {_percent(metrics.pixel_accuracy)}",
        f"mean accuracy           {_percent(metrics.mean_accuracy)}",
        f"mean IU                 {_percent(metrics.mean_iou)}   over "
        f"{metrics.classes_counted} of {space.num_classes} classes",
        f"frequency weighted IU   {_percent(metrics.frequency_weighted_iou)}",
    ]
    return "\n".join(rows)


def _percent(value: float) -> str:
    return "  n/a" if np.isnan(value) else f"{100 * value:5.1f}"
