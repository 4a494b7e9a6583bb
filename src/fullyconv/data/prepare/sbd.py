"""SBD, the Semantic Boundaries Dataset: more of VOC's pictures with labels; the authors' training.

Its train and val are not VOC's: SBD's train holds pictures of VOC's val, which is why the authors
validate on seg11valid, the part of VOC 2011's val that SBD's train does not touch.
"""

from __future__ import annotations

from pathlib import Path

from fullyconv.data.prepare.lists import read_names, shipped
from fullyconv.data.prepare.locate import find_folder
from fullyconv.data.prepare.matlab import read_ids
from fullyconv.data.prepare.plan import (
    Contents,
    Plan,
    Preparer,
    Request,
    drawn_labels,
    picture,
    without,
)
from fullyconv.labels import VOC

_LISTS = {"sbd-train": ("train", 8498), "sbd-val": ("val", 2857)}


def plan(request: Request) -> Plan:
    """SBD's lists without any picture that is validated on."""
    lists = [f"{_LISTS[split][0]}.txt" for split in request.splits]
    root = find_folder(request.sources, ["img/", "cls/", *lists], "SBD")
    made = Plan(VOC)
    held_out = {*shipped("seg11valid"), *_validated(request.out)}
    for split in request.splits:
        list_name, published = _LISTS[split]
        names = read_names(root / f"{list_name}.txt")
        made.expect(split, len(names), published)
        what = f"pictures of SBD's {list_name} that are validated on"
        for name in without(names, held_out, what, made.left_out):
            image, labels = root / "img" / f"{name}.jpg", root / "cls" / f"{name}.mat"
            made.add_pair(split, name, image, labels, _read)
    return made


def _validated(root: Path) -> set[str]:
    """Pictures of the validation splits that are prepared already."""
    return {
        path.stem for split in ("val", "val-official") for path in root.glob(f"{split}/labels/*")
    }


def _read(image: Path, labels: Path) -> Contents:
    ids = read_ids(labels, "GTcls", "Segmentation")
    return {"images": picture(image), "labels": drawn_labels(VOC, ids, labels)}


PREPARER = Preparer(
    description="SBD's train (8498 pictures), which the authors train on; beside a prepared voc",
    download=(
        "benchmark.tgz (1.4 GB) of Semantic Contours from Inverse Detectors, from the page of "
        "Berkeley's vision group or Bharath Hariharan's"
    ),
    structure="benchmark_RELEASE/dataset with img/*.jpg, cls/*.mat and train.txt",
    splits=("sbd-train",),
    more_splits=("sbd-val",),
    plan=plan,
    members=r"(^|/)(img/[^/]+\.jpg|cls/[^/]+\.mat|(train|val)\.txt)$",
)
