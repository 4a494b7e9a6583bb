"""Sharpen a prediction along the edges of its photograph: convcrf.py PHOTO MASK.png [MODEL].

A conditional random field with convolutions (Teichmann and Cipolla 2018): the mean-field steps of
a dense CRF, whose pairs of pixels are at most REACH apart. Nothing has to be compiled. It is an
example and no part of `fcn predict`: see docs/faq.md.
"""

import sys

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

import fullyconv as fc

REACH = 5  # pixels


def refine(probabilities: Tensor, image: Tensor, steps: int = 5, weight: float = 3.0) -> Tensor:
    """Mean-field inference with Potts' model.

    Args:
        probabilities: (C, H, W), which sum to 1 over the classes.
        image: (3, H, W), 0-255.
        steps: Rounds of messages.
        weight: How much neighbours count against the network's own opinion.

    Returns:
        (C, H, W), which sum to 1 over the classes.
    """
    size = 2 * REACH + 1
    height, width = image.shape[1:]

    def around(planes: Tensor) -> Tensor:  # (P, H, W) to (P, neighbours, H, W)
        padded = F.pad(planes[None], [REACH] * 4, mode="replicate")
        return F.unfold(padded, size).view(len(planes), size * size, height, width)

    color = (around(image) - image[:, None]).square().sum(0) / (2 * 13.0**2)
    y, x = torch.meshgrid(*[torch.arange(-REACH, REACH + 1.0)] * 2, indexing="ij")
    place = (x.square() + y.square()).flatten()[:, None, None] / (2 * 3.0**2)
    kernel = torch.exp(-color - place)
    kernel[size * size // 2] = 0  # a pixel is not its own neighbour
    kernel /= kernel.sum(0).clamp(min=1e-6)
    unary = probabilities.clamp(min=1e-6).log()
    q = probabilities
    for _ in range(steps):
        messages = torch.stack([(around(plane[None])[0] * kernel).sum(0) for plane in q])
        q = torch.softmax(unary + weight * messages, 0)
    return q


def main(photo: str, path: str, model: str = "camvid") -> None:
    """Label, refine, and write the mask as `fcn predict` does."""
    prediction = fc.Predictor(model)(photo)
    image = torch.from_numpy(prediction.image.copy()).permute(2, 0, 1).float()
    labels = refine(torch.from_numpy(prediction.probabilities()), image).argmax(0)
    print(f"{float((labels.numpy() != prediction.labels).mean()):.1%} of the pixels changed")
    mask = Image.fromarray(labels.numpy().astype(np.uint8))
    mask.putpalette([value for color in prediction.palette for value in color])
    mask.save(path)


if __name__ == "__main__":
    main(*sys.argv[1:])
