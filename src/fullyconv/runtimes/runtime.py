"""What every engine does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fullyconv.models.fast.plan import Plan

Maps = Mapping[str, NDArray[np.float32]]
"""Maps (N, C, h, w) by the names that :class:`~fullyconv.models.fast.plan.Plan` gives them."""


class Runtime(Protocol):
    """An engine that holds a network.

    Attributes:
        plan: The network's geometry.
        streams: Runs that :meth:`side_by_side` does at once.
    """

    plan: Plan
    streams: int

    def run(self, given: Maps, wanted: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """Compute maps of a network from other ones.

        Args:
            given: Those there are, float32: ``{"images": ...}`` for a photograph.
            wanted: Names of those to make: ``["scores"]`` for its coarse class scores.

        Raises:
            FullyConvError: If there is too little memory, or the engine cannot make them.
        """
        ...

    def side_by_side(self) -> AbstractContextManager[Runtime]:
        """The same network for ``streams`` threads that call ``run`` at once.

        Each of them computes on one processor, and none waits for another: more pictures or tiles
        a second, though each takes longer, and on a machine with other work far more.
        Its own ``streams`` is 1: what it gives is itself.
        """
        ...
