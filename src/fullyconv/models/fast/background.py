"""What a network makes of an image of zeros: the whole maps, from a few rows and columns.

Its maps have a border, which the layers' own padding changes, and a middle that is one constant per
channel. The border is as wide in a small map as in a large one of the same remainder by the stride,
so the layers run on a small map, whose middle row and column are then repeated.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence

import torch
from torch import Tensor, nn

from fullyconv.models.fast.reach import Reach
from fullyconv.models.layers import window

Places = Sequence[tuple[Reach, Reach]]
"""For each layer in turn, what an image reaches of its rows and of its columns."""
Maps = dict[int, Tensor]
"""Features by stride."""

_SMALL, _WHOLE = 64, 2  # kept, in number: of VGG16 0.3 MB each, and 10 MB at 375 x 500


class Background:
    """The features of an image of zeros, at some taps; those used last are kept.

    Args:
        layers: From the image on; the first is a convolution.
    """

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        self._layers = tuple(layers)
        self._small = _Recent(_SMALL)
        self._whole = _Recent(_WHOLE)

    @torch.no_grad()
    def __call__(self, places: Places, taps: Mapping[int, int], like: Tensor) -> Maps:
        """The whole maps (1, C, h, w) at each tap.

        Args:
            places: For each layer up to the last tap, of an image of the size in question.
            taps: Strides, and how many layers lead there.
            like: Features of the type and on the device wanted.
        """
        key = (*(reach.cells for reach in places[0]), tuple(taps), like.dtype, like.device)
        return self._whole.get(key, lambda: self._repeated(places, taps, like))

    def _repeated(self, places: Places, taps: Mapping[int, int], like: Tensor) -> Maps:
        last = max(taps.values())
        first = tuple(self._first(places, last, axis) for axis in (0, 1))
        key = (first, tuple(taps), like.dtype, like.device)
        small = self._small.get(key, lambda: self._run(first, taps))
        maps = {}
        for stride, end in taps.items():
            tap = small[stride]
            for axis, reach in enumerate(places[end - 1]):
                index = torch.arange(reach.cells, device=tap.device)
                middle, more = reach.clean[0], reach.cells - tap.shape[2 + axis]
                tap = tap.index_select(
                    2 + axis, torch.maximum(index.clamp(max=middle), index - more)
                )
            maps[stride] = tap.contiguous(memory_format=torch.channels_last)
        return maps

    def _first(self, places: Places, last: int, axis: int) -> int:
        """The fewest cells of the first layer's map that leave the last tap one constant cell."""
        strides = [
            window(layer, axis)[1]
            for layer in self._layers[1:last]
            if isinstance(layer, nn.Conv2d | nn.MaxPool2d)
        ]
        low, high = places[last - 1][axis].clean
        return places[0][axis].cells - (high - low - 1) * math.prod(strides)

    def _run(self, first: tuple[int, ...], taps: Mapping[int, int]) -> Maps:
        """The features of a first map of so many rows and columns of its bias."""
        convolution = self._layers[0]
        assert isinstance(convolution, nn.Conv2d)
        zeros = convolution.weight.new_zeros(1, convolution.in_channels, *convolution.kernel_size)
        x = nn.functional.conv2d(
            zeros, convolution.weight, convolution.bias, groups=convolution.groups
        ).repeat(1, 1, *first)
        x = x.contiguous(memory_format=torch.channels_last)
        maps: Maps = {}
        for number, layer in enumerate(self._layers[1 : max(taps.values())], 2):
            x = layer(x)
            maps |= {stride: x.clone() for stride, end in taps.items() if end == number}
        return maps


class _Recent:
    """A cache of so many values; the one used longest ago is dropped."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._values: OrderedDict[Hashable, Maps] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], Maps]) -> Maps:
        """The value of a key, made if it is not there."""
        if key not in self._values:
            self._values[key] = make()
            if len(self._values) > self._limit:
                self._values.popitem(last=False)
        self._values.move_to_end(key)
        return self._values[key]
