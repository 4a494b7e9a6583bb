"""What a study came to: a table, the rule it was made by, and what was published."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fullyconv.errors import FullyConvError
from fullyconv.files import write_json

Value = float | int | str | None

_FILE = "study.json"


@dataclass(frozen=True)
class Row:
    """One line of a study's table.

    Attributes:
        name: What was varied.
        values: One for each column; None where there is none.
        source: Where the figures were published; empty for what was measured here.
    """

    name: str
    values: tuple[Value, ...]
    source: str = ""


@dataclass(frozen=True)
class Figure:
    """A picture that a study drew.

    Attributes:
        file: Its name in the study's folder (.png, .jpg or .svg).
        caption: What it shows, as plain text.
    """

    file: str
    caption: str


@dataclass(frozen=True)
class Study:
    """What a study found.

    Attributes:
        name: As on the command line (``upper-bound``).
        title: In a few words.
        question: What it asks, and where the paper does.
        rule: How the figures were made, so that they can be made again.
        columns: Names of the columns, units included; the first column, of names, is not among
            them.
        rows: What was measured here, then what was published.
        figures: Pictures beside the table.
        chart: Columns (x, y) to draw as a curve; empty for none.
        about: What the figures depend on: command, seed, seconds, data.
    """

    name: str
    title: str
    question: str
    rule: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    figures: tuple[Figure, ...] = ()
    chart: tuple[str, ...] = ()
    about: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row.values) != len(self.columns):
                raise ValueError(f"{row.name} has {len(row.values)} values, not one a column")

    def table(self) -> str:
        """The rows as text, in columns as wide as they need."""
        cells = [["", *self.columns, ""]]
        cells += [[row.name, *map(shown, row.values), row.source] for row in self.rows]
        widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
        lines = [
            "  ".join(
                cell.ljust(width) if i in (0, len(widths) - 1) else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in cells
        ]
        return "\n".join([self.title, *lines, self.rule])

    def save(self, folder: Path) -> Path:
        """Write it as ``study.json``, with the machine and the versions it was made with.

        Raises:
            FullyConvError: If the folder cannot be written.
        """
        made_with = {name: version(name) for name in ("fullyconv", "torch", "numpy")}
        machine = f"{platform.machine()}, {platform.system()}, Python {platform.python_version()}"
        about = {**self.about, "machine": machine, "versions": made_with}
        path = folder / _FILE
        write_json(path, {**asdict(self), "about": about})
        return path


def shown(value: Value) -> str:
    """A value as text: numbers to the digits that matter."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1 else f"{value:.1f}"
    return str(value)


def read_studies(folder: Path) -> list[tuple[Path, Study]]:
    """Every study in a folder and below it, with the folder it lies in, by name.

    Raises:
        FullyConvError: If there is none, or a file is damaged.
    """
    found = []
    for path in sorted(folder.rglob(_FILE)):
        try:
            found.append((path.parent, _study(json.loads(path.read_text("utf-8")))))
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise FullyConvError(f"{path}: is no study, or is damaged ({error})") from error
    if not found:
        raise FullyConvError(f"{folder}: no study was saved here; fcn study --help lists them")
    return found


def _study(values: dict[str, Any]) -> Study:
    rows = tuple(
        Row(row["name"], tuple(row["values"]), row["source"]) for row in _items(values, "rows")
    )
    figures = tuple(Figure(f["file"], f["caption"]) for f in _items(values, "figures"))
    plain = {key: values[key] for key in ("name", "title", "question", "rule")}
    columns, chart = (tuple(_items(values, key)) for key in ("columns", "chart"))
    return Study(
        **plain, columns=columns, rows=rows, figures=figures, chart=chart, about=values["about"]
    )


def _items(values: dict[str, Any], key: str) -> Sequence[Any]:
    items = values[key]
    if not isinstance(items, list):
        raise TypeError(f"{key} is no list")
    return items
