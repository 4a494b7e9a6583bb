"""Named training runs. A recipe is data: what differs from another stands here and nowhere else."""

from __future__ import annotations

from fullyconv.config import DataConfig, OptimConfig, Recipe, model_config
from fullyconv.errors import UsageError, did_you_mean

RECIPES: dict[str, tuple[str, Recipe]] = {
    "camvid-fcn8s-efficientnet_lite0": (
        "CamVid road scenes, 11 classes: the model shipped in the package",
        Recipe(
            model=model_config("fcn8s_efficientnet_lite0", num_classes=11),
            data=DataConfig(
                labels="camvid",
                crop=(320, 416),
                scale=(0.75, 1.75),
                mirror=True,
                color=0.3,
            ),
            optim=OptimConfig(
                lr=1e-3,
                weight_decay=0.02,
                max_iters=2000,
                class_weights="enet",
                average=0.99,
            ),
            licence="weights BSD-2-Clause, begun from EfficientNet-Lite0's (Apache-2.0); trained "
            "on CamVid, research data whose owners state no terms for trained networks",
        ),
    ),
}
"""Description and recipe by name, in the order ``fcn train --help`` lists them."""


def recipe(name: str) -> Recipe:
    """A recipe by name.

    Raises:
        UsageError: If there is none of that name.

    Example:
        >>> recipe("camvid-fcn8s-efficientnet_lite0").model.num_classes
        11
    """
    if name not in RECIPES:
        raise UsageError(f"there is no recipe {name!r}. {did_you_mean(name, list(RECIPES))}")
    return RECIPES[name][1]
