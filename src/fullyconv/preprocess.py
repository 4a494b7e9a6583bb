"""From a photograph to a network's own input units; it belongs to the weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fullyconv.errors import FullyConvError


@dataclass(frozen=True, kw_only=True)
class Preprocess:
    """``(image * scale - mean) / std``, per channel, after the colours were put in order.

    Attributes:
        order: Channel order the network was trained with.
        scale: Factor on pixel values 0-255.
        mean: Mean of each channel, in ``order`` and in scaled units.
        std: Standard deviation of each channel, likewise.
    """

    order: Literal["RGB", "BGR"] = "RGB"
    scale: float = 1.0
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        if self.order not in ("RGB", "BGR"):
            raise FullyConvError(f"channel order {self.order!r} is neither 'RGB' nor 'BGR'")
        if len(self.mean) != len(self.std) or not self.mean or 0 in self.std:
            raise FullyConvError(
                f"mean {self.mean} and std {self.std} must have one non-zero deviation per channel"
            )

    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Network input of a photograph.

        Args:
            image: (H, W, 3) uint8, RGB.

        Returns:
            (3, H, W) float32, contiguous.

        Raises:
            FullyConvError: If the array has another shape or type.
        """
        if image.ndim != 3 or image.shape[2] != len(self.mean) or image.dtype != np.uint8:
            raise FullyConvError(
                f"an image is (H, W, {len(self.mean)}) uint8, RGB, 0-255; "
                f"got {image.dtype} of shape {image.shape}"
            )
        ordered = image[..., ::-1] if self.order == "BGR" else image
        std = np.asarray(self.std, np.float32)
        factor = np.asarray(self.scale / std, np.float32)
        shift = np.asarray(self.mean / std, np.float32)
        planes = np.ascontiguousarray(ordered.transpose(2, 0, 1)).astype(np.float32)
        planes *= factor[:, None, None]
        planes -= shift[:, None, None]
        return planes

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and numbers, for a checkpoint's header."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Preprocess:
        """Inverse of :meth:`to_dict`.

        Raises:
            FullyConvError: If a key is missing or a value is not of its kind.
        """
        try:
            return cls(
                order=values["order"],
                scale=float(values["scale"]),
                mean=tuple(float(v) for v in values["mean"]),
                std=tuple(float(v) for v in values["std"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise FullyConvError(f"the preprocessing is not readable: {error!r}") from error


# The mean that every VOC, PASCAL-Context and ImageNet net of the release subtracts
# (fcn.berkeleyvision.org, infer.py).
CAFFE = Preprocess(
    order="BGR", mean=(104.00698793, 116.66876762, 122.67891434), std=(1.0, 1.0, 1.0)
)
# Means of nyud_layers.py and siftflow_layers.py in the same repository, BGR.
NYUD_COLOR = Preprocess(order="BGR", mean=(116.190, 97.203, 92.318), std=(1.0, 1.0, 1.0))
NYUD_HHA = Preprocess(order="BGR", mean=(132.431, 94.076, 118.477), std=(1.0, 1.0, 1.0))
SIFTFLOW_COLOR = Preprocess(order="BGR", mean=(114.578, 115.294, 108.353), std=(1.0, 1.0, 1.0))
# torchvision's ImageNet weights.
TORCHVISION = Preprocess(scale=1 / 255, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
# EfficientNet-Lite (efficientnet_lite_builder.py: MEAN_RGB, STDDEV_RGB).
EFFICIENTNET_LITE = Preprocess(mean=(127.0, 127.0, 127.0), std=(128.0, 128.0, 128.0))


def preprocess_for(backbone: str) -> Preprocess:
    """Preprocessing that the ImageNet weights of a backbone were trained with."""
    if backbone.endswith("_torchvision"):
        return TORCHVISION
    return EFFICIENTNET_LITE if backbone.startswith("efficientnet_lite") else CAFFE
