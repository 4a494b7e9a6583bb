"""Class counts and weights of a data set small enough to count by hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fullyconv.config import ClassWeights
from fullyconv.data.folder import FolderDataset
from fullyconv.data.statistics import class_weights, count_classes
from fullyconv.errors import FullyConvError
from fullyconv.labels import LabelSpace

SPACE = LabelSpace(categories=("sky", "road", "car", "cow"), raw_ids=(1, 2, 3, 4), void=(0,))

PICTURES = [
    [[1, 1, 1, 2], [0, 2, 2, 2]],  # 8 pixels: sky 3, road 4, void 1
    [[2, 2, 2]],  # 3 pixels: road 3
    [[3, 0], [0, 0], [3, 1]],  # 6 pixels: car 2, sky 1, void 3
]
COUNTS = np.array([[4, 7, 2, 0], [14, 11, 6, 0]])


@pytest.fixture
def dataset(tmp_path: Path) -> FolderDataset:
    for kind in ("images", "labels"):
        (tmp_path / kind).mkdir()
    for k, labels in enumerate(PICTURES):
        Image.fromarray(np.array(labels, np.uint8)).save(tmp_path / "labels" / f"{k}.png")
        size = (len(labels[0]), len(labels))
        Image.new("RGB", size).save(tmp_path / "images" / f"{k}.png")
    return FolderDataset(tmp_path, "", SPACE)


def test_counts(dataset: FolderDataset) -> None:
    (counts,) = count_classes(dataset, progress=False)
    assert counts.dtype == np.int64
    np.testing.assert_array_equal(counts, COUNTS)


def test_a_picture_of_another_size_is_found(dataset: FolderDataset) -> None:
    turned = Image.new("RGB", (1, 3))  # lies on its side: EXIF says so
    turned.getexif()[0x0112] = 6
    turned.save(dataset.root / "images" / "1.png", exif=turned.getexif())
    count_classes(dataset, progress=False)
    Image.new("RGB", (4, 4)).save(dataset.root / "images" / "2.png")
    with pytest.raises(FullyConvError, match=r"2\.png has 4 x 4 pixels .*labels/2\.png 3 x 2"):
        count_classes(dataset, progress=False)
    (dataset.root / "images" / "0.png").write_text("no picture")
    with pytest.raises(FullyConvError, match=r"0\.png: this is not a picture"):
        count_classes(dataset, progress=False)


def test_a_bad_label_file_is_found(dataset: FolderDataset) -> None:
    Image.fromarray(np.array([[2, 9]], np.uint8)).save(dataset.root / "labels" / "1.png")
    with pytest.raises(FullyConvError, match=r"labels/1\.png: label 9 \(1 px\) is neither"):
        count_classes(dataset, progress=False)


def test_median_frequency_by_hand() -> None:
    weights = class_weights(COUNTS, "median_frequency")
    assert weights is not None
    assert weights.dtype == np.float32
    # frequencies 4/14, 7/11 and 2/6, of which 2/6 is the median
    median = 2 / 6
    assert weights.tolist() == pytest.approx([median / (4 / 14), median / (7 / 11), 1, 0])


def test_enet_by_hand() -> None:
    weights = class_weights(COUNTS, "enet")
    assert weights is not None
    assert weights.dtype == np.float32
    expected = [1 / math.log(1.02 + pixels / 13) for pixels in (4, 7, 2)]
    assert weights.tolist() == pytest.approx([*expected, 0])


@pytest.mark.parametrize("kind", ["median_frequency", "enet"])
def test_a_single_pixel_is_enough_for_a_weight(kind: ClassWeights) -> None:
    weights = class_weights(np.array([[1, 99, 0], [100, 100, 0]]), kind)
    assert weights is not None
    assert weights[0] > weights[1] > weights[2] == 0


def test_without_weights() -> None:
    assert class_weights(COUNTS, "none") is None


@pytest.mark.parametrize("kind", ["median_frequency", "enet"])
def test_nothing_but_void_has_no_weight(kind: ClassWeights) -> None:
    weights = class_weights(np.zeros((2, 3), np.int64), kind)
    assert weights is not None
    assert weights.tolist() == [0, 0, 0]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 10**9)), min_size=1, max_size=9))
def test_rarer_classes_weigh_more(counts: list[tuple[int, int]]) -> None:
    pixels = np.array([count for count, _ in counts], np.int64)
    among = np.where(pixels > 0, pixels + [more for _, more in counts], 0)
    for kind, rarity in (
        ("median_frequency", pixels / np.maximum(1, among)),
        ("enet", pixels / max(1, pixels.sum())),
    ):
        weights = class_weights(np.stack([pixels, among]), kind)  # type: ignore[arg-type]
        assert weights is not None
        assert np.isfinite(weights).all()
        np.testing.assert_array_equal(weights > 0, pixels > 0)
        present = np.flatnonzero(pixels)
        order = present[np.argsort(rarity[present])]
        assert (np.diff(weights[order]) <= 1e-6 * weights[order][:-1]).all()
        if kind == "enet" and len(present):  # the paper: c = 1.02 keeps them from 1 to 50
            assert 1 / math.log(2.02) - 1e-4 <= weights[present].min()
            assert weights[present].max() <= 1 / math.log(1.02) + 1e-3


def test_inverse_weights_are_scikit_learn_s() -> None:
    """Over all pixels, the classes that occur."""
    weight = pytest.importorskip("sklearn.utils.class_weight").compute_class_weight
    pixels = np.repeat([0, 1, 2], COUNTS[0, :3])
    expected = weight("balanced", classes=np.arange(3), y=pixels)
    found = class_weights(COUNTS, "inverse")
    assert found is not None
    np.testing.assert_allclose(found, [*expected, 0], rtol=1e-6)
