"""The authors' padding left out, exactly: only what the image can reach is computed.

Let r be the constant that a layer gives far from the image and from its map's border, one value per
channel, and x' = x - r. What the image changes of x' is a window
(:mod:`fullyconv.models.fast.reach`) around which x' is zero. So the network
runs on x' with these changes only:

* a convolution pads with zeros, as far as the window grows; its bias is what it gives for the
  constant r of its input, less the r of its output;
* a rectifier, relu(y) - r, is the larger of y - r and -r;
* max pooling stays as it is: a maximum of numbers less r is the maximum less r.

At each tap the window is laid onto the background (:mod:`fullyconv.models.fast.background`), and
from the last tap that this holds for the network goes on as it was.
"""

from __future__ import annotations

from itertools import accumulate
from typing import TypeVar

from torch import Tensor, nn

from fullyconv.models.backbones.backbone import Backbone
from fullyconv.models.fast.background import Background, Places
from fullyconv.models.fast.elided_layers import ElidedConv2d, FixedConv2d, Laid, elided_layers, lay
from fullyconv.models.fast.reach import reaches
from fullyconv.models.layers import replaced

_Module = TypeVar("_Module", bound=nn.Module)
_USUAL = 256  # pixels: a size at which all is left out that can be


def elide(model: _Module, size: tuple[int, int] | None = None) -> _Module:
    """The same network, computing only what the image can reach of its padded maps.

    Logits agree but for rounding. Weights are shared with ``model`` and must not change afterwards:
    constants were computed from them.

    Args:
        model: Network in evaluation mode, with one backbone or several.
        size: Height and width of the only images it shall take, for a graph of plain layers without
            branches on sizes, as an export wants it; any size without.

    Returns:
        A network that shares all else with ``model``; ``model`` itself where nothing can be left
        out: not padded by more than its layers need, or of branches from its first tap on.

    Example:
        >>> import torch
        >>> from fullyconv.models.create import create_model
        >>> model = create_model("fcn8s_vgg16", width=1 / 16, geometry="reference").eval()
        >>> images = torch.rand(1, 3, 30, 41)
        >>> torch.allclose(elide(model)(images), model(images), atol=1e-6)
        True
        >>> same = create_model("fcn8s_vgg16", width=1 / 16).eval()
        >>> elide(same) is same
        True
    """

    def elided(part: nn.Module) -> nn.Module:
        if type(part) is not Backbone or part.geometry != "reference":
            return part
        backbone = ElidedBackbone(part)
        if not backbone.taps:
            return part
        return backbone if size is None else backbone.fixed(*size)

    return replaced(model, elided)


class ElidedBackbone(Backbone):
    """A backbone in reference geometry whose first layers run only where the image reaches.

    Args:
        backbone: In evaluation mode; its layers are shared.

    Attributes:
        layers: What replaces its layers up to the last of those taps.
        taps: For each tap up to there, how many layers lead to it; empty if nothing can be left
            out.

    Shape:
        images (N, C, H, W) to ``{8: (N, channels[8], h, w), 16: ..., 32: ...}``.
    """

    def __init__(self, backbone: Backbone) -> None:
        _share(self, backbone)
        stages = {int(stride): list(stage) for stride, stage in backbone.stages.items()}  # type: ignore[call-overload]
        self._plain = [layer for stage in stages.values() for layer in stage]
        self.taps = dict(zip(stages, accumulate(map(len, stages.values())), strict=True))
        self.taps = self._held(self._places(_USUAL, _USUAL))
        self.layers = elided_layers(self._plain[: max(self.taps.values(), default=0)])
        self._background = Background(self._plain)

    def forward(self, images: Tensor) -> dict[int, Tensor]:
        """Return the features at each tap; shapes as in the class docstring."""
        height, width = images.shape[-2:]
        places = self._places(height, width)
        taps = self._held(places)
        windows, x, first = {}, images, 0
        for stride, end in taps.items():
            for layer, place in zip(self.layers[first:end], places[first:end], strict=True):
                x = layer(x, place) if isinstance(layer, ElidedConv2d) else layer(x)
            windows[stride], first = x, end
        maps = self._background(places, taps, x) if taps else {}
        features = {s: lay(windows[s], maps[s], places[end - 1]) for s, end in taps.items()}
        x = features[max(features)] if features else images
        for tap, stage in self.stages.items():
            if int(tap) not in features:
                features[int(tap)] = x = stage(x)
        return features

    def fixed(self, height: int, width: int) -> Backbone:
        """This backbone for images of one size, with its background as part of it."""
        places = self._places(height, width)
        taps = self._held(places)
        parameter = next(self.parameters())
        maps = self._background(places, taps, parameter) if taps else {}
        stages, first = {}, 0
        for tap, stage in self.stages.items():
            end = taps.get(int(tap))
            if end is not None:
                layers = [
                    FixedConv2d(layer, place) if isinstance(layer, ElidedConv2d) else layer
                    for layer, place in zip(self.layers[first:end], places[first:end], strict=True)
                ]
                stage, first = Laid(layers, maps[int(tap)], places[end - 1]), end
            stages[tap] = stage
        return FixedBackbone(self, stages)

    def _places(self, height: int, width: int) -> Places:
        rows, columns = (
            reaches(self._plain, size, axis) for axis, size in enumerate((height, width))
        )
        return list(zip(rows, columns, strict=False))  # as far as both go

    def _held(self, places: Places) -> dict[int, int]:
        """The taps up to which the window keeps clear of the map's border; none if it is larger."""
        held = {stride: end for stride, end in self.taps.items() if end <= len(places)}
        if not held:
            return {}
        rows, columns = places[max(held.values()) - 1]
        return held if rows.count * columns.count < rows.cells * columns.cells else {}


class FixedBackbone(Backbone):
    """An elided backbone for images of one size: plain layers, no branch on sizes.

    Args:
        backbone: Whose attributes it takes over.
        stages: Up to each tap; the elided ones are
            :class:`~fullyconv.models.fast.elided_layers.Laid`.

    Shape:
        images (N, C, H, W) to ``{8: (N, channels[8], h, w), 16: ..., 32: ...}``.
    """

    def __init__(self, backbone: Backbone, stages: dict[str, nn.Module]) -> None:
        _share(self, backbone)
        self.stages = nn.ModuleDict(stages)

    def forward(self, images: Tensor) -> dict[int, Tensor]:
        """Return the features at each tap; shapes as in the class docstring."""
        features: dict[int, Tensor] = {}
        x = whole = images
        for tap, stage in self.stages.items():
            if isinstance(stage, Laid):
                x, whole = stage(x)
            else:
                whole = stage(whole)
            features[int(tap)] = whole
        return features


def _share(backbone: Backbone, other: Backbone) -> None:
    """Set up a backbone with the attributes and the stages of another one."""
    nn.Module.__init__(backbone)
    backbone.stages, backbone.channels, backbone.maps = other.stages, other.channels, other.maps
    backbone.geometry, backbone.edge = other.geometry, other.edge
    backbone.classifier_pool = other.classifier_pool
    backbone.train(other.training)
