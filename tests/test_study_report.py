"""The page of all studies: what it shows, and how safely."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fullyconv.errors import FullyConvError
from fullyconv.study.report import report
from fullyconv.study.result import Figure, Row, Study

HOSTILE = "<script>alert('1')</script>\"&"


def saved(folder: Path, title: str = "Bounds", **more: object) -> Study:
    rows = (
        Row("1/8", (8, 96.5, "a")),
        Row("1/32", (32, 86.3, None)),
        Row("1/64", (64, None, None)),
        Row("1/8", (8, 96.4, None), "table 1"),
        Row("1/32", (32, 86.1, None), "table 1"),
    )
    given = {"figures": (Figure("a b.png", "One map."),), "chart": ("factor", "IU"), **more}
    columns = ("factor", "IU", "note")
    study = Study("bounds", title, "Which?", "By hand.", columns, rows, **given)  # type: ignore[arg-type]
    study.save(folder)
    return study


def table_rows(html: str) -> list[list[str]]:
    rows = re.findall(r"<tr>(.*?)</tr>", html)
    return [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in rows]


def test_published_rows_stand_apart_with_their_source(tmp_path: Path) -> None:
    saved(tmp_path / "studies" / "bounds")
    page = report(tmp_path / "studies", tmp_path / "out" / "page.html")
    html = page.read_text()
    measured, published = re.findall(r"<tbody[^>]*>(.*?)</tbody>", html)[:2]
    assert '<tbody class="apart">' in html
    assert table_rows(measured) == [
        ["1/8", "8", "96.5", "a"],
        ["1/32", "32", "86.3", "-"],
        ["1/64", "64", "-", "-"],
    ]
    assert table_rows(published) == [
        ["published in table 1"],
        ["1/8", "8", "96.4", "-"],
        ["1/32", "32", "86.1", "-"],
    ]
    assert "<title>Bounds</title>" in html
    for text in ("Which?", "By hand.", 'colspan="4"', "machine", "versions", "torch: 2."):
        assert text in html
    assert "<nav>" not in html


def test_pictures_stay_where_they_are(tmp_path: Path) -> None:
    saved(tmp_path / "studies" / "bounds")
    html = report(tmp_path / "studies", tmp_path / "out" / "page.html").read_text()
    assert 'src="../studies/bounds/a%20b.png" alt="One map."' in html
    assert "<figcaption>One map.</figcaption>" in html


def test_the_chart_is_one_curve_here_and_one_of_each_source(tmp_path: Path) -> None:
    saved(tmp_path)
    html = report(tmp_path, tmp_path / "page.html").read_text()
    dots = re.findall(r"<title>([^<]+)</title></circle>", html)
    assert dots == [
        "measured here: 96.5 at factor 8",
        "measured here: 86.3 at factor 32",
        "table 1: 96.4 at factor 8",
        "table 1: 86.1 at factor 32",
    ]
    assert ">factor</text>" in html
    saved(tmp_path, chart=())
    assert "<circle" not in report(tmp_path, tmp_path / "page.html").read_text()
    saved(tmp_path, chart=("factor", "note"))  # holds no number
    assert "<figcaption>IU" not in report(tmp_path, tmp_path / "page.html").read_text()


def test_a_study_of_ours_alone_names_no_source(tmp_path: Path) -> None:
    Study("s", "T", "Q", "R", ("x",), (Row("a", (0.25,)),)).save(tmp_path)
    html = report(tmp_path, tmp_path / "page.html").read_text()
    assert "published in" not in html
    assert 'class="apart"' not in html
    assert table_rows(html)[:2] == [["", "x"], ["a", "0.25"]]


def test_several_studies_have_a_list_of_contents(tmp_path: Path) -> None:
    saved(tmp_path / "a", "First")
    saved(tmp_path / "b", "Second", about={"size": [500, 400], "made": {"by": "hand"}})
    html = report(tmp_path, tmp_path / "page.html").read_text()
    assert "<title>2 studies</title>" in html
    assert re.findall(r'<li><a href="#([^"]+)">([^<]+)</a>', html) == [
        ("study-0", "First"),
        ("study-1", "Second"),
    ]
    assert re.findall(r'<section id="([^"]+)"><h2>([^<]+)<', html) == [
        ("study-0", "First"),
        ("study-1", "Second"),
    ]
    assert ["size", "500, 400"] in table_rows(html)
    assert ["made", "by: hand"] in table_rows(html)


def test_text_of_studies_is_no_html(tmp_path: Path) -> None:
    rows = (Row(HOSTILE, (HOSTILE, 1)), Row(HOSTILE, (1, 1), HOSTILE))
    figures = (Figure(HOSTILE, HOSTILE),)
    columns = (HOSTILE, "y")
    about = {HOSTILE: HOSTILE}
    Study("s", HOSTILE, HOSTILE, HOSTILE, columns, rows, figures, columns, about).save(tmp_path)
    html = report(tmp_path, tmp_path / "page.html").read_text()
    assert "<script" not in html
    assert html.count("&lt;script&gt;") > 10
    assert "<script" not in "".join(re.findall(r'(?:src|alt)="([^"]*)"', html))


def test_a_page_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    saved(tmp_path / "studies")
    (tmp_path / "file").touch()
    with pytest.raises(FullyConvError, match="page.html: cannot be written"):
        report(tmp_path / "studies", tmp_path / "file" / "page.html")
