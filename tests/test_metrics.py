"""The four numbers against the authors' score.py, scikit-learn, sets, and sums by hand."""

from __future__ import annotations

import json
import warnings
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from fullyconv.labels import IGNORE_INDEX
from fullyconv.metrics import ConfusionMatrix, Metrics

Ids = NDArray[Any]
QUICK = settings(max_examples=60, deadline=None)


def score_py(preds: Ids, target: Ids, classes: int) -> dict[str, float]:
    """The authors' score.py: fast_hist, and the formulas of do_seg_tests."""
    a, b = target.flatten(), preds.flatten()
    k = (a >= 0) & (a < classes)
    hist = np.bincount(classes * a[k].astype(int) + b[k].astype(int), minlength=classes**2).reshape(
        classes, classes
    )
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the mean of an empty slice
        iu = np.diag(hist) / (hist.sum(1) + hist.sum(0) - np.diag(hist))
        freq = hist.sum(1) / hist.sum()
        return {
            "pixel_accuracy": np.diag(hist).sum() / hist.sum(),
            "mean_accuracy": np.nanmean(np.diag(hist) / hist.sum(1)),
            "mean_iou": np.nanmean(iu),
            "frequency_weighted_iou": (freq[freq > 0] * iu[freq > 0]).sum(),
        }


@st.composite
def labelled(draw: st.DrawFn) -> tuple[int, Ids, Ids]:
    """Number of classes, predictions and truth, with void and often with absent classes."""
    classes = draw(st.integers(2, 6))
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=3, max_side=5))
    some = st.integers(0, draw(st.integers(0, classes - 1)))
    preds = draw(hnp.arrays(np.uint8, shape, elements=some))
    target = draw(
        hnp.arrays(np.uint8, shape, elements=st.integers(0, classes - 1) | st.just(IGNORE_INDEX))
    )
    return classes, preds, target


def metrics(classes: int, preds: Any, target: Any) -> Metrics:
    return ConfusionMatrix(classes).update(preds, target).compute()


@QUICK
@given(labelled())
def test_the_four_numbers_are_the_authors(case: tuple[int, Ids, Ids]) -> None:
    classes, preds, target = case
    ours = metrics(*case)
    if (target == IGNORE_INDEX).all():
        assert np.isnan(ours.frequency_weighted_iou)  # score.py: the sum of nothing, 0
        return
    for name, value in score_py(preds, target, classes).items():
        assert getattr(ours, name) == pytest.approx(value, rel=1e-12, nan_ok=True), name


@QUICK
@given(labelled())
def test_the_matrix_is_scikit_learn_s(case: tuple[int, Ids, Ids]) -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    classes, preds, target = case
    counted = target != IGNORE_INDEX
    ours = metrics(*case)
    if not counted.any():
        assert not ours.matrix.any()
        return
    theirs = sklearn.confusion_matrix(target[counted], preds[counted], labels=range(classes))
    np.testing.assert_array_equal(ours.matrix, theirs)


@QUICK
@given(labelled())
def test_iou_is_intersection_over_union_of_pixel_sets(case: tuple[int, Ids, Ids]) -> None:
    classes, preds, target = case
    ours = metrics(*case)
    counted = [i for i, label in enumerate(target.ravel()) if label != IGNORE_INDEX]
    ious = []
    for label in range(classes):
        truth = {i for i in counted if target.ravel()[i] == label}
        guess = {i for i in counted if preds.ravel()[i] == label}
        if not truth | guess:
            assert np.isnan(ours.per_class_iou[label])
            continue
        ious.append(Fraction(len(truth & guess), len(truth | guess)))
        assert ours.per_class_iou[label] == pytest.approx(float(ious[-1]), rel=1e-12)
    assert ours.classes_counted == len(ious)
    mean = float(sum(ious) / len(ious)) if ious else float("nan")
    assert ours.mean_iou == pytest.approx(mean, rel=1e-12, nan_ok=True)


def test_three_classes_by_hand() -> None:
    confusion = ConfusionMatrix(3)
    confusion.matrix = np.array([[3, 1, 0], [2, 4, 0], [0, 5, 5]])
    got = confusion.compute()
    assert got.pixel_accuracy == pytest.approx(12 / 20)
    assert got.mean_accuracy == pytest.approx((3 / 4 + 4 / 6 + 5 / 10) / 3)
    assert got.per_class_accuracy == pytest.approx([3 / 4, 4 / 6, 5 / 10])
    assert got.per_class_iou == pytest.approx([3 / 6, 4 / 12, 5 / 10])
    assert got.mean_iou == pytest.approx((3 / 6 + 4 / 12 + 5 / 10) / 3)
    assert got.frequency_weighted_iou == pytest.approx((4 * 3 / 6 + 6 * 4 / 12 + 10 * 5 / 10) / 20)
    assert got.classes_counted == 3


def test_no_classes_are_no_matrix() -> None:
    with pytest.raises(ValueError, match="num_classes is 0; it must be at least 1"):
        ConfusionMatrix(0)


def test_rows_are_the_truth() -> None:
    matrix = metrics(3, preds=[1, 1, 2], target=[0, 0, 0]).matrix
    assert matrix.tolist() == [[0, 2, 1], [0, 0, 0], [0, 0, 0]]
    assert matrix.dtype == np.int64


def test_an_absent_class_is_no_zero() -> None:
    got = metrics(4, preds=[0, 1, 1], target=[0, 0, 1])
    assert got.classes_counted == 2
    assert got.mean_iou == pytest.approx((1 / 2 + 1 / 2) / 2)
    assert np.isnan(got.per_class_iou[2:]).all()
    assert np.isnan(got.per_class_accuracy[2:]).all()


def test_a_class_that_is_only_predicted_counts_as_zero_in_iou_alone() -> None:
    got = metrics(3, preds=[0, 2], target=[0, 0])
    assert got.per_class_iou[2] == 0
    assert got.mean_iou == pytest.approx((1 / 2 + 0) / 2)
    assert np.isnan(got.per_class_accuracy[2])
    assert got.mean_accuracy == pytest.approx(1 / 2)


def test_void_leaves_before_anything_else() -> None:
    got = metrics(2, preds=[0, 255, 77, 1], target=[0, 255, 255, 1])
    assert got.matrix.tolist() == [[1, 0], [0, 1]]
    assert got.mean_iou == got.pixel_accuracy == 1


def test_void_may_be_another_number() -> None:
    confusion = ConfusionMatrix(2, ignore_index=-1)
    confusion.update(np.array([0, 5, 1]), np.array([1, -1, 1]))
    assert confusion.matrix.tolist() == [[0, 0], [1, 1]]
    with pytest.raises(ValueError, match="target holds ids from 255 to 255"):
        confusion.update([0], [255])


@pytest.mark.parametrize("pixels", [0, 7])
def test_nothing_but_void_has_no_scores(pixels: int) -> None:
    nothing: NDArray[np.uint8] = np.zeros(pixels, np.uint8)
    got = metrics(3, nothing, nothing + IGNORE_INDEX)
    assert got.matrix.sum() == got.classes_counted == 0
    numbers = (
        got.pixel_accuracy,
        got.mean_accuracy,
        got.mean_iou,
        got.frequency_weighted_iou,
        *got.per_class_iou,
        *got.per_class_accuracy,
    )
    assert all(np.isnan(number) for number in numbers)


@QUICK
@given(labelled(), st.integers(0, 100))
def test_accumulating_equals_counting_at_once(case: tuple[int, Ids, Ids], at: int) -> None:
    classes, preds, target = case
    preds, target = preds.ravel(), target.ravel()
    parts = ConfusionMatrix(classes).update(preds[:at], target[:at]).update(preds[at:], target[at:])
    np.testing.assert_array_equal(parts.matrix, metrics(classes, preds, target).matrix)


def test_scores_are_not_changed_by_what_is_counted_later() -> None:
    confusion = ConfusionMatrix(2).update([0, 1], [0, 1])
    before = confusion.compute()
    confusion.update([0, 0], [1, 1])
    assert before.matrix.tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64])
def test_small_integers_do_not_overflow(dtype: type[np.generic]) -> None:
    top = 200 if dtype == np.uint8 else 250  # 200 * 251 is far above 255
    ids = np.full((300, 300), top).astype(dtype)
    got = metrics(251, ids, ids)
    assert got.matrix[top, top] == 90_000 == got.matrix.sum()


def test_counts_beyond_float32_and_int32() -> None:
    confusion = ConfusionMatrix(2)
    confusion.matrix = np.array([[2**40, 2**33], [0, 2**40]])
    got = confusion.update([1], [0]).compute()
    assert got.matrix.dtype == np.int64
    assert int(got.matrix[0, 1]) == 2**33 + 1
    expected = Fraction(2**41, 2**41 + 2**33 + 1)
    assert got.pixel_accuracy == pytest.approx(float(expected), rel=1e-14)


def test_tensors_and_lists_are_taken_too() -> None:
    target = torch.tensor([[0, 1, 255]])
    got = metrics(2, torch.tensor([[0, 0, 1]]), target)
    np.testing.assert_array_equal(got.matrix, metrics(2, [[0, 0, 1]], target.tolist()).matrix)
    assert got.matrix.tolist() == [[1, 0], [1, 0]]


@pytest.mark.parametrize(
    ("preds", "target", "message"),
    [
        ([0, 1], [0], r"preds of shape \(2,\) do not fit target \(1,\)"),
        ([[0]], [0], r"preds of shape \(1, 1\) do not fit target \(1,\)"),
        ([0], [3], "target holds ids from 3 to 3; with 3 classes they must be 0 to 2"),
        ([0, 0], [-1, 2], "target holds ids from -1 to 2; with 3 classes they must be 0 to 2"),
        ([3, 0], [0, 0], "preds holds ids from 0 to 3; with 3 classes they must be 0 to 2"),
        ([-1, 0], [0, 0], "preds holds ids from -1 to 0; with 3 classes they must be 0 to 2"),
        ([255, 0], [0, 0], "preds holds ids from 0 to 255"),
        ([0.7], [0], "preds holds float64, not class ids; take the argmax"),
        ([0], [0.0], "target holds float64, not class ids; take the argmax"),
        (np.array([2**63], np.uint64), np.array([0]), "preds holds ids from -9223372036854775808"),
    ],
)
def test_what_are_no_ids_is_refused(preds: Any, target: Any, message: str) -> None:
    confusion = ConfusionMatrix(3)
    with pytest.raises(ValueError, match=message):
        confusion.update(preds, target)
    assert not confusion.matrix.any()


def test_plain_numbers_for_json() -> None:
    got = metrics(3, preds=[0, 0, 1], target=[0, 1, 1])
    plain = json.loads(json.dumps(got.to_dict(("sky", "road", "car")), allow_nan=False))
    assert plain == {
        "pixel_accuracy": pytest.approx(2 / 3),
        "mean_accuracy": pytest.approx(3 / 4),
        "mean_iou": pytest.approx(1 / 2),
        "frequency_weighted_iou": pytest.approx(1 / 2),
        "classes_counted": 2,
        "per_class_iou": {"sky": 1 / 2, "road": 1 / 2, "car": None},
        "per_class_accuracy": {"sky": 1, "road": 1 / 2, "car": None},
        "confusion_matrix": [[1, 0, 0], [1, 1, 0], [0, 0, 0]],
    }
    empty = ConfusionMatrix(3).compute().to_dict(("sky", "road", "car"))
    assert json.loads(json.dumps(empty, allow_nan=False))["mean_iou"] is None


def test_names_must_fit_the_matrix() -> None:
    with pytest.raises(ValueError, match="zip"):
        metrics(2, [0], [0]).to_dict(("sky",))


def test_scores_are_printed_in_a_line() -> None:
    confusion = ConfusionMatrix(2)
    assert str(confusion).startswith("0 pixels of 2 classes counted: mean IU n/a")
    confusion.update(np.array([0]), np.array([0]))
    assert str(confusion).startswith("1 pixel of 2 classes counted: mean IU 100.0")
    confusion.update(np.zeros(1999, int), np.repeat([0, 1], [999, 1000]))
    # 1000 of class 0 right, 1000 of class 1 taken for it: IU 1000 / 2000 and 0
    scores = (
        "mean IU 25.0, pixel accuracy 50.0, mean accuracy 50.0, f.w. IU 25.0 "
        "(per cent; 2 classes counted)"
    )
    assert str(confusion.compute()) == scores
    assert str(confusion) == f"2,000 pixels of 2 classes counted: {scores}"
