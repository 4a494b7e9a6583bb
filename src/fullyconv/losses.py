"""The per-pixel loss (paper, section 4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from fullyconv.errors import shortened
from fullyconv.labels import IGNORE_INDEX, void_index


def cross_entropy(
    logits: Tensor,
    target: Tensor,
    reduction: Literal["sum", "mean"] = "mean",
    ignore_index: int = IGNORE_INDEX,
    weight: Tensor | None = None,
) -> Tensor:
    """Multinomial logistic loss over the pixels that are not void.

    ``"sum"`` is the authors' heavy regime (``normalize: false``): the gradient grows with the
    number of pixels, hence learning rates of 1e-10. It sums over the whole batch; a training run's
    ``optim.reduction="sum"`` divides that by the number of pictures, as Caffe does: a loop of one's
    own has the same by ``cross_entropy(logits, target, "sum") / len(target)``. ``"mean"`` divides
    by the number of pixels counted, at least 1, so that a target of nothing but void gives 0 and no
    NaN.

    Args:
        logits: (N, C, H, W); taken to float32.
        target: (N, H, W) int64 of class ids or ``ignore_index``.
        reduction: Sum or mean over the counted pixels.
        ignore_index: Target value that is not counted; with more than 255 classes not 255, which
            is one of them, but 65535 (:attr:`~fullyconv.labels.LabelSpace.ignore_index`).
        weight: (C,) factors on each class's loss; the mean is then weighted.

    Returns:
        A scalar, float32.

    Raises:
        ValueError: If the shapes do not fit, the target holds no int64 or, on a CPU, an id that is
            no class, there is one class only, ``ignore_index`` is a class, or there is no such
            reduction. On a GPU an id that is no class stops CUDA, as in PyTorch: to look for it in
            every step would be to wait for the GPU in every step.

    Example:
        >>> logits = torch.zeros(1, 2, 1, 3)
        >>> target = torch.tensor([[[0, 1, 255]]])
        >>> round(cross_entropy(logits, target).item(), 4)  # ln 2
        0.6931
    """
    if logits.ndim != 4 or target.shape != logits.shape[:1] + logits.shape[2:]:
        raise ValueError(
            f"logits are (N, C, H, W) and target (N, H, W); got {tuple(logits.shape)} and "
            f"{tuple(target.shape)}"
        )
    if logits.shape[1] < 2:
        raise ValueError(
            "cross-entropy needs at least 2 classes; model a single object as background + object"
        )
    if 0 <= ignore_index < logits.shape[1]:
        raise ValueError(
            f"ignore_index {ignore_index} is one of the {logits.shape[1]} classes; set it to what "
            f"void is in the target, which is {void_index(logits.shape[1])} for label files"
        )
    if reduction not in ("sum", "mean"):
        raise ValueError(f"reduction is {reduction!r}; it must be 'sum' or 'mean'")
    if target.dtype != torch.int64:
        raise ValueError(f"target holds {target.dtype}; class ids are torch.int64: target.long()")
    try:
        total = F.cross_entropy(
            logits.float(), target, weight, ignore_index=ignore_index, reduction="sum"
        )
    except IndexError as error:  # on a CPU
        raise ValueError(_no_class(target, logits.shape[1], ignore_index)) from error
    if reduction == "sum":
        return total
    return total / _denominator(target, weight, ignore_index)


def _no_class(target: Tensor, classes: int, ignore_index: int) -> str:
    no_class = (target < 0) | (target >= classes)
    wrong = sorted({*target[no_class & (target != ignore_index)].tolist()})
    return (
        f"target holds {shortened(wrong)}, but there are {classes} classes, whose ids are 0 to "
        f"{classes - 1}; pixels of no class have the id {ignore_index}"
    )


def _denominator(target: Tensor, weight: Tensor | None, ignore_index: int) -> Tensor:
    """What a mean over the counted pixels divides by: never 0."""
    counted = target != ignore_index
    if weight is None:
        return counted.sum().clamp(min=1).float()
    return weight[target[counted]].sum().clamp(min=torch.finfo(torch.float32).tiny)


def head_losses(
    logits: Tensor | Mapping[str, Tensor], target: Tensor, weights: Sequence[Tensor | None]
) -> tuple[Tensor, Tensor]:
    """Each head's summed :func:`cross_entropy`, and what its mean divides by.

    The loss of a network of several heads is their sum (siftflow-fcn*/net.py: two losses of
    weight 1). Kept apart, so that processes that share a batch can divide by what all of them
    counted together.

    Args:
        logits: (N, C, H, W), or each head's by name.
        target: (N, H, W) int64; (N, heads, H, W) where ``logits`` are of several heads. Void is 255
            in all of them; 65535 if one has more than 255 classes.
        weights: Each head's factors on its classes' loss, or None.

    Returns:
        Two of shape (heads,), float32.
    """
    if isinstance(logits, Tensor):
        logits, target = {"": logits}, target[:, None]
    void = void_index(max(scores.shape[1] for scores in logits.values()))
    heads = list(zip(logits.values(), target.unbind(1), weights, strict=True))
    sums = [cross_entropy(scores, ids, "sum", void, weight) for scores, ids, weight in heads]
    denominators = [_denominator(ids, weight, void) for _, ids, weight in heads]
    return torch.stack(sums), torch.stack(denominators)
