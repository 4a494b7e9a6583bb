"""Small classifiers written as torchvision, timm and users write theirs; none is a dependency."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Block(nn.Module):
    """ResNet's basic block; the shortcut pools first, where it is ResNet-D's."""

    def __init__(self, channels: int, out: int, stride: int, pooled: bool = False) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        first = nn.AvgPool2d(2, 2) if pooled else nn.Identity()
        self.downsample = nn.Sequential(
            first, nn.Conv2d(channels, out, 1, 1 if pooled else stride, bias=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        y += self.downsample(x)
        return self.relu(y)  # type: ignore[no-any-return]


class ResNet(nn.Module):
    def __init__(self, pooled: bool = False) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(4)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layers = nn.Sequential(
            Block(4, 4, 1), Block(4, 6, 2, pooled), Block(6, 8, 2), Block(8, 10, 2)
        )
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(10, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layers(self.maxpool(self.relu(self.bn1(self.conv1(x)))))
        return self.fc(torch.flatten(self.avgpool(x), 1))  # type: ignore[no-any-return]


class VGG(nn.Module):
    """One pooling used five times, adaptive pooling to 7 x 7, three fully connected layers."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 4, 4, 6, 6, 8)
        self.convs = nn.ModuleList(nn.Conv2d(i, o, 3, padding=1) for i, o in pairwise(widths))
        self.pool = nn.MaxPool2d(2, 2)
        self.avgpool = nn.AdaptiveAvgPool2d((7, 7))
        self.classifier = nn.Sequential(
            nn.Linear(8 * 49, 12), nn.ReLU(True), nn.Dropout(), nn.Linear(12, 12),
            nn.BatchNorm1d(12), nn.ReLU(True), nn.Dropout(), nn.Linear(12, 5),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        for conv in self.convs:
            x = self.pool(F.relu(conv(x)))
        x = self.avgpool(x)
        return self.classifier(x.view(x.size(0), -1))  # type: ignore[no-any-return]


class Inception(nn.Module):
    """Branches of 1 x 7 and 7 x 1, poolings as functions, an unpadded stem."""

    def __init__(self, pool: Callable[..., Tensor] = F.max_pool2d) -> None:
        super().__init__()
        self.pool = pool
        self.stem = nn.Conv2d(3, 4, 3, 2)
        self.reduce = nn.Conv2d(4, 4, 3, 2)
        self.one = nn.Conv2d(4, 3, 1)
        self.seven = nn.Sequential(
            nn.Conv2d(4, 3, (1, 7), padding=(0, 3)), nn.Conv2d(3, 3, (7, 1), padding=(3, 0))
        )
        self.project = nn.Conv2d(4, 2, 1)
        self.last = nn.Conv2d(8, 6, 3, 2)
        self.fc = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(F.relu(self.stem(x)), kernel_size=3, stride=2)
        x = F.relu(self.reduce(x), inplace=True)
        pooled = F.avg_pool2d(x, kernel_size=3, stride=1, padding=1)
        x = torch.cat([self.one(x), self.seven(x), self.project(pooled)], 1)
        x = self.pool(F.relu(x), 3, 2)
        x = F.dropout(F.relu(self.last(x)), training=self.training)
        return self.fc(F.adaptive_avg_pool2d(x, (1, 1)).squeeze(3).squeeze(2))  # type: ignore[no-any-return]


class ShuffleNet(nn.Module):
    """Halves of the channels, shuffled by a view; the mean over rows and columns at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 4, 1)
        self.branch = nn.Conv2d(4, 4, 3, padding=1)
        self.down = nn.ModuleList(nn.Conv2d(8, 8, 3, 2, 1, groups=8) for _ in range(3))
        self.fc = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for down in self.down:
            left, right = x.chunk(2, dim=1)
            x = torch.cat((left, self.branch(right)), dim=1)
            n, c, h, w = x.size()
            x = x.view(n, 2, c // 2, h, w).transpose(1, 2).contiguous().view(n, -1, h, w)
            x = down(x)
        return self.fc(x.mean([2, 3]))  # type: ignore[no-any-return]


class ConvNeXt(nn.Module):
    """Patches, layer norm and linear layers on permuted maps, a layer scale."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 4, 4)
        self.depthwise = nn.Conv2d(6, 6, 7, padding=3, groups=6)
        self.norm = nn.LayerNorm(6)
        self.wide, self.narrow = nn.Linear(6, 12), nn.Linear(12, 6)
        self.scale = nn.Parameter(torch.full((6, 1, 1), 0.5))
        self.down = nn.Sequential(*(nn.Conv2d(6, 6, 2, 2) for _ in range(3)))
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.depthwise(x).permute(0, 2, 3, 1)
        y = self.narrow(F.gelu(self.wide(self.norm(y)))).permute(0, 3, 1, 2)
        return self.head(self.down(x + self.scale * y))  # type: ignore[no-any-return]


class Squeeze(nn.Module):
    """Squeeze-and-excitation by layers, or by views and linear layers; two poolings at the end."""

    def __init__(self, linear: bool = False) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 6, 3, 8, 1), nn.ReLU())
        self.linear = linear
        self.squeeze = nn.AdaptiveAvgPool2d(1)
        kind: Callable[[int, int], nn.Module] = (
            nn.Linear if linear else lambda i, o: nn.Conv2d(i, o, 1)
        )
        self.gate = nn.Sequential(kind(6, 2), nn.SiLU(), kind(2, 6), nn.Sigmoid())
        self.down = nn.Sequential(nn.Conv2d(6, 6, 3, 2, 1), nn.Conv2d(6, 6, 3, 2, 1))
        self.maximum = nn.AdaptiveMaxPool2d(1)
        self.fc = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(x)
        if self.linear:
            n, c, _, _ = x.shape
            weights = self.gate(x.mean((2, 3)).view(n, c)).view(n, c, 1, 1).expand_as(x)
        else:
            weights = self.gate(self.squeeze(x))
        x = self.down(x * weights)
        both = torch.cat([self.squeeze(x), self.maximum(x)], 1)
        return self.fc(both.flatten(1))  # type: ignore[no-any-return]


CLASSIFIERS: dict[str, Callable[[], nn.Module]] = {
    "resnet": ResNet,
    "vgg": VGG,
    "inception": Inception,
    "shufflenet": ShuffleNet,
    "convnext": ConvNeXt,
}
