"""Curves and matrices: every coordinate from a formula, thinning and means against loops."""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fullyconv.report.charts import (
    Line,
    chart_file,
    line_chart,
    linear_axis,
    log_axis,
    number_text,
    smooth,
    thin,
)
from fullyconv.report.matrix import matrix_chart, shorten

QUICK = settings(max_examples=150, deadline=None)
values_with_gaps = st.lists(st.floats(-1e6, 1e6) | st.just(math.nan), min_size=1, max_size=300)


def points(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"[ML]([\d.-]+) ([\d.-]+)", path)]


def curve(svg: str, style: str = "c0") -> str:
    found = re.search(rf'<path class="{style}" d="(M[^"]*)"/>', svg)
    assert found is not None
    return found[1]


def test_a_curve_is_where_the_formula_puts_it() -> None:
    steps, values = [100.0, 250.0, 400.0], [2.0, 10.0, 4.5]
    svg = line_chart("T", "u", [Line("a", np.array(steps), np.array(values))], from_zero=True)
    # drawn from 80 to 540 - 16 across, from 32 to 270 - 46 down; the axes end at 400 and at 10
    expected = [
        (80 + s / 400 * (524 - 80), 224 - v / 10 * (224 - 32))
        for s, v in zip(steps, values, strict=True)
    ]
    np.testing.assert_allclose(points(curve(svg)), expected, atol=0.051)
    ticks = re.findall(r'<text class="tick" [^>]*y="([\d.]+)"[^>]*>([^<]+)</text>', svg)
    up = [(float(y), text) for y, text in ticks if float(y) <= 224]
    assert [text for _, text in up] == ["0", "2", "4", "6", "8", "10"]
    np.testing.assert_allclose([y for y, _ in up], 224 - np.arange(0, 11, 2) * 19.2, atol=0.051)
    assert [text for y, text in ticks if float(y) > 224] == ["0", "100", "200", "300", "400"]
    # the last label, under the end of the axis, ends where the drawing does
    last = re.findall(r'x="(\d+)" text-anchor="end" [^>]*dy=".8em">([^<]+)<', svg)
    assert last == [("538", "400")]


def test_a_curve_of_one_point_is_a_dot() -> None:
    line = Line("a", np.array([1.0, 4.0]), np.array([np.nan, 2.0]))
    svg = line_chart("T", "u", [line])
    assert svg.count("<circle") == 1
    assert "<title>a: 2 at step 4</title>" in svg
    assert "<circle" not in line_chart("T", "u", [Line("a", np.array([1, 4]), np.array([1, 2]))])


def test_another_axis_is_named_in_the_drawing_and_in_words() -> None:
    line = Line("a", np.array([0.25, 0.5]), np.array([2.0, 1.0]), marked=True)
    svg = line_chart("T", "u", [line], across="minutes", steps=0.0, from_zero=True)
    assert points(curve(svg)) == [(302, 32), (524, 128)]  # half and whole of the width
    assert ">minutes</text>" in svg
    assert "<desc>a: 2 at minutes 0.25 to 1 at minutes 0.5, lowest 1, highest 2</desc>" in svg
    assert "<title>a: 2 at minutes 0.25</title>" in svg
    assert "step" not in svg


def test_a_chart_that_stands_alone_holds_style_and_legend() -> None:
    x = np.array([0.0, 1.0])
    lines = [Line(f"{i} < 4", x, x + i, i) for i in range(3)]
    root = ElementTree.fromstring(chart_file("A & B", "loss", lines, across="minutes"))
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    found = [element.text for element in root.iter() if element.tag.endswith("text")]
    assert found[-3:] == ["0 < 4", "1 < 4", "2 < 4"]
    assert "minutes" in found
    _, _, width, height = map(float, (root.get("viewBox") or "").split())
    for element in root.iter():
        if element.tag.endswith("text"):
            assert 0 <= float(element.get("x", "nan")) < width
            assert 0 <= float(element.get("y", "nan")) < height
    style = next(e.text for e in root.iter() if e.tag.endswith("style"))
    assert style is not None
    drawn = {e.get("class") for e in root.iter() if e.tag.endswith("path")} - {"grid", "axis"}
    assert drawn == {"c0", "c1", "c2"}
    assert all(f".{name} {{ --line" in style for name in drawn if name is not None)
    assert chart_file("T", "u", []) == ""


def test_a_wide_range_is_drawn_logarithmically() -> None:
    line = Line("a", np.array([0.0, 1.0, 2.0]), np.array([1.0, 10.0, 100.0]))
    svg = line_chart("T", "u", [line], from_zero=True, wide=100)
    assert [y for _, y in points(curve(svg))] == [224, 128, 32]
    assert ">u (logarithmic)<" in svg
    svg = line_chart("T", "u", [line], from_zero=True, wide=101)
    assert [y for _, y in points(curve(svg))] == [222.1, 204.8, 32]
    assert ">u<" in svg


def test_the_axis_of_steps_reaches_as_far_as_asked() -> None:
    line = Line("a", np.array([50.0, 100.0]), np.array([1.0, 2.0]))
    assert points(curve(line_chart("T", "u", [line], steps=200)))[1][0] == 80 + 444 / 2
    assert points(curve(line_chart("T", "u", [line], steps=80)))[1][0] == 524


def test_few_points_are_dots_that_say_their_value() -> None:
    x = np.arange(61.0)
    line = Line("<a>", x[:60], np.where(x[:60] == 3, np.nan, 0.25), marked=True)
    svg = line_chart("T", "u", [line])
    assert svg.count("<circle") == 59
    assert "<title>&lt;a&gt;: 0.25 at step 59</title></circle>" in svg
    assert "<circle" not in line_chart("T", "u", [Line("a", x, x, marked=True)])
    assert "<circle" not in line_chart("T", "u", [Line("a", x[:9], x[:9])])


def test_a_curve_over_something_else_than_steps_says_so() -> None:
    line = Line("a", np.array([-0.5, 1.5]), np.array([1.0, 2.0]), marked=True)
    svg = line_chart("T", "u", [line], steps=0, across="<x>")
    # from -0.5 to 1.5: what lies below 0 is drawn, too
    assert [x for x, _ in points(curve(svg))] == [80, 524]
    assert ">&lt;x&gt;</text>" in svg
    assert "<desc>a: 1 at &lt;x&gt; -0.5 to 2 at &lt;x&gt; 1.5, lowest 1, highest 2</desc>" in svg
    assert "<title>a: 2 at &lt;x&gt; 1.5</title>" in svg


def test_nothing_to_draw_is_no_figure() -> None:
    empty = np.empty(0)
    assert line_chart("T", "u", []) == ""
    assert line_chart("T", "u", [Line("a", empty, empty)]) == ""
    assert line_chart("T", "u", [Line("a", np.ones(2), np.array([np.nan, 1e31]))]) == ""
    both = [Line("gone", empty, empty), Line("here", np.ones(1), np.ones(1))]
    assert "gone" not in line_chart("T", "u", both)


def test_more_curves_than_colours_are_dashed() -> None:
    lines = [Line(f"run {i}", np.arange(2.0), np.full(2, i), i) for i in range(33)]
    svg = line_chart("T", "u", lines)
    keys = re.findall(r'<path class="([^"]+)" d="M1 4H25"/></svg>(run \d+)</li>', svg)
    assert keys[:8] == [(f"c{i}", f"run {i}") for i in range(8)]
    assert [style for style, _ in keys[8::8]] == ["c0 d0", "c0 d1", "c0 d2", "c0 d0"]
    assert "<li>" not in line_chart("T", "u", lines[:1])


@QUICK
@given(st.floats(-1e9, 1e9), st.floats(1e-6, 1e9), st.booleans())
def test_ticks_are_even_round_and_read_as_they_lie(low: float, span: float, rounded: bool) -> None:
    assume(span > 1e-5 * abs(low))
    axis = linear_axis(low, low + span, rounded=rounded)
    assert axis.low <= low + 1e-6 * span
    assert axis.high >= low + span * (1 - 1e-6)
    assert axis.high - axis.low <= 2 * span
    ticks = [value for value, _ in axis.ticks]
    assert 3 - (not rounded) <= len(ticks) <= 8
    steps = np.diff(ticks)
    np.testing.assert_allclose(steps, steps[0], rtol=1e-6)
    assert f"{steps[0]:.3e}"[:5] in ("1.000", "2.000", "5.000")
    assert len({text for _, text in axis.ticks}) == len(ticks)
    for value, text in axis.ticks:
        assert float(text.replace(",", "")) == pytest.approx(value, abs=steps[0] * 1e-3)


@pytest.mark.parametrize("value", [0.0, 3.5, -2e-9, 1e12])
def test_an_axis_of_one_value_has_it_inside(value: float) -> None:
    axis = linear_axis(value, value)
    assert axis.low < value < axis.high


@QUICK
@given(st.floats(1e-12, 1e12), st.floats(1, 1e9))
def test_a_logarithmic_axis_holds_its_range(low: float, ratio: float) -> None:
    axis = log_axis(low, low * ratio)
    assert axis.low <= low * (1 + 1e-6)
    assert axis.high >= low * ratio * (1 - 1e-6)
    assert axis.high / axis.low <= 25.1 * ratio
    assert 2 <= len(axis.ticks) <= 8
    for value, _ in axis.ticks:
        assert f"{value:.3e}"[:5] in ("1.000", "2.000", "5.000")
    assert axis.place(np.array([axis.low, axis.high])).tolist() == [0, 1]


@QUICK
@given(values_with_gaps, st.integers(5, 60))
def test_thinning_keeps_ends_peaks_and_gaps(values: list[float], most: int) -> None:
    array = np.array(values)
    index = thin(array, most)
    assert len(index) <= max(most, 0)
    assert (np.diff(index) > 0).all()
    assert {0, len(values) - 1} <= set(index.tolist())
    kept = array[index]
    if np.isnan(array).all():
        assert np.isnan(kept).all()
    else:
        assert np.nanmin(kept) == np.nanmin(array)
        assert np.nanmax(kept) == np.nanmax(array)
    assert np.isnan(kept).any() == np.isnan(array).any()
    if len(values) <= most:
        assert index.tolist() == list(range(len(values)))


def test_thinning_keeps_every_single_peak_and_gap() -> None:
    values = np.ones(10_000)
    values[[123, 5000]], values[9876], values[777] = 9.0, -4.0, np.nan
    assert {123, 5000, 9876, 777} <= set(thin(values).tolist())
    assert 350 < len(thin(np.random.default_rng(0).normal(size=10_000))) <= 600


@QUICK
@given(values_with_gaps, st.sampled_from([0.0, 0.05, 0.3, 1.0]))
def test_the_mean_around_each_value(values: list[float], share: float) -> None:
    got = smooth(np.array(values), share)
    for i in range(len(values)):
        half = min(i, int(len(values) * share / 2))
        around = [v for v in values[i - half : i + half + 1] if not math.isnan(v)]
        expected = sum(around) / len(around) if around else math.nan
        assert got[i] == pytest.approx(expected, rel=1e-6, abs=1e-3, nan_ok=True)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.24474, "0.2447"), (1611.4, "1611"), (183456.7, "183,457"), (1e-10, "1e-10")],
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert number_text(value) == text
    assert number_text(math.nan) == "n/a"


def test_cells_of_the_matrix_are_shares_of_their_row() -> None:
    matrix = np.array([[90, 9, 1.0], [0, 0, 0], [5000, 15_000, 0]])
    svg = matrix_chart(("sky & sea", "b", "c"), matrix)
    cells = re.findall(
        r'<rect class="(\w+)" x="(\d+)"[^>]*fill-opacity="([\d.]+)"><title>([^<]*)</title>', svg
    )
    assert cells == [
        ("hit", "0", f"{math.sqrt(0.9):.2f}", "sky &amp; sea as sky &amp; sea: 90.0 %, 90 pixels"),
        ("miss", "36", "0.30", "sky &amp; sea as b: 9.0 %, 9 pixels"),
        ("miss", "72", "0.10", "sky &amp; sea as c: 1.0 %, 1 pixels"),
        ("miss", "0", "0.50", "c as sky &amp; sea: 25.0 %, 5,000 pixels"),
        ("miss", "36", f"{math.sqrt(0.75):.2f}", "c as b: 75.0 %, 15,000 pixels"),
    ]
    assert re.findall(r'class="share"[^>]*>(\d+)<', svg) == ["90", "9", "1", "25", "75"]
    assert "confused: c as b 75.0 %, c as sky &amp; sea 25.0 %, sky &amp; sea as b 9.0 %.<" in svg
    assert "Most often" not in matrix_chart(("a", "b"), np.eye(2))


def test_a_matrix_of_many_classes_stays_readable_and_small() -> None:
    names = [f"class {i}" for i in range(255)]
    matrix = np.full((255, 255), 1.0)
    matrix[3, 4] = 50
    svg = matrix_chart(names, matrix + 500 * np.eye(255))
    assert svg.count("<rect") == 1 + 255 + 1  # the ground, the diagonal, the one confusion
    assert svg.count(">class 254</text>") == 2
    assert 'class="share"' not in svg
    size = int(re.findall(r'width="(\d+)"', svg)[0])
    assert size >= 255 * 12  # a line of 12 pixels for each name


def test_long_names_are_cut_to_their_room() -> None:
    assert shorten("refridgerator") == "refridgerator"
    assert shorten("x" * 20) == "x" * 20
    assert shorten("x" * 21) == "x" * 19 + "…"
    assert shorten("道" * 11) == "道" * 9 + "…"
    assert shorten("a long name of a class") == "a long name of a cl…"
