"""Which classes there are, how they are drawn, and how the ids in a label file become them."""

from __future__ import annotations

import operator
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fullyconv.errors import FullyConvError, UsageError, did_you_mean, shortened

IGNORE_INDEX = 255
"""Void: the label that no loss and no metric counts, in every target of up to 255 classes."""
WIDE_IGNORE_INDEX = 65535
"""The same where 255 is a class: the highest id that label files can hold."""

Color = tuple[int, int, int]
Ids = NDArray[np.unsignedinteger[Any]]
"""Class ids of pixels: uint8 of up to 255 classes, uint16 of more."""

_MAX_ID = WIDE_IGNORE_INDEX  # label files have 8 or 16 bits


def void_index(num_classes: int) -> int:
    """What void is in a target of so many classes: 255, or 65535 where 255 is a class.

    Example:
        >>> void_index(21), void_index(1000)
        (255, 65535)
    """
    return IGNORE_INDEX if num_classes <= IGNORE_INDEX else WIDE_IGNORE_INDEX


def id_type(num_classes: int) -> type[np.uint8] | type[np.uint16]:
    """The type of arrays that hold the ids of so many classes, and void."""
    return np.uint8 if num_classes <= IGNORE_INDEX else np.uint16


_MAX_NAME = 100
_AS_USUAL: tuple[int, ...] = (-1,)  # told apart by identity, and replaced: no id is below 0


@dataclass(frozen=True, kw_only=True)
class LabelSpace:
    """The classes of a data set or a model.

    Attributes:
        categories: Class names in the order of their ids, background included where there is one.
        palette: One (R, G, B) colour, 0-255, per class.
        raw_ids: The id that label files use for each class; empty if it is the class's own id.
        void: Ids in label files that mean "do not count"; read as :attr:`ignore_index`, which is
            also what stands for it in files if nothing is said.

    Raises:
        FullyConvError: If the fields do not fit each other, a name is not one line of text, a
            colour is outside 0-255, or an id has two meanings.
    """

    categories: tuple[str, ...]
    palette: tuple[Color, ...] = ()
    raw_ids: tuple[int, ...] = ()
    void: tuple[int, ...] = _AS_USUAL

    def __post_init__(self) -> None:
        if not 1 <= len(self.categories) <= _MAX_ID:
            raise FullyConvError(
                f"{len(self.categories)} categories given; 1 to {_MAX_ID} are possible"
            )
        if self.void is _AS_USUAL:
            object.__setattr__(self, "void", (self.ignore_index,))
        if not self.palette:
            object.__setattr__(self, "palette", voc_palette(len(self.categories)))
        if not self.raw_ids:
            object.__setattr__(self, "raw_ids", tuple(range(len(self.categories))))
        for field in ("palette", "raw_ids"):
            if len(getattr(self, field)) != len(self.categories):
                raise FullyConvError(
                    f"{len(getattr(self, field))} entries in {field} for "
                    f"{len(self.categories)} categories; there must be one for each"
                )
        self._check_categories()
        for color in self.palette:
            values = [*color]
            if len(values) != 3 or not all(0 <= value <= 255 for value in values):
                raise FullyConvError(f"colour {color!r} is not three numbers from 0 to 255")
        self._check_ids()

    def _check_categories(self) -> None:
        for name in self.categories:
            one_line = not any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in name)
            if not (name.strip() and one_line and len(name) <= _MAX_NAME):
                raise FullyConvError(
                    f"category {name[:_MAX_NAME]!r} is not one line of 1 to {_MAX_NAME} characters"
                )
        if len(set(self.categories)) < self.num_classes:
            twice = next(name for name, n in Counter(self.categories).items() if n > 1)
            raise FullyConvError(f"category {twice!r} is given twice; names must differ")

    def _check_ids(self) -> None:
        for field in ("raw_ids", "void"):
            for raw in getattr(self, field):
                if not 0 <= raw <= _MAX_ID:
                    raise FullyConvError(
                        f"{field} holds {raw}, but ids in label files are 0 to {_MAX_ID}"
                    )
        if len(set(self.raw_ids)) < self.num_classes:
            twice = next(raw for raw, n in Counter(self.raw_ids).items() if n > 1)
            raise FullyConvError(f"raw_ids gives {twice} to two classes; ids must differ")
        both = sorted({*self.raw_ids} & {*self.void})
        if both:
            raise FullyConvError(
                f"id {both[0]} is both class {self.categories[self.raw_ids.index(both[0])]!r} and "
                "void; take it out of void or out of raw_ids"
            )

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.categories)

    @property
    def ignore_index(self) -> int:
        """What void is in a target of these classes: 255; 65535 of more than 255 classes."""
        return void_index(self.num_classes)

    def index(self, name: str) -> int:
        """Id of a class by its name.

        Raises:
            UsageError: If there is none of that name.

        Example:
            >>> VOC.index("person")
            15
        """
        if name not in self.categories:
            known = did_you_mean(name, list(self.categories))
            raise UsageError(f"there is no class {name!r}. {known}")
        return self.categories.index(name)

    def without(self, names: Sequence[str]) -> LabelSpace:
        """The label space of the other classes; pixels of these become void.

        Args:
            names: Classes to leave out.

        Raises:
            UsageError: If there is no such class.
            FullyConvError: If none is left.

        Example:
            >>> VOC.without(["background"]).num_classes
            20
        """
        out = {self.index(name) for name in names}
        kept = [i for i in range(self.num_classes) if i not in out]
        return LabelSpace(
            categories=tuple(self.categories[i] for i in kept),
            palette=tuple(self.palette[i] for i in kept),
            raw_ids=tuple(self.raw_ids[i] for i in kept),
            void=(*self.void, *(self.raw_ids[i] for i in sorted(out))),
        )

    def encode(self, raw: NDArray[np.integer[Any]], source: object = "labels") -> Ids:
        """Turn the ids of a label file into class ids.

        Args:
            raw: (H, W) integer array as read.
            source: Named in the error; usually the file's path.

        Returns:
            (H, W) uint8, uint16 of more than 255 classes: 0 to ``num_classes - 1``, or
            :attr:`ignore_index` for void.

        Raises:
            FullyConvError: If an id is neither a class nor void; says which, and how often.
        """
        if raw.dtype.kind not in "biu":
            raise FullyConvError(f"{source}: labels are whole numbers, not {raw.dtype}")
        table: NDArray[np.int32] = np.full(max(255, *self.raw_ids, *self.void) + 1, -1, np.int32)
        table[list(self.void)] = self.ignore_index
        table[list(self.raw_ids)] = np.arange(self.num_classes)
        encoded: NDArray[np.int32]
        if raw.dtype == np.uint8:
            encoded = table[raw]
        else:
            known = (raw >= 0) & (raw < len(table))
            encoded = np.where(known, table[np.where(known, raw, 0)], np.int32(-1))
        if encoded.min(initial=0) < 0:
            values, counts = np.unique(raw[encoded < 0], return_counts=True)
            found = ", ".join(
                f"{v} ({n} px)" for v, n in list(zip(values, counts, strict=True))[:8]
            ) + (f" and {len(values) - 8} more" if len(values) > 8 else "")
            raise FullyConvError(
                f"{source}: label {found} is neither one of the {self.num_classes} class ids "
                f"({min(self.raw_ids)} to {max(self.raw_ids)}) nor void "
                f"({', '.join(map(str, self.void)) or 'none'}); correct the file, the number of "
                "classes or the void ids"
            )
        return encoded.astype(id_type(self.num_classes))

    def colorize(self, labels: Ids) -> NDArray[np.uint8]:
        """Colours (H, W, 3) uint8 of class ids (H, W); void and unknown ids are black."""
        table = np.zeros((self.ignore_index + 1, 3), np.uint8)
        table[: self.num_classes] = self.palette
        colors: NDArray[np.uint8] = table[labels]
        return colors

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and numbers, for a checkpoint's header."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> LabelSpace:
        """Inverse of :meth:`to_dict`.

        Raises:
            FullyConvError: If a key is missing or a value is not of its kind.
        """
        try:
            return cls(
                categories=tuple(_text(name) for name in _list(values["categories"])),
                palette=tuple(_color(color) for color in _list(values["palette"])),
                raw_ids=tuple(operator.index(i) for i in _list(values["raw_ids"])),
                void=_AS_USUAL
                if values["void"] is None
                else tuple(operator.index(i) for i in _list(values["void"])),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise FullyConvError(f"the label space is not readable: {error!r}") from error


def refuse_other_classes(model: LabelSpace, named: object, truth: LabelSpace, data: object) -> None:
    """Raise if predictions and truth are not of the same classes, whatever their ids in files.

    Args:
        model: The classes predicted.
        named: Model, or folder of predictions.
        truth: The classes of the truth.
        data: Where that lies.

    Raises:
        FullyConvError: If they are not; says which are on either side alone.
    """
    if truth.categories != model.categories:
        how = difference(model.categories, truth.categories)
        raise FullyConvError(
            f"{data} has other classes than {named} ({how}); the truth must have the model's "
            "classes, of the same names in the same order"
        )


def difference(known: Sequence[str], other: Sequence[str]) -> str:
    """How other classes differ from known ones.

    Example:
        >>> difference(("wall", "floor"), ("wall", "crack"))
        'without floor, with crack'
        >>> difference(("wall", "floor"), ("floor", "wall"))
        'in another order'
    """
    sides = {
        "without": [name for name in known if name not in other],
        "with": [name for name in other if name not in known],
    }
    said = [f"{side} {shortened(names)}" for side, names in sides.items() if names]
    return ", ".join(said) or "in another order"


def _list(values: Any) -> list[Any] | tuple[Any, ...]:
    if not isinstance(values, list | tuple):
        raise TypeError(f"{values!r} is not a list")
    return values


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a name")
    return value


def _color(values: Any) -> Color:
    r, g, b = (operator.index(v) for v in values)
    return r, g, b


def voc_palette(num_classes: int) -> tuple[Color, ...]:
    """PASCAL VOC's colours: the bits of the class id spread over red, green and blue.

    Example:
        >>> voc_palette(3)
        ((0, 0, 0), (128, 0, 0), (0, 128, 0))
    """

    def channel(index: int, offset: int) -> int:
        return sum(((index >> (3 * bit + offset)) & 1) << (7 - bit) for bit in range(8))

    return tuple((channel(i, 0), channel(i, 1), channel(i, 2)) for i in range(num_classes))


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(","))


VOC = LabelSpace(
    categories=_names(
        "background, aeroplane, bicycle, bird, boat, bottle, bus, car, cat, chair, cow, "
        "diningtable, dog, horse, motorbike, person, pottedplant, sheep, sofa, train, tvmonitor"
    )
)

# Class list of nyud's 40 classes (fcn.berkeleyvision.org, data/nyud/classes.txt; spelling kept).
# Files hold 1 to 40, void 0 (nyud_layers.py).
NYUDV2 = LabelSpace(
    categories=_names(
        "wall, floor, cabinet, bed, chair, sofa, table, door, window, bookshelf, picture, counter, "
        "blinds, desk, shelves, curtain, dresser, pillow, mirror, floor mat, clothes, ceiling, "
        "books, refridgerator, television, paper, towel, shower curtain, box, whiteboard, person, "
        "night stand, toilet, sink, lamp, bathtub, bag, otherstructure, otherfurniture, otherprop"
    ),
    raw_ids=tuple(range(1, 41)),
    void=(0,),
)

# The same but for the last class, where label files write otherprop and void as one id, 39.
NYUDV2_39 = LabelSpace(categories=NYUDV2.categories[:39], void=(39, IGNORE_INDEX))

PASCAL_CONTEXT = LabelSpace(
    categories=_names(
        "background, aeroplane, bicycle, bird, boat, bottle, bus, car, cat, chair, cow, "
        "diningtable, dog, horse, motorbike, person, pottedplant, sheep, sofa, train, tvmonitor, "
        "bag, bed, bench, book, building, cabinet, ceiling, clothes, computer, cup, door, fence, "
        "floor, flower, food, grass, ground, keyboard, light, mountain, mouse, curtain, platform, "
        "sign, plate, road, rock, shelves, sidewalk, sky, snow, bedcloth, track, tree, truck, "
        "wall, water, window, wood"
    )
)

# Semantic classes; files hold 1 to 33, void 0 (fcn.berkeleyvision.org, siftflow_layers.py).
SIFTFLOW = LabelSpace(
    categories=_names(
        "awning, balcony, bird, boat, bridge, building, bus, car, cow, crosswalk, desert, door, "
        "fence, field, grass, moon, mountain, person, plant, pole, river, road, rock, sand, sea, "
        "sidewalk, sign, sky, staircase, streetlight, sun, tree, window"
    ),
    raw_ids=tuple(range(1, 34)),
    void=(0,),
)

# Its geometric classes; files hold 1 to 3, void -1, which the authors' loader turns into 0.
SIFTFLOW_GEOMETRIC = LabelSpace(
    categories=("sky", "horizontal", "vertical"), raw_ids=(1, 2, 3), void=(0,)
)

# SegNet's CamVid: 11 classes and their colours, 11 = void.
CAMVID = LabelSpace(
    categories=_names(
        "sky, building, pole, road, pavement, tree, sign, fence, car, pedestrian, bicyclist"
    ),
    palette=(
        (128, 128, 128),
        (128, 0, 0),
        (192, 192, 128),
        (128, 64, 128),
        (60, 40, 222),
        (128, 128, 0),
        (192, 128, 128),
        (64, 64, 128),
        (64, 0, 128),
        (64, 64, 0),
        (0, 128, 192),
    ),
    void=(11, IGNORE_INDEX),
)

LABEL_SPACES = {
    "voc": VOC,
    "nyud": NYUDV2,
    "nyudv2-39": NYUDV2_39,
    "pascalcontext": PASCAL_CONTEXT,
    "siftflow": SIFTFLOW,
    "siftflow-geometric": SIFTFLOW_GEOMETRIC,
    "camvid": CAMVID,
}
"""Label spaces by the first part of a released net's name (and the head's), and of our own."""
