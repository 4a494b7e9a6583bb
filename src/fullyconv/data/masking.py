"""Pictures without their foreground, background or colours: what a network sees of context."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np

from fullyconv.config import Mask
from fullyconv.errors import UsageError
from fullyconv.labels import Ids, LabelSpace
from fullyconv.preprocess import Pixels, Preprocess


@dataclass(frozen=True)
class Masking:
    """Hides part of a picture by its labels (PAMI 2017).

    The foreground is where the labels name one of some classes; everything else, void included, is
    background. What is hidden gets the mean colour that the network's preprocessing subtracts, and
    so enters it as zero, but for rounding to whole values. To show the shape alone, the background
    gets the mean colour and the foreground 0 in every channel.

    Attributes:
        kind: What is hidden: ``"foreground"``, ``"background"`` or ``"both"``.
        foreground: Ids of the foreground's classes.
        mean: For each channel of the picture as read, what hides.

    Example:
        >>> hide = Masking("background", (1,), (9.0, 9.0, 9.0))
        >>> picture = np.array([[[1, 2, 3], [4, 5, 6], [7, 8, 9]]], np.uint8)
        >>> hide(picture, np.array([[0, 1, 255]], np.uint8))[..., 0]
        array([[9, 4, 9]], dtype=uint8)
    """

    kind: Mask
    foreground: tuple[int, ...]
    mean: tuple[float, ...]

    @classmethod
    def of(
        cls, kind: Mask, foreground: Sequence[str], labels: LabelSpace, preprocess: Preprocess
    ) -> Masking | None:
        """The masking for a network, from names of classes; None if nothing is hidden.

        Args:
            kind: What is hidden; ``"none"`` for nothing.
            foreground: Names of the foreground's classes.
            labels: The classes.
            preprocess: The network's; says the mean colour.

        Raises:
            UsageError: If there is no such kind or class, or something is to be hidden and no class
                is named.
        """
        kinds = get_args(Mask)
        if kind not in kinds:
            raise UsageError(f"mask is {kind!r}; it must be one of {', '.join(kinds)}")
        if kind == "none":
            return None
        if not foreground:
            raise UsageError(
                f"mask is {kind!r}, but no class is said to be foreground; name some of "
                f"{', '.join(labels.categories)}"
            )
        ids = tuple(labels.index(name) for name in foreground)
        return cls(kind, ids, preprocess.mean_pixel)

    def __call__(self, image: Pixels, target: Ids) -> Pixels:
        """A picture with part of it hidden.

        Args:
            image: (H, W, C) uint8 or float32; not changed.
            target: (H, W) of class ids; (heads, H, W) of several heads, the first of which
                decides.

        Returns:
            A picture of the same shape and type.
        """
        first = target if target.ndim == 2 else target[0]
        inside = np.isin(first, self.foreground)
        masked = image.copy()
        mean = np.asarray(self.mean)
        fill = (np.rint(mean) if image.dtype == np.uint8 else mean).astype(image.dtype)
        masked[inside if self.kind == "foreground" else ~inside] = fill
        if self.kind == "both":
            masked[inside] = 0
        return masked
