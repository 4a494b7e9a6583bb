"""A prediction in the form that the client asked for."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fullyconv.images import encode_image
from fullyconv.labels import Ids, LabelSpace
from fullyconv.prediction.prediction import Prediction
from fullyconv.scores import Scores
from fullyconv.serve.problems import RequestError
from fullyconv.serve.regions import Form, regions

Picture = Literal["mask", "overlay", "confidence", "heat"]
JSON, PNG, ZIP = "application/json", "image/png", "application/zip"
_ROWS = 64  # whose probabilities are held at once
_LEVEL = 1  # of compression, for pictures that are not labels


@dataclass(frozen=True)
class Wanted:
    """What a client asked for.

    Attributes:
        media_type: Of the answer.
        regions: How JSON says where the classes are.
        image: Which picture image/png is.
        opacity: Of the overlay, 0 to 1.
        number: Class of the heat map.
    """

    media_type: str = JSON
    regions: Form = "runs"
    image: Picture = "mask"
    opacity: float = 0.5
    number: int = 0


def media_type(accept: str) -> str:
    """The best of our media types after a header ``Accept`` (RFC 9110, section 12.5.1).

    Raises:
        RequestError: If none will do.

    Example:
        >>> media_type("image/*, application/json;q=0.5")
        'image/png'
        >>> media_type("")
        'application/json'
    """
    asked = [_accepted(part) for part in accept.split(",") if part.strip()] or [("*/*", 1.0)]

    def quality(ours: str) -> float:
        ranges = (ours, ours.partition("/")[0] + "/*", "*/*")
        for exact in ranges:  # the most specific one counts
            if found := [q for kind, q in asked if kind == exact]:
                return max(found)
        return 0.0

    best = max((JSON, PNG, ZIP), key=quality)  # the first of equals
    if quality(best) <= 0:
        raise RequestError(
            406, f"Accept is {accept[:100]!r}; there are {JSON}, {PNG} and {ZIP} of a picture"
        )
    return best


def _accepted(part: str) -> tuple[str, float]:
    kind, *parameters = part.split(";")
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "q":
            try:
                return kind.strip().lower(), float(value)
            except ValueError:
                return kind.strip().lower(), 0.0
    return kind.strip().lower(), 1.0


def categories(space: LabelSpace) -> list[dict[str, Any]]:
    """Ids, names and colours of classes.

    Example:
        >>> categories(LabelSpace(categories=("road",), palette=((255, 0, 16),)))
        [{'id': 0, 'name': 'road', 'color': '#ff0010'}]
    """
    named = zip(space.categories, space.palette, strict=True)
    return [
        {"id": number, "name": name, "color": "#{:02x}{:02x}{:02x}".format(*color)}
        for number, (name, color) in enumerate(named)
    ]


def answer(prediction: Prediction, wanted: Wanted, model: str, seconds: float) -> bytes:
    """The body of the answer.

    Args:
        prediction: The labels.
        wanted: In which form.
        model: The model's name, for JSON.
        seconds: What labelling took, for JSON.
    """
    if wanted.media_type == PNG:
        return _picture(prediction, wanted)
    found = described(prediction.labels, prediction.space, wanted.regions)
    said = json.dumps({"model": model, "seconds": round(seconds, 4), **found}).encode()
    if wanted.media_type == JSON:
        return said
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        file.writestr("mask.png", prediction.encode("mask"))
        file.writestr("overlay.png", _picture(prediction, replace(wanted, image="overlay")))
        file.writestr("labels.json", said, zipfile.ZIP_DEFLATED)
    return packed.getvalue()


def described(labels: Ids, space: LabelSpace, form: Form) -> dict[str, Any]:
    """A label map for JSON: its size, the share of each class, and where they are.

    Args:
        labels: (H, W) class ids, void as :class:`~fullyconv.labels.LabelSpace` has it.
        space: Their names.
        form: See :func:`~fullyconv.serve.regions.regions`.
    """
    # by bands: NumPy counts without letting other threads run, the server's loop among them
    bands = np.split(labels, range(_ROWS, len(labels), _ROWS))
    counts = [np.bincount(band.ravel(), minlength=space.ignore_index + 1) for band in bands]
    pixels = np.sum(counts, axis=0)[: space.num_classes].tolist()
    return {
        "width": labels.shape[1],
        "height": labels.shape[0],
        "categories": [
            category | {"pixels": count, "share": count / labels.size}
            for category, count in zip(categories(space), pixels, strict=True)
        ],
        **regions(labels, space, form),
    }


def _picture(prediction: Prediction, wanted: Wanted) -> bytes:
    if wanted.image == "mask":
        return prediction.encode("mask")
    if wanted.image == "overlay":
        shown = prediction.overlay(wanted.opacity)
    else:
        number = wanted.number if wanted.image == "heat" else None
        shown = probability(prediction.scores, number)
    return encode_image(Image.fromarray(shown), "PNG", compress_level=_LEVEL)


def probability(scores: Scores, number: int | None = None) -> NDArray[np.uint8]:
    """How probable a class is, or the one that was found: (H, W), 255 for certain.

    Args:
        scores: Of the picture.
        number: The class; None for the most probable one of each pixel.
    """
    bands = []
    for band in _bands(scores):
        logits = band.logits()
        highest = logits.max(0)
        total = np.exp(logits - highest).sum(0)
        above = 1.0 if number is None else np.exp(logits[number] - highest)
        bands.append(np.round(255 * above / total).astype(np.uint8))
    return np.concatenate(bands)


def _bands(scores: Scores) -> Iterator[Scores]:
    cells = scores.cells or scores.coarse.shape[1]
    for top in range(0, scores.height, _ROWS):
        rows = min(_ROWS, scores.height - top)
        yield replace(scores, top=scores.top + top, height=rows, cells=cells)
