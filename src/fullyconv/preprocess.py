"""From a photograph to a network's own input units; it belongs to the weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fullyconv.errors import FullyConvError

CHANNELS = {"images": 3, "hha": 3, "depth": 1}
"""Channels of each kind of input; ``bands`` has as many as the data set's pictures."""

Pixels = NDArray[np.uint8] | NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Preprocess:
    """``(image * scale - mean) / std``, per channel, after the colours were put in order.

    Attributes:
        order: Order of the first three channels that the network was trained with.
        scale: Factor on pixel values 0-255.
        mean: Mean of each channel, in ``order`` and in scaled units.
        std: Standard deviation of each channel, likewise.
        inputs: What the channels are, in turn: ``images`` (three, colour), ``hha`` (three),
            ``depth`` (one, the logarithm of millimetres); also the data set's folders of them. Or
            ``bands`` alone: any number of any numbers, from ``images/``.

    Raises:
        FullyConvError: If the order does not exist, or a number is missing or makes no sense.
    """

    order: Literal["RGB", "BGR"] = "RGB"
    scale: float = 1.0
    mean: tuple[float, ...]
    std: tuple[float, ...]
    inputs: tuple[str, ...] = ("images",)

    def __post_init__(self) -> None:
        if self.order not in ("RGB", "BGR"):
            raise FullyConvError(f"channel order {self.order!r} is neither 'RGB' nor 'BGR'")
        if not 0 < self.scale < math.inf:
            raise FullyConvError(f"scale is {self.scale}; it must be above 0")
        if (
            not self.mean
            or len(self.mean) != len(self.std)
            or not all(map(math.isfinite, self.mean))
            or not all(0 < deviation < math.inf for deviation in self.std)
        ):
            raise FullyConvError(
                f"mean {self.mean} and std {self.std} must have one number per channel, deviations "
                "above 0"
            )

    def __str__(self) -> str:
        mean, std = (" ".join(f"{value:.8g}" for value in given) for given in (self.mean, self.std))
        scale = "" if self.scale == 1 else f", times {self.scale:.4g}"
        return f"{' + '.join(self.inputs)}, {self.order}{scale}, mean {mean}, deviation {std}"

    def __call__(self, image: Pixels) -> NDArray[np.float32]:
        """Network input of a photograph, or of several pictures stacked.

        Args:
            image: (H, W, C) uint8, or float32 with depth or bands; colour as RGB. NaN in bands,
                for no data, becomes the mean.

        Returns:
            (C, H, W) float32, contiguous.

        Raises:
            FullyConvError: If the array has another shape or type.
        """
        if (
            image.ndim != 3
            or image.shape[2] != len(self.mean)
            or image.dtype != self.dtype
            or image.size == 0
        ):
            kind = "RGB" if self.inputs == ("images",) else " + ".join(self.inputs)
            raise FullyConvError(
                f"an image is (H, W, {len(self.mean)}) {self.dtype}, {kind}, 0-255, of at least "
                f"1 x 1 pixels; got {image.dtype} of shape {image.shape}"
            )
        ordered = image
        if self.order == "BGR":
            ordered = np.concatenate([image[..., 2::-1], image[..., 3:]], axis=-1)
        std = np.asarray(self.std, np.float32)
        factor = np.asarray(self.scale / std, np.float32)
        shift = np.asarray(self.mean / std, np.float32)
        planes = np.ascontiguousarray(ordered.transpose(2, 0, 1)).astype(np.float32)
        planes *= factor[:, None, None]
        planes -= shift[:, None, None]
        if self.bands:
            planes[~np.isfinite(planes)] = 0
        return planes

    def picture(self, image: Pixels) -> NDArray[np.uint8]:
        """What to show of an input (H, W, C): (H, W, 3) uint8.

        Its first three channels; of bands, two deviations around the mean as black to white.
        """
        if not self.bands:
            return np.asarray(image[..., :3], np.uint8)
        shown = [0, 1, 2] if image.shape[2] >= 3 else [0, 0, 0]
        planes = self(image)[shown].transpose(1, 2, 0)
        return np.clip(planes * 64 + 128, 0, 255).astype(np.uint8)

    @property
    def mean_pixel(self) -> tuple[float, ...]:
        """The pixel, in the channels of a picture as read, that becomes zero.

        Example:
            >>> [round(value) for value in CAFFE.mean_pixel]  # red first
            [123, 117, 104]
        """
        mean = tuple(value / self.scale for value in self.mean)
        return (*mean[2::-1], *mean[3:]) if self.order == "BGR" else mean

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the arrays it takes: uint8, or float32 with depth or bands."""
        return np.dtype(np.float32 if self.bands or "depth" in self.inputs else np.uint8)

    @property
    def bands(self) -> bool:
        """Whether its input is bands, whose numbers have no usual range."""
        return self.inputs == ("bands",)

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
                mean=_floats(values["mean"]),
                std=_floats(values["std"]),
                inputs=tuple(str(name) for name in values.get("inputs", ("images",))),
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise FullyConvError(f"the preprocessing is not readable: {error!r}") from error


def _floats(values: Any) -> tuple[float, ...]:
    if not isinstance(values, list | tuple):
        raise TypeError(f"{values!r} is not a list")
    return tuple(float(value) for value in values)


# The mean that every VOC, PASCAL-Context and ImageNet net of the release subtracts
# (fcn.berkeleyvision.org, infer.py).
CAFFE = Preprocess(
    order="BGR", mean=(104.00698793, 116.66876762, 122.67891434), std=(1.0, 1.0, 1.0)
)
# Means of nyud_layers.py and siftflow_layers.py in the same repository, BGR.
NYUD_COLOR = Preprocess(order="BGR", mean=(116.190, 97.203, 92.318), std=(1.0, 1.0, 1.0))
NYUD_HHA = Preprocess(  # its channels are not reversed there
    mean=(132.431, 94.076, 118.477), std=(1.0, 1.0, 1.0), inputs=("hha",)
)
NYUD_COLOR_HHA = Preprocess(
    order="BGR",
    mean=NYUD_COLOR.mean + NYUD_HHA.mean,
    std=NYUD_COLOR.std + NYUD_HHA.std,
    inputs=("images", "hha"),
)
NYUD_COLOR_DEPTH = Preprocess(
    order="BGR",
    mean=(*NYUD_COLOR.mean, 7.844),
    std=(*NYUD_COLOR.std, 1.0),
    inputs=("images", "depth"),
)
SIFTFLOW_COLOR = Preprocess(order="BGR", mean=(114.578, 115.294, 108.353), std=(1.0, 1.0, 1.0))
# torchvision's ImageNet weights.
TORCHVISION = Preprocess(scale=1 / 255, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
# EfficientNet-Lite (efficientnet_lite_builder.py: MEAN_RGB, STDDEV_RGB).
EFFICIENTNET_LITE = Preprocess(mean=(127.0, 127.0, 127.0), std=(128.0, 128.0, 128.0))
