"""What a study came to: its table, its file, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fullyconv.errors import FullyConvError
from fullyconv.study.result import Figure, Row, Study, read_studies, shown


def a_study(**changed: Any) -> Study:
    given: dict[str, Any] = {
        "name": "upper-bound",
        "title": "Upper bounds",
        "question": "Which?",
        "rule": "By hand.",
        "columns": ("factor", "mean IU"),
        "rows": (Row("ours", (32, 86.25)), Row("paper's", (32, None), "table 1")),
        "figures": (Figure("map.png", "A map."),),
        "chart": ("factor", "mean IU"),
        "about": {"seconds": 1.5},
    }
    return Study(**(given | changed))


def test_the_table_lines_up() -> None:
    assert a_study().table().splitlines() == [
        "Upper bounds",
        "         factor  mean IU",
        "ours         32     86.2",
        "paper's      32        -  table 1",
        "By hand.",
    ]
    assert a_study(varied="whose").table().splitlines()[1] == "whose    factor  mean IU"


def test_numbers_are_shown_to_the_digits_that_matter() -> None:
    values = (None, "x", 7, 12345, 0.5, 1.5e-7, -0.25, 1.0, 1234.56)
    expected = ["-", "x", "7", "12345", "0.5", "1.5e-07", "-0.25", "1.0", "1234.6"]
    assert [shown(value) for value in values] == expected


def test_what_is_saved_is_read_back_with_machine_and_versions(tmp_path: Path) -> None:
    study = a_study(varied="whose")
    path = study.save(tmp_path / "b" / "upper-bound")
    a_study(name="other").save(tmp_path / "a")
    (where, first), (folder, second) = read_studies(tmp_path)
    assert (where, first.name) == (tmp_path / "a", "other")
    assert folder == path.parent
    about = second.about
    assert about["versions"]["torch"]
    assert "Python" in about["machine"]
    assert a_study(about=about, varied="whose") == second
    assert about["seconds"] == study.about["seconds"]


def test_a_row_has_a_value_for_each_column_and_a_chart_two_of_them() -> None:
    with pytest.raises(ValueError, match="ours has 1 values, not one a column"):
        a_study(rows=(Row("ours", (1,)),))
    for chart in (("factor",), ("factor", "iou")):
        with pytest.raises(ValueError, match="it names two columns, or none"):
            a_study(chart=chart)


def _without_rule(values: Any) -> Any:
    return {key: value for key, value in values.items() if key != "rule"}


DAMAGES: dict[str, Callable[[Any], Any]] = {
    "no 'rule'": _without_rule,
    "rows is str, not list": lambda v: {**v, "rows": "ab"},
    "rows is dict, not list": lambda v: {**v, "rows": {}},
    "where name should be, there is str": lambda v: {**v, "rows": ["ab"]},
    "where rows should be, there is list": lambda v: [v],
    "title is NoneType, not str": lambda v: {**v, "title": None},
    "about is list, not dict": lambda v: {**v, "about": []},
    r"\[1\] is no number and no text": lambda v: _with_values(v, [[1], 2]),
    "nan is no number": lambda v: _with_values(v, [float("nan"), 2]),
    "inf is no number": lambda v: _with_values(v, [1, float("inf")]),
    "ours has 1 values": lambda v: _with_values(v, [1]),
    "caption is int, not str": lambda v: {**v, "figures": [{"file": "a", "caption": 1}]},
    "names two columns": lambda v: {**v, "chart": ["factor", "x"]},
}


def _with_values(values: Any, row: list[Any]) -> Any:
    return {**values, "rows": [{"name": "ours", "values": row, "source": ""}]}


@pytest.mark.parametrize("what", DAMAGES)
def test_a_damaged_file_is_named(tmp_path: Path, what: str) -> None:
    path = a_study().save(tmp_path)
    path.write_text(json.dumps(DAMAGES[what](json.loads(path.read_text()))))
    with pytest.raises(FullyConvError, match=rf"study.json: is no study, or is damaged \(.*{what}"):
        read_studies(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00", b"[" * 2000])
def test_what_is_no_json_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "study.json").write_bytes(content)
    with pytest.raises(FullyConvError, match="is no study, or is damaged"):
        read_studies(tmp_path)


def test_a_folder_without_studies_is_named(tmp_path: Path) -> None:
    with pytest.raises(FullyConvError, match="no study was saved here; fcn study --help lists"):
        read_studies(tmp_path)
    with pytest.raises(FullyConvError, match="no such folder; give the one that studies were"):
        read_studies(tmp_path / "none")


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FullyConvError, match="study.json: cannot be written"):
        a_study().save(tmp_path / "file")
