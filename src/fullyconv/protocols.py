"""How a published score is counted: split, classes, void; and what was published."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fullyconv.errors import FullyConvError, UsageError, did_you_mean
from fullyconv.labels import LABEL_SPACES, LabelSpace, difference

MEASURES = ("pixel_accuracy", "mean_accuracy", "mean_iou", "frequency_weighted_iou")
"""The paper's four numbers in the order of its tables, as ``Metrics`` names them."""


@dataclass(frozen=True)
class Published:
    """One published row, in per cent.

    Attributes:
        network: Recipe that it is of, where there is one; else what was scored.
        mean_iou: Mean IU, and so on; None where it was not published.
        source: Where it stands.
    """

    network: str
    mean_iou: float
    source: str
    pixel_accuracy: float | None = None
    mean_accuracy: float | None = None
    frequency_weighted_iou: float | None = None


@dataclass(frozen=True)
class Protocol:
    """What is counted, and how.

    Attributes:
        description: The rule in words.
        labels: Name of the label space that the network must have.
        data: The data set, as ``fcn data prepare`` names it.
        split: Sub-folder that ``fcn data prepare`` makes.
        pictures: How many pictures the published split has; 0 where it is not known.
        void: Classes that are not counted where the truth has them, beside void itself.
        present_only: Average over the classes that occur in the truth alone; without it, also over
            those that were only predicted, and are therefore 0.
        published: What was published under this rule.
    """

    description: str
    labels: str
    data: str
    split: str
    pictures: int = 0
    void: tuple[str, ...] = ()
    present_only: bool = False
    published: tuple[Published, ...] = ()

    @property
    def void_ids(self) -> tuple[int, ...]:
        """Ids of the classes in ``void``."""
        return tuple(LABEL_SPACES[self.labels].categories.index(name) for name in self.void)

    def rows(self, pictures: int) -> tuple[Published, ...]:
        """The published rows that a score over so many pictures can stand beside."""
        return self.published if pictures == self.pictures or not self.pictures else ()

    def said(self, pictures: int) -> str:
        """The rule in words, and over how many pictures a score by it is."""
        if not self.pictures:
            return f"{self.description}; scored here: {pictures}"
        if pictures == self.pictures:
            return self.description
        return (
            f"{self.description}\nscored here: {pictures} of {self.pictures} pictures. That is not "
            "the published split, so no published row stands beside it"
        )

    def check(self, labels: LabelSpace) -> None:
        """Raise if a network's classes are not the protocol's.

        Raises:
            FullyConvError: If they are not.
        """
        wanted, given = LABEL_SPACES[self.labels].categories, labels.categories
        if wanted != given:
            how = difference(wanted, given)
            raise FullyConvError(
                f"the protocol is for the {len(wanted)} classes of {self.labels!r}, but the model "
                f"has {len(given)} classes ({how}); score it without --protocol"
            )


_CVPR = "first regime; CVPR 2015, table"
_README = "release's README"
_ZOO = "Caffe's model zoo"


def _row(
    network: str,
    source: str,
    pixel_accuracy: float | None,
    mean_accuracy: float | None,
    mean_iou: float,
    frequency_weighted: float | None,
) -> Published:
    """A row in the order of the paper's tables."""
    return Published(network, mean_iou, source, pixel_accuracy, mean_accuracy, frequency_weighted)


def _iou(network: str, source: str, mean_iou: float) -> Published:
    return Published(network, mean_iou, source)


PROTOCOLS: dict[str, Protocol] = {
    "voc-seg11valid": Protocol(
        "PASCAL VOC, the authors' 736 pictures; 21 classes, void (255) not counted",
        "voc",
        "voc",
        "val",
        pictures=736,
        published=(
            _iou("voc-fcn32s", _README, 63.6),
            _iou("voc-fcn16s", _README, 65.0),
            _iou("voc-fcn8s", _README, 65.5),
            _iou("voc-fcn8s-atonce", _README, 65.4),
            _iou("voc-fcn-alexnet", _README, 48.0),
            _row("FCN-32s-fixed", f"{_CVPR} 2", 83.0, 59.7, 45.4, 72.0),
            _row("FCN-32s", f"{_CVPR} 2", 89.1, 73.3, 59.4, 81.4),
            _row("FCN-16s", f"{_CVPR} 2", 90.0, 75.7, 62.4, 83.0),
            _row("FCN-8s", f"{_CVPR} 2", 90.3, 75.9, 62.7, 83.2),
        ),
    ),
    "voc-val": Protocol(
        "PASCAL VOC's own val list; 21 classes, void (255) not counted",
        "voc",
        "voc",
        "val-official",
        published=(
            _iou("voc-fcn-alexnet-2015", "VOC2011; CVPR 2015, table 1", 39.8),
            _iou("voc-fcn32s-2015", "VOC2011; CVPR 2015, table 1", 56.0),
            _iou("voc-fcn-googlenet-2015", "VOC2011; CVPR 2015, table 1", 42.5),
        ),
    ),
    "nyudv2-test": Protocol(
        "NYUDv2, 654 pictures; 40 classes, void not counted",
        "nyud",
        "nyudv2",
        "test",
        pictures=654,
        published=(
            _row("nyud-fcn32s-color", f"{_CVPR} 4", 60.0, 42.2, 29.2, 43.9),
            _row("nyud-fcn32s-color-d", f"{_CVPR} 4", 61.5, 42.4, 30.5, 45.5),
            _row("nyud-fcn32s-hha", f"{_CVPR} 4", 57.1, 35.2, 24.2, 40.4),
            _row("nyud-fcn32s-color-hha", f"{_CVPR} 4", 64.3, 44.9, 32.8, 48.0),
            _row("FCN-16s RGB-HHA", f"{_CVPR} 4", 65.4, 46.1, 34.0, 49.5),
        ),
    ),
    "siftflow-test": Protocol(
        "SIFT Flow, 200 pictures; of 33 semantic classes those that occur in them are averaged, "
        "and the 3 geometric classes are scored beside them; void not counted",
        "siftflow",
        "siftflow",
        "test",
        pictures=200,
        present_only=True,
        published=(_row("siftflow-fcn16s", f"{_CVPR} 5", 85.2, 51.7, 39.5, 76.1),),
    ),
    "context-60": Protocol(
        "PASCAL-Context val; 59 classes and background",
        "pascalcontext",
        "pascalcontext",
        "val",
        pictures=5105,
        published=(
            _iou("pascalcontext-fcn32s", _ZOO, 35.1),
            _iou("pascalcontext-fcn8s", _ZOO, 37.8),
        ),
    ),
    "context-59": Protocol(
        "PASCAL-Context val; pixels whose truth is background are not counted, background "
        "predicted elsewhere is an error, and the 59 classes that occur are averaged",
        "pascalcontext",
        "pascalcontext",
        "val",
        pictures=5105,
        void=("background",),
        present_only=True,
        published=(
            _row("pascalcontext-fcn32s", "first regime; arXiv v2, table 6", 63.8, 42.7, 31.8, 48.3),
            _row("pascalcontext-fcn16s", "first regime; arXiv v2, table 6", 65.7, 46.2, 34.8, 50.7),
            _row("pascalcontext-fcn8s", "first regime; arXiv v2, table 6", 65.9, 46.5, 35.1, 51.0),
        ),
    ),
    "camvid-test": Protocol(
        "CamVid, SegNet's 233 test pictures; 11 classes, void (11) not counted",
        "camvid",
        "camvid",
        "test",
        pictures=233,
    ),
}
"""By name, as ``fcn evaluate --protocol`` takes it."""


def protocol(name: str) -> Protocol:
    """A protocol by name.

    Raises:
        UsageError: If there is none of that name.

    Example:
        >>> protocol("nyudv2-test").published[0].mean_iou
        29.2
    """
    if name not in PROTOCOLS:
        raise UsageError(f"there is no protocol {name!r}. {did_you_mean(name, list(PROTOCOLS))}")
    return PROTOCOLS[name]


def published(network: str) -> str:
    """What was published of a recipe's network, each figure with its protocol and its source.

    Example:
        >>> published("voc-fcn8s")
        "65.5 mean IU by voc-seg11valid (release's README)"
    """
    rows = [
        f"{row.mean_iou} mean IU by {name} ({row.source})"
        for name, rule in PROTOCOLS.items()
        for row in rule.published
        if row.network == network
    ]
    return "; ".join(rows) or "not at hand"


def protocol_of(data: Sequence[str], split: str, num_classes: int) -> str:
    """The first protocol by which such a network on such data is scored; "" if there is none.

    Args:
        data: Published data sets, as ``fcn data prepare`` names them.
        split: Sub-folder that is scored.
        num_classes: Of the network.

    Example:
        >>> protocol_of(["voc", "sbd"], "val", 21)
        'voc-seg11valid'
    """
    fits = (
        name
        for name, rule in PROTOCOLS.items()
        if rule.data in data
        and (rule.split, LABEL_SPACES[rule.labels].num_classes) == (split, num_classes)
    )
    return next(fits, "")
