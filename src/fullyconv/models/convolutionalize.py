"""Any torch classifier made fully convolutional (paper, section 3.1 and figure 2).

The classifier is traced into a graph (torch.fx). Its fully connected layers become convolutions,
its global pooling a dense average, and the graph is cut where everything flows through one feature
map: the taps at strides 8, 16 and 32.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Literal

import torch
from torch import fx, nn

from fullyconv.errors import FullyConvError, UsageError
from fullyconv.models.backbones.backbone import PaddedBackbone
from fullyconv.models.graph_reading import WholeMap
from fullyconv.models.graph_rewriting import Rewritten, rewrite
from fullyconv.models.traced import Misaligned, Traced

_STRIDES = (8, 16, 32)


def convolutionalize(
    model: nn.Module,
    example_size: int | tuple[int, int] = 224,
    *,
    geometry: Literal["same", "valid"] = "same",
    whole_map: WholeMap = "refuse",
    misaligned: Misaligned = "refuse",
) -> PaddedBackbone:
    """Make an ordinary classifier fully convolutional; its weights are copied, it stays as it is.

    ``fc.FCN(fc.convolutionalize(classifier), num_classes=21)`` is an FCN-8s of it, and
    ``fc.DenseClassifier(backbone, backbone.classifier)`` gives its own classes' scores densely.

    Args:
        model: From images (N, C, H, W) to scores (N, classes). What it does may depend on the
            training mode, on nothing else: it is traced in evaluation mode.
        example_size: Side, or height and width, in pixels of the pictures that it was made for.
        geometry: ``"same"``: a fully connected layer over a map of k x k cells is padded by
            k // 2, so that features lie under the whole picture, and the classifier's own scores
            are those of the cell (k // 2, k // 2). ``"valid"``: it is not padded, so that a picture
            of the example's size gives one cell; for dense classification, not for an FCN.
        whole_map: What to do with operations that take in the whole map at once, which no cell of
            a larger picture could repeat (squeeze-and-excitation, group and instance norm):
            ``"refuse"``; ``"global"``: as they are, so that every score depends on the whole
            picture; ``"local"``: squeeze-and-excitation takes its averages over windows of the
            size that the map has for the example, an approximation at every size.
        misaligned: What to do where branches that are joined look at different places, such as a
            2 x 2 pooling beside a 3 x 3 convolution of stride 2: ``"refuse"``; ``"first"``: take
            their cells to lie where those of the first branch do.

    Returns:
        Features at those of the strides 8, 16 and 32 that the network has and lets everything
        flow through; the highest holds the features before its global pooling, or, without one,
        before its last layer.

    Raises:
        UsageError: If this is no torch module, or no size.
        FullyConvError: If the network cannot be traced, or holds what cannot be converted; the
            layer is named.

    Example:
        >>> from torch import nn
        >>> block = lambda i, o: [nn.Conv2d(i, o, 3, 2, 1), nn.ReLU()]
        >>> layers = [*block(3, 4), *block(4, 4), *block(4, 8), *block(8, 8), *block(8, 16)]
        >>> net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5))
        >>> backbone = convolutionalize(net, 64)
        >>> backbone.channels, backbone.maps[32].receptive_field
        ({8: 8, 16: 8, 32: 16}, 63)
    """
    height, width = (example_size,) * 2 if isinstance(example_size, int) else example_size
    if min(height, width) < 1 or not isinstance(model, nn.Module):
        raise UsageError(
            f"a {type(model).__name__} for pictures of {height} x {width} was given; it takes a "
            "torch classifier (nn.Module), and the size of the pictures that it was made for"
        )
    copy = deepcopy(model).eval()
    channels = _in_channels(copy)
    example = torch.rand(2, channels, height, width, generator=torch.Generator().manual_seed(0))
    result = rewrite(copy, example, geometry == "same", whole_map, misaligned)
    stages: dict[int, nn.Sequential] = {}
    before = result.input
    taps = _taps(result)
    for stride, node in taps.items():
        stages[stride] = nn.Sequential(Traced(result.piece(before, node), misaligned))
        before = node
    classifier = nn.Sequential(Traced(result.piece(before, result.output), misaligned))
    widths = {stride: result.shapes[node][1] for stride, node in taps.items()}
    return PaddedBackbone(stages, widths, "same", classifier).train(model.training)


def _taps(result: Rewritten) -> dict[int, fx.Node]:
    """The last node of each stride through which everything flows."""
    taps = {int(result.maps[node].stride): node for node in result.cuts if result.is_even(node)}
    if result.cuts and not result.is_even(result.cuts[-1]):
        raise FullyConvError(
            "rows and columns of this classifier's last features lie on different grids: it pads "
            "or strides unlike in the two, and such maps have no upsampling here"
        )
    highest = max(taps, default=0)
    if highest not in _STRIDES:
        raise FullyConvError(
            f"the features of this classifier have stride {highest}; they are tapped at strides "
            f"{', '.join(map(str, _STRIDES))}, and the last must be one of these"
        )
    return {stride: taps[stride] for stride in _STRIDES if stride in taps}


def _in_channels(model: nn.Module) -> int:
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            return layer.in_channels
        for kernel in layer.parameters(recurse=False):
            if kernel.ndim == 4:  # of a convolution that is called as a function
                return kernel.shape[1]
    raise FullyConvError(
        f"{type(model).__name__} has no convolution: there is nothing that slides over a picture"
    )
