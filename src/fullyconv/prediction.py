"""From photographs to labels: one predictor for the command, Python and the server."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain, count
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fullyconv.checkpoint import Header, model_path, read_header
from fullyconv.errors import FullyConvError, UsageError, did_you_mean
from fullyconv.files import write_json, write_whole
from fullyconv.images import IMAGE_SUFFIXES, save_image, take_photo
from fullyconv.labels import Color, LabelSpace
from fullyconv.preprocess import Pixels
from fullyconv.visualize import beside, first_picture, legend, overlay

Output = Literal["mask", "color", "overlay", "probs"]
OUTPUTS: tuple[Output, ...] = ("mask", "color", "overlay", "probs")
SUMMARY = "predictions.json"

_Result = TypeVar("_Result")
Report = Callable[[Path, _Result | FullyConvError, Sequence[Path], int, int], object]
"""Told of each photograph that is finished; see :func:`predict`."""


class Runtime(Protocol):
    """What every engine does."""

    def __call__(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits (N, classes of all heads, H, W) of images (N, C, H, W), both float32."""
        ...


@dataclass(frozen=True)
class Prediction:
    """The labels of one photograph.

    Attributes:
        image: (H, W, 3) uint8, RGB: the photograph as it was labelled.
        logits: (classes, H, W) float32.
        space: Classes and colours.
        name: File name without its suffix; empty for arrays.
        heads: What further heads of the network say, by name (SIFT Flow: ``geometric``).
    """

    image: NDArray[np.uint8] = field(repr=False)
    logits: NDArray[np.float32] = field(repr=False)
    space: LabelSpace = field(repr=False)
    name: str = ""
    heads: Mapping[str, Prediction] = field(default_factory=dict, repr=False)

    @cached_property
    def labels(self) -> NDArray[np.uint8]:
        """(H, W) uint8: the most probable class of each pixel."""
        labels: NDArray[np.uint8] = self.logits.argmax(0).astype(np.uint8)
        return labels

    @property
    def categories(self) -> tuple[str, ...]:
        """Class names in the order of their ids."""
        return self.space.categories

    @property
    def palette(self) -> tuple[Color, ...]:
        """One (R, G, B) colour per class."""
        return self.space.palette

    def probabilities(self) -> NDArray[np.float32]:
        """(classes, H, W) float32 that sum to 1 over the classes."""
        shifted = np.exp(self.logits - self.logits.max(0))
        return np.asarray(shifted / shifted.sum(0), np.float32)

    def shares(self) -> dict[str, float]:
        """Share of the picture, 0 to 1, of each class that occurs, largest first."""
        shares = self._shares()
        order = np.argsort(-shares, kind="stable")
        return {self.categories[i]: float(shares[i]) for i in order if shares[i] > 0}

    def _shares(self) -> NDArray[np.float64]:
        counts = np.bincount(self.labels.ravel(), minlength=self.space.num_classes)
        return np.asarray(counts / max(1, counts.sum()), np.float64)

    def overlay(self, alpha: float = 0.5) -> NDArray[np.uint8]:
        """(H, W, 3) uint8: the classes' colours over the photograph."""
        return overlay(self.image, self.labels, self.space, alpha)

    def save(
        self, folder: str | os.PathLike[str], what: str | Sequence[str] = "mask,overlay"
    ) -> list[Path]:
        """Write files into a folder.

        Args:
            folder: Made if need be.
            what: Any of mask (palette PNG of class ids), color (RGB PNG), overlay (JPEG with a
                legend) and probs (.npy, (classes, H, W) float16), comma-separated.

        Returns:
            The files written: ``NAME-mask.png`` and so on.

        Raises:
            FullyConvError: If a kind does not exist or a file cannot be written.
        """
        written = []
        for kind in parse_outputs(what):
            suffix = {"overlay": "jpg", "probs": "npy"}.get(kind, "png")
            path = Path(folder) / f"{self.name or 'image'}-{kind}.{suffix}"
            self._write(kind, path)
            written.append(path)
        for prediction in self.heads.values():
            written += prediction.save(folder, what)
        return written

    def renamed(self, name: str) -> Prediction:
        """The same under another name, which its files then have."""
        heads = {head: p.renamed(f"{name}-{head}") for head, p in self.heads.items()}
        return replace(self, name=name, heads=heads)

    def _write(self, kind: Output, path: Path) -> None:
        if kind == "probs":
            probabilities = self.probabilities().astype(np.float16)
            write_whole(path, lambda file: np.save(file, probabilities))
            return
        if kind == "overlay":
            shares = self._shares().tolist()
            picture = self.overlay()
            picture = beside(picture, legend(self.space, shares, picture.shape[0]))
            image = Image.fromarray(picture)
            save_image(path, image, "JPEG", quality=92)
            return
        image = Image.fromarray(self.labels if kind == "mask" else self.space.colorize(self.labels))
        if kind == "mask":
            image.putpalette([value for color in self.palette for value in color])
        save_image(path, image, "PNG")


def parse_outputs(what: str | Sequence[str]) -> list[Output]:
    """The kinds of output in a comma-separated text.

    Raises:
        UsageError: If a kind does not exist.

    Example:
        >>> parse_outputs("mask, probs")
        ['mask', 'probs']
    """
    names = [part.strip() for part in (what.split(",") if isinstance(what, str) else what)]
    for name in names:
        if name not in OUTPUTS:
            raise UsageError(f"there is no output {name!r}. {did_you_mean(name, list(OUTPUTS))}")
    return [kind for kind in OUTPUTS if kind in names]


class Predictor:
    """A model ready to label photographs of any size.

    Args:
        model: Name of a shipped model (``"camvid"``) or path of a checkpoint.
        runtime: Engine; ``"auto"`` takes PyTorch.

    Raises:
        FullyConvError: If the model cannot be read.
        UsageError: If there is no such engine.

    Example:
        >>> predictor = Predictor("camvid")
        >>> predictor(np.zeros((40, 30, 3), np.uint8)).labels.shape
        (40, 30)
    """

    def __init__(self, model: str | os.PathLike[str], runtime: str = "auto") -> None:
        if runtime not in ("auto", "torch"):
            raise UsageError(f"there is no runtime {runtime!r}. Known: auto, torch.")
        path = model_path(model)
        self.header: Header = read_header(path)
        from fullyconv.runtimes.torch import TorchRuntime

        self.runtime: Runtime = TorchRuntime.load(path)

    @classmethod
    def of(cls, runtime: Runtime, header: Header) -> Predictor:
        """Predictor of a network that is already in memory."""
        predictor = cls.__new__(cls)
        predictor.runtime, predictor.header = runtime, header
        return predictor

    @property
    def labels(self) -> LabelSpace:
        """The classes the model knows."""
        return self.header.labels

    def __call__(self, photo: str | os.PathLike[str] | Image.Image | Pixels) -> Prediction:
        """Label one photograph.

        Args:
            photo: A path, a Pillow image, or an (H, W, 3) uint8 RGB array; for a network of
                several inputs an array (H, W, C) of them all.

        Raises:
            FullyConvError: If the photograph cannot be read or has another form.
        """
        image, name = take_photo(photo)
        return self._prediction(image, name)

    def _prediction(self, image: Pixels, name: str) -> Prediction:
        logits = self.runtime(self.header.preprocess(image)[None])[0]
        shown, first = first_picture(image), self.labels.num_classes
        heads, at = {}, first
        for head, space in self.header.heads.items():
            scores = logits[at : at + space.num_classes]
            heads[head] = Prediction(shown, scores, space, f"{name or 'image'}-{head}")
            at += space.num_classes
        return Prediction(shown, logits[:first], self.labels, name, heads)


def find_photos(sources: Iterable[str | os.PathLike[str]]) -> Iterator[tuple[Path, Path]]:
    """Photographs named by files, folders (with their sub-folders) and patterns.

    Yields:
        Each file, and the sub-folder its results belong in.

    Raises:
        FullyConvError: If a source names nothing.
    """
    for source in sources:
        path = Path(source)
        if path.is_dir():
            files = sorted(p for p in path.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
            if not files:
                raise FullyConvError(f"{path}: no picture in this folder")
            yield from ((file, file.parent.relative_to(path)) for file in files)
        elif path.exists() or not any(c in str(source) for c in "*?["):
            yield path, Path()
        else:
            anchor = Path(path.anchor)
            files = sorted(anchor.glob(str(path.relative_to(anchor))))
            if not files:
                raise FullyConvError(f"{source}: no file fits this pattern")
            yield from ((file, Path()) for file in files)


def list_photos(
    sources: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
) -> list[tuple[Path, Path, str]]:
    """Photographs, each once, with where their results belong.

    Args:
        sources: One or several files, folders and patterns; see :func:`find_photos`.

    Returns:
        For each its file, the sub-folder of its results, and their name, which no other has there:
        the file's without suffix; with it, where two differ in nothing else; and a number after
        that.

    Raises:
        FullyConvError: If a source names nothing.
    """
    if isinstance(sources, str | os.PathLike):
        sources = [sources]
    if not sources:
        raise UsageError("no photograph is given; name files, folders or patterns")
    photos = list(dict.fromkeys(find_photos(sources)))
    stems = Counter((folder, path.stem) for path, folder in photos)
    used: set[tuple[Path, str]] = set()
    listed = []
    for path, folder in photos:
        plain = path.stem if stems[folder, path.stem] == 1 else path.name
        numbered = (f"{path.name}-{number}" for number in count(2))
        name = next(n for n in chain([plain], numbered) if (folder, n) not in used)
        used.add((folder, name))
        listed.append((path, folder, name))
    return listed


def predict(
    sources: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    model: str | os.PathLike[str] = "camvid",
    out: str | os.PathLike[str] = "predictions",
    save: str = "mask,overlay",
    runtime: str = "auto",
    report: Report[Prediction] | None = None,
) -> list[str]:
    """Label photographs and write the results into a folder.

    Args:
        sources: One or several files, folders and patterns; sub-folders are kept.
        model: Name of a shipped model, or a checkpoint.
        out: Folder for the results and ``predictions.json``.
        save: Any of mask, color, overlay and probs, comma-separated.
        runtime: Engine.
        report: Called after each photograph with its path, its prediction or error, the files
            written, its number and how many there are.

    Returns:
        One sentence for each photograph that could not be labelled; the others were.

    Raises:
        FullyConvError: If the model cannot be read, a source names nothing, or no result can be
            written.
    """
    parse_outputs(save)
    photos = list_photos(sources)
    predictor = Predictor(model, runtime)
    summary: list[dict[str, Any]] = []
    failures: list[str] = []
    for number, (path, folder, name) in enumerate(photos, 1):
        try:
            prediction = predictor(path)
        except FullyConvError as error:
            failures.append(str(error))
            summary.append({"photo": str(path), "error": str(error)})
            if report is not None:
                report(path, error, [], number, len(photos))
            continue
        prediction = prediction.renamed(name)
        files = prediction.save(Path(out) / folder, save)
        summary.append(
            {
                "photo": str(path),
                "height": prediction.image.shape[0],
                "width": prediction.image.shape[1],
                "shares": prediction.shares(),
                "heads": {head: p.shares() for head, p in prediction.heads.items()},
                "files": [str(file) for file in files],
            }
        )
        if report is not None:
            report(path, prediction, files, number, len(photos))
    about = {
        "model": os.fspath(model),
        "categories": predictor.labels.categories,
        "palette": predictor.labels.palette,
    }
    write_json(Path(out) / SUMMARY, {**about, "photos": summary})
    return failures
