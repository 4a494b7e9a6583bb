"""Heat maps: where in a photograph a classifier sees a class (paper, section 3.1, figure 2)."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from fullyconv.classifier import DenseClassifier, load_classifier
from fullyconv.errors import FullyConvError, UsageError
from fullyconv.files import write_json
from fullyconv.imagenet import Category, find_category, labels_of
from fullyconv.images import save_image, take_photo
from fullyconv.models.geometry import CoordMap
from fullyconv.models.layers import channels_last
from fullyconv.prediction.photos import list_photos
from fullyconv.prediction.predicting import Report
from fullyconv.prediction.sources import read_source
from fullyconv.runtimes.torch import is_memory_error, to_array, to_tensor, usual_device
from fullyconv.visualize import beside, heat_legend, heat_overlay

_TOP = 5  # classes in the JSON file besides those that are drawn

Photo = str | os.PathLike[str] | Image.Image | NDArray[Any]


@dataclass(frozen=True)
class HeatMap:
    """The scores of a classifier in every part of a photograph.

    Attributes:
        image: (H, W, 3) uint8, RGB: the photograph as it was classified.
        scores: (classes, h, w) float32: the classifier's scores before the softmax.
        at: Where their cells lie in the image.
        categories: Names of the classes, synonyms between commas.
        drawn: The classes that :meth:`save` draws: those asked for, else the most probable.
        name: File name without its suffix; empty for arrays.
    """

    image: NDArray[np.uint8]
    scores: NDArray[np.float32]
    at: CoordMap
    categories: tuple[str, ...]
    drawn: tuple[Category, ...] = ()
    name: str = ""

    def __repr__(self) -> str:
        height, width = self.image.shape[:2]
        drawn = (f"{c.label} {percent(self.probabilities[c.index])}" for c in self.drawn)
        return (
            f"HeatMap({self.name!r}, image {height} x {width}, scores {self.scores.shape}, "
            f"drawn: {', '.join(drawn)})"
        )

    @cached_property
    def probabilities(self) -> NDArray[np.float32]:
        """(classes,) float32: of the whole picture, from the mean of the scores over its cells."""
        mean = self.scores.mean((1, 2))
        return np.asarray(np.exp(mean - _log_sum(mean)), np.float32)

    def top(self, count: int = 3) -> list[Category]:
        """The most probable classes, the most probable first."""
        order = np.argsort(-self.probabilities, kind="stable")[:count]
        return [Category(int(i), labels_of(self.categories)[i]) for i in order]

    def strongest(self, category: str | int) -> float:
        """Probability of a class in the cell that is surest of it.

        Raises:
            UsageError: If there is no such class.
        """
        index = find_category(category, self.categories).index
        return float(np.exp(self.scores[index] - self._log_sum).max())

    @cached_property
    def _log_sum(self) -> NDArray[np.float32]:
        return _log_sum(self.scores)

    def map(self, category: str | int) -> NDArray[np.float32]:
        """(H, W) float32: a class's score at every pixel.

        Between the centres of the cells the scores are interpolated bilinearly; beyond the
        outermost ones they stay as they are.

        Args:
            category: A name, part of one, or an index; see
                :func:`~fullyconv.imagenet.find_category`.

        Raises:
            UsageError: If there is no such class.
        """
        scores = self.scores[find_category(category, self.categories).index]
        rows, columns = (
            _interpolation(cells, self.at, size)
            for cells, size in zip(scores.shape, self.image.shape[:2], strict=True)
        )
        pixels: NDArray[np.float32] = rows @ scores @ columns.T
        return pixels

    @property
    def highest(self) -> float:
        """The largest score of any class anywhere: the end of the scale of all overlays."""
        return float(max(self.scores.max(), np.finfo(np.float32).tiny))

    def overlay(self, category: str | int | None = None, alpha: float = 0.8) -> NDArray[np.uint8]:
        """(H, W, 3) uint8: a class's scores, from 0 to :attr:`highest`, over the photograph.

        Args:
            category: As for :meth:`map`; without it the first of :attr:`drawn`.
            alpha: Weight of the colours where it is hottest.

        Raises:
            UsageError: If there is no such class.
        """
        chosen = self.drawn[0].index if category is None else category
        return heat_overlay(self.image, self.map(chosen) / self.highest, alpha)

    def save(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Write a picture of each class of :attr:`drawn`, and the scores.

        Args:
            folder: Made if need be.

        Returns:
            The files: ``NAME-tabby_cat.png`` and so on, then ``NAME-classes.json``, which holds
            these classes and the most probable ones.

        Raises:
            FullyConvError: If a file cannot be written.
        """
        written: list[Path] = []
        drawn = []
        for category in self.drawn:
            path = self._path(folder, re.sub(r"\W+", "_", category.label).strip("_") + ".png")
            if path in written:
                path = path.with_stem(f"{path.stem}_{category.index}")
            save_image(path, Image.fromarray(self._picture(category)), "PNG")
            written.append(path)
            drawn.append({**self._figures(category), "file": path.name})
        values = {
            "height": self.image.shape[0],
            "width": self.image.shape[1],
            "cells": self.scores.shape[1:],
            "stride": float(self.at.stride),
            "start": float(self.at.start),
            "drawn": drawn,
            "top": [self._figures(category) for category in self.top(_TOP)],
        }
        path = self._path(folder, "classes.json")
        write_json(path, values)
        return [*written, path]

    def _path(self, folder: str | os.PathLike[str], rest: str) -> Path:
        return Path(folder) / f"{self.name or 'image'}-{rest}"

    def _picture(self, category: Category) -> NDArray[np.uint8]:
        """The overlay beside its scale."""
        lines = [
            category.label,
            f"whole picture {percent(self.probabilities[category.index])}",
            f"surest cell {percent(self.strongest(category.index))}",
        ]
        scale = heat_legend(lines, f"score {self.highest:.1f}", self.image.shape[0])
        return beside(self.overlay(category.index), scale)

    def _figures(self, category: Category) -> dict[str, Any]:
        scores = self.scores[category.index]
        return {
            "index": category.index,
            "name": self.categories[category.index],
            "probability": float(self.probabilities[category.index]),
            "strongest_cell": self.strongest(category.index),
            "mean_score": float(scores.mean()),
            "highest_score": float(scores.max()),
        }


def percent(share: float) -> str:
    """A share as text.

    Example:
        >>> percent(0.1234), percent(0.00004)
        ('12.3 %', '0.0 %')
    """
    return f"{100 * share:.1f} %"


def _log_sum(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """Logarithm of the softmax's denominator, along the first axis."""
    highest = scores.max(0)
    logarithm: NDArray[np.float32] = highest + np.log(np.exp(scores - highest).sum(0))
    return logarithm


def _interpolation(cells: int, at: CoordMap, size: int) -> NDArray[np.float32]:
    """Matrix (size, cells) from a row of cells to the pixels they lie among."""
    places = (np.arange(size) - float(at.start)) / float(at.stride)
    distances = np.abs(places.clip(0, cells - 1)[:, None] - np.arange(cells))
    return np.asarray(np.maximum(0, 1 - distances), np.float32)


def heatmap(
    photo: Photo,
    classes: str | int | Sequence[str | int] = (),
    *,
    top: int = 3,
    classifier: str | DenseClassifier = "efficientnet_lite0",
    weights: str | os.PathLike[str] = "auto",
    shrink: int = 0,
) -> HeatMap:
    """Where in a photograph a classifier sees which class.

    Args:
        photo: A path, a Pillow image, or an (H, W, 3) uint8 RGB array, of any size.
        classes: Names, parts of names or indices of the classes to draw ("tabby cat").
        top: Without them: how many of the most probable ones.
        classifier: Name of an ImageNet classifier (see :func:`~fullyconv.load_classifier`), or one
            that is already loaded; it is put into evaluation mode.
        weights: The weights of a classifier given by name: ``"auto"`` or a file.
        shrink: Shrink a photograph whose shorter side is longer than this, in pixels; 0: never.

    Returns:
        Scores, probabilities, and maps on the pixels of the (shrunk) photograph.

    Raises:
        UsageError: If there is no such classifier, no such class, or the name fits several.
        FullyConvError: If the photograph or the weights cannot be read, or memory is too short.
    """
    return _Mapper(classifier, weights, classes, top, shrink)(photo)


class _Mapper:
    """A loaded classifier and what to draw."""

    def __init__(
        self,
        classifier: str | DenseClassifier,
        weights: str | os.PathLike[str],
        classes: str | int | Sequence[str | int],
        top: int,
        shrink: int,
    ) -> None:
        if shrink < 0:
            raise UsageError(f"shrink is {shrink}; it is a number of pixels, or 0 for never")
        if isinstance(classifier, str):
            classifier = load_classifier(classifier, weights)
        given: object = classifier
        if not isinstance(given, DenseClassifier):
            raise UsageError(
                f"a {type(given).__name__} was given as the classifier; make it dense first: "
                "fc.DenseClassifier(fc.convolutionalize(classifier))"
            )
        if not 1 <= top <= len(classifier.categories):
            raise UsageError(f"top is {top}; there are {len(classifier.categories)} classes")
        self.classifier, self.top, self.shrink = classifier.eval(), top, shrink
        asked = [classes] if isinstance(classes, str | int) else classes
        drawn: dict[int, Category] = {}
        for category in (find_category(name, classifier.categories) for name in asked):
            drawn.setdefault(category.index, category)
        self.drawn = tuple(drawn.values())
        self.device = usual_device()
        channels_last(self.classifier.to(self.device))

    def __call__(self, photo: Photo) -> HeatMap:
        image, name = take_photo(photo)
        batch = self.classifier.preprocess(image)[None]  # says what is wrong with an array
        if 0 < self.shrink < min(image.shape[:2]):
            image = _shrunk(image, self.shrink)
            batch = self.classifier.preprocess(image)[None]
        try:
            with torch.inference_mode():
                scores = to_array(self.classifier(to_tensor(batch, self.device)))[0]
        except (MemoryError, RuntimeError) as error:
            if not is_memory_error(error):
                raise
            height, width = image.shape[:2]
            raise FullyConvError(
                f"{name or 'the photograph'}: too little memory to classify {height} x {width} "
                "pixels; shrink it (--shrink 1000)"
            ) from error
        result = HeatMap(
            image, scores, self.classifier.map, self.classifier.categories, self.drawn, name
        )
        return result if self.drawn else replace(result, drawn=tuple(result.top(self.top)))


def _shrunk(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    height, width = image.shape[:2]
    factor = side / min(height, width)
    size = (round(width * factor), round(height * factor))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))


def save_heatmaps(
    sources: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    classes: str | int | Sequence[str | int] = (),
    *,
    top: int = 3,
    classifier: str | DenseClassifier = "efficientnet_lite0",
    weights: str | os.PathLike[str] = "auto",
    shrink: int = 0,
    out: str | os.PathLike[str] = "heatmaps",
    report: Report[HeatMap] | None = None,
) -> list[str]:
    """:func:`heatmap` of many photographs, written into a folder.

    Args:
        sources: One or several files, folders and patterns; sub-folders are kept.
        classes: See :func:`heatmap`.
        top: See :func:`heatmap`.
        classifier: See :func:`heatmap`.
        weights: See :func:`heatmap`.
        shrink: See :func:`heatmap`.
        out: Folder for the results.
        report: Called after each photograph with its path, its heat map or error, the files
            written, its number and how many there are.

    Returns:
        One sentence for each photograph that could not be classified; the others were.

    Raises:
        UsageError: As :func:`heatmap`.
        FullyConvError: If a source names nothing, the weights cannot be read, or no result can be
            written.
    """
    photos = list(list_photos(sources))
    mapper = _Mapper(classifier, weights, classes, top, shrink)
    failures = []
    for number, (path, folder, name) in enumerate(photos, 1):
        result: HeatMap | FullyConvError
        files: list[Path] = []
        try:
            result = replace(mapper(read_source(path)), name=name)
        except FullyConvError as error:
            result = error
            failures.append(str(error))
        else:
            files = result.save(Path(out) / folder)
        if report is not None:
            report(path, result, files, number, len(photos))
    return failures
