"""Classifiers made fully convolutional: class scores for every cell (paper, section 3.1, figure 2).

A classifier scores one window of its own size. With its last layers as convolutions it scores every
such window of a larger picture in one pass, and shares the work where windows overlap.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from fullyconv.errors import FullyConvError, UsageError
from fullyconv.imagenet import imagenet_categories
from fullyconv.models.backbones import Backbone, build_backbone
from fullyconv.models.backbones.backbone import PaddedBackbone
from fullyconv.models.geometry import CoordMap
from fullyconv.models.layers import cells, trace
from fullyconv.networks import preprocess_for
from fullyconv.preprocess import TORCHVISION, Preprocess
from fullyconv.pretrained import find_weights

# Padding of the first convolution where the classifier was trained, before the authors made it 100
# (BVLC/caffe, models/bvlc_*/deploy.prototxt; VGG_ILSVRC_16_layers_deploy.prototxt;
# torchvision/models/alexnet.py). GoogLeNet and EfficientNet-Lite have it in "same" geometry.
_PADDING = {"vgg16": 1, "vgg16_torchvision": 1, "alexnet": 0, "alexnet_torchvision": 2}
# The picture that one cell of those takes: pictures were cut to it for training (227 for Caffe's
# AlexNet, whose last pooling also takes 224).
_SIDE = 224
_LARGEST = 4096  # side of a picture up to which the smallest that a classifier takes is looked for
# Names of the last layer in .caffemodel files (the same deploy.prototxt files).
_LAST = {"vgg16": "fc8", "alexnet": "fc8", "googlenet": "loss3/classifier"}


class DenseClassifier(nn.Module):
    """A backbone and its classifier's last layers, as convolutions.

    Args:
        backbone: Features, of which those at the highest stride are classified; of
            :func:`~fullyconv.models.convolutionalize.convolutionalize`, or one of our own.
        layers: From these features to class scores, for maps of any size: ``nn.Conv2d`` for each
            linear layer, ``nn.AvgPool2d(k, stride=1)`` for a global average, or nothing in its
            place. Without it: those of a classifier that was convolutionalized.
        preprocess: From pixels to the input units of the weights.
        categories: Names of the classes, synonyms between commas. Without them: ImageNet's, where
            there are 1,000, else "class 0" and so on.
        side: Height and width that a picture must have, and is filled up to with zeros (the mean
            colour) after its last row and column. Without it: what the windows of ``layers`` need.

    Attributes:
        map: Where the cells of the scores lie in the image.

    Shape:
        images (N, C, H, W) float32, in the network's own input units, to scores (N, classes, h, w),
        for any H and W from 1 up.

    Raises:
        UsageError: If layers are neither given nor the backbone's own, or the names are not as many
            as the classes.

    Example:
        >>> import torch
        >>> classifier = dense_classifier("efficientnet_lite0", width=1 / 16)
        >>> tuple(classifier(torch.zeros(1, 3, 224, 300)).shape)
        (1, 1000, 7, 10)
        >>> classifier.map.stride
        Fraction(32, 1)
    """

    def __init__(
        self,
        backbone: Backbone,
        layers: nn.Sequential | None = None,
        *,
        preprocess: Preprocess = TORCHVISION,
        categories: Sequence[str] = (),
        side: int | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.layers = _own_layers(backbone) if layers is None else layers
        self.preprocess = preprocess
        self.tap = max(backbone.maps)
        self.map: CoordMap = trace(self.layers, backbone.maps[self.tap])
        self.side = _smallest(backbone, self.layers) if side is None else side
        convolutions = [m.out_channels for m in self.layers.modules() if isinstance(m, nn.Conv2d)]
        classes = [backbone.channels[self.tap], *convolutions][-1]
        names = tuple(categories) or tuple(f"class {index}" for index in range(classes))
        if not categories and classes == len(imagenet_categories()):
            names = imagenet_categories()
        if isinstance(categories, str) or len(names) != classes:
            raise UsageError(
                f"there are {len(names)} names for {classes} classes; one is needed for each"
            )
        self.categories = names

    def forward(self, images: Tensor) -> Tensor:
        """Return the scores of ``images``; shapes as in the class docstring."""
        below, right = (max(0, self.side - size) for size in images.shape[-2:])
        if below or right:
            images = F.pad(images, (0, right, 0, below))
        scores: Tensor = self.layers(self.backbone(images)[self.tap])
        return scores


def _smallest(backbone: Backbone, layers: nn.Sequential) -> int:
    """Side of the smallest picture that gives every layer a cell."""
    for side in range(1, _LARGEST):
        features = backbone.counts(side)[-1]
        if features and min(cells(layers, features, axis) for axis in (0, 1)) > 0:
            return side
    raise FullyConvError(f"no picture up to {_LARGEST} pixels gives this classifier a cell")


def _own_layers(backbone: Backbone) -> nn.Sequential:
    if not isinstance(backbone, PaddedBackbone):
        raise UsageError(
            "a backbone of this package has no last layers: give them, or use load_classifier(name)"
        )
    return backbone.classifier


def dense_classifier(
    name: str, classes: int = 1000, *, pool: bool = False, width: float = 1.0
) -> DenseClassifier:
    """Build a classifier by the name of its backbone; its weights are random.

    Args:
        name: One of :data:`fullyconv.networks.BACKBONES`.
        classes: Number of classes.
        pool: Average each score over the classifier's own window, as a classifier that pools
            globally does. Without it a score is that of a cell alone; their mean over the picture
            is what pooling over all of it gives, for the last layer is linear. Nothing for
            VGG16 and AlexNet, which do not pool.
        width: Factor on the number of channels.

    Raises:
        UsageError: If there is no such backbone.
    """
    if name in _PADDING:
        reference = build_backbone(name, width=width, geometry="reference")
        backbone, side = _as_trained(reference, _PADDING[name]), _SIDE
    else:
        backbone, side = build_backbone(name, width=width), None
    layers = nn.Sequential()
    if pool and backbone.classifier_pool > 1:
        layers.add_module("pool", nn.AvgPool2d(backbone.classifier_pool, stride=1))
    last = nn.Conv2d(backbone.channels[32], classes, 1)
    layers.add_module(_LAST.get(name, "classifier"), last)
    return DenseClassifier(backbone, layers, preprocess=preprocess_for(name), side=side)


def _as_trained(backbone: Backbone, padding: int) -> Backbone:
    """A backbone of reference geometry with its classifier's padding: fc6 sees whole windows."""
    first = next(layer for layer in backbone.modules() if isinstance(layer, nn.Conv2d))
    first.padding = (padding, padding)
    return backbone.retraced()


def load_classifier(
    name: str = "efficientnet_lite0",
    weights: str | os.PathLike[str] = "auto",
    *,
    pool: bool = False,
    width: float = 1.0,
) -> DenseClassifier:
    """An ImageNet classifier, its last layer included, ready to score pictures of any size.

    Args:
        name: One of :data:`fullyconv.networks.BACKBONES`.
        weights: ``"auto"``, for the weights on this machine (a package, or ``fcn weights get``), or
            a file: a .caffemodel, or a state dictionary, .safetensors or .pth.
        pool: See :func:`dense_classifier`.
        width: Factor on the number of channels, the file's.

    Returns:
        The classifier, in evaluation mode.

    Raises:
        UsageError: If there is no such classifier.
        FullyConvError: If there are no weights, or they are not those of this classifier.
    """
    classifier = dense_classifier(name, pool=pool, width=width)
    found = find_weights(name, weights, "--weights FILE (in Python weights=FILE)")
    if missing := found.fill(classifier).missing:
        raise FullyConvError(
            f"{found.path}: does not hold the whole classifier {name}: it lacks "
            f"{', '.join(missing[-4:])}{' and more' if len(missing) > 4 else ''}; name a file that "
            "has its last layer too"
        )
    return classifier.eval()
