"""What every backbone is: a classifier without its last layer, tapped at strides 8, 16 and 32."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from math import ceil
from typing import cast

import torch
from torch import Tensor, fx, nn

from fullyconv.config import Geometry
from fullyconv.errors import FullyConvError
from fullyconv.models.geometry import CoordMap, merge
from fullyconv.models.layers import cells, trace
from fullyconv.models.traced import Traced

_LARGEST = 2048  # size up to which the smallest that a network takes is looked for
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
        any_size: Refuse layers of the geometry ``"same"`` that leave some sizes without cells.

    Attributes:
        maps: Where the cells of each tap lie in the image, along rows and columns alike.
        edge: How often the outermost scores must be repeated before each upsampling so that the
            result covers the image.

    Shape:
        images (N, C, H, W) to ``{8: (N, channels[8], h, w), 16: ..., 32: ...}``.

    Raises:
        FullyConvError: If the geometry of a layer is not known here, or is not the one stated.
        ValueError: If it is called on what is no batch of images of so many channels.
    """

    def __init__(
        self,
        stages: dict[int, nn.Sequential],
        channels: dict[int, int],
        geometry: Geometry,
        classifier_pool: int = 1,
        any_size: bool = True,
    ) -> None:
        super().__init__()
        self.stages = nn.ModuleDict({str(stride): stage for stride, stage in stages.items()})
        self.channels = channels
        self.geometry: Geometry = geometry
        self.classifier_pool = classifier_pool
        self.edge = 1 if geometry == "same" else 0
        self.maps: dict[int, CoordMap] = {}
        rows = columns = CoordMap()
        for stride, stage in stages.items():
            rows, columns = trace(stage, rows, axis=0), trace(stage, columns, axis=1)
            self.maps[stride] = merge((rows, columns))
        if any_size and geometry == "same":
            self._check_cells()

    def _check_cells(self) -> None:
        """Every size must have cells to its end, for scores are repeated once alone."""
        for size in range(1, max(self.maps) + 2):
            for stride, count in zip(self.maps, self.counts(size), strict=True):
                if count < (needed := ceil(size / stride)):
                    raise FullyConvError(
                        f"this backbone gives {count} cells at stride {stride} for a picture of "
                        f"{size} rows or columns, which need {needed}: let every layer give "
                        "ceil(cells / its stride) cells, by ceil_mode=True of a pooling and by the "
                        "padding of a convolution"
                    )

    def retraced(self) -> Backbone:
        """The same layers, where their cells lie derived anew: for layers that were changed."""
        stages = {int(key): cast(nn.Sequential, stage) for key, stage in self.stages.items()}
        return Backbone(stages, self.channels, self.geometry, self.classifier_pool, any_size=False)

    def until(self, stride: int) -> Backbone:
        """This backbone, its layers after one tap taken off.

        Args:
            stride: Of the tap that becomes the last.
        """
        for beyond in [other for other in self.maps if other > stride]:
            del self.stages[str(beyond)], self.maps[beyond]
            self.classifier_pool = 1
        return self

    def counts(self, size: int) -> list[int]:
        """Cells of each tap for a picture of so many rows, and as many columns: the fewer."""
        counts, along = [], [size, size]
        for stage in self.stages.values():
            along = [cells(stage, count, axis) for axis, count in enumerate(along)]
            counts.append(min(along))
        return counts

    def whole_size(self, size: int) -> int:
        """The height or width that the layers run over for a picture's."""
        return size

    def whole(self, images: Tensor) -> Tensor:
        """What the layers run over: the images, padded with zeros where the network needs it."""
        return images

    @property
    def in_channels(self) -> int | None:
        """Channels of the images; None where they do not go into a convolution first."""
        for layer in self.stages.modules():
            first = layer.first if isinstance(layer, Traced) else layer
            if not isinstance(first, nn.Sequential | nn.ModuleDict | nn.ZeroPad2d):
                return first.in_channels if isinstance(first, nn.Conv2d) else None
        return None

    def forward(self, images: Tensor) -> dict[int, Tensor]:
        """Return the features at each tap; shapes as in the class docstring."""
        check_images(images, self.in_channels)
        features: dict[int, Tensor] = {}
        x = self.whole(images)
        for stride, stage in self.stages.items():
            features[int(stride)] = x = stage(x)
        return features


class PaddedBackbone(Backbone):
    """A backbone whose layers do not keep ``ceil(size / stride)`` cells of every size.

    Somebody's classifier, or a dilated one: how often scores must be repeated at their edges is
    derived from what is lacking. A picture that is too small, or of a size at which branches cannot
    be joined, is padded with zeros below and to the right.

    Args:
        stages: As of every backbone.
        channels: As of every backbone.
        geometry: As of every backbone.
        classifier: From the features at the highest stride to the classes' scores, one by one:
            the classifier's last layers as convolutions; empty if it is not known.

    Attributes:
        smallest: Height and width that every tap needs for one cell.
        multiple: Of what number height and width must be a multiple: 1 for most networks.

    Shape:
        images (N, C, H, W) to ``{8: (N, channels[8], h, w), 16: ..., 32: ...}``.
    """

    def __init__(
        self,
        stages: dict[int, nn.Sequential],
        channels: dict[int, int],
        geometry: Geometry,
        classifier: nn.Sequential | None = None,
    ) -> None:
        super().__init__(stages, channels, geometry)
        self.classifier = nn.Sequential() if classifier is None else classifier
        self._counted: dict[int, list[int]] = {}
        self.smallest, self.multiple = self._sizes()
        self.edge = self._edge()

    def _check_cells(self) -> None:
        """Nothing: what is lacking is made up for."""

    def whole(self, images: Tensor) -> Tensor:
        """The images, padded below and to the right to a size that the network takes."""
        height, width = images.shape[-2:]
        missing = (0, self.whole_size(width) - width, 0, self.whole_size(height) - height)
        return nn.functional.pad(images, missing)

    def whole_size(self, size: int) -> int:
        """The size, or the next one that the network takes."""
        return max(self.smallest, -(-size // self.multiple) * self.multiple)

    def _sizes(self) -> tuple[int, int]:
        """The smallest size from which on all are taken, or all multiples of the highest stride."""
        highest = max(self.maps)
        for multiple in (1, highest):
            run = 0
            for size in range(multiple, _LARGEST, multiple):
                run = run + multiple if min(self._counts(size)) > 0 else 0
                if run >= 2 * highest:
                    return size - run + multiple, multiple
        raise FullyConvError("this classifier takes no pictures of any size but its own")

    def counts(self, size: int) -> list[int]:
        """Cells of each tap for a picture of so many rows and columns, padded as it will be."""
        return self._counts(self.whole_size(size))

    def _counts(self, size: int) -> list[int]:
        if size not in self._counted:
            self._counted[size] = super().counts(size)
        return self._counted[size]

    def _edge(self) -> int:
        """How often scores must be repeated at their edges to cover every finer grid and the image.

        For every remainder of the size by the highest stride; each stride more of picture brings
        one more cell.
        """
        strides = sorted(self.maps)
        grids = [CoordMap(), *(self.maps[stride] for stride in strides)]
        lacking = [Fraction(self.edge)]
        for size in range(self.smallest, self.smallest + 2 * strides[-1]):
            counts = [size, *self.counts(size)]
            ends = [at.start + at.stride * (n - 1) for at, n in zip(grids, counts, strict=True)]
            for coarse in range(1, len(grids)):
                for fine in {0, coarse - 1}:  # without skips, scores land on the image at once
                    front = grids[coarse].start - grids[fine].start
                    lacking += [
                        g / grids[coarse].stride for g in (front, ends[fine] - ends[coarse])
                    ]
        return max(map(ceil, lacking))


def check_images(images: object, channels: int | None) -> None:
    """Refuse what is no batch of images, before a layer does in words of its own.

    While a network is traced or compiled there is nothing to be checked.

    Args:
        images: What a network was called on.
        channels: How many it takes; None if that is not known.

    Raises:
        ValueError: If they are not of shape (N, channels, H, W), or no floating-point numbers.
    """
    traced = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    if traced or isinstance(images, fx.Proxy) or torch.compiler.is_compiling():
        return
    if not isinstance(images, Tensor) or not images.is_floating_point():
        kind = images.dtype if isinstance(images, Tensor) else type(images).__name__
        raise ValueError(
            f"images are a tensor (N, C, H, W) of floats in the network's own input units, which "
            f"fullyconv.Preprocess makes; got {kind}"
        )
    if images.ndim == 4 and channels in (None, images.shape[1]):
        return
    hint = ""
    if images.ndim == 3:
        hint = "; one image is a batch of one: images[None]"
    elif images.ndim == 4 and images.shape[3] == channels:
        hint = "; channels come second: images.permute(0, 3, 1, 2)"
    raise ValueError(
        f"images are (N, C, H, W) with {channels or 'any number of'} channels C here; got "
        f"{tuple(images.shape)}{hint}"
    )


def scaled(width: float) -> Callable[[int], int]:
    """Function that multiplies a channel count by ``width``, to at least 1."""
    return lambda channels: max(1, round(channels * width))
