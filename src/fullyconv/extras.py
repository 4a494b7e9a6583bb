"""Packages that not everybody has installed."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

from fullyconv.errors import FullyConvError


def optional(module: str, extra: str, purpose: str = "for this") -> Any:
    """A module of an optional package.

    Args:
        module: Its name.
        extra: Of fullyconv, that brings it.
        purpose: What it is needed for.

    Raises:
        FullyConvError: If it is not installed; says how to.

    Example:
        >>> optional("no_such_package", "video", "for films")
        Traceback (most recent call last):
        fullyconv.errors.FullyConvError: no_such_package is needed for films and not installed \
(No module named 'no_such_package'): pip install "fullyconv[video]"
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise FullyConvError(
            f"{module} is needed {purpose} and not installed ({error}): "
            f'pip install "fullyconv[{extra}]"'
        ) from error


def require(module: str, extra: str, purpose: str) -> None:
    """Refuse as :func:`optional` where a module is missing; where it is not, nothing is imported.

    Raises:
        FullyConvError: If it is not installed.
    """
    if importlib.util.find_spec(module) is None:
        optional(module, extra, purpose)
