"""A network as pieces that any engine can run one by one, and where their cells lie. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from fractions import Fraction
from math import ceil, floor, prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullyconv.errors import FullyConvError


@dataclass(frozen=True)
class Piece:
    """From one map to the next coarser one, by windows that slide; along rows and columns alike.

    Attributes:
        source: Name of the map it reads: ``images``, ``features8``, ``features16``.
        target: Name of the map it makes: ``features8``, ``features16``, ``features32``.
        channels: Of the target.
        stride: Source cells from one target cell to the next.
        start: Source cell, usually fractional, on which target cell 0 is centred.
        receptive_field: Source cells that one target cell sees.
        first: Source cells from which on ``counts`` holds.
        counts: Target cells for ``first``, ``first + 1``, ... source cells, for one period of
            sizes; one period more of source cells brings ``period / stride`` more target cells.
        floats: Numbers that its widest layer reads and writes, per source cell: what an engine
            holds at once.
        work: Multiplications and additions, per source cell.

    Example:
        >>> pooling = Piece("images", "features8", 1, 2, Fraction(1, 2), 2, 1, (1, 1))
        >>> pooling.cells(7), pooling.sees(1, 3)
        (4, (2, 6))
    """

    source: str
    target: str
    channels: int
    stride: int
    start: Fraction
    receptive_field: int
    first: int
    counts: tuple[int, ...]
    floats: int = 128  # VGG16's second layer, the widest of all networks here
    work: int = 100_000

    @property
    def period(self) -> int:
        """Source cells that a part cut out of the source may start at multiples of."""
        return len(self.counts)

    def cells(self, count: int) -> int:
        """Target cells along an axis for so many source cells, at least ``first``."""
        periods, rest = divmod(count - self.first, self.period)
        return self.counts[rest] + periods * self.period // self.stride

    def sees(self, start: int, stop: int) -> tuple[int, int]:
        """Source cells, from and up to, that target cells ``start`` to ``stop - 1`` depend on."""
        reach = Fraction(self.receptive_field - 1, 2)
        first = self.start + self.stride * start - reach
        last = self.start + self.stride * (stop - 1) + reach
        return floor(first), ceil(last) + 1


@dataclass(frozen=True)
class Landing:
    """An upsampling: from coarse scores onto the cells of the next finer ones, or onto the pixels.

    The last one is bilinear.

    Attributes:
        factor: Upsampling factor; of the last one, the prediction stride.
        kernel_size: Side of the kernel, ``2 * factor`` or one less.
        offset: Which upsampled cell lies on the finer grid's cell 0; negative if the finer grid
            starts first.
        edge: How often the outermost scores are repeated before.
    """

    factor: int
    kernel_size: int
    offset: int
    edge: int

    def weights(self, start: int, stop: int, cells: int) -> tuple[int, NDArray[np.float32]]:
        """Interpolation weights of some pixels along an axis.

        Args:
            start: First pixel.
            stop: Pixel behind the last.
            cells: Coarse scores along the axis, of the whole image.

        Returns:
            A coarse cell, and (stop - start, n) float32: the weights that each pixel gives to it
            and the n - 1 cells that follow.

        Example:
            >>> first, weights = Landing(2, 4, 1, 0).weights(2, 5, 9)
            >>> first, weights.tolist()
            (0, [[0.25, 0.75, 0.0], [0.0, 0.75, 0.25], [0.0, 0.25, 0.75]])
        """
        # upsampled cell q is the sum over coarse cells i of kernel[q - factor i] times score i
        at = np.arange(start, stop) + self.offset
        reach = -(-self.kernel_size // self.factor)
        nearest = at // self.factor
        span = nearest[:, None] - np.arange(reach)
        taps = at[:, None] - self.factor * span
        center = self.factor - (1 if self.kernel_size % 2 else 0.5)
        ramp = np.maximum(0, 1 - np.abs(taps - center) / self.factor)
        ramp[(span < 0) | (span >= cells + 2 * self.edge) | (taps >= self.kernel_size)] = 0
        index = np.clip(span - self.edge, 0, cells - 1)
        first = int(index.min())
        weights = np.zeros((stop - start, int(index.max()) - first + 1), np.float32)
        np.add.at(weights, (np.arange(stop - start)[:, None], index - first), ramp)
        return first, weights

    def added(self, coarse: int, finer: int) -> tuple[int, int]:
        """How coarse scores and the next finer ones are cropped to each other and added up.

        Args:
            coarse: Cells of the coarser scores along an axis.
            finer: Cells of the finer ones that there are.

        Returns:
            Finer cells that are taken, and cells of the sum.

        Example:
            >>> Landing(2, 4, 3, 1).added(5, 10), Landing(2, 4, -5, 0).added(16, 44)
            ((10, 10), (39, 34))
        """
        upsampled = (coarse + 2 * self.edge - 1) * self.factor + self.kernel_size
        if self.offset >= 0:
            cells = min(finer, upsampled - self.offset)
            return cells, cells
        taken = min(finer, upsampled - self.offset)
        return taken, taken + self.offset


@dataclass(frozen=True)
class Plan:
    """What an engine must know of a network beside its weights.

    The maps of a network, by name: ``images`` (N, C, H, W) in input units; ``features8`` and so on,
    one per stride of its taps; ``scores8`` and so on, (N, classes of all heads and streams, h, w):
    the class scores of each tap; ``scores`` (N, classes of all heads, h, w): those added up at the
    prediction stride. ``landing`` interpolates ``scores`` to the logits of every pixel.

    Attributes:
        taps: Strides of the taps that are scored, from coarse to fine.
        pieces: From the image to the features of the coarsest tap.
        landing: From scores to pixels.
        reach: Cells of the coarsest tap on each side that a part of ``scores`` depends on.
        skips: How the scores of each tap but the first are met by those of the taps before.
    """

    taps: tuple[int, ...]
    pieces: tuple[Piece, ...]
    landing: Landing
    reach: int
    skips: tuple[Landing, ...]

    @property
    def scored(self) -> tuple[str, ...]:
        """Names of the taps' class scores, from coarse to fine."""
        return tuple(f"scores{stride}" for stride in self.taps)

    @property
    def ratios(self) -> tuple[int, ...]:
        """Cells of each tap along one cell of the coarsest; a dilated network's lie as closely."""
        return tuple(prod(s.factor for s in self.skips[:n]) for n in range(len(self.taps)))

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and numbers, for an exported file."""
        values = asdict(self)
        for piece in values["pieces"]:
            piece["start"] = str(piece["start"])
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Plan:
        """Inverse of :meth:`to_dict`.

        Raises:
            FullyConvError: If a key is missing or a value is not of its kind.
        """
        try:
            pieces = tuple(
                Piece(
                    source=str(piece["source"]),
                    target=str(piece["target"]),
                    channels=int(piece["channels"]),
                    stride=int(piece["stride"]),
                    start=Fraction(piece["start"]),
                    receptive_field=int(piece["receptive_field"]),
                    first=int(piece["first"]),
                    counts=tuple(int(count) for count in piece["counts"]),
                    floats=int(piece["floats"]),
                    work=int(piece["work"]),
                )
                for piece in values["pieces"]
            )
            landing, *skips = (
                Landing(**{name: int(n) for name, n in each.items()})
                for each in (values["landing"], *values["skips"])
            )
            return cls(
                taps=tuple(int(stride) for stride in values["taps"]),
                pieces=pieces,
                landing=landing,
                reach=int(values["reach"]),
                skips=tuple(skips),
            )
        except (KeyError, TypeError, ValueError, AttributeError, ZeroDivisionError) as error:
            raise FullyConvError(f"the plan of the network is not readable: {error!r}") from error
