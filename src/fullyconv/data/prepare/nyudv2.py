"""NYUDv2: indoor scenes with depth, 40 classes, 381 train, 414 val, 654 test.

Two published forms are read. The authors' nyud.tar.gz holds what their networks saw: pictures cut
to 560 x 425 (Gupta's I(46:470, 41:600)), labels of 40 classes with double contours mended, HHA. The
data set's own nyu_depth_v2_labeled.mat holds 640 x 480 pictures and 894 classes; a second file maps
them to 40, and depth is encoded by :mod:`fullyconv.data.hha`.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fullyconv.data.hha import NYUDV2_CAMERA, encode_hha
from fullyconv.data.prepare.lists import shipped
from fullyconv.data.prepare.locate import find_file, find_folder
from fullyconv.data.prepare.matlab import is_v73, member, opened_v73, read_ids, read_mat
from fullyconv.data.prepare.plan import (
    Contents,
    Copied,
    Drawn,
    Plan,
    Preparer,
    Request,
    drawn_labels,
    picture,
)
from fullyconv.errors import FullyConvError
from fullyconv.images import read_labels
from fullyconv.labels import NYUDV2

_LABELED = "nyu_depth_v2_labeled.mat"
_FIRST = 5001  # the authors' name of the first picture: img_%04d of i + 5000 (nyu-hooks)
_CROP = (40, 45)  # columns and rows that the authors' pictures lack at left and top
_MAPPINGS = ("classMapping40.mat", "labels40.mat")
_SUFFIXES = {"images": ".png", "labels": ".png", "depth": ".png", "hha": ".png"}


def plan(request: Request) -> Plan:
    """The authors' lists, from whichever of the two forms is there."""
    labeled = find_file(request.sources, lambda name: name == _LABELED)
    made = Plan(NYUDV2)
    if labeled is None:
        _plan_authors(request, made)
    else:
        _plan_labeled(request, labeled, made)
    return made


def _plan_authors(request: Request, made: Plan) -> None:
    root = find_folder(
        request.sources,
        ["data/images/", "data/depth/"],
        f"NYUDv2 (nyud.tar.gz, or {_LABELED} with classMapping40.mat)",
    )
    segmentation = root / "segmentation"  # beside data/ (nyud_layers.py)
    if not segmentation.is_dir():
        segmentation = root / "data" / "segmentation"
    kinds = ["images", "depth", "hha"]
    if not (root / "data" / "hha").is_dir():
        kinds.remove("hha")
        made.notes.append("no data/hha in the source: HHA is encoded here, from the depth")
    for split in request.splits:
        for name in shipped(f"nyudv2-{split}"):
            files = {kind: root / "data" / kind / f"img_{name}.png" for kind in kinds}
            files["labels"] = segmentation / f"img_{name}.mat"
            made.add(split, name, files, _SUFFIXES, partial(_read_authors, files))


def _read_authors(files: dict[str, Path]) -> Contents:
    depth = read_labels(files["depth"])  # whole numbers as stored
    if "hha" in files:
        hha: Copied | Drawn = picture(files["hha"])
    else:
        cut = depth.shape == (425, 560)
        camera = NYUDV2_CAMERA.cropped(*_CROP) if cut else NYUDV2_CAMERA
        hha = Drawn(encode_hha(depth / 1000.0, camera))
    return {
        "images": picture(files["images"]),
        "labels": drawn_labels(NYUDV2, read_ids(files["labels"], "segmentation"), files["labels"]),
        "depth": Copied(files["depth"], depth.shape),
        "hha": hha,
    }


def _plan_labeled(request: Request, labeled: Path, made: Plan) -> None:
    if not is_v73(labeled):
        raise FullyConvError(f"{labeled} is not the published file, a .mat of version 7.3 (HDF5)")
    mapping = find_file((*request.sources, labeled.parent), _MAPPINGS.__contains__)
    if mapping is None:
        raise FullyConvError(
            f"{labeled} labels 894 classes; classMapping40.mat (from the repository "
            "VainF/nyuv2-python-toolkit on GitHub, or in nyud.tar.gz) or labels40.mat (from "
            "ankurhanda/nyuv2-meta-data) is needed beside it to make 40 of them"
        )
    with opened_v73(labeled) as file:
        count = len(member(file, ("images",), labeled))
        for variable in ("depths", "labels"):
            member(file, (variable,), labeled)
    made.notes.append(f"labels by {mapping.name}; pictures are 640 x 480, not cut to 560 x 425")
    table = None
    if mapping.name == "labels40.mat":
        mapping = _spread(mapping, request.scratch)
    else:
        table = class_table(mapping)
    for split in request.splits:
        for name in shipped(f"nyudv2-{split}"):
            index = int(name) - _FIRST
            if index >= count:
                made.missing.setdefault((split, f"only {count} pictures in {_LABELED}"), []).append(
                    name
                )
                continue
            read = partial(_read_labeled, labeled, index, mapping, table)
            made.add(split, name, {}, _SUFFIXES, read)


def class_table(mapping: Path) -> NDArray[np.uint8]:
    """Class of 40 (1 to 40) of each of the 894 ids, 0 for 0, from classMapping40.mat.

    Raises:
        FullyConvError: If the file holds something else.
    """
    classes = read_mat(mapping, "mapClass").ravel()
    if not ((classes >= 1) & (classes <= 40)).all():
        raise FullyConvError(f"{mapping}: mapClass holds {classes.max()}; classes are 1 to 40")
    return np.concatenate([[0], classes]).astype(np.uint8)


def _spread(labels40: Path, scratch: Path) -> Path:
    """labels40.mat as a file of which each process reads its pictures' part."""
    array = read_mat(labels40, "labels40")  # (H, W, N), 445 MB
    if array.ndim != 3:
        raise FullyConvError(f"{labels40}: labels40 has the shape {array.shape}, not (H, W, N)")
    path = scratch / "labels40.npy"
    np.save(path, np.moveaxis(array, 2, 0).astype(np.uint8))
    return path


def _read_labeled(
    labeled: Path, index: int, mapping: Path, table: NDArray[np.uint8] | None
) -> Contents:
    with opened_v73(labeled) as file:
        image, depth, ids = (
            # MATLAB's axes come in reverse: (3, W, H) and (W, H)
            np.ascontiguousarray(np.asarray(file[name][index]).T)
            for name in ("images", "depths", "labels")
        )
        raw = np.asarray(file["rawDepths"][index]).T if "rawDepths" in file else depth
    if table is not None:
        if ids.max() >= len(table):
            raise FullyConvError(f"{labeled}: label {ids.max()} is not in {mapping}")
        ids = table[ids]
    else:
        ids = np.load(mapping, mmap_mode="r", allow_pickle=False)[index]
    millimetres = np.clip(np.nan_to_num(depth) * 1000 + 0.5, 0, 65535).astype(np.uint16)
    return {
        "images": Drawn(image.astype(np.uint8)),
        "labels": drawn_labels(NYUDV2, ids, labeled),
        "depth": Drawn(millimetres),
        "hha": Drawn(encode_hha(depth, measured=raw > 0)),
    }


PREPARER = Preparer(
    description="NYUDv2, 40 classes, with depth and HHA: 381 train, 414 val, 654 test",
    download=(
        "nyud.tar.gz from dl.caffe.berkeleyvision.org (the authors' own form); or "
        f"{_LABELED} (2.8 GB) from Silberman's NYU Depth V2 page together with classMapping40.mat "
        "or labels40.mat (VainF/nyuv2-python-toolkit, ankurhanda/nyuv2-meta-data on GitHub)"
    ),
    structure=(
        "data/images, data/depth, data/hha/img_5001.png and segmentation/img_5001.mat; or the two "
        ".mat files, given both or in one folder"
    ),
    splits=("train", "val", "test"),
    plan=plan,
    members=(
        r"(^|/)(data/(images|depth|hha)/[^/]+\.png|segmentation/[^/]+\.mat"
        rf"|{_LABELED}|classMapping40\.mat|labels40\.mat)$"
    ),
)
