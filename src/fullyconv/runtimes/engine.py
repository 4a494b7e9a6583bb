"""What the engines for exported files share: what is read from a file before its graph is used."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from fullyconv.checkpoint import Header
from fullyconv.errors import FullyConvError
from fullyconv.models.fast.plan import Plan
from fullyconv.runtimes.runtime import Maps

HEADER, PLAN, LICENCE = "fullyconv", "fullyconv_plan", "licence"
"""Keys under which an exported file holds the header's JSON, the plan's JSON and its licence."""

_Made = TypeVar("_Made")


def describe(header: Header, plan: Plan) -> dict[str, str]:
    """What is written into an exported file, by key."""
    licence = header.info.get("licence", "")
    return {HEADER: header.to_json(), PLAN: json.dumps(plan.to_dict()), LICENCE: str(licence)}


def description(path: str | os.PathLike[str], texts: Mapping[str, str]) -> tuple[Header, Plan]:
    """What an exported file says of its network.

    Args:
        path: Named in errors.
        texts: As of :func:`describe`.

    Raises:
        FullyConvError: If it was not exported by fullyconv, or by one whose format is newer.
    """
    if HEADER not in texts or PLAN not in texts:
        raise FullyConvError(
            f"{path}: it does not say what its network's classes and input are, as files do that "
            "fcn export writes; export the checkpoint with it"
        )
    try:
        header = Header.from_json(texts[HEADER])
        try:
            plan = Plan.from_dict(json.loads(texts[PLAN]))
        except ValueError as error:
            raise FullyConvError(f"its plan is not readable ({error})") from error
    except FullyConvError as error:
        raise FullyConvError(f"{path}: {error}") from error
    return header, plan


def check_classes(path: str | os.PathLike[str], header: Header, scores: int) -> None:
    """Refuse a graph that does not give one score for each class.

    Args:
        path: Named in the error.
        header: What the file says.
        scores: Channels of the graph's ``scores``; 0 if it does not say.

    Raises:
        FullyConvError: If it does not.
    """
    spaces = [header.labels, *header.heads.values()]
    classes = sum(space.num_classes for space in spaces)
    if scores not in (0, classes):
        raise FullyConvError(
            f"{path}: its graph gives {scores} scores, but its header names {classes} classes; "
            "export the checkpoint again"
        )


def asked(
    given: Maps, wanted: Sequence[str]
) -> tuple[dict[str, NDArray[np.float32]], tuple[str, ...]]:
    """What is wanted and given already, and the names of what is left to make."""
    there = {name: as_input(given[name]) for name in wanted if name in given}
    return there, tuple(name for name in wanted if name not in given)


def made(
    path: str | os.PathLike[str], given: Maps, run: Callable[[], _Made], fixed: Sequence[int] = ()
) -> _Made:
    """What an engine returns; its own errors in one sentence.

    Args:
        path: The file that it runs.
        given: Maps that it is given.
        run: Calls the engine.
        fixed: Sizes of the axes of ``images`` that the file is for; 0 for any.

    Raises:
        FullyConvError: If the maps have other sizes, memory is too little, or the engine fails.
    """
    images = given.get("images")
    if images is not None and fixed:
        fits = [size in (0, there) for size, there in zip(fixed, images.shape, strict=False)]
        if len(fixed) != images.ndim or not all(fits):
            raise FullyConvError(
                f"{path}: it was exported for pictures of {_size(fixed)} alone, and this one is "
                f"{_size(images.shape)}; export it without --size, or give pictures of that size"
            )
    try:
        return run()
    except Exception as error:  # each engine has classes of its own
        name, array = next(iter(given.items()))
        if any(word in str(error).lower() for word in ("memory", "alloc")):
            raise FullyConvError(
                f"too little memory for {name} of shape {array.shape}; label it in tiles (--tiles)"
            ) from error
        raise FullyConvError(
            f"{path}: the engine failed on {name} of shape {array.shape} ({first_line(error)})"
        ) from error


def first_line(error: Exception) -> str:
    """The first line of what an engine says, which often is a page."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def _size(axes: Sequence[int]) -> str:
    height, width = axes[-2:]
    channels = f" with {axes[1]} channels" if len(axes) == 4 else ""
    return f"{height or 'any height'} x {width or 'any width'}{channels}"


def as_input(array: NDArray[np.float32]) -> NDArray[np.float32]:
    """The array as engines take it: float32 without gaps."""
    return np.ascontiguousarray(array, np.float32)
