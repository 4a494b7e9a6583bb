"""Cross-entropy against -log softmax, pixel by pixel."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from fullyconv.losses import cross_entropy, head_losses

Floats = NDArray[np.float64]
QUICK = settings(max_examples=40, deadline=None)


def pixel_losses(
    logits: Tensor, target: Tensor, ignore_index: int = 255
) -> list[tuple[int, float]]:
    """Class and -log softmax of every counted pixel, in double precision, one at a time."""
    scores = logits.double().tolist()
    losses = []
    for n, rows in enumerate(target.tolist()):
        for y, row in enumerate(rows):
            for x, label in enumerate(row):
                if label == ignore_index:
                    continue
                pixel = [plane[y][x] for plane in scores[n]]
                top = max(pixel)
                total = math.fsum(math.exp(score - top) for score in pixel)
                losses.append((label, math.log(total) - (pixel[label] - top)))
    return losses


@st.composite
def cases(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    n, classes, height, width = (draw(st.integers(1, top)) for top in (3, 5, 4, 5))
    classes += 1
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    logits = draw(st.sampled_from([0.1, 3.0, 50.0])) * rng.standard_normal(
        (n, classes, height, width)
    )
    target = rng.integers(0, classes, (n, height, width))
    target[rng.random(target.shape) < draw(st.sampled_from([0.0, 0.3, 1.0]))] = 255
    return torch.from_numpy(logits.astype(np.float32)), torch.from_numpy(target)


@QUICK
@given(cases())
def test_sum_and_mean_equal_the_formula(case: tuple[Tensor, Tensor]) -> None:
    losses = [loss for _, loss in pixel_losses(*case)]
    total = math.fsum(losses)
    assert cross_entropy(*case, "sum").item() == pytest.approx(total, rel=1e-5, abs=1e-5)
    mean = total / max(1, len(losses))
    assert cross_entropy(*case, "mean").item() == pytest.approx(mean, rel=1e-5, abs=1e-5)
    assert cross_entropy(*case).item() == cross_entropy(*case, "mean").item()


@QUICK
@given(cases(), st.data())
def test_class_weights_equal_the_formula(case: tuple[Tensor, Tensor], data: st.DataObject) -> None:
    logits, target = case
    factors = data.draw(
        st.lists(
            st.sampled_from([0.0, 0.5, 1.0, 7.0]),
            min_size=logits.shape[1],
            max_size=logits.shape[1],
        )
    )
    weight = torch.tensor(factors)
    losses = pixel_losses(*case)
    total = math.fsum(factors[label] * loss for label, loss in losses)
    got = cross_entropy(logits, target, "sum", weight=weight).item()
    assert got == pytest.approx(total, rel=1e-5, abs=1e-4)
    shares = math.fsum(factors[label] for label, _ in losses)
    got = cross_entropy(logits, target, "mean", weight=weight).item()
    assert got == pytest.approx(total / shares if shares else 0, rel=1e-5, abs=1e-4)


@QUICK
@given(cases(), st.sampled_from(["sum", "mean"]))
def test_the_gradient_is_softmax_minus_truth(
    case: tuple[Tensor, Tensor], reduction: Literal["sum", "mean"]
) -> None:
    logits, target = case
    logits.requires_grad_()
    cross_entropy(logits, target, reduction).backward()  # type: ignore[no-untyped-call]
    scores = logits.detach().numpy().astype(np.float64)
    powers: Floats = np.exp(scores - scores.max(1, keepdims=True))
    truth = (np.arange(scores.shape[1])[None, :, None, None] == target.numpy()[:, None]) * 1.0
    counted = (target != 255).numpy()
    expected = (powers / powers.sum(1, keepdims=True) - truth) * counted[:, None]
    if reduction == "mean":
        expected /= max(1, counted.sum())
    assert logits.grad is not None
    np.testing.assert_allclose(logits.grad.numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("weight", [None, torch.tensor([1.0, 2.0, 3.0])])
def test_nothing_but_void_is_zero_with_a_zero_gradient(
    reduction: Literal["sum", "mean"], weight: Tensor | None
) -> None:
    logits = torch.randn(2, 3, 4, 5, requires_grad=True)
    target = torch.full((2, 4, 5), 255)
    loss = cross_entropy(logits, target, reduction, weight=weight)
    assert loss.item() == 0
    loss.backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert not logits.grad.any()


def test_only_classes_of_weight_zero_are_zero_with_a_zero_gradient() -> None:
    logits = torch.randn(1, 2, 2, 2, requires_grad=True)
    target = torch.zeros(1, 2, 2, dtype=torch.int64)
    loss = cross_entropy(logits, target, weight=torch.tensor([0.0, 1.0]))
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == 0
    assert logits.grad is not None
    assert not logits.grad.any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_short_floats_are_summed_as_float32(dtype: torch.dtype) -> None:
    logits = torch.zeros(1, 2, 400, 400, dtype=dtype, requires_grad=True)
    loss = cross_entropy(logits, torch.zeros(1, 400, 400, dtype=torch.int64), "sum")
    assert loss.dtype == torch.float32
    # float16 ends at 65504
    assert loss.item() == pytest.approx(160_000 * math.log(2), rel=1e-4)
    loss.backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert logits.grad.dtype == dtype
    assert logits.grad[0, :, 0, 0].tolist() == [-0.5, 0.5]


def test_scores_far_apart_stay_finite() -> None:
    logits = torch.tensor([1e4, -1e4]).view(1, 2, 1, 1)
    for label, loss in ((0, 0), (1, 2e4)):
        assert cross_entropy(logits, torch.tensor([[[label]]])).item() == loss


def test_void_may_be_another_number() -> None:
    logits = torch.randn(1, 3, 1, 4)
    target = torch.tensor([[[0, 2, -1, 1]]])
    losses = [loss for _, loss in pixel_losses(logits, target, ignore_index=-1)]
    assert len(losses) == 3
    assert cross_entropy(logits, target, ignore_index=-1).item() == pytest.approx(
        sum(losses) / 3, rel=1e-5
    )


@pytest.mark.parametrize(
    ("logits", "target"),
    [((1, 2, 3, 4), (1, 3, 5)), ((1, 2, 3, 4), (2, 3, 4)), ((2, 3, 4), (3, 4)), ((1, 2), (1,))],
)
def test_shapes_must_fit(logits: tuple[int, ...], target: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"logits are \(N, C, H, W\) and target \(N, H, W\); got "):
        cross_entropy(torch.zeros(logits), torch.zeros(target, dtype=torch.int64))


def test_one_class_is_no_choice() -> None:
    with pytest.raises(ValueError, match="cross-entropy needs at least 2 classes; model a single"):
        cross_entropy(torch.zeros(1, 1, 2, 2), torch.zeros(1, 2, 2, dtype=torch.int64))


@pytest.mark.parametrize(
    ("ids", "void", "said"),
    [
        ([0, 30, 255], 255, r"holds 30, but there are 3 classes, whose ids are 0 to 2; .* id 255$"),
        ([-1, 3, 2], 255, "target holds -1, 3, but there are 3 classes"),
        ([-1, 255, 2], -1, r"target holds 255, but .* pixels of no class have the id -1$"),
        ([*range(3, 9)], 255, r"target holds 3, 4, 5, 6, 7, \.\.\., but"),
    ],
)
def test_ids_that_are_no_class_are_named(ids: list[int], void: int, said: str) -> None:
    logits, target = torch.zeros(1, 3, 1, len(ids)), torch.tensor([[ids]])
    with pytest.raises(ValueError, match=said):
        cross_entropy(logits, target, ignore_index=void)


@pytest.mark.parametrize("dtype", [torch.float32, torch.int32, torch.uint8, torch.bool])
def test_ids_are_whole_numbers_of_64_bits(dtype: torch.dtype) -> None:
    with pytest.raises(ValueError, match=f"target holds {dtype}; class ids are torch.int64: targe"):
        cross_entropy(torch.zeros(1, 3, 2, 2), torch.zeros(1, 2, 2, dtype=dtype))


def test_a_training_runs_sum_is_per_picture() -> None:
    """What the documents say of a loop of one's own: the same by ``/ len(target)``."""
    torch.manual_seed(0)
    logits, target = torch.randn(3, 4, 5, 6), torch.randint(4, (3, 5, 6))
    each = [cross_entropy(logits[i : i + 1], target[i : i + 1], "sum") for i in range(3)]
    summed = cross_entropy(logits, target, "sum")
    torch.testing.assert_close(summed / len(target), torch.stack(each).mean())


def test_other_reductions_are_refused() -> None:
    none: Any = "none"
    with pytest.raises(ValueError, match="reduction is 'none'; it must be 'sum' or 'mean'"):
        cross_entropy(torch.zeros(1, 2, 2, 2), torch.zeros(1, 2, 2, dtype=torch.int64), none)


def test_each_head_has_its_own_loss_and_divisor() -> None:
    torch.manual_seed(0)
    logits = {"semantic": torch.randn(2, 4, 3, 5), "geometric": torch.randn(2, 3, 3, 5)}
    target = torch.stack([torch.randint(4, (2, 3, 5)), torch.randint(3, (2, 3, 5))], 1)
    target[0, 0, 0] = 255
    target[:, 1, 2] = 255
    weight = torch.tensor([1.0, 2.0, 3.0, 4.0])
    sums, divisors = head_losses(logits, target, [weight, None])
    pixels = [pixel_losses(scores, target[:, i]) for i, scores in enumerate(logits.values())]
    weighted = sum(float(weight[label]) * loss for label, loss in pixels[0])
    assert sums.tolist() == pytest.approx([weighted, sum(loss for _, loss in pixels[1])], rel=1e-5)
    assert divisors.tolist() == [sum(float(weight[label]) for label, _ in pixels[0]), 20]
    one, count = head_losses(logits["semantic"], target[:, 0], [None])
    assert one.item() == pytest.approx(sum(loss for _, loss in pixels[0]), rel=1e-5)
    assert count.tolist() == [25]
