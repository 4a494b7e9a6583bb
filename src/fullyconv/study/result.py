"""What a study came to: a table, the rule it was made by, and what was published."""

from __future__ import annotations

import json
import math
import platform
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from fullyconv.errors import FullyConvError
from fullyconv.files import write_json

Value = float | int | str | None
_Kind = TypeVar("_Kind")

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
        varied: Heading of the column of names.
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
    varied: str = ""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row.values) != len(self.columns):
                raise ValueError(f"{row.name} has {len(row.values)} values, not one a column")
        if len(self.chart) not in (0, 2) or not {*self.chart} <= {*self.columns}:
            raise ValueError(f"chart is {self.chart}; it names two columns, or none")

    def table(self) -> str:
        """The rows as text, in columns as wide as they need."""
        cells = [[self.varied, *self.columns, ""]]
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
    """Every study in a folder and below it, with the folder it lies in, by path.

    Raises:
        FullyConvError: If there is no such folder or no study in it, or a file is damaged.
    """
    if not folder.is_dir():
        raise FullyConvError(f"{folder}: no such folder; give the one that studies were saved to")
    found = []
    for path in sorted(folder.rglob(_FILE)):
        try:
            found.append((path.parent, _study(json.loads(path.read_text("utf-8")))))
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            what = f"no {error}" if isinstance(error, KeyError) else str(error)
            raise FullyConvError(f"{path}: is no study, or is damaged ({what})") from error
    if not found:
        raise FullyConvError(f"{folder}: no study was saved here; fcn study --help lists them")
    return found


def _study(values: Any) -> Study:
    rows = tuple(
        Row(
            _of(str, row, "name"),
            tuple(map(_value, _of(list, row, "values"))),
            _of(str, row, "source"),
        )
        for row in _of(list, values, "rows")
    )
    figures = tuple(
        Figure(_of(str, drawn, "file"), _of(str, drawn, "caption"))
        for drawn in _of(list, values, "figures")
    )
    name, title, question, rule = (
        _of(str, values, key) for key in ("name", "title", "question", "rule")
    )
    columns, chart = (tuple(map(str, _of(list, values, key))) for key in ("columns", "chart"))
    about = _of(dict, values, "about")
    varied = str(values.get("varied", ""))
    return Study(name, title, question, rule, columns, rows, figures, chart, about, varied)


def _of(kind: type[_Kind], values: Any, key: str) -> _Kind:
    """An entry of a kind, of a JSON object."""
    if not isinstance(values, dict):
        raise TypeError(f"where {key} should be, there is {type(values).__name__}")
    value = values[key]
    if not isinstance(value, kind):
        raise TypeError(f"{key} is {type(value).__name__}, not {kind.__name__}")
    return value


def _value(value: Any) -> Value:
    is_number = isinstance(value, int | float) and abs(value) < math.inf
    if not (value is None or isinstance(value, str) or is_number):
        raise ValueError(f"{value!r} is no number and no text")
    return value  # type: ignore[no-any-return]
