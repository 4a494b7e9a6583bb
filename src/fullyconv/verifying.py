"""Whether an exported file says what the network says that it was made from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fullyconv.prediction.sources import read_source
from fullyconv.preprocess import Preprocess
from fullyconv.runtimes.runtime import Runtime
from fullyconv.scores import Scores

SIZES = ((1, 1), (33, 7), (97, 130), (224, 224), (301, 417))
"""Heights and widths of the random pictures: tiny, odd, and such that no stride divides them."""

Inputs = NDArray[np.float32]
Engine = Callable[[Inputs], Scores]


@dataclass(frozen=True)
class Check:
    """One picture given to both.

    Attributes:
        what: Its size, or file name.
        difference: Largest difference of two scores, relative to the largest score.
        agreement: Share of the pixels with equal labels, 0 to 1.
    """

    what: str
    difference: float
    agreement: float


def scored_by(runtime: Runtime) -> Engine:
    """From a network input (1, C, H, W) to the scores that an engine gives."""

    def scores(images: Inputs) -> Scores:
        coarse = runtime.run({"images": images}, ["scores"])["scores"][0]
        return Scores(coarse, runtime.plan.landing, *images.shape[2:])

    return scores


def logits_by(runtime: Runtime) -> Engine:
    """The same from the logits of every pixel, as other programs take them from the file."""

    def scores(images: Inputs) -> Scores:
        return Scores.of(runtime.run({"images": images}, ["logits"])["logits"][0])

    return scores


def compare(expected: Engine, found: Engine, inputs: Iterable[tuple[str, Inputs]]) -> list[Check]:
    """Give pictures to the network and to the exported file.

    Args:
        expected: What the network says.
        found: What the file says.
        inputs: Names and network inputs (1, C, H, W).
    """
    checks = []
    for name, images in inputs:
        truth, said = expected(images), found(images)
        if truth.landing == said.landing:
            difference = _difference(truth.coarse, said.coarse)
        else:
            difference = _difference(truth.logits(), said.logits())
        agreement = float((truth.labels() == said.labels()).mean())
        checks.append(Check(name, difference, agreement))
    return checks


def _difference(truth: Inputs, said: Inputs) -> float:
    largest = float(np.abs(truth).max()) or 1.0
    return float(np.abs(truth - said).max() / largest)


def random_inputs(
    preprocess: Preprocess, sizes: Sequence[tuple[int, int]]
) -> Iterator[tuple[str, Inputs]]:
    """Pictures of noise as network inputs, with their sizes as names."""
    rng = np.random.default_rng(0)
    for height, width in sizes:
        pixels = rng.integers(0, 256, (height, width, len(preprocess.mean)))
        yield f"{height} x {width}", preprocess(pixels.astype(preprocess.dtype))[None]


def photo_inputs(
    preprocess: Preprocess, photos: Iterable[Path | str]
) -> Iterator[tuple[str, Inputs]]:
    """Photographs as network inputs, with their file names."""
    for path in photos:
        yield Path(path).name, preprocess(read_source(path, preprocess.bands))[None]
