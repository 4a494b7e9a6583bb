"""Optimisers and learning-rate schedules, as data."""

from __future__ import annotations

import math

import torch
from torch import nn

from fullyconv.config import OptimConfig
from fullyconv.models.fcn import Head


def sgd(
    model: nn.Module,
    *,
    lr: float,
    momentum: float,
    weight_decay: float,
    bias_lr: float = 2.0,
    bias_decay: float = 0.0,
) -> torch.optim.SGD:
    """Caffe's SGD with the authors' multipliers (fcn.berkeleyvision.org, */net.py).

    Args:
        model: Network; parameters that need no gradient are left out.
        lr: Learning rate of the weights.
        momentum: Momentum; at a constant rate PyTorch's form equals Caffe's.
        weight_decay: Decay of the weights.
        bias_lr: Factor on the learning rate of the backbone's biases (lr_mult: 2; in
            voc-fcn-alexnet/net.py 1). The scores' biases always have 2.
        bias_decay: Factor on their decay (decay_mult: 0; there 1). The scores' always have 0.
    """
    groups = parameter_groups(model)
    decay, slow = weight_decay, lr * bias_lr
    return torch.optim.SGD(
        [
            {"params": groups["kernels"], "lr": lr, "weight_decay": decay},
            {"params": groups["biases"], "lr": slow, "weight_decay": decay * bias_decay},
            {"params": groups["score_biases"], "lr": 2 * lr, "weight_decay": 0.0},
        ],
        lr=lr,
        momentum=momentum,
        fused=_fusible(model),
    )


def parameter_groups(model: nn.Module) -> dict[str, list[nn.Parameter]]:
    """The trained parameters: kernels, the backbone's biases (and batch norm), and the scores'."""
    groups: dict[str, list[nn.Parameter]] = {"kernels": [], "biases": [], "score_biases": []}
    scores = {id(p) for m in model.modules() if isinstance(m, Head) for p in m.parameters()}
    for p in model.parameters():
        if p.requires_grad:
            vector = "score_biases" if id(p) in scores else "biases"
            groups["kernels" if p.ndim > 1 else vector].append(p)
    return groups


def freeze_backbone(model: nn.Module) -> None:
    """Leave only the heads to be trained: the paper's FCN-32s-fixed (table 2).

    Batch normalisation keeps its statistics: its layers stay in evaluation mode.
    """
    heads = {id(p) for m in model.modules() if isinstance(m, Head) for p in m.parameters()}
    for p in model.parameters():
        p.requires_grad_(id(p) in heads)


def build_optimizer(model: nn.Module, config: OptimConfig) -> torch.optim.Optimizer:
    """Optimiser of a recipe."""
    if config.optimizer == "sgd":
        return sgd(
            model,
            lr=config.lr,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
            bias_lr=config.bias_lr,
            bias_decay=config.bias_decay,
        )
    groups = parameter_groups(model)
    vectors = groups["biases"] + groups["score_biases"]
    return torch.optim.AdamW(
        [
            {"params": groups["kernels"], "weight_decay": config.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ],
        lr=config.lr,
        fused=_fusible(model),
    )


def _fusible(model: nn.Module) -> bool:
    """Whether one pass over the memory can update everything: on some devices, of whole tensors."""
    return all(
        p.device.type in ("cpu", "cuda") and not hasattr(p, "full_tensor")
        for p in model.parameters()
    )


def lr_factor(config: OptimConfig, iteration: int) -> float:
    """Factor on the learning rate at an iteration: constant, or warm-up and a cosine down to 0."""
    if config.schedule == "fixed":
        return 1.0
    warmup = max(1, round(config.warmup * config.max_iters))
    if iteration < warmup:
        return (iteration + 1) / warmup
    done = (iteration - warmup) / max(1, config.max_iters - warmup)
    return 0.5 * (1 + math.cos(math.pi * done))
