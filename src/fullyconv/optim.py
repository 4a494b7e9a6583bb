"""Optimisers and learning-rate schedules, as data."""

from __future__ import annotations

import math

import torch
from torch import nn

from fullyconv.config import OptimConfig


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
        bias_lr: Factor on the biases' learning rate (lr_mult: 2).
        bias_decay: Factor on the biases' decay (decay_mult: 0).
    """
    groups = parameter_groups(model)
    return torch.optim.SGD(
        [
            {"params": groups["decayed"], "lr": lr, "weight_decay": weight_decay},
            {
                "params": groups["plain"],
                "lr": lr * bias_lr,
                "weight_decay": weight_decay * bias_decay,
            },
        ],
        lr=lr,
        momentum=momentum,
    )


def parameter_groups(model: nn.Module) -> dict[str, list[nn.Parameter]]:
    """The parameters that decay (kernels) and those that do not (biases, batch norm)."""
    trained = [p for p in model.parameters() if p.requires_grad]
    return {
        "decayed": [p for p in trained if p.ndim > 1],
        "plain": [p for p in trained if p.ndim <= 1],
    }


def build_optimizer(model: nn.Module, config: OptimConfig) -> torch.optim.Optimizer:
    """Optimiser of a recipe."""
    if config.optimizer == "sgd":
        return sgd(model, lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay)
    groups = parameter_groups(model)
    return torch.optim.AdamW(
        [
            {"params": groups["decayed"], "weight_decay": config.weight_decay},
            {"params": groups["plain"], "weight_decay": 0.0},
        ],
        lr=config.lr,
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
