"""What an importer finds in a tool's export: classes, pictures, and the regions of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fullyconv.data.importers.shapes import Polygon, Shape
from fullyconv.data.importers.source import Pictures, Source, plain_name
from fullyconv.errors import FullyConvError
from fullyconv.labels import Color

Unlabelled = Literal["background", "void"]

_FEWEST = 3  # points that enclose an area


@dataclass(frozen=True)
class Category:
    """One class of the tool's.

    Attributes:
        name: As in the tool, without blanks around it.
        color: As in the tool; None where it has none.
        void: Whether its pixels count for nothing unless ``--classes`` says otherwise.
    """

    name: str
    color: Color | None = None
    void: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.name.strip())


@dataclass(frozen=True)
class Region:
    """One labelled region: all its shapes together."""

    label: str
    shapes: tuple[Shape, ...]

    @property
    def area(self) -> float:
        """Square pixels, or the square of the picture's side where the shapes are relative."""
        return sum(shape.area for shape in self.shapes)


@dataclass
class Found:
    """What the export says of one picture.

    Attributes:
        size: Height and width that the picture had in the tool; None where it does not say.
        regions: In the order in which they are drawn; a later one covers an earlier one.
        mask: Instead of regions: (H, W) integers, places in the list of categories, -1 for what
            has no label.
        notes: Sentences about regions left out.
        photo: The picture itself, where the export holds it in the same file.
    """

    size: tuple[int, int] | None = None
    regions: list[Region] = field(default_factory=list)
    mask: NDArray[np.int16] | None = None
    notes: list[str] = field(default_factory=list)
    photo: bytes | None = None

    def add(self, label: str, *shapes: Shape) -> None:
        """Add a region."""
        self.regions.append(Region(label.strip(), shapes))

    def add_polygon(
        self, label: str, rings: Sequence[Any], relative: bool = False, shift: float = 0.0
    ) -> None:
        """Add a polygon, its holes after its outline; one that has no area is noted.

        Args:
            label: Class.
            rings: For each ring, (x, y) of its corners.
            relative: Whether coordinates are parts of the picture's width and height, not pixels.
            shift: Added to every coordinate: 0.5 where the tool counts from pixel centres.
        """
        usable = [ring for ring in rings if len(ring) >= _FEWEST]
        if len(usable) < len(rings):
            points = min(len(ring) for ring in rings)
            self.leave_out(label, f"a polygon of {points} points has no area")
        if usable:
            self.add(label, Polygon.of(usable, relative, shift))

    def leave_out(self, label: str, why: str) -> None:
        """Note a region that cannot be drawn."""
        self.notes.append(f"a region {label!r} is left out: {why}")

    def largest_first(self) -> Found:
        """Order the regions so that a small one is drawn over a large one."""
        self.regions.sort(key=lambda region: -region.area)
        return self


@dataclass(frozen=True)
class Picture:
    """One picture of an export.

    Attributes:
        name: File name to be, without suffix.
        split: ``train``, ``val`` or ``test``; empty if the export does not say.
        photo: The picture's file; None if :attr:`read` gives the picture itself.
        read: Reads what the export says of it; a worker process calls it, so it must be picklable.
    """

    name: str
    split: str
    photo: Path | None
    read: Callable[[], Found]


@dataclass
class Export:
    """A tool's export, read as far as needed to know its classes and pictures.

    Attributes:
        categories: In the order of the tool's own table, or of the alphabet where it has none.
        pictures: All of them.
        complete: Whether every pixel has a category, background being one of them.
        notes: Sentences about what was found.
        problems: Sentences about pictures that cannot be imported.
        offered: Where pictures were looked for.
        spoken_of: Files of pictures that the export has labels of.
    """

    categories: list[Category] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    complete: bool = False
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    offered: Pictures | None = None
    spoken_of: set[Path] = field(default_factory=set)

    def photo(self, where: str, pictures: Pictures, *called: str) -> Path | None:
        """The picture of the first of these names; where there is none, that is a problem.

        Args:
            where: Whose picture it is, for the sentence.
            pictures: Those there are.
            called: What the export calls it.
        """
        self.offered = pictures
        try:
            found = next((path for name in called if (path := pictures.find(name))), None)
        except FullyConvError as error:
            self.problems.append(f"{where}: {error}")
            return None
        if found is None:
            self.problems.append(
                f"{where}: its picture {called[0]!r} is neither in the export nor in a folder "
                "given with --images"
            )
        return found

    def add(self, called: str, split: str, photo: Path | None, read: Callable[[], Found]) -> None:
        """Add a picture; its file name is made of what the export calls it."""
        if photo is not None:
            self.spoken_of.add(photo)
        try:
            self.pictures.append(Picture(plain_name(called), split, photo, read))
        except FullyConvError as error:
            self.problems.append(str(error))

    def speaks_of(self, pictures: Pictures, called: str) -> None:
        """Say that there are labels of a picture, though its file is not needed or cannot be used.

        Args:
            pictures: Those there are.
            called: What the export calls it.
        """
        self.offered = pictures
        with suppress(FullyConvError):
            if found := pictures.find(called):
                self.spoken_of.add(found)

    def unlabelled(self) -> list[Path]:
        """The pictures that the export says nothing of."""
        offered = self.offered.files if self.offered is not None else ()
        return sorted(path for path in offered if path not in self.spoken_of)


@dataclass(frozen=True)
class Importer:
    """How one tool's export is read.

    Attributes:
        tool: Its name, as people say it.
        button: What to press in the tool.
        structure: What is expected in the export.
        recognise: Whether an export is of this form.
        read: Finds the classes and pictures.
        unlabelled: What pixels without a label are unless the user says otherwise.
    """

    tool: str
    button: str
    structure: str
    recognise: Callable[[Source], bool]
    read: Callable[[Source], Export]
    unlabelled: Unlabelled = "background"
