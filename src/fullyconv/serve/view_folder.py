"""A folder that is looked through: its pictures, and of each photograph, prediction and truth."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from fullyconv.errors import FullyConvError
from fullyconv.images import read_labels
from fullyconv.labels import Ids, LabelSpace


@dataclass(frozen=True)
class File:
    """A file that may be shown.

    Attributes:
        path: The file.
        home: The folder that it was found in; a link that leads out of it is not followed.
    """

    path: Path
    home: Path

    def checked(self) -> Path:
        """The path, if it leads to where it says.

        Raises:
            FullyConvError: If it is a link out of its folder.
        """
        if not self.path.resolve().is_relative_to(self.home.resolve()):
            raise FullyConvError(
                f"{self.path}: is a link out of {self.home}, and is not followed; put the file "
                "itself there"
            )
        return self.path


@dataclass(frozen=True)
class Item:
    """One picture, and what there is of it.

    Attributes:
        name: How it is called in the list; sub-folders are part of it.
        photo: The photograph.
        prediction: A mask of predicted ids.
        truth: A label file of a data set, or another run's mask.
    """

    name: str
    photo: File | None = None
    prediction: File | None = None
    truth: File | None = None


@dataclass(frozen=True)
class Folder:
    """What is looked through.

    Attributes:
        root: The folder as it was given.
        items: The pictures, by name.
        space: The classes, and what ids in predicted masks mean.
        truth_space: What ids in label files mean.
        reference: What the predictions are compared with: ``Truth``, or the name of another run.
    """

    root: Path
    items: tuple[Item, ...] = field(repr=False)
    space: LabelSpace
    truth_space: LabelSpace
    reference: str = "Truth"

    @property
    def kind(self) -> str:
        """``predictions``, ``data``, or ``comparison`` of predictions with the truth."""
        has_truth = any(item.truth for item in self.items)
        if not any(item.prediction for item in self.items):
            return "data"
        return "comparison" if has_truth else "predictions"

    def prediction(self, item: Item) -> Ids | None:
        """The predicted class ids (H, W) of a picture; None if there are none.

        Raises:
            FullyConvError: If the file cannot be used.
        """
        return _ids(item.prediction, self.space)

    def truth(self, item: Item) -> Ids | None:
        """The true class ids, as :meth:`prediction`."""
        return _ids(item.truth, self.truth_space)


def _ids(file: File | None, space: LabelSpace) -> Ids | None:
    if file is None:
        return None
    path = file.checked()
    return space.encode(read_labels(path), path)
