"""How well each picture was predicted: counted behind the page, kept in memory."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullyconv.errors import FullyConvError
from fullyconv.metrics import ConfusionMatrix, Metrics
from fullyconv.serve.view_folder import Folder, Item


def compare(folder: Folder, item: Item) -> tuple[NDArray[np.int64], Metrics] | None:
    """The confusion matrix of one picture and its scores; None without truth or prediction.

    Raises:
        FullyConvError: If a file cannot be used, or their sizes differ.
    """
    if item.truth is None or item.prediction is None:
        return None
    truth, prediction = folder.truth(item), folder.prediction(item)
    assert truth is not None
    assert prediction is not None
    if truth.shape != prediction.shape:
        raise FullyConvError(
            f"{item.prediction.path} has {prediction.shape[0]} x {prediction.shape[1]} pixels, but "
            f"{item.truth.path} {truth.shape[0]} x {truth.shape[1]}"
        )
    # what the model left void is counted as wrong nowhere: it has no class
    space = folder.space
    truth = np.where(prediction < space.num_classes, truth, truth.dtype.type(space.ignore_index))
    confusion = ConfusionMatrix(space.num_classes, space.ignore_index).update(prediction, truth)
    return confusion.matrix, confusion.compute()


class Scores:
    """The mean IU of each picture and of them all, counted one after the other in a thread.

    Args:
        folder: What is looked through.
    """

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        self._scores: dict[int, float | None] = {}
        self._all = ConfusionMatrix(folder.space.num_classes, folder.space.ignore_index)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._count, daemon=True)

    def start(self) -> None:
        """Begin, if there is anything to compare."""
        if self.folder.kind == "comparison":
            self._thread.start()

    def stop(self) -> None:
        """End after the picture under way."""
        self._end.set()
        if self._thread.is_alive():
            self._thread.join()

    def of(self, number: int) -> float | None:
        """The mean IU of a picture over its classes; None if it has none, or is not counted yet."""
        return self._scores.get(number)

    def worst_first(self, numbers: list[int]) -> list[int]:
        """Those with a score first, the lowest before the others."""
        scored = [(self._scores.get(n), n) for n in numbers]
        return [n for _, n in sorted(scored, key=lambda s: (s[0] is None, s[0] or 0.0, s[1]))]

    def state(self) -> dict[str, Any]:
        """How many are done, and the scores of those together."""
        done = len(self._scores)
        mean = self._all.compute().mean_iou
        return {
            "scored": done,
            "scoring": self._thread.is_alive(),
            "mean_iou": None if np.isnan(mean) else mean,
        }

    def _count(self) -> None:
        for number, item in enumerate(self.folder.items):
            if self._end.is_set():
                return
            try:
                compared = compare(self.folder, item)
            except FullyConvError:  # said where the picture is looked at
                compared = None
            if compared is None:
                self._scores[number] = None
                continue
            matrix, metrics = compared
            self._all.matrix += matrix
            self._scores[number] = None if np.isnan(metrics.mean_iou) else metrics.mean_iou
