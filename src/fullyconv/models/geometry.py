"""Where the cells of a feature map lie in the image: the arithmetic behind every crop offset.

Every layer of a fully convolutional network moves positions by an affine map, so one stride and one
start per axis say where each cell of a feature map looks. Composing the maps along the network
gives strides, receptive fields and crop offsets; none of them is written down anywhere. Caffe does
the same in ``python/caffe/coord_map.py``; the authors' 19, 5/27, 5/9/31 and 18 come out of here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil


@dataclass(frozen=True, slots=True)
class CoordMap:
    """Along one axis: cell ``i`` of a feature map is centred on image pixel ``start + stride * i``.

    Attributes:
        stride: Image pixels from one cell to the next.
        start: Image pixel, usually fractional, on which cell 0 is centred.
        receptive_field: Image pixels that one cell sees.
        convolutions: Learned convolutions on the longest path from the image.

    Example:
        >>> image = CoordMap()
        >>> pooled = image.window(kernel_size=2, stride=2)
        >>> pooled.stride, pooled.start, pooled.receptive_field
        (Fraction(2, 1), Fraction(1, 2), 2)
        >>> pooled.upsample(kernel_size=4, stride=2).offset_of(image)
        Fraction(1, 1)
    """

    stride: Fraction = Fraction(1)
    start: Fraction = Fraction(0)
    receptive_field: int = 1
    convolutions: int = 0

    def __str__(self) -> str:
        layers = f"{self.convolutions} convolution{'' if self.convolutions == 1 else 's'}"
        return (
            f"stride {_number(self.stride)}, cell 0 at pixel {_number(self.start)}, "
            f"receptive field {self.receptive_field} px, {layers}"
        )

    def window(
        self, kernel_size: int, stride: int = 1, padding: int = 0, dilation: int = 1
    ) -> CoordMap:
        """Map after a convolution or pooling that slides a window over this map."""
        reach = dilation * (kernel_size - 1)
        return replace(
            self,
            stride=self.stride * stride,
            start=self.start + self.stride * (Fraction(reach, 2) - padding),
            receptive_field=self.receptive_field + int(self.stride * reach),
        )

    def pad(self, cells: int) -> CoordMap:
        """Map after ``cells`` more cells are put before the first one."""
        return replace(self, start=self.start - self.stride * cells)

    def upsample(self, kernel_size: int, stride: int) -> CoordMap:
        """Map after an unpadded transposed convolution."""
        finer = self.stride / stride
        seen = ceil(Fraction(kernel_size, stride)) - 1
        return replace(
            self,
            stride=finer,
            start=self.start - finer * Fraction(kernel_size - 1, 2),
            receptive_field=self.receptive_field + int(self.stride * seen),
        )

    def learned(self) -> CoordMap:
        """This map, one learned convolution deeper."""
        return replace(self, convolutions=self.convolutions + 1)

    def offset_of(self, other: CoordMap) -> Fraction:
        """Which cell of this map lies where ``other``'s cell 0 lies: Caffe's crop offset.

        Raises:
            ValueError: If the strides differ, so that no crop can align the two maps.
        """
        if self.stride != other.stride:
            raise ValueError(
                f"maps of stride {self.stride} and {other.stride} cannot be aligned by cropping; "
                "upsample the coarser one first"
            )
        return (other.start - self.start) / self.stride


def _number(value: Fraction) -> str:
    """As a decimal: strides are powers of two, so that two or three digits say it all."""
    return f"{float(value):.7g}"


def merge(maps: Iterable[CoordMap]) -> CoordMap:
    """Map of parallel branches that are added or concatenated cell by cell.

    Raises:
        ValueError: If the branches do not lie on one grid.
    """
    first, *others = maps
    for other in others:
        if (other.stride, other.start) != (first.stride, first.start):
            raise ValueError(
                f"parallel branches lie on different grids: cells at {first.start} + "
                f"{first.stride} i and at {other.start} + {other.stride} i"
            )
    return replace(
        first,
        receptive_field=max(m.receptive_field for m in (first, *others)),
        convolutions=max(m.convolutions for m in (first, *others)),
    )
