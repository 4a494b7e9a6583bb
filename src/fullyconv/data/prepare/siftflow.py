"""SIFT Flow: outdoor scenes with semantic and geometric labels."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from fullyconv.data.prepare.lists import shipped
from fullyconv.data.prepare.locate import find_folder
from fullyconv.data.prepare.matlab import read_ids
from fullyconv.data.prepare.plan import (
    Contents,
    Plan,
    Preparer,
    Request,
    checked_name,
    drawn_labels,
    picture,
    stored,
    without,
)
from fullyconv.labels import SIFTFLOW, SIFTFLOW_GEOMETRIC

_SCENES = "spatial_envelope_256x256_static_8outdoorcategories"
_FOLDERS = {"images": "Images", "labels": "SemanticLabels", "geometric": "GeoLabels"}
_PUBLISHED = {"trainval": 2486, "test": 200}

# Without annotations, and in neither list of the authors' (their data/sift-flow/classes.txt).
UNANNOTATED = ("highway_bost181", "street_urb506")


def plan(request: Request) -> Plan:
    """The authors' test list, and all other annotated pictures as trainval."""
    folders = {kind: f"{folder}/{_SCENES}" for kind, folder in _FOLDERS.items()}
    root = find_folder(request.sources, [f"{f}/" for f in folders.values()], "SIFT Flow")
    made = Plan(SIFTFLOW, more_labels={"geometric": stored(SIFTFLOW_GEOMETRIC)})
    test = shipped("siftflow-test")
    present = sorted(path.stem for path in (root / folders["images"]).glob("[!.]*.jpg"))
    annotated = without(present, UNANNOTATED, "pictures without annotations", made.left_out)
    names = {"test": test, "trainval": [name for name in annotated if name not in set(test)]}
    for split in request.splits:
        made.expect(split, len(names[split]), _PUBLISHED[split])
        for name in names[split]:
            checked_name(name, root)
            files = {
                kind: root / folder / f"{name}.{'jpg' if kind == 'images' else 'mat'}"
                for kind, folder in folders.items()
            }
            made.add(
                split,
                name,
                {_FOLDERS[kind]: path for kind, path in files.items()},
                {"images": ".jpg", "labels": ".png", "geometric": ".png"},
                partial(_read, files),
            )
    return made


def _read(files: dict[str, Path]) -> Contents:
    semantic = read_ids(files["labels"], "S")
    geometric = np.maximum(read_ids(files["geometric"], "S"), 0)
    return {
        "images": picture(files["images"]),
        "labels": drawn_labels(SIFTFLOW, semantic, files["labels"]),
        "geometric": drawn_labels(SIFTFLOW_GEOMETRIC, geometric, files["geometric"]),
    }


PREPARER = Preparer(
    description="SIFT Flow: 2486 trainval, 200 test; 33 semantic and 3 geometric classes",
    download=(
        "SiftFlowDataset.zip of Tighe and Lazebnik's SuperParsing (ECCV 2010), from "
        "www.cs.unc.edu/~jtighe/Papers/ECCV10"
    ),
    structure=f"Images/{_SCENES}/*.jpg, SemanticLabels/{_SCENES}/*.mat, GeoLabels/{_SCENES}/*.mat",
    splits=("trainval", "test"),
    plan=plan,
    members=rf"(^|/)(Images|SemanticLabels|GeoLabels)/{_SCENES}/[^/]+\.(jpg|mat)$",
)
