"""The labels of one photograph, and the files made of them."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fullyconv.errors import UsageError, did_you_mean
from fullyconv.files import write_bytes
from fullyconv.images import encode_image
from fullyconv.labels import Color, LabelSpace
from fullyconv.scores import Scores
from fullyconv.visualize import beside, legend, overlay

Output = Literal["mask", "color", "overlay", "probs"]
_PNG_LEVEL = 3  # a third of the time of Pillow's 6 for masks, and a tenth more bytes
OUTPUTS: tuple[Output, ...] = ("mask", "color", "overlay", "probs")


@dataclass(frozen=True)
class Prediction:
    """The labels of one photograph.

    Attributes:
        image: (H, W, 3) uint8, RGB: the photograph as it was labelled.
        scores: What the network says of it.
        space: Classes and colours.
        name: File name without its suffix; empty for arrays.
        heads: What further heads of the network say, by name (SIFT Flow: ``geometric``).
    """

    image: NDArray[np.uint8] = field(repr=False)
    scores: Scores = field(repr=False)
    space: LabelSpace = field(repr=False)
    name: str = ""
    heads: Mapping[str, Prediction] = field(default_factory=dict, repr=False)

    @cached_property
    def labels(self) -> NDArray[Any]:
        """(H, W) uint8, uint16 of more than 255 classes: the most probable class of each pixel."""
        return self.scores.labels()

    @cached_property
    def logits(self) -> NDArray[np.float32]:
        """(classes, H, W) float32, made when first asked for."""
        return self.scores.logits()

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
        shares = self._shares
        order = np.argsort(-shares, kind="stable")
        return {self.categories[i]: float(shares[i]) for i in order if shares[i] > 0}

    @cached_property
    def _shares(self) -> NDArray[np.float64]:
        if self.labels.dtype == np.uint8:  # counted by Pillow, without a copy as integers
            counts = np.array(Image.fromarray(self.labels).histogram()[: self.space.num_classes])
        else:
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
            what: Any of mask (palette PNG of class ids, of more than 255 classes 16-bit grey),
                color (RGB PNG), overlay (JPEG with a legend) and probs (.npy, (classes, H, W)
                float16), comma-separated.

        Returns:
            The files written: ``NAME-mask.png`` and so on.

        Raises:
            FullyConvError: If a kind does not exist or a file cannot be written.
        """
        written = []
        for name, content in self.files(parse_outputs(what)):
            path = Path(folder) / name
            write_bytes(path, content, durable=False)
            written.append(path)
        return written

    def files(self, kinds: Sequence[Output]) -> Iterator[tuple[str, bytes]]:
        """Name and content of each file that :meth:`save` writes, made when it is asked for."""
        for prediction in (self, *self.heads.values()):
            for kind in kinds:
                yield file_name(prediction.name, kind), prediction.encode(kind)

    def facts(self) -> dict[str, Any]:
        """What records and summaries say of it: its size, and the share of each class."""
        height, width = self.labels.shape
        return {
            "height": height,
            "width": width,
            "shares": self.shares(),
            "heads": {head: p.shares() for head, p in self.heads.items()},
        }

    def renamed(self, name: str) -> Prediction:
        """The same under another name, which its files then have."""
        heads = {head: p.renamed(f"{name}-{head}") for head, p in self.heads.items()}
        return replace(self, name=name, heads=heads)

    def encode(self, kind: Output) -> bytes:
        """The content of one of the files that :meth:`save` writes.

        Encoders work in memory: Pillow's overlook a full disk.
        """
        if kind == "probs":
            file = io.BytesIO()
            np.save(file, self.probabilities().astype(np.float16))
            return file.getvalue()
        if kind == "overlay":
            shares = self._shares.tolist()
            picture = self.overlay()
            picture = beside(picture, legend(self.space, shares, picture.shape[0]))
            return encode_image(Image.fromarray(picture), "JPEG", quality=92)
        image = Image.fromarray(self.labels if kind == "mask" else self.space.colorize(self.labels))
        if kind == "mask" and self.labels.dtype == np.uint8:
            image.putpalette([value for color in self.palette for value in color])
        return encode_image(image, "PNG", compress_level=_PNG_LEVEL)


def file_name(name: str, kind: Output) -> str:
    """Name of the file for one kind of output of a photograph.

    Example:
        >>> file_name("street", "overlay")
        'street-overlay.jpg'
    """
    suffix = {"overlay": "jpg", "probs": "npy"}.get(kind, "png")
    return f"{name or 'image'}-{kind}.{suffix}"


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
