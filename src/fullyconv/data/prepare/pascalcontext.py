"""PASCAL-Context: every pixel of VOC 2010's pictures, 59 classes of 459 and background."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fullyconv.data.prepare.lists import read_names
from fullyconv.data.prepare.locate import find_folder
from fullyconv.data.prepare.matlab import read_ids
from fullyconv.data.prepare.plan import Contents, Drawn, Plan, Preparer, Request, picture
from fullyconv.errors import FullyConvError
from fullyconv.labels import PASCAL_CONTEXT

_RAW_CLASSES = 459
_PUBLISHED = {"train": 4998, "val": 5105}

# The 59-class task's names that the 459-name list spells otherwise (pascalcontext_layers.py).
_SPELLING = {"diningtable": "table", "bedcloth": "bedclothes", "clothes": "cloth"}

# Ids of the 59 in the 459-name list, labels.txt (data/pascal-context/classes-400.txt).
_RAW_NAMES = (
    "2 aeroplane, 9 bag, 18 bed, 19 bedclothes, 22 bench, 23 bicycle, 25 bird, 31 boat, 33 book, "
    "34 bottle, 44 building, 45 bus, 46 cabinet, 59 car, 65 cat, 68 ceiling, 72 chair, 80 cloth, "
    "85 computer, 98 cow, 104 cup, 105 curtain, 113 dog, 115 door, 144 fence, 158 floor, "
    "159 flower, 162 food, 187 grass, 189 ground, 207 horse, 220 keyboard, 232 light, "
    "258 motorbike, 259 mountain, 260 mouse, 284 person, 295 plate, 296 platform, "
    "308 pottedplant, 324 road, 326 rock, 347 sheep, 349 shelves, 354 sidewalk, 355 sign, 360 sky, "
    "366 snow, 368 sofa, 397 table, 415 track, 416 train, 420 tree, 424 truck, 427 tvmonitor, "
    "440 wall, 445 water, 454 window, 458 wood"
)
RAW_IDS = {name: int(number) for number, name in map(str.split, _RAW_NAMES.split(","))}
"""Id of each name as the label maps hold it."""


def plan(request: Request) -> Plan:
    """VOC 2010's lists for main tasks, each picture with its label map."""
    lists = [f"ImageSets/Main/{split}.txt" for split in request.splits]
    voc = find_folder(request.sources, ["JPEGImages/", *lists], "VOC 2010", prefer=("VOC2010",))
    annotations = find_folder(request.sources, ["trainval/"], "PASCAL-Context") / "trainval"
    beside = [folder / "labels.txt" for folder in (annotations.parent, *request.sources)]
    listed = next((path for path in beside if path.is_file()), None)
    table = class_table(RAW_IDS if listed is None else read_labels_txt(listed), listed)
    made = Plan(PASCAL_CONTEXT)
    made.notes.append("all but the 59 classes is background, which is trained; nothing is void")
    for split in request.splits:
        names = read_names(voc / "ImageSets" / "Main" / f"{split}.txt")
        made.expect(split, len(names), _PUBLISHED[split])
        for name in names:
            image, labels = voc / "JPEGImages" / f"{name}.jpg", annotations / f"{name}.mat"
            made.add_pair(split, name, image, labels, _read, table, called="label map")
    return made


def read_labels_txt(path: Path) -> dict[str, int]:
    """Ids by name from the published labels.txt, whose lines are ``19: bedclothes``.

    Raises:
        FullyConvError: If a line is of another form.
    """
    ids = {}
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.strip():
                number, name = line.split(":")
                ids[name.replace(" ", "")] = int(number)
    except (OSError, ValueError) as error:
        raise FullyConvError(f"{path}: not a list of lines like '19: bedclothes'") from error
    return ids


def class_table(ids: Mapping[str, int], source: Path | None) -> NDArray[np.uint8]:
    """Class id of each raw id: the 59 classes by name, everything else 0, background.

    Raises:
        FullyConvError: If a name is not in the list, or its id is not 1 to 459.
    """
    table = np.zeros(_RAW_CLASSES + 1, np.uint8)
    for number, name in enumerate(PASCAL_CONTEXT.categories[1:], 1):
        raw = ids.get(_SPELLING.get(name, name), 0)
        if not 0 < raw <= _RAW_CLASSES:
            raise FullyConvError(f"{source}: class {name!r} of the 59 is not in the list of 459")
        table[raw] = number
    return table


def _read(image: Path, labels: Path, table: NDArray[np.uint8]) -> Contents:
    raw: NDArray[np.int64] = read_ids(labels, "LabelMap")
    if not ((raw >= 0) & (raw < len(table))).all():
        worst = raw.max() if raw.min() >= 0 else raw.min()
        raise FullyConvError(f"{labels}: the label map holds {worst}; ids are 0 to {_RAW_CLASSES}")
    return {"images": picture(image), "labels": Drawn(table[raw], PASCAL_CONTEXT.palette)}


PREPARER = Preparer(
    description="PASCAL-Context, 59 classes and background: 4998 train, 5105 val",
    download=(
        "VOCtrainval_03-May-2010.tar from host.robots.ox.ac.uk/pascal/VOC/voc2010, and "
        "trainval.tar.gz (labels.txt too, if at hand) from cs.stanford.edu/~roozbeh/pascal-context"
    ),
    structure=(
        "VOCdevkit/VOC2010 with JPEGImages/ and ImageSets/Main/train.txt, val.txt; trainval/*.mat; "
        "give both as sources, or one folder that holds both"
    ),
    splits=("train", "val"),
    plan=plan,
    members=(
        r"(^|/)(JPEGImages/[^/]+|ImageSets/Main/(train|val)\.txt|trainval/[^/]+\.mat|labels\.txt)$"
    ),
)
