"""Files as the authors would have released them, at small width, filled by the oracles' formula."""

from __future__ import annotations

import numpy as np

from formula import bilinear, parameter
from fullyconv.caffe import CaffeLayer, CaffeNet
from fullyconv.caffe.wire import FloatArray
from fullyconv.config import RELEASED_MODELS
from fullyconv.models.create import create_model
from fullyconv.models.layers import BilinearUpsample
from fullyconv.surgery import caffe_layers

WIDTH = 1 / 16


def caffe_net(name: str, flat: bool = False) -> CaffeNet:
    """What the authors' file of a network would hold: every layer, filled by the formula.

    Args:
        name: Network.
        flat: fc6 and fc7 as inner products, as in the ImageNet files.
    """
    layers = []
    for layer_name, layer in caffe_layers(create_model(name, width=WIDTH)).items():
        if isinstance(layer, BilinearUpsample):
            channels, _, k, _ = layer.weight.shape
            blobs: tuple[FloatArray, ...] = (bilinear((channels, channels, k, k)),)
        else:
            shapes = [tuple(p.shape) for p in layer.parameters()]
            blobs = tuple(parameter(layer_name, j, s) for j, s in enumerate(shapes))
            if flat and layer_name.startswith("fc"):
                blobs = (blobs[0].reshape(1, 1, len(blobs[0]), -1), blobs[1].reshape(1, 1, 1, -1))
        layers.append(CaffeLayer(layer_name, "Convolution", blobs))
    factors = dict(
        zip(("scale_pool4", "scale_pool3"), RELEASED_MODELS[name].skip_scale, strict=True)
    )
    layers += [
        CaffeLayer(scale, "Scale", (np.array([factor], np.float32),))
        for scale, factor in factors.items()
        if factor != 1
    ]
    return CaffeNet(name, tuple(layers))
