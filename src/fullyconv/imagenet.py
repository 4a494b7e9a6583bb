"""ImageNet's 1,000 classes by name (imagenet.txt says where the names are from)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from fullyconv.errors import UsageError, did_you_mean

_SHOWN = 8  # candidates that a message names


@dataclass(frozen=True)
class Category:
    """A class that was found.

    Attributes:
        index: Its place among the classifier's scores, from 0.
        label: What to call it: the synonym asked for, else its first.
    """

    index: int
    label: str


@cache
def imagenet_categories() -> tuple[str, ...]:
    """Names of the 1,000 classes, synonyms between commas, in the order of the scores.

    Example:
        >>> imagenet_categories()[281], len(imagenet_categories())
        ('tabby, tabby cat', 1000)
    """
    text = files("fullyconv").joinpath("imagenet.txt").read_text(encoding="utf-8")
    return tuple(line for line in text.splitlines() if not line.startswith("#"))


@cache
def labels_of(categories: tuple[str, ...]) -> tuple[str, ...]:
    """A short name for each class: its first synonym, with its index where two have the same.

    Example:
        >>> labels_of(("tabby, tabby cat", "crane", "crane, derrick"))
        ('tabby', 'crane 1', 'crane 2')
    """
    first = [_synonyms(name)[0] for name in categories]
    count = Counter(name.casefold() for name in first)
    return tuple(
        name if count[name.casefold()] == 1 else f"{name} {index}"
        for index, name in enumerate(first)
    )


def find_category(asked: str | int, categories: Sequence[str]) -> Category:
    """The class of a name, a synonym, a part of one, or an index.

    Upper and lower case are one. The first of these that any class fits decides: its label or whole
    name; one of its synonyms; words in its name; letters in it.

    Args:
        asked: What the user wrote.
        categories: Names of the classes, synonyms between commas.

    Raises:
        UsageError: If nothing fits, or more than one class does.

    Example:
        >>> find_category("Tabby cat", imagenet_categories())
        Category(index=281, label='tabby cat')
        >>> find_category("wallaby", ("kangaroo", "rock wallaby"))
        Category(index=1, label='rock wallaby')
    """
    categories = tuple(categories)
    labels = labels_of(categories)
    asked = str(asked).strip()
    if re.fullmatch(r"-?\d+", asked):
        index = int(asked)
        if not 0 <= index < len(categories):
            raise UsageError(
                f"there is no class {asked}: the indices are 0 to {len(categories) - 1}"
            )
        return Category(index, labels[index])
    wanted = asked.casefold()
    words = re.compile(rf"(?<!\w){re.escape(wanted)}(?!\w)")
    fits: list[Callable[[int, str], object]] = [
        lambda index, name: wanted in (name, labels[index].casefold()),
        lambda index, name: wanted in _synonyms(name),
        lambda index, name: words.search(name),
        lambda index, name: wanted in name,
    ]
    for fit in fits if wanted else []:
        found = [i for i, name in enumerate(categories) if fit(i, name.casefold())]
        if len(found) == 1:
            return _named(found[0], wanted, categories, labels)
        if found:
            raise UsageError(_ambiguous(asked, found, labels))
    every = [synonym for name in categories for synonym in _synonyms(name)]
    otherwise = (
        f"The classes are those of ImageNet, {labels[0]} to {labels[-1]}; an index does too."
    )
    raise UsageError(f"there is no class {asked!r}. {did_you_mean(asked, every, otherwise)}")


def _synonyms(name: str) -> list[str]:
    return [synonym.strip() for synonym in name.split(",")]


def _named(index: int, wanted: str, categories: Sequence[str], labels: Sequence[str]) -> Category:
    """The class under the synonym that was asked for, where that tells it from the others."""
    others = _synonyms(categories[index])[1:]
    asked_for = [name for name in others if name.casefold() == wanted]
    return Category(index, asked_for[0] if asked_for else labels[index])


def _ambiguous(asked: str, found: list[int], labels: Sequence[str]) -> str:
    shown = ", ".join(f"{labels[index]} ({index})" for index in found[:_SHOWN])
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return f"{asked!r} fits {len(found)} classes: {shown}{more}; name one of them, or its index"
