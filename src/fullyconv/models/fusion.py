"""Two compositions of the paper around FCN: several heads on one trunk, several trunks in one."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fullyconv.models.backbones.backbone import Backbone, check_images
from fullyconv.models.fcn import FCN, Head


class MultiHead(nn.Module):
    """One backbone, one head per task: SIFT Flow's semantic and geometric labels (section 5).

    Args:
        backbone: Feature extractor that the heads share.
        heads: Each task's head, built on ``backbone``.

    Shape:
        images (N, C, H, W) to ``{task: logits (N, classes of the task, H, W)}``.
    """

    def __init__(self, backbone: Backbone, heads: dict[str, Head]) -> None:
        super().__init__()
        self.backbone = backbone
        self.heads = nn.ModuleDict(heads)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return each task's logits; shapes as in the class docstring."""
        features = self.backbone(images)
        return {task: head(features, images) for task, head in self.heads.items()}


class LateFusion(nn.Module):
    """One network per modality, their scores averaged: NYUDv2's colour and HHA (section 5).

    The authors average the scores before the one upsampling (nyud-fcn32s-color-hha/net.py);
    averaging after it is the same sum in another order.

    Args:
        streams: Each modality's network, in the order of its channels in the input.

    Shape:
        images (N, 3 * streams, H, W) to logits (N, classes, H, W).
    """

    def __init__(self, streams: dict[str, FCN]) -> None:
        super().__init__()
        self.streams = nn.ModuleDict(streams)

    def forward(self, images: Tensor) -> Tensor:
        """Return the averaged logits; shapes as in the class docstring."""
        wanted = [part.in_channels for part in self.modules() if isinstance(part, Backbone)]
        check_images(images, None if None in wanted else sum(filter(None, wanted)))
        parts = images.chunk(len(self.streams), dim=1)
        scores = [fcn(part) for fcn, part in zip(self.streams.values(), parts, strict=True)]
        return torch.stack(scores).mean(0)
