"""Scoring a network on labelled pictures: the paper's four numbers from one confusion matrix."""

from __future__ import annotations

import heapq
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from accelerate.utils import gather_object
from numpy.typing import NDArray
from PIL import Image

from fullyconv.checkpoint import Header
from fullyconv.config import Mask
from fullyconv.data.folder import FolderDataset, Sample, is_list, usual_split
from fullyconv.data.masking import Masking
from fullyconv.data.sources import open_truth
from fullyconv.errors import UsageError
from fullyconv.files import write_json
from fullyconv.images import save_image
from fullyconv.labels import LabelSpace, void_index
from fullyconv.metrics import ConfusionMatrix, Metrics
from fullyconv.prediction.prediction import Prediction
from fullyconv.prediction.predictor import Predictor
from fullyconv.preprocess import Pixels
from fullyconv.processes import this_process
from fullyconv.progress import progress_bar
from fullyconv.protocols import MEASURES, Protocol, protocol
from fullyconv.report.classes import SCORES, percent
from fullyconv.report.record import flat_settings
from fullyconv.report.scores import write_scores_page
from fullyconv.visualize import beside, near_boundaries, overlay


@dataclass(order=True)
class Scored:
    """One picture's own score, and what to show of it."""

    badness: float  # 1 - mean IU over the picture's classes, so that a heap keeps the worst
    name: str
    shown: NDArray[np.uint8] | None = field(compare=False, default=None, repr=False)


class Tally:
    """Everything counted over a data set; its size does not grow with the number of pictures.

    Args:
        spaces: The classes of each head.
        void: Classes of the first head that are not counted where the truth has them.
        boundary: Also count the pixels up to this far from a boundary on their own; 0 for no.
        worst: How many of the worst pictures to keep.
    """

    def __init__(
        self,
        spaces: Sequence[LabelSpace],
        void: Sequence[int] = (),
        boundary: int = 0,
        worst: int = 0,
    ) -> None:
        self.spaces, self.void, self.width, self.most = spaces, void, boundary, worst
        self.ignore_index = void_index(max(space.num_classes for space in spaces))
        self.heads = [ConfusionMatrix(space.num_classes, self.ignore_index) for space in spaces]
        self.boundary = ConfusionMatrix(spaces[0].num_classes, self.ignore_index)
        self.worst: list[Scored] = []
        self.pictures = 0

    def add(self, sample: Sample, prediction: Prediction) -> None:
        """Count one picture."""
        predictions = [prediction, *prediction.heads.values()]
        targets = sample.target.reshape(-1, *sample.target.shape[-2:])
        first = targets[0]
        if self.void:
            first = np.where(np.isin(first, self.void), first.dtype.type(self.ignore_index), first)
        alone = ConfusionMatrix(self.spaces[0].num_classes, self.ignore_index)
        alone.update(prediction.labels, first)
        self.heads[0].matrix += alone.matrix
        for confusion, guess, truth in zip(
            self.heads[1:], predictions[1:], targets[1:], strict=True
        ):
            confusion.update(guess.labels, truth)
        if self.width:
            band = near_boundaries(targets[0], self.width)
            self.boundary.update(prediction.labels[band], first[band])
        if self.most:
            self._keep(Scored(1 - alone.compute().mean_iou, sample.name), sample, prediction)
        self.pictures += 1

    def _keep(self, scored: Scored, sample: Sample, prediction: Prediction) -> None:
        """Keep the picture if it is among the worst; one of nothing but void never is."""
        if np.isnan(scored.badness) or (len(self.worst) == self.most and scored <= self.worst[0]):
            return
        scored.shown = shown(sample, prediction, self.spaces[0])
        keep = heapq.heappush if len(self.worst) < self.most else heapq.heapreplace
        keep(self.worst, scored)

    def merge(self, other: Tally) -> Tally:
        """Add what another process counted; returns itself."""
        for mine, theirs in zip(
            (*self.heads, self.boundary), (*other.heads, other.boundary), strict=True
        ):
            mine.matrix += theirs.matrix
        self.worst = heapq.nlargest(self.most, self.worst + other.worst)
        self.pictures += other.pictures
        return self


def shown(sample: Sample, prediction: Prediction, labels: LabelSpace) -> NDArray[np.uint8]:
    """(H, W', 3) uint8: photograph, truth and prediction of the first head side by side."""
    photo = prediction.image
    truth = sample.target if sample.target.ndim == 2 else sample.target[0]
    return beside(photo, *(overlay(photo, ids, labels) for ids in (truth, prediction.labels)))


def score(
    predictor: Callable[[Pixels], Prediction],
    dataset: FolderDataset,
    tally: Tally,
    *,
    look: Callable[[int, Sample, Prediction], None] | None = None,
    progress: bool = True,
) -> Tally:
    """Count truth against prediction over a data set, shared between the processes there are.

    One picture at a time, at its own size; nothing but the tally is kept. No picture is scored
    twice, and every process gets the whole tally.

    Args:
        predictor: From a picture to its prediction.
        dataset: Labelled pictures.
        tally: What to count into.
        look: Called with index, sample and prediction of each picture of this process.
        progress: Show a progress bar.
    """
    state = this_process()
    share = range(state.process_index, len(dataset), state.num_processes)
    for index in progress_bar(share, "scoring", unit="picture", disable=not progress, leave=False):
        sample = dataset[index]
        prediction = predictor(sample.image)
        tally.add(sample, prediction)
        if look is not None:
            look(index, sample, prediction)
    if state.num_processes == 1:
        return tally
    first, *others = gather_object([tally])
    for other in others:
        first.merge(other)
    return first  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Evaluation:
    """The scores of a model on a data set.

    Attributes:
        metrics: The paper's numbers; of several heads, the first one's.
        heads: Those of further heads, by name.
        boundary: The same over the pixels near a boundary alone; None if not asked for.
        worst: Names and mean IU of the worst pictures, worst first.
        labels: The classes.
        protocol: How it was counted; None for everything but void, all classes that occur.
        about: Model, data and number of pictures.
    """

    metrics: Metrics
    labels: LabelSpace
    about: dict[str, Any]
    heads: dict[str, tuple[LabelSpace, Metrics]] = field(default_factory=dict)
    boundary: Metrics | None = None
    worst: tuple[tuple[str, float], ...] = ()
    protocol: Protocol | None = None

    @classmethod
    def of(
        cls, tally: Tally, header: Header, about: dict[str, Any], rule: Protocol | None = None
    ) -> Evaluation:
        """The scores of what was counted."""
        present_only = rule is not None and rule.present_only
        first, *others = (confusion.compute(present_only) for confusion in tally.heads)
        named = zip(header.heads.items(), others, strict=True)
        return cls(
            metrics=first,
            labels=header.labels,
            about={**about, "pictures": tally.pictures},
            heads={name: (space, metrics) for (name, space), metrics in named},
            boundary=tally.boundary.compute(present_only) if tally.width else None,
            worst=tuple((s.name, 1 - s.badness) for s in sorted(tally.worst, reverse=True)),
            protocol=rule,
        )

    def to_dict(self) -> dict[str, Any]:
        """Everything in plain numbers, with the raw confusion matrices."""
        result = {
            **self.about,
            **self.metrics.to_dict(self.labels.categories),
            "palette": self.labels.palette,
        }
        for name, (space, metrics) in self.heads.items():
            result[name] = metrics.to_dict(space.categories)
        if self.boundary is not None:
            result["boundary"] = self.boundary.to_dict(self.labels.categories)
        if self.worst:
            result["worst"] = [{"name": name, "mean_iou": iou} for name, iou in self.worst]
        if self.protocol is not None:
            result["rule"] = self.protocol.said(self.about["pictures"])
        return result

    def numbers(self) -> dict[str, float]:
        """The numbers that are followed over a run; a further head's are named after it."""
        named = {"": self.metrics, **{f"{name}_": m for name, (_, m) in self.heads.items()}}
        return {
            prefix + name: getattr(metrics, name)
            for prefix, metrics in named.items()
            for name in MEASURES
        }

    def summary(self) -> dict[str, Any]:
        """What a checkpoint's header keeps: no confusion matrix."""
        summary = self.metrics.to_dict(self.labels.categories)
        del summary["confusion_matrix"]
        return summary

    def __str__(self) -> str:
        text = (
            f"mean IU {100 * self.metrics.mean_iou:.1f}, "
            f"pixel accuracy {100 * self.metrics.pixel_accuracy:.1f}"
        )
        for name, (_, metrics) in self.heads.items():
            text += f", {name} {100 * metrics.pixel_accuracy:.1f}"
        return text

    def table(self) -> str:
        """The scores as text, classes from best to worst, in per cent as the paper prints them."""
        parts = [_class_table(self.metrics, self.labels), _totals(self.metrics, self.labels)]
        for name, (space, metrics) in self.heads.items():
            parts.append(f"{name}:\n{_totals(metrics, space)}")
        if self.boundary is not None:
            width = self.about["boundary_width"]
            near = _totals(self.boundary, self.labels)
            parts.append(f"within {width} px of a boundary:\n{near}")
        if self.worst:
            rows = [f"{_percent(iou)}  {name}" for name, iou in self.worst]
            parts.append("\n".join(["worst pictures, mean IU of each:", *rows]))
        if self.protocol is not None:
            parts.append(_published(self.protocol, self.metrics, self.about["pictures"]))
        return "\n\n".join(parts)


def evaluate(
    model: str | os.PathLike[str],
    data: str | os.PathLike[str],
    *,
    split: str | None = None,
    rule: str = "",
    mask: Mask | None = None,
    foreground: Sequence[str] = (),
    boundary: int = 0,
    worst: int = 0,
    out: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> Evaluation:
    """Score a model on a folder of labelled pictures.

    Under ``torchrun`` the pictures are shared between the processes; each returns the whole result,
    and the first one writes it.

    Args:
        model: Name of a shipped model, a checkpoint, or a run folder.
        data: Data set folder, which holds the split's folder.
        split: Sub-folder with ``images/`` and ``labels/``, or a list of names (``LISTS/val.txt``).
            None: ``val``, or the folder itself where it has ``images/`` and ``labels/`` of its own.
        rule: Name of a protocol (:data:`~fullyconv.protocols.PROTOCOLS`), which says the split.
        mask: What is hidden of each picture, by its labels: see
            :class:`~fullyconv.data.masking.Masking`. None: as the model was trained.
        foreground: Classes that are foreground; empty: as the model was trained.
        boundary: Also score the pixels up to this far from a boundary on their own; 0 for no.
        worst: How many of the worst pictures to name, and to write beside ``out``, truth and
            prediction shown.
        out: JSON file for the scores, per-class IU and the confusion matrix; a page that shows
            them is written beside it, with the suffix .html.
        progress: Show a progress bar.

    Raises:
        FullyConvError: If the model or the data cannot be read, or do not fit each other.
        UsageError: If there is no such protocol or class, or a number is below 0.
    """
    if min(boundary, worst) < 0:
        raise UsageError(f"boundary is {boundary} and worst {worst}; both must be at least 0")
    counted = protocol(rule) if rule else None
    predictor = Predictor(model, photos=1000)  # many: the fastest engine, not the first to start
    header = predictor.header
    if counted is not None:
        counted.check(header.labels)
        split = counted.split
    split = usual_split(data) if split is None else split
    hidden = _masking(header, mask, foreground)
    dataset = open_truth(data, split, header, os.fspath(model), hidden)
    tally = Tally(dataset.spaces, counted.void_ids if counted else (), boundary, worst)
    tally = score(predictor, dataset, tally, progress=progress)
    about: dict[str, Any] = {
        "model": os.fspath(model),
        "data": f"{Path(data)}, {split}" if is_list(split) else str(Path(data) / split),
    }
    if rule:
        about["protocol"] = rule
    if boundary:
        about["boundary_width"] = boundary
    if hidden is not None:
        about["mask"] = hidden.kind
        about["foreground"] = [header.labels.categories[i] for i in hidden.foreground]
    result = Evaluation.of(tally, header, about, counted)
    if out is not None and this_process().is_main_process:
        _write(result, tally, Path(out))
    this_process().wait_for_everyone()
    return result


def _masking(header: Header, mask: Mask | None, foreground: Sequence[str]) -> Masking | None:
    """What is hidden; what was not said is as in the training of the model, if that is known."""
    trained = flat_settings(dict(header.info))
    mask = trained.get("recipe.data.mask", "none") if mask is None else mask
    foreground = foreground or trained.get("recipe.data.foreground", ())
    return Masking.of(mask, foreground, header.labels, header.preprocess)


def _write(result: Evaluation, tally: Tally, out: Path) -> None:
    """The scores as JSON, the worst pictures, and a page on both."""
    values = result.to_dict()
    write_json(out, values)
    worst = {}
    for number, scored in enumerate(sorted(tally.worst, reverse=True), 1):
        assert scored.shown is not None
        file = f"{out.stem}-worst/{number:02d}-{scored.name}.jpg"
        save_image(out.parent / file, Image.fromarray(scored.shown), "JPEG", quality=90)
        worst[f"{scored.name}: mean IU {100 * (1 - scored.badness):.1f}"] = file
    rule = result.protocol
    rows = rule.rows(tally.pictures) if rule is not None else ()
    published = [
        [row.network, *(_cell(getattr(row, measure)) for measure in SCORES), row.source]
        for row in rows
    ]
    write_scores_page(out.with_suffix(".html"), values, published, worst)


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _class_table(metrics: Metrics, space: LabelSpace) -> str:
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
    return "\n".join(rows)


def _totals(metrics: Metrics, space: LabelSpace) -> str:
    counted = f"over {metrics.classes_counted} of {space.num_classes} classes"
    return "\n".join(
        [
            f"pixel accuracy          {_percent(metrics.pixel_accuracy)}",
            f"mean accuracy           {_percent(metrics.mean_accuracy)}",
            f"mean IU                 {_percent(metrics.mean_iou)}   {counted}",
            f"frequency weighted IU   {_percent(metrics.frequency_weighted_iou)}",
        ]
    )


def _published(rule: Protocol, metrics: Metrics, pictures: int) -> str:
    """This score above the published ones, if it is over as many pictures."""
    rows = [("this model", [100 * getattr(metrics, name) for name in MEASURES], "")]
    for row in rule.rows(pictures):
        rows.append((row.network, [getattr(row, name) for name in MEASURES], row.source))
    width = max(len(name) for name, _, _ in rows)
    titles = [name.replace("_", " ").replace("iou", "IU") for name in MEASURES]
    lines = [rule.said(pictures), f"{'':<{width}}  " + "  ".join(titles)]
    for name, values, source in rows:
        cells = (
            f"{_cell(value):>{len(title)}}" for title, value in zip(titles, values, strict=True)
        )
        lines.append(f"{name:<{width}}  {'  '.join(cells)}  {source}".rstrip())
    return "\n".join(lines)


def _percent(value: float) -> str:
    return f"{percent(value):>5}"
