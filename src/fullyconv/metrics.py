"""The paper's four numbers from one confusion matrix (section 5; the authors' score.py)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullyconv.labels import IGNORE_INDEX, void_index
from fullyconv.report.classes import percent


@dataclass(frozen=True)
class Metrics:
    """Scores of a whole data set; with n_ij the pixels of class i predicted as j and t_i = sum_j.

    Attributes:
        matrix: (C, C) int64: rows are the truth, columns the prediction.
        pixel_accuracy: sum_i n_ii / sum_i t_i.
        mean_accuracy: Mean over the classes in the truth of n_ii / t_i.
        mean_iou: Mean over the classes in truth or prediction of n_ii / (t_i + sum_j n_ji - n_ii).
        frequency_weighted_iou: sum_i t_i IU_i / sum_k t_k.
        per_class_iou: (C,) float64; NaN for a class that is in neither truth nor prediction.
        per_class_accuracy: (C,) float64; NaN for a class that is not in the truth.
        classes_counted: Number of classes that ``mean_iou`` averages.
    """

    matrix: NDArray[np.int64]
    pixel_accuracy: float
    mean_accuracy: float
    mean_iou: float
    frequency_weighted_iou: float
    per_class_iou: NDArray[np.float64]
    per_class_accuracy: NDArray[np.float64]
    classes_counted: int

    def __str__(self) -> str:
        return (
            f"mean IU {percent(self.mean_iou)}, pixel accuracy {percent(self.pixel_accuracy)}, "
            f"mean accuracy {percent(self.mean_accuracy)}, "
            f"f.w. IU {percent(self.frequency_weighted_iou)} "
            f"(per cent; {_counted(self.classes_counted, 'class', 'classes')} counted)"
        )

    def to_dict(self, categories: Sequence[str]) -> dict[str, Any]:
        """Everything in plain numbers; a class that was not counted is None."""
        return {
            "pixel_accuracy": _plain(self.pixel_accuracy),
            "mean_accuracy": _plain(self.mean_accuracy),
            "mean_iou": _plain(self.mean_iou),
            "frequency_weighted_iou": _plain(self.frequency_weighted_iou),
            "classes_counted": self.classes_counted,
            "per_class_iou": dict(
                zip(categories, map(_plain, self.per_class_iou.tolist()), strict=True)
            ),
            "per_class_accuracy": dict(
                zip(categories, map(_plain, self.per_class_accuracy.tolist()), strict=True)
            ),
            "confusion_matrix": self.matrix.tolist(),
        }


class ConfusionMatrix:
    """Counts of (truth, prediction) pairs, accumulated over a data set; void is never counted.

    Args:
        num_classes: Number of classes.
        ignore_index: Target value that is left out; with more than 255 classes not 255, which is
            one of them, but 65535 (:attr:`~fullyconv.labels.LabelSpace.ignore_index`).

    Raises:
        ValueError: If there is no class, or ``ignore_index`` is one.

    Example:
        >>> confusion = ConfusionMatrix(2)
        >>> confusion.update(np.array([0, 1, 1]), np.array([0, 1, 255])).compute().mean_iou
        1.0
    """

    def __init__(self, num_classes: int, ignore_index: int = IGNORE_INDEX) -> None:
        if num_classes < 1:
            raise ValueError(f"num_classes is {num_classes}; it must be at least 1")
        if 0 <= ignore_index < num_classes:
            raise ValueError(
                f"ignore_index {ignore_index} is one of the {num_classes} classes; set it to what "
                f"void is in the target, which is {void_index(num_classes)} for label files"
            )
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self.matrix: NDArray[np.int64] = np.zeros((num_classes, num_classes), np.int64)

    def __str__(self) -> str:
        pixels = _counted(int(self.matrix.sum()), "pixel", "pixels")
        classes = _counted(self.num_classes, "class", "classes")
        return f"{pixels} of {classes} counted: {self.compute()}"

    def update(self, preds: Any, target: Any) -> ConfusionMatrix:
        """Count the pixels of one or more images.

        Args:
            preds: Class ids of any integer type and shape (arrays or CPU tensors).
            target: Class ids or ``ignore_index``, of the same shape.

        Returns:
            Itself, so that calls can be chained.

        Raises:
            ValueError: If shapes differ, or an id is no integer or outside ``[0, num_classes)``.
        """
        preds, target = np.asarray(preds), np.asarray(target)
        for name, array in (("target", target), ("preds", preds)):
            if array.dtype.kind not in "biu":
                raise ValueError(f"{name} holds {array.dtype}, not class ids; take the argmax")
        if preds.shape != target.shape:
            raise ValueError(f"preds of shape {preds.shape} do not fit target {target.shape}")
        counted = target != self.ignore_index
        truth, guess = target[counted].astype(np.int64), preds[counted].astype(np.int64)
        for name, ids in (("target", truth), ("preds", guess)):
            if ids.size and (ids.min() < 0 or ids.max() >= self.num_classes):
                raise ValueError(
                    f"{name} holds ids from {ids.min()} to {ids.max()}; with {self.num_classes} "
                    f"classes they must be 0 to {self.num_classes - 1}"
                )
        pairs = np.bincount(
            truth * self.num_classes + guess, minlength=self.num_classes * self.num_classes
        )
        self.matrix += pairs.reshape(self.matrix.shape)
        return self

    def compute(self, present_only: bool = False) -> Metrics:
        """The scores of everything counted so far; all NaN before the first pixel.

        Args:
            present_only: Count a class only if it is in the truth. Without it, one that was merely
                predicted counts, with an IU of 0.
        """
        hits = np.diag(self.matrix).astype(np.float64)
        truth = self.matrix.sum(1).astype(np.float64)
        union = truth + self.matrix.sum(0) - hits
        present = truth > 0
        if present_only:
            union[~present] = 0
        iou, accuracy = _ratio(hits, union), _ratio(hits, truth)
        return Metrics(
            matrix=self.matrix.copy(),
            pixel_accuracy=float(_ratio(hits.sum(keepdims=True), truth.sum(keepdims=True))[0]),
            mean_accuracy=_mean(accuracy),
            mean_iou=_mean(iou),
            frequency_weighted_iou=float((truth[present] * iou[present]).sum() / truth.sum())
            if present.any()
            else float("nan"),
            per_class_iou=iou,
            per_class_accuracy=accuracy,
            classes_counted=int((union > 0).sum()),
        )


def _counted(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"


def _ratio(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(part, whole, out=np.full_like(whole, np.nan), where=whole > 0)


def _mean(values: NDArray[np.float64]) -> float:
    counted = values[~np.isnan(values)]
    return float(counted.mean()) if counted.size else float("nan")


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
