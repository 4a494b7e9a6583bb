"""A training run that is given a data set as it was published."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from fullyconv.config import DataConfig
from fullyconv.data.prepare.plan import Request
from fullyconv.data.prepare.registry import preparer
from fullyconv.data.prepare.report import Report
from fullyconv.data.prepare.run import PROBLEMS, prepare
from fullyconv.errors import FullyConvError


def ready(data: DataConfig, say: Callable[[str], object], *, progress: bool = True) -> DataConfig:
    """The same data, prepared beside its root if the root holds it as published.

    Preparing goes on where it ended, and photographs are hard links: a second run costs a look.

    Args:
        data: Its ``published`` names what the root may hold.
        say: Told what was made.
        progress: Show bars.

    Returns:
        Data whose root has the folders that training reads; unchanged where it had them before.

    Raises:
        UsageError: If no data set of such a name is known.
        FullyConvError: If the root holds neither; says what was looked for and what is there.
    """
    root, wanted = data.root, [split for split in (*data.train, data.val) if split]
    if root is None or any((root / split / "labels").is_dir() for split in wanted):
        return data
    out = beside(root)
    needed = {}
    for name in data.published:
        usual, more = preparer(name).splits, preparer(name).more_splits
        if {*wanted} & {*usual, *more}:
            needed[name] = [*usual, *(split for split in more if split in wanted)]
    if len(needed) > 1 and root.is_dir():
        _look_for_all(needed, root, out)
    for name, splits in needed.items():
        say(str(_prepared(name, root, out, splits, progress)))
        data = replace(data, root=out)
    return data


def _look_for_all(needed: Mapping[str, list[str]], root: Path, out: Path) -> None:
    """Raise if one of several data sets is not there, before the others are prepared for it."""
    for name, splits in needed.items():
        try:
            preparer(name).plan(
                Request(sources=(root,), out=out, splits=tuple(splits), scratch=out)
            )
        except FullyConvError as error:
            raise _absent(name, root, splits, error) from error


def _prepared(name: str, root: Path, out: Path, splits: list[str], progress: bool) -> Report:
    try:
        return prepare(name, root, out, splits=splits, progress=progress)
    except FullyConvError as error:
        with suppress(OSError):  # another data set may lie there already
            out.rmdir()
        if (out / PROBLEMS).exists():  # it was there, if not all of it
            raise
        raise _absent(name, root, splits, error) from error


def _absent(name: str, root: Path, splits: list[str], error: Exception) -> FullyConvError:
    return FullyConvError(
        f"{root} has neither {splits[0]}/ with images/ and labels/ (fcn data prepare makes them), "
        f"nor what is published as {name}: {error}. What to download: {preparer(name).download}"
    )


def beside(root: Path) -> Path:
    """Where a published data set is prepared: ``VOCdevkit-prepared`` for ``VOCdevkit``."""
    root = root.absolute()  # "." has no name
    return root.with_name(f"{root.name if root.is_dir() else root.stem}-prepared")
