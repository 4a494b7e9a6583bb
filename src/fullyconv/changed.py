"""What of a configuration is not as by default, in words."""

from __future__ import annotations

from dataclasses import fields
from typing import Any


def changed(config: Any, *but: str) -> tuple[str, ...]:
    """The settings of a dataclass that are not as by default.

    Args:
        config: The dataclass.
        but: Fields to leave out.

    Example:
        >>> from fullyconv.config import OptimConfig
        >>> changed(OptimConfig(lr=1e-2, batch_size=4), "batch_size")
        ('lr 0.01',)
    """
    return tuple(
        f"{field.name} {_plain(getattr(config, field.name))}"
        for field in fields(config)
        if field.name not in but and getattr(config, field.name) != field.default
    )


def _plain(value: object) -> str:
    if isinstance(value, tuple):
        return " ".join(map(_plain, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
