"""Overlays, bands around boundaries, legends and pictures side by side."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from PIL import ImageDraw

from fullyconv.labels import CAMVID, VOC, LabelSpace
from fullyconv.visualize import beside, legend, near_boundaries, overlay

Pixels = NDArray[np.uint8]
QUICK = settings(max_examples=40, deadline=None)

small = st.tuples(st.integers(1, 6), st.integers(1, 6))


@QUICK
@given(st.data(), st.sampled_from([0.0, 0.25, 0.5, 0.9, 1.0]))
def test_overlay_blends_each_pixel(data: st.DataObject, alpha: float) -> None:
    height, width = data.draw(small)
    image = data.draw(hnp.arrays(np.uint8, (height, width, 3)))
    labels = data.draw(
        hnp.arrays(np.uint8, (height, width), elements=st.sampled_from([0, 5, 10, 11, 254, 255]))
    )
    got = overlay(image, labels, CAMVID, alpha)
    assert got.dtype == np.uint8
    for y in range(height):
        for x in range(width):
            pixel = image[y, x].tolist()
            if labels[y, x] < 11:
                color = CAMVID.palette[labels[y, x]]
                pixel = [p * (1 - alpha) + c * alpha for p, c in zip(pixel, color, strict=True)]
            assert np.abs(got[y, x] - np.array(pixel)).max() <= 0.5001  # rounding of the sum


def test_overlay_is_half_and_half_unless_told() -> None:
    image = np.full((1, 1, 3), 100, np.uint8)
    got = overlay(image, np.array([[1]], np.uint8), VOC)  # (128, 0, 0)
    assert got.tolist() == [[[114, 50, 50]]]
    assert image.tolist() == [[[100, 100, 100]]]


@QUICK
@given(hnp.arrays(np.uint8, small, elements=st.sampled_from([0, 1, 255])), st.integers(1, 3))
def test_a_band_lies_on_both_sides_of_every_boundary(labels: Pixels, width: int) -> None:
    rows, columns = labels.shape
    expected = [
        [
            len(np.unique(labels[max(0, y - width) : y + width + 1,
                                 max(0, x - width) : x + width + 1])) > 1
            for x in range(columns)
        ]
        for y in range(rows)
    ]  # fmt: skip
    np.testing.assert_array_equal(near_boundaries(labels, width), expected)


def rows_of(picture: Pixels, color: tuple[int, int, int]) -> NDArray[np.intp]:
    """Rows in which a colour fills at least five pixels."""
    return np.flatnonzero((picture == color).all(-1).sum(1) >= 5)


def test_legend_lists_classes_from_large_to_small() -> None:
    shares = [0.0] * 11
    shares[0], shares[3], shares[8], shares[10] = 0.2, 0.5, 0.2995, 0.0005
    picture = legend(CAMVID, shares, 360)
    assert picture.shape[0] == 360
    tops = {name: rows_of(picture, CAMVID.palette[i]) for i, name in ((3, "r"), (8, "c"), (0, "s"))}
    assert all(len(rows) > 5 for rows in tops.values())
    assert tops["r"].max() < tops["c"].min() <= tops["c"].max() < tops["s"].min()
    for absent in (1, 2, 10):  # the last is below a thousandth
        assert not len(rows_of(picture, CAMVID.palette[absent]))


def test_legend_prints_names_and_percentages(monkeypatch: pytest.MonkeyPatch) -> None:
    space = LabelSpace(categories=("road", "road works"), palette=((9, 9, 200), (200, 9, 9)))
    texts: list[str] = []
    draw = ImageDraw.ImageDraw.text

    def text(self: ImageDraw.ImageDraw, place: Any, text: str, **options: Any) -> None:
        texts.append(text)
        draw(self, place, text, **options)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", text)
    legend(space, [0.2504, 0.7496], 60)
    assert texts == ["road works  75.0 %", "road  25.0 %"]
    one = legend(space, [1.0, 0.0], 60)
    assert not np.array_equal(one, legend(space, [0.9, 0.0], 60))
    two = legend(space, [0.5, 0.5], 60)
    assert two.shape[1] > one.shape[1]  # the longer name needs more room
    assert (one[:, 30:] < 100).all(-1).any()  # dark pixels to the right of the colour


@pytest.mark.parametrize("height", [1, 2, 9, 25, 100, 480, 2000])
@pytest.mark.parametrize("count", [1, 21])
def test_legend_fits_its_height_and_cuts_nothing(height: int, count: int) -> None:
    shares = [1 / count] * count + [0.0] * (21 - count)
    picture = legend(VOC, shares, height)
    assert picture.shape[0] == height
    assert picture.dtype == np.uint8
    assert (picture[:, -2:] == 255).all()  # the text ends before the edge
    assert (picture[-1] == 255).all()  # and no line is cut off below
    if height >= 100:
        assert (picture < 128).any()


def test_legend_of_nothing_is_blank() -> None:
    assert (legend(VOC, [0.0] * 21, 50) == 255).all()


def test_legend_takes_names_of_any_script() -> None:
    space = LabelSpace(categories=("道路", "क्षेत्र", "bâtiment"))
    assert legend(space, [0.5, 0.3, 0.2], 200).shape[0] == 200


def test_pictures_side_by_side() -> None:
    left, right = np.full((4, 3, 3), 10, np.uint8), np.full((4, 5, 3), 20, np.uint8)
    got = beside(left, right, left)
    assert got.shape == (4, 3 + 4 + 5 + 4 + 3, 3)
    assert got[2, :, 0].tolist() == [10] * 3 + [255] * 4 + [20] * 5 + [255] * 4 + [10] * 3
    np.testing.assert_array_equal(beside(left), left)
