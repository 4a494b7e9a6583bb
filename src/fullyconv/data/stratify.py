"""Groups of pictures shared out so that every part has its share of each class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fullyconv.errors import FullyConvError


def stratify(amounts: NDArray[np.float64], shares: Sequence[float], seed: int) -> NDArray[np.int64]:
    """The part that each group goes to.

    Greedy, after the iterative stratification of Sechidis, Tsoumakas and Vlahavas (2011): the
    groups that hold most of some class first, each to the part that lacks most of what it holds,
    relative to what the part should have. All classes count alike, however rare, and the number of
    pictures as much as all of them together. Groups whose most differs by less than a factor of two
    come in an order by chance: what a seed decides.

    Args:
        amounts: (groups, 1 + classes): pictures, and pixels of each class.
        shares: Share of each part; they sum to 1.
        seed: Another one gives another split, as even as this one.

    Returns:
        (groups,) int64.

    Raises:
        FullyConvError: If there are fewer groups than parts.
    """
    if len(amounts) < len(shares):
        raise FullyConvError(
            f"{len(amounts)} groups cannot be shared out to {len(shares)} parts; pictures of one "
            "group stay together"
        )
    totals = amounts.sum(0)
    parts = amounts / np.where(totals > 0, totals, 1)  # of all there is of each class
    weights = np.ones(parts.shape[1])
    weights[0] = max(1, (totals[1:] > 0).sum())
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(parts))
    _, power = np.frexp(parts[shuffled].max(1))
    order = shuffled[np.argsort(-power, kind="stable")]
    wanted = np.asarray(shares, np.float64)[:, None]
    lack = np.repeat(wanted, parts.shape[1], 1)
    chosen = np.zeros(len(parts), np.int64)
    empty = np.ones(len(shares), bool)
    for place, group in enumerate(order):
        # v more where d is lacking changes the squared distance by v (v - 2 d)
        cost = (weights * parts[group] * (parts[group] - 2 * lack) / wanted).sum(1)
        if empty.sum() >= len(order) - place:  # the last groups are for parts that have none
            cost[~empty] = np.inf
        best = np.flatnonzero(np.isclose(cost, cost.min(), rtol=0, atol=1e-12))
        chosen[group] = rng.choice(best)
        lack[chosen[group]] -= parts[group]
        empty[chosen[group]] = False
    return chosen
