"""FCN-32s, FCN-16s and FCN-8s over any backbone (paper, section 4)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from fullyconv.config import PredictionStride
from fullyconv.errors import FullyConvError, UsageError
from fullyconv.models.backbones.backbone import Backbone
from fullyconv.models.geometry import CoordMap
from fullyconv.models.layers import BilinearUpsample, LearnedUpsample, trace


def crop(x: Tensor, offset: int, to: Tensor) -> Tensor:
    """Caffe's Crop layer: the part of ``x`` from ``offset`` on, in ``to``'s height and width."""
    height, width = to.shape[-2:]
    return x[..., offset : offset + height, offset : offset + width]


class Head(nn.Module):
    """Features at strides 8, 16, 32 to the scores of every pixel (paper, section 4.2, figure 3).

    A 1x1 convolution scores each tap. From coarse to fine, the scores are upsampled onto the grid
    of the next finer ones and added to them; the last upsampling lands on the image. Kernels and
    offsets are derived from the coordinate maps, once, when the head is built. Over a backbone that
    ends at the prediction stride there is one tap and nothing to add: a single layer's scores.

    In "same" geometry the scores' outermost cells are repeated before each upsampling, so that the
    result covers the image; in reference geometry the padded backbone sees to that.

    Args:
        backbone: Says the taps' channels, coordinate maps and geometry. It is not kept.
        num_classes: Number of classes, background included.
        stride: Prediction stride.
        upsample: ``"fixed"`` bilinear, or ``"learned"`` but for the last.
        skip_scale: Fixed factors on the stride-16 and stride-8 features before they are scored.

    Attributes:
        taps: Strides that are scored, from coarse to fine.
        offset: For each landing, Caffe's crop offset: which upsampled cell lies on cell 0 of the
            finer grid. Negative: the finer grid starts first and is cropped instead.
        map: Where the logits lie: on the image's own pixels, with the receptive field.
        crop: How a map is cut to another's size; a writer of graphs puts an operation here.

    Raises:
        UsageError: If the backbone has no features at the prediction stride, or there is no class.

    Shape:
        features ``{s: (N, channels[s], h, w)}`` and images (N, C, H, W) to (N, num_classes, H, W).
    """

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        stride: PredictionStride = 8,
        upsample: Literal["fixed", "learned"] = "fixed",
        skip_scale: Sequence[float] = (1.0, 1.0),
    ) -> None:
        super().__init__()
        if num_classes < 1:
            raise UsageError(f"num_classes is {num_classes}; it must be at least 1")
        self.num_classes = num_classes
        self.taps = tuple(s for s in (32, 16, 8) if s >= stride and s in backbone.maps)
        if stride not in self.taps:
            raise UsageError(
                f"there are no features at stride {stride}: this backbone has them at "
                f"{', '.join(map(str, sorted(backbone.maps)))}"
            )
        self.skip_scale = dict(zip((32, 16, 8), (1.0, *skip_scale), strict=True))
        self.edge = backbone.edge
        self.crop: Callable[[Tensor, int, Tensor], Tensor] = crop
        self.score = nn.ModuleDict()
        for s in self.taps:
            self.score[str(s)] = score = nn.Conv2d(backbone.channels[s], num_classes, 1)
            nn.init.zeros_(score.weight)  # paper, section 4.3: zero-initialised class scores
            assert score.bias is not None
            nn.init.zeros_(score.bias)
        self.upsample = nn.ModuleDict()
        self.offset: dict[str, int] = {}
        first, *skips = self.taps
        at = trace(self.score[str(first)], backbone.maps[first])
        for s in skips:
            at = self._add_upsample(str(s), at, backbone.maps[s], learned=upsample == "learned")
        self.map = self._add_upsample("1", at, CoordMap(), learned=False)

    def _add_upsample(self, name: str, at: CoordMap, onto: CoordMap, learned: bool) -> CoordMap:
        """Add the bilinear kernel, even or odd, that puts the cells exactly on ``onto``'s grid."""
        factor = int(at.stride / onto.stride)
        at = at.pad(self.edge)
        for kernel_size in (2 * factor, 2 * factor - 1):
            upsampled = at.upsample(kernel_size, factor)
            offset = upsampled.offset_of(onto)
            if offset.denominator == 1:
                layer = LearnedUpsample if learned else BilinearUpsample
                self.upsample[name] = layer(self.num_classes, kernel_size, factor)
                self.offset[name] = int(offset)
                # the map that starts later sets the grid: the other one is cropped to it
                return replace(upsampled, start=max(upsampled.start, onto.start))
        raise FullyConvError(
            f"no bilinear kernel of factor {factor} lands cells at {at.start} + {at.stride} i "
            f"on cells at {onto.start} + {onto.stride} i"
        )

    def forward(self, features: dict[int, Tensor], images: Tensor) -> Tensor:
        """Return the logits; shapes as in the class docstring."""
        scores = self.fuse([self.score_tap(s, features[s]) for s in self.taps])
        return self.land(scores, images)

    def land(self, scores: Tensor, images: Tensor) -> Tensor:
        """Logits (N, num_classes, H, W): the fused scores upsampled onto the images' pixels."""
        return self._land("1", scores, images)[0]

    def score_tap(self, stride: int, tap: Tensor) -> Tensor:
        """Class scores (N, num_classes, h, w) of the features (N, C, h, w) of one tap."""
        scale = self.skip_scale[stride]
        scores: Tensor = self.score[str(stride)](tap if scale == 1 else tap * scale)
        return scores

    def fuse(self, scores: Sequence[Tensor]) -> Tensor:
        """The taps' class scores, from coarse to fine, added up on the grid of the finest."""
        fused, *finer = scores
        for s, skip in zip(self.taps[1:], finer, strict=True):
            fused, skip = self._land(str(s), fused, skip)
            fused = fused + skip
        return fused

    def _land(self, name: str, scores: Tensor, finer: Tensor) -> tuple[Tensor, Tensor]:
        """Upsample ``scores``, then crop whichever of the two maps starts first to the other."""
        if self.edge:
            scores = F.pad(scores, [self.edge] * 4, mode="replicate")
        upsampled = self.upsample[name](scores)
        offset = self.offset[name]
        if offset >= 0:
            return self.crop(upsampled, offset, finer), finer
        return upsampled, self.crop(finer, -offset, upsampled)


class FCN(nn.Module):
    """A fully convolutional network: images of any size to a score for each class and pixel.

    Args:
        backbone: Feature extractor; its geometry becomes the network's.
        num_classes: Number of classes, background included.
        stride: Prediction stride: 32 uses no skip, 16 adds one, 8 adds two.
        upsample: ``"fixed"`` bilinear, or ``"learned"`` but for the last.
        skip_scale: Fixed factors on the stride-16 and stride-8 features.

    Shape:
        images (N, C, H, W) float32, in the network's own input units, to logits
        (N, num_classes, H, W), for any H and W from 1 up.

    Raises:
        UsageError: If the backbone is none, has no features at the prediction stride, or there is
            no class.
        ValueError: If it is called on what is no batch of images of so many channels.
    """

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        stride: PredictionStride = 8,
        upsample: Literal["fixed", "learned"] = "fixed",
        skip_scale: Sequence[float] = (1.0, 1.0),
    ) -> None:
        super().__init__()
        if not isinstance(backbone, Backbone):
            raise UsageError(
                f"the backbone is a {type(backbone).__name__}; a torch classifier becomes one by "
                "fullyconv.convolutionalize(model), one of this package is made with its network "
                "by fullyconv.create_model(name)"
            )
        self.backbone = backbone
        self.head = Head(backbone, num_classes, stride, upsample, skip_scale)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits of ``images``; shapes as in the class docstring."""
        logits: Tensor = self.head(self.backbone(images), images)
        return logits
