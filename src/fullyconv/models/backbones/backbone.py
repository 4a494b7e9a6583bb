"""What every backbone is: a classifier without its last layer, tapped at strides 8, 16 and 32."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from fullyconv.config import Geometry
from fullyconv.models.geometry import CoordMap
from fullyconv.models.layers import trace

REFERENCE_PADDING = 100  # conv1 of every released net (fcn.berkeleyvision.org, */net.py)


class Backbone(nn.Module):
    """Features of an image at strides 8, 16 and 32.

    Args:
        stages: Layers up to each stride's tap, in the order they run.
        channels: Feature channels at each tap.
        geometry: ``"reference"``: the first layer pads so widely that the scores cover the image;
            ``"same"``: every layer keeps ``ceil(size / stride)`` cells.
        classifier_pool: Side of the average pooling between the last feature map and the
            classifier's last layer, which a fully convolutional network leaves out; 1 if none.

    Attributes:
        maps: Where the cells of each tap lie in the image.

    Shape:
        images (N, C, H, W) to ``{8: (N, channels[8], h, w), 16: ..., 32: ...}``.
    """

    def __init__(
        self,
        stages: dict[int, nn.Sequential],
        channels: dict[int, int],
        geometry: Geometry,
        classifier_pool: int = 1,
    ) -> None:
        super().__init__()
        self.stages = nn.ModuleDict({str(stride): stage for stride, stage in stages.items()})
        self.channels = channels
        self.geometry: Geometry = geometry
        self.classifier_pool = classifier_pool
        self.maps: dict[int, CoordMap] = {}
        at = CoordMap()
        for stride, stage in stages.items():
            self.maps[stride] = at = trace(stage, at)

    def until(self, stride: int) -> Backbone:
        """This backbone, its layers after one tap taken off.

        Args:
            stride: Of the tap that becomes the last.
        """
        for beyond in [other for other in self.maps if other > stride]:
            del self.stages[str(beyond)], self.maps[beyond]
            self.classifier_pool = 1
        return self

    def forward(self, images: Tensor) -> dict[int, Tensor]:
        """Return the features at each tap; shapes as in the class docstring."""
        features: dict[int, Tensor] = {}
        x = images
        for stride, stage in self.stages.items():
            features[int(stride)] = x = stage(x)
        return features


def scaled(width: float) -> Callable[[int], int]:
    """Function that multiplies a channel count by ``width``, to at least 1."""
    return lambda channels: max(1, round(channels * width))
