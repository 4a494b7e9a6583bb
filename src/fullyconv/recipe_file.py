"""Recipes as JSON files, as run folders hold them and ``fcn new`` writes them."""

from __future__ import annotations

import json
import os
import types
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from fullyconv.config import Recipe
from fullyconv.errors import FullyConvError, did_you_mean


def read_recipe(path: str | os.PathLike[str]) -> Recipe:
    """A recipe from a file; what the file does not say is as usual.

    Raises:
        FullyConvError: If the file cannot be read, or a setting does not exist or fit.
    """
    try:
        values = json.loads(Path(path).read_text("utf-8"))
    except OSError as error:
        raise FullyConvError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise FullyConvError(f"{path}: is no recipe: not JSON ({error})") from error
    try:
        recipe: Recipe = typed(Recipe, values)
    except FullyConvError as error:
        raise FullyConvError(f"{path}: {error}") from error
    return recipe


def typed(kind: Any, values: Any) -> Any:
    """A dataclass of settings from JSON's values.

    Raises:
        FullyConvError: If a setting does not exist or fit.
    """
    return _value(kind, values, "")


def _value(kind: Any, value: Any, where: str) -> Any:
    """A JSON value as what a field's annotation asks for."""
    if is_dataclass(kind) and isinstance(kind, type):
        return _settings(kind, value, where)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is tuple and isinstance(value, list):
        kinds = arguments[:1] * len(value) if arguments[1:] == (...,) else arguments
        if len(kinds) == len(value):
            return tuple(_value(k, v, where) for k, v in zip(kinds, value, strict=True))
    elif origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        return _value(next(k for k in arguments if k is not type(None)), value, where)
    elif origin is Literal and type(value) in map(type, arguments):
        return value  # the dataclasses check their choices, and say which there are
    elif kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    elif kind is Path and isinstance(value, str):
        return Path(value)
    elif kind in (bool, int, str) and type(value) is kind:
        return value
    name = getattr(kind, "__name__", str(kind)) if not arguments else str(kind)
    raise FullyConvError(f"{where[:-1]} is {value!r}, but must be of type {name}")


def _settings(kind: type, values: Any, where: str) -> Any:
    known = [field.name for field in fields(kind)]
    if not isinstance(values, dict):
        raise FullyConvError(
            f"{where[:-1] or 'a recipe'} is {values!r}, but must hold settings by name"
        )
    for name in values:
        if name not in known:
            raise FullyConvError(f"there is no setting {where}{name}. {did_you_mean(name, known)}")
    hints = get_type_hints(kind)
    return kind(
        **{name: _value(hints[name], value, f"{where}{name}.") for name, value in values.items()}
    )
