"""The one kind of error users are meant to read."""

from __future__ import annotations

from collections.abc import Sequence


class FullyConvError(Exception):
    """Something given from outside is wrong; the message says what, and what to do.

    Raised at the border only (files, configuration, the command line). The command prints the
    message without a traceback (``--debug`` shows it) and exits with status 1.
    """


class UsageError(FullyConvError):
    """A name or option that does not exist; the command exits with status 2."""


class StoppedError(FullyConvError):
    """Ctrl-C: says what is done and kept; the command exits with status 130."""


def shortened(names: Sequence[object], most: int = 5) -> str:
    """The first few of many names."""
    return ", ".join(map(str, names[:most])) + (", ..." if len(names) > most else "")


def did_you_mean(given: str, known: list[str], otherwise: str = "") -> str:
    """Sentence that names the nearest of ``known`` names, or all of them if none is near.

    Capitals do not count.

    Args:
        given: What does not exist.
        known: What does.
        otherwise: What to say if none is near, where the names are too many to list.

    Example:
        >>> did_you_mean("voc-fcn8", ["voc-fcn8s", "voc-fcn16s", "nyud-fcn32s-hha"])
        'Did you mean voc-fcn8s, voc-fcn16s?'
        >>> did_you_mean("VGG-16", ["vgg16", "alexnet"])
        'Did you mean vgg16?'
        >>> did_you_mean("x", ["b", "a"])
        'Known: a, b.'
    """
    if near := nearest(given, known):
        return f"Did you mean {', '.join(near)}?"
    return otherwise or f"Known: {', '.join(sorted(known))}."


def nearest(given: str, known: list[str]) -> list[str]:
    """Up to three of ``known`` names that are spelt nearly so; capitals do not count."""
    import difflib

    spelt: dict[str, list[str]] = {}  # names may differ in capitals alone: classes of a data set
    for name in known:
        spelt.setdefault(name.lower(), []).append(name)
    near = difflib.get_close_matches(given.lower(), spelt, n=3)
    return [name for key in near for name in spelt[key]][:3]
