"""A run folder read back: whatever of recipe, log, scores and samples is there already."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullyconv.config import network_name
from fullyconv.labels import LABEL_SPACES, Color

LOG, STATE = "log.jsonl", "last.pt"
BEST, SCORED = "best.safetensors", "last.safetensors"
"""The networks of a run folder: the best scored so far, and the last scored."""

Numbers = NDArray[np.float64]

SPEED = ("pictures_per_second", "data_wait", "memory_gib")
TRAINING = ("loss", "lr", "skipped_steps", *SPEED)
SCORING = ("mean_iou", "pixel_accuracy", "mean_accuracy", "frequency_weighted_iou")

_MAX_STEP = 1e12  # no run has more; a number beyond is not a step


@dataclass(frozen=True)
class ClassScores:
    """What ``scores.json`` says of each class.

    Attributes:
        names: The classes.
        iou: (C,) NaN for a class that was not counted.
        accuracy: (C,) likewise.
        matrix: (C, C) pixels of each truth (row) and prediction (column); None if not given.
        palette: Colours; empty if not known.
        totals: The four numbers, and the step they belong to, as far as they are given.
    """

    names: tuple[str, ...]
    iou: Numbers
    accuracy: Numbers
    matrix: Numbers | None
    palette: tuple[Color, ...]
    totals: dict[str, float]


@dataclass(frozen=True)
class RunRecord:
    """What is in a run folder.

    Attributes:
        path: The folder.
        settings: The recipe, flat: ``optim.lr`` and its value.
        training: Columns of the log's training lines, ``step`` first; NaN where one has no number.
        scoring: Columns of the log's scoring lines likewise.
        scores: The classes' scores, if there are any.
        samples: For each picture, its steps in order and their files' names.
    """

    path: Path
    settings: dict[str, Any]
    training: dict[str, Numbers]
    scoring: dict[str, Numbers]
    scores: ClassScores | None
    samples: dict[str, list[tuple[int, str]]]

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.resolve().name

    @property
    def network(self) -> str:
        """Network and data in words, as far as the recipe tells; else empty."""
        backbone, stride = (self.settings.get(f"model.{key}") for key in ("backbone", "stride"))
        skips = self.settings.get("model.skips", True) is True
        root = self.settings.get("data.root")
        network = network_name(backbone, stride, skips) if backbone and stride else ""
        data = re.split(r"[\\/]", root.rstrip("\\/"))[-1] if isinstance(root, str) else ""
        return " on ".join(part for part in (network, data) if part)

    @property
    def steps(self) -> float:
        """The last step in the log."""
        ends = [*self.training["step"][-1:], *self.scoring["step"][-1:]]
        return max(map(float, ends), default=0.0)

    @property
    def best(self) -> tuple[float, float]:
        """The highest mean IU and its step; NaN if nothing was scored."""
        found = self.scoring["mean_iou"]
        if np.isnan(found).all():
            return math.nan, math.nan
        index = int(np.nanargmax(found))
        return float(found[index]), float(self.scoring["step"][index])

    @property
    def clock(self) -> Numbers:
        """Minutes of training until each of its lines, scorings left out; NaN if not derivable."""
        steps, speed = self.training["step"], self.training["pictures_per_second"]
        passes = (self.settings.get(f"optim.{key}") for key in ("batch_size", "iter_size"))
        pictures = math.prod(map(number, passes)) * np.diff(steps, prepend=0)
        minutes = np.divide(pictures, 60 * speed, out=np.full(len(steps), np.nan), where=speed > 0)
        return np.cumsum(minutes)

    @property
    def minutes(self) -> float:
        """How long the steps took; NaN if it is not derivable."""
        return float(self.clock[-1]) if len(self.clock) else math.nan


def read_run(folder: Path) -> RunRecord:
    """Read a run folder; what is missing, half-written or not of its form is left out."""
    settings = flat_settings(_json_object(folder / "recipe.json"))
    speeds = {line["step"]: line for line in _log_lines(folder / "speed.jsonl")}
    lines = [
        {**speeds.get(line["step"], {}), **line} if "loss" in line else line
        for line in _log_lines(folder / LOG)
    ]
    return RunRecord(
        path=folder,
        settings=settings,
        training=_columns(lines, TRAINING),
        scoring=_columns(lines, SCORING),
        scores=class_scores(_json_object(folder / "scores.json"), settings),
        samples=_samples(folder / "samples"),
    )


def number(value: Any) -> float:
    """A finite number as it is; anything else as NaN."""
    if type(value) is not float and type(value) is not int:  # a bool is no number
        return math.nan
    try:
        return float(value) if math.isfinite(value) else math.nan
    except OverflowError:  # an int beyond floats
        return math.nan


def flat_settings(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as ``data.crop``: value."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        inner = flat_settings(value, f"{prefix}{key}.") if isinstance(value, dict) else None
        flat |= inner if inner is not None else {f"{prefix}{key}": value}
    return flat


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode(errors="replace")
    except OSError:
        return ""


def _json_object(path: Path) -> dict[str, Any]:
    values = _parsed([_text(path)])
    return values[0] if values and isinstance(values[0], dict) else {}


def _parsed(texts: list[str]) -> list[Any]:
    """The values of JSON texts; those that are none are left out.

    All in one go, which is much faster than one by one; in halves where that fails.
    """
    try:
        values: list[Any] = json.loads(f"[{','.join(texts)}]")
    except (ValueError, RecursionError):
        half = len(texts) // 2
        values = _parsed(texts[:half]) + _parsed(texts[half:]) if half else []
    return values


def _log_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a log that have a step."""
    texts = [text for text in _text(path).split("\n") if text.strip()]
    parsed = _parsed(texts[:-1]) + _parsed(texts[-1:])  # the last may be half-written
    return [
        line
        for line in parsed
        if isinstance(line, dict) and 0 <= number(line.get("step")) < _MAX_STEP
    ]


def _columns(lines: Iterable[dict[str, Any]], keys: tuple[str, ...]) -> dict[str, Numbers]:
    some = frozenset(keys)
    rows = [line for line in lines if not some.isdisjoint(line)]
    return {key: np.array([number(row.get(key)) for row in rows], float) for key in ("step", *keys)}


def class_scores(values: dict[str, Any], settings: dict[str, Any]) -> ClassScores | None:
    """The classes' scores out of ``scores.json``; None if it holds none.

    Args:
        values: The file's.
        settings: The recipe's, flat; its label space says the colours if the file does not.
    """
    ious, accuracies = values.get("per_class_iou"), values.get("per_class_accuracy")
    if not isinstance(ious, dict) or not ious:
        return None
    if not isinstance(accuracies, dict):
        accuracies = {}
    names = tuple(ious)
    return ClassScores(
        names=names,
        iou=np.array([number(ious[name]) for name in names]),
        accuracy=np.array([number(accuracies.get(name)) for name in names]),
        matrix=_matrix(values.get("confusion_matrix"), len(names)),
        palette=_palette(values.get("palette"), names, settings.get("data.labels")),
        totals={key: number(values.get(key)) for key in ("step", *SCORING)},
    )


def _matrix(rows: Any, size: int) -> Numbers | None:
    try:
        matrix = np.array(rows, np.float64)
    except (TypeError, ValueError, OverflowError):
        return None
    usable = matrix.shape == (size, size) and np.isfinite(matrix).all() and (matrix >= 0).all()
    return matrix if usable else None


def _palette(given: Any, names: tuple[str, ...], labels: Any) -> tuple[Color, ...]:
    """The classes' colours as given; else those of the label space the recipe names."""
    space = LABEL_SPACES.get(labels) if isinstance(labels, str) else None
    known = space.palette if space is not None and space.categories == names else ()
    colors = _colors(given)
    return colors if len(colors) == len(names) else known


def _colors(given: Any) -> tuple[Color, ...]:
    try:
        colors = tuple((int(r), int(g), int(b)) for r, g, b in given)
    except (TypeError, ValueError, OverflowError):
        return ()
    return colors if all(0 <= value <= 255 for color in colors for value in color) else ()


def _samples(folder: Path) -> dict[str, list[tuple[int, str]]]:
    samples: dict[str, list[tuple[int, str]]] = {}
    try:
        files = sorted(path.name for path in folder.iterdir())
    except OSError:
        return {}
    for file in files:
        if match := re.fullmatch(r"(.+)-(\d{1,12})\.jpg", file, re.DOTALL | re.ASCII):
            samples.setdefault(match[1], []).append((int(match[2]), file))
    return {name: sorted(steps) for name, steps in samples.items()}
