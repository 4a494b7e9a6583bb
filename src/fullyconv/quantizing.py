"""A model with whole numbers for weights, and what that changes: never hidden."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fullyconv.checkpoint import Header
from fullyconv.data.folder import FolderDataset
from fullyconv.data.sources import open_truth
from fullyconv.errors import FullyConvError
from fullyconv.evaluation import Tally, score
from fullyconv.images import take_photo
from fullyconv.models.fast.plan import Plan
from fullyconv.prediction.photos import list_photos
from fullyconv.prediction.predictor import Predictor
from fullyconv.preprocess import Pixels
from fullyconv.runtimes.openvino import OpenVinoRuntime
from fullyconv.runtimes.openvino_writer import quantized

MOST = 300  # pictures that ranges are chosen by; more change nothing (NNCF's own default)
_COMPARED = 100  # of them, whose labels are compared


@dataclass(frozen=True)
class Change:
    """What 8 bits change, on the pictures they were calibrated on.

    Attributes:
        calibration: How many pictures the ranges were chosen by.
        pictures: How many pictures were compared.
        label_agreement: Share of their pixels that keep their label, 0 to 1.
        mean_iou_before: Mean IU in float32, 0 to 1; None without labels.
        mean_iou_after: The same with 8 bits.
    """

    calibration: int
    pictures: int
    label_agreement: float
    mean_iou_before: float | None = None
    mean_iou_after: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, for a file's header."""
        return {key: value for key, value in asdict(self).items() if value is not None}

    def __str__(self) -> str:
        text = (
            f"int8 by {self.calibration} pictures: {100 * self.label_agreement:.2f} % of the "
            f"pixels of {self.pictures} pictures keep their label"
        )
        if self.mean_iou_before is not None and self.mean_iou_after is not None:
            before, after = 100 * self.mean_iou_before, 100 * self.mean_iou_after
            text += f"; mean IU {before:.2f} before, {after:.2f} after ({after - before:+.2f})"
        return text


class Pictures:
    """Pictures to calibrate on, with their labels where there are any.

    Args:
        folder: Pictures; or images/ and labels/, as of a data set.
        header: Says the classes and what the input is stacked of.

    Raises:
        FullyConvError: If there is no picture, or the network takes more than photographs and
            there are no labels, beside which its other inputs would lie.
    """

    def __init__(self, folder: str | os.PathLike[str], header: Header) -> None:
        self.dataset: FolderDataset | None = None
        inputs = header.preprocess.inputs
        if (Path(folder) / "labels").is_dir():
            self.dataset = open_truth(folder, "", header, "the model")
        elif inputs != ("images",):
            raise FullyConvError(
                f"{folder}: this network takes {', '.join(inputs)}; give a data set's folder with "
                f"{'/, '.join(inputs)}/ and labels/"
            )
        else:
            self.photos = [photo.path for photo in list_photos(folder)]

    def __len__(self) -> int:
        return len(self.photos) if self.dataset is None else len(self.dataset)

    def __getitem__(self, index: int) -> Pixels:
        if self.dataset is None:
            return take_photo(self.photos[index])[0]
        return self.dataset[index].image

    def spread(self, most: int) -> list[int]:
        """At most so many of their numbers, evenly spread."""
        numbers = np.linspace(0, len(self) - 1, min(most, len(self)))
        return [round(number) for number in numbers.tolist()]


def quantize(model: Any, header: Header, plan: Plan, pictures: Pictures) -> tuple[Any, Change]:
    """An OpenVINO model in 8 bits, and what that changes.

    Args:
        model: An ``openvino.Model`` with the network's maps by name.
        header: Says the classes and the preprocessing.
        plan: The network's geometry.
        pictures: To choose ranges by and to compare on.

    Raises:
        FullyConvError: If nncf is not installed or a picture cannot be read.
    """
    chosen = pictures.spread(MOST)
    whole = quantized(model, chosen, lambda i: header.preprocess(pictures[i])[None])
    before, after = (
        Predictor.of(OpenVinoRuntime.of(m, header, plan), header) for m in (model, whole)
    )
    compared = pictures.spread(_COMPARED)
    same = [
        float(np.mean(before(pictures[i]).labels == after(pictures[i]).labels)) for i in compared
    ]
    change = Change(len(chosen), len(compared), float(np.mean(same)))
    if pictures.dataset is not None:
        ious = [_mean_iou(predictor, pictures.dataset) for predictor in (before, after)]
        change = Change(len(chosen), len(compared), change.label_agreement, *ious)
    return whole, change


def _mean_iou(predictor: Callable[[Pixels], Any], dataset: FolderDataset) -> float:
    tally = score(predictor, dataset, Tally(dataset.spaces), progress=False)
    return float(tally.heads[0].compute().mean_iou)
