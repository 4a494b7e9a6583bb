"""PASCAL VOC 2011 or 2012: 20 object classes and background."""

from __future__ import annotations

from pathlib import Path

from fullyconv.data.prepare.lists import read_names, shipped
from fullyconv.data.prepare.locate import find_folder
from fullyconv.data.prepare.plan import Contents, Copied, Plan, Preparer, Request, picture, without
from fullyconv.images import read_labels
from fullyconv.labels import VOC

_LISTS = {"train": "train", "val-official": "val"}  # our splits: VOC's own lists
# Pictures in them by year (the data statistics on PASCAL VOC's pages, segmentation).
_PUBLISHED = {
    "VOC2011": {"train": 1112, "val-official": 1111},
    "VOC2012": {"train": 1464, "val-official": 1449},
}


def plan(request: Request) -> Plan:
    """VOC's train without the validation list; the list itself as val."""
    lists = [f"ImageSets/Segmentation/{_LISTS[s]}.txt" for s in request.splits if s in _LISTS]
    root = find_folder(
        request.sources,
        ["JPEGImages/", "SegmentationClass/", *lists],
        "PASCAL VOC",
        prefer=("VOC2011", "VOC2012"),  # the paper's, and the one that holds it
    )
    made = Plan(VOC)
    made.notes.append(f"pictures and labels are those of {root.name}")
    held_out = shipped("seg11valid")
    for split in request.splits:
        if split == "val":
            names = held_out
        else:
            names = read_names(root / "ImageSets" / "Segmentation" / f"{_LISTS[split]}.txt")
            if root.name in _PUBLISHED:
                made.expect(split, len(names), _PUBLISHED[root.name][split])
        if split == "train":
            what = "pictures of VOC's train that are in seg11valid"
            names = without(names, held_out, what, made.left_out)
        for name in names:
            image = root / "JPEGImages" / f"{name}.jpg"
            labels = root / "SegmentationClass" / f"{name}.png"
            made.add_pair(split, name, image, labels, _read)
    return made


def _read(image: Path, labels: Path) -> Contents:
    ids = VOC.encode(read_labels(labels), labels)  # they already are class ids, and void 255
    return {"images": picture(image), "labels": Copied(labels, ids.shape)}


PREPARER = Preparer(
    description="PASCAL VOC segmentation; val is seg11valid, the authors' 736 pictures",
    download=(
        "VOCtrainval_25-May-2011.tar or VOCtrainval_11-May-2012.tar from the PASCAL VOC site, "
        "host.robots.ox.ac.uk/pascal/VOC"
    ),
    structure=(
        "VOCdevkit/VOC2012 (or VOC2011, in TrainVal/) with JPEGImages/, SegmentationClass/ and "
        "ImageSets/Segmentation/train.txt"
    ),
    splits=("train", "val"),
    more_splits=("val-official",),
    plan=plan,
    members=r"(^|/)(JPEGImages|SegmentationClass|ImageSets/Segmentation)/[^/]+$",
)
