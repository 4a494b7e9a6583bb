"""Regions become the pixels that other libraries and formulas say they cover."""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import exports
from exports import DATA
from fullyconv.data.importers.labelstudio_rle import Brush, unpack
from fullyconv.data.importers.runs import Runs, count_runs, pack_counts, unpack_counts
from fullyconv.data.importers.shapes import Bitmap, Polygon, Shape, ellipse, rectangle
from fullyconv.errors import FullyConvError

H, W = 60, 80


def drawn(shape: Shape, height: int = H, width: int = W) -> NDArray[np.bool_]:
    mask, top, left = shape.draw(height, width)
    whole = np.zeros((height, width), bool)
    whole[top : top + mask.shape[0], left : left + mask.shape[1]] = mask
    return whole


def by_formula(rings: list[NDArray[np.float64]]) -> NDArray[np.bool_]:
    """Even-odd, a ray to the left of each centre."""
    y, x = np.mgrid[:H, :W] + 0.5
    crossings = np.zeros((H, W), int)
    for ring in rings:
        for (x0, y0), (x1, y1) in zip(ring, np.roll(ring, -1, 0), strict=True):
            if y0 != y1:
                at = x0 + (y - y0) * (x1 - x0) / (y1 - y0)
                crossings += ((y0 <= y) != (y1 <= y)) & (at <= x)
    return np.asarray(crossings % 2 == 1)


@pytest.mark.parametrize("seed", range(30))
def test_polygons_with_holes_and_knots_are_even_odd(seed: int) -> None:
    """Any corners, also outside of the picture."""
    rng = np.random.default_rng(seed)
    rings = [rng.uniform(-30, 110, (rng.integers(3, 12), 2)) for _ in range(1 + seed % 3)]
    np.testing.assert_array_equal(drawn(Polygon.of(rings)), by_formula(rings))


@pytest.mark.parametrize("seed", range(20))
def test_gdal_draws_the_same_polygons(seed: int) -> None:
    features = pytest.importorskip("rasterio.features")
    rng = np.random.default_rng(seed)
    angles = np.sort(rng.uniform(0, 2 * np.pi, 9))
    radius = rng.uniform(8, 28, 9)
    ring = np.stack([40 + radius * np.cos(angles), 30 + radius * np.sin(angles)], 1)
    hole = np.array([[38, 29], [42, 28.5], [41, 33.3]])
    shape = {"type": "Polygon", "coordinates": [[*r.tolist(), r[0].tolist()] for r in (ring, hole)]}
    theirs = features.rasterize([shape], (H, W)).astype(bool)
    np.testing.assert_array_equal(drawn(Polygon.of([ring, hole])), theirs)


def test_opencv_draws_the_same_but_for_the_border() -> None:
    cv2 = pytest.importorskip("cv2")
    ndimage = pytest.importorskip("scipy.ndimage")
    ring = np.array([[10, 8], [70, 20], [55, 52], [30, 40]])
    theirs = cv2.fillPoly(np.zeros((H, W), np.uint8), [ring.astype(np.int32)], 1).astype(bool)
    border = ndimage.binary_dilation(theirs) & ~ndimage.binary_erosion(theirs)
    # corners are the numbers of pixels there
    assert not ((drawn(Polygon.of([ring], shift=0.5)) != theirs) & ~border).any()


def test_neighbours_share_no_pixel_and_leave_none_out() -> None:
    """Corners on pixels' centres, where a rule must decide."""
    rng = np.random.default_rng(0)
    middle = [40.5, 30.5]
    around = np.array(
        [[0.5, 0.5], [40.5, 3.5], [79.5, 0.5], [79.5, 59.5], [20.5, 59.5], [0.5, 59.5]]
    )
    count = np.zeros((H, W), int)
    for a, b in zip(around, np.roll(around, -1, 0), strict=True):
        corners = [a, b, middle] if rng.random() < 0.5 else [b, a, middle]
        count += drawn(Polygon.of([np.array(corners)]))
    np.testing.assert_array_equal(count > 0, drawn(Polygon.of([around])))
    assert count.max() == 1


def test_slits_cancel() -> None:
    """A ring that goes to its hole and back draws what ring and hole do."""
    ring = drawn(Polygon.of([exports.SIGN_RING]), exports.HEIGHT, exports.WIDTH)
    np.testing.assert_array_equal(ring, exports.SIGN)
    rng = np.random.default_rng(3)
    outer = np.array([[2.3, 3.1], [70.2, 5.7], [60.9, 55.5], [8.8, 50.1]])
    hole = rng.uniform(20, 40, (5, 2))
    joined = np.concatenate([outer, outer[:1], hole, hole[:1]])
    np.testing.assert_array_equal(drawn(Polygon.of([joined])), drawn(Polygon.of([outer, hole])))


@pytest.mark.parametrize("outside", [[[-9, -9], [-3, -9], [-3, -3]], [[90, 5], [99, 5], [99, 9]]])
def test_what_lies_outside_draws_nothing(outside: Any) -> None:
    polygon = Polygon.of([outside])
    assert not drawn(polygon).any()
    assert polygon.leaves(H, W)
    assert not rectangle(-0.9, 0, W + 0.9, H).leaves(H, W)  # a tool's rounding
    assert drawn(rectangle(0, 0, 1, 1, relative=True)).all()


def test_a_long_outline_of_a_large_picture_is_quick() -> None:
    angles = np.linspace(0, 2 * np.pi, 20_000)
    ring = np.stack([2000 + 1900 * np.cos(angles), 1500 + 1400 * np.sin(angles)], 1)
    start = time.perf_counter()
    area = Polygon.of([ring]).draw(3000, 4000).mask.sum()
    assert time.perf_counter() - start < 5
    assert area == pytest.approx(np.pi * 1900 * 1400, rel=1e-4)
    assert Polygon.of([ring]).area == pytest.approx(np.pi * 1900 * 1400, rel=1e-4)
    assert ellipse(2000, 1500, 1900, 1400).area == pytest.approx(area, rel=1e-4)


@pytest.mark.parametrize("size", [2, 2**20])
def test_edges_are_taken_in_parts(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fullyconv.data.importers.shapes._CROSSINGS", size)
    rings = [np.random.default_rng(9).uniform(0, 70, (9, 2))]
    np.testing.assert_array_equal(drawn(Polygon.of(rings)), by_formula(rings))


@pytest.mark.parametrize(
    ("ring", "message"),
    [
        ([[1, 2], [3, 4], [float("nan"), 1]], "a coordinate beyond 1,000,000"),
        ([[1, 2], [3, 4], [1e7, 1]], "a coordinate beyond 1,000,000"),
        ([[1, 2, 3], [3, 4, 5], [1, 2, 3]], r"shape \(3, 3\) is not a list of x and y"),
    ],
)
def test_polygons_that_are_none(ring: Any, message: str) -> None:
    with pytest.raises(FullyConvError, match=message):
        Polygon.of([ring])


def test_pycocotools_text_is_read_and_written() -> None:
    """Its own texts of empty, full and random masks of several sizes."""
    for case in json.loads((DATA / "pycocotools.json").read_text()):
        mask = np.array([[c == "#" for c in row] for row in case["rows"]])
        runs = Runs.of(case["counts"], *mask.shape)
        np.testing.assert_array_equal(drawn(runs, *mask.shape), mask)
        assert runs.area == mask.sum()
        assert pack_counts(count_runs(mask)) == case["counts"]


def test_runs_are_packed_and_unpacked() -> None:
    rng = np.random.default_rng(0)
    for share in (0, 0.01, 0.5, 1):
        mask = rng.random((40, 30)) < share
        counts = count_runs(mask)
        np.testing.assert_array_equal(unpack_counts(pack_counts(counts)), counts)
        np.testing.assert_array_equal(drawn(Runs.of(counts.tolist(), 40, 30), 40, 30), mask)
    large = np.array([1_000_000, 3, 999_990, 2_000_000])
    np.testing.assert_array_equal(unpack_counts(pack_counts(large)), large)


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ([5, 6], "holds 11 pixels, but its box of 3 x 4 has 12"),
        ([2**62, 2**62, 2**62, 2**62], "but its box of 3 x 4 has 12"),
        ([-3, 15], "holds 12 pixels"),
        ("é", "'é' does not belong into a run-length text"),
        ("o" * 20, "does not belong into a run-length text"),
        ("<o", "a run-length text is cut short"),
        ("O", "a length below 0"),
    ],
)
def test_runs_of_the_wrong_length(counts: Any, message: str) -> None:
    """Found before any pixel is made."""
    with pytest.raises(FullyConvError, match=message):
        Runs.of(counts, 3, 4)


def test_runs_larger_than_the_picture() -> None:
    runs = Runs.of([0, 300], 10, 30)
    with pytest.raises(FullyConvError, match="10 x 30 pixels, but the picture 5 x 40"):
        runs.draw(5, 40)
    assert Runs.of([0, 4], 2, 2, top=9, left=0).leaves(10, 10)


def test_bitmaps_are_clipped_on_every_side() -> None:
    mask = np.ones((4, 4), bool)
    for top, left, area in ((-2, -2, 4), (8, 8, 4), (-9, 0, 0), (3, 20, 0)):
        bitmap = Bitmap(mask, top, left)
        assert drawn(bitmap, 10, 10).sum() == area
        assert bitmap.leaves(10, 10)
    assert not Bitmap(mask, 6, 6).leaves(10, 10)
    assert Bitmap(mask).area == 16


def pack_bits(parts: list[tuple[int, int]]) -> bytes:
    bits = "".join(f"{value:0{size}b}" for value, size in parts)
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


def header(count: int, word: int = 8) -> list[tuple[int, int]]:
    return [(count, 32), (word - 1, 5), *((size - 1, 4) for size in (3, 4, 8, 16))]


def test_label_studios_brush_as_its_own_library_packs_it() -> None:
    brushes = json.loads((DATA / "labelstudio-brush.json").read_text())
    shape = exports.SIGN.shape
    sign = drawn(Brush.of(brushes["sign"], *shape), *shape)
    np.testing.assert_array_equal(sign, exports.SIGN)
    noise = np.random.default_rng(0).random((20, 30)) > 0.5
    np.testing.assert_array_equal(drawn(Brush.of(brushes["noise"], 20, 30), 20, 30), noise)


def test_label_studios_brush_with_values_one_by_one() -> None:
    """What its web page writes and its library never does: several values after one length."""
    alpha = np.array([[0, 127, 128, 255]], np.uint8)
    values = np.repeat(alpha.ravel(), 4).tolist()
    literal = [(0, 1), (2, 2), (15, 8), *((v, 8) for v in values)]
    np.testing.assert_array_equal(unpack(pack_bits(header(16) + literal), 1, 4), alpha)
    brush = Brush.of(list(pack_bits(header(16) + literal)), 1, 4)
    np.testing.assert_array_equal(drawn(brush, 1, 4), [[False, False, True, True]])
    assert not brush.leaves(1, 4)


@pytest.mark.parametrize(
    ("rle", "message"),
    [
        ([300, 1], "a brush mask is no list of bytes"),
        ("text", "a brush mask is no list of bytes"),
        (list(pack_bits(header(12))), "holds 12 values of 8 bits; a picture of 1 x 4 has 16 of 8"),
        (list(pack_bits(header(16, 16))), "holds 16 values of 16 bits"),
        (list(pack_bits(header(16))), "a brush mask is cut short"),
        (list(pack_bits([*header(16), (1, 1), (3, 2), (99, 16), (255, 8)])), "more values than"),
        (list(pack_bits([*header(16), (0, 1), (1, 2), (15, 4), (255, 8)])), "is cut short"),
    ],
)
def test_brushes_of_the_wrong_length(rle: Any, message: str) -> None:
    with pytest.raises(FullyConvError, match=message):
        Brush.of(rle, 1, 4).draw(1, 4)


def test_a_brush_on_a_picture_that_cannot_be() -> None:
    with pytest.raises(FullyConvError, match="1000000 x 1000000 pixels is no picture's"):
        Brush.of([0], 10**6, 10**6).draw(1, 4)
