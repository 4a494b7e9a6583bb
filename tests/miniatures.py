"""Miniatures of the published data sets: their structure, file names, types and quirks.

Each function makes one in a folder and returns the labels that preparing it must give, by picture.
The lists that the package brings along are of the whole data sets; LISTS are those to put in their
place.
"""

from __future__ import annotations

import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fullyconv.labels import voc_palette

Ids = NDArray[np.uint8]
Labels = dict[str, Ids]

SCENES = "spatial_envelope_256x256_static_8outdoorcategories"
LISTS = {
    "seg11valid": ["2007_000033", "2007_000061"],
    "nyudv2-train": ["5002"],
    "nyudv2-val": ["5003"],
    "nyudv2-test": ["5001"],
    "siftflow-test": ["coast_natu975"],
}
_SIZE = (12, 16)  # height, width


def scipy_io() -> Any:
    import importlib

    return importlib.import_module("scipy.io")


def photo(path: Path, seed: int, size: tuple[int, int] = _SIZE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    Image.fromarray(pixels).save(path)


def mat(path: Path, **variables: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy_io().savemat(path, variables, do_compression=True)


def blocks(seed: int, choices: list[int], size: tuple[int, int] = _SIZE) -> NDArray[np.int64]:
    """Ids in blocks, every choice at least once if there is room."""
    cells = np.resize(
        np.random.default_rng(seed).permutation(choices), (size[0] // 4, size[1] // 4)
    )
    return cells.astype(np.int64).repeat(4, 0).repeat(4, 1)


def voc(folder: Path, year: int = 2012) -> Labels:
    """VOCdevkit; one picture of seg11valid is also in its train, which the real one's is not."""
    root = folder / "VOCdevkit" / f"VOC{year}"
    lists = {
        "train": ["2007_000032", "2007_000061", "2007_000039"],
        "val": ["2007_000033", "2007_000999"],
        "trainval": [],
    }
    lists["trainval"] = lists["train"] + lists["val"]
    palette = [value for color in voc_palette(256) for value in color]
    made = {}
    for number, name in enumerate(lists["trainval"]):
        photo(root / "JPEGImages" / f"{name}.jpg", number)
        ids = blocks(number, [0, 1, 15, 20, 255]).astype(np.uint8)
        image = Image.fromarray(ids)
        image.putpalette(palette)
        (root / "SegmentationClass").mkdir(exist_ok=True)
        image.save(root / "SegmentationClass" / f"{name}.png")
        made[name] = ids
    photo(root / "JPEGImages" / "2008_000001.jpg", 99)  # most pictures have no segmentation
    (root / "Annotations").mkdir()
    (root / "Annotations" / "2007_000032.xml").write_text("<annotation/>")
    for name, names in lists.items():
        path = root / "ImageSets" / "Segmentation" / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{n}\n" for n in names))
    return made


def sbd(folder: Path) -> Labels:
    """benchmark_RELEASE; GTcls is a struct, with boundaries beside the segmentation; no void."""
    root = folder / "benchmark_RELEASE" / "dataset"
    lists = {"train": ["2008_000002", "2008_000003"], "val": ["2007_000033", "2008_000005"]}
    made = {}
    for number, name in enumerate(lists["train"] + lists["val"]):
        photo(root / "img" / f"{name}.jpg", number)
        ids = blocks(number, [0, 3, 20]).astype(np.uint8)
        boundaries = np.empty((20, 1), object)
        boundaries[:] = [[np.zeros((2, 2), bool)]] * 20
        struct = {
            "Boundaries": boundaries,
            "Segmentation": ids,
            "CategoriesPresent": np.array([[3], [20]], np.uint8),
        }
        mat(root / "cls" / f"{name}.mat", GTcls=struct)
        mat(root / "inst" / f"{name}.mat", GTinst={"Segmentation": ids})
        made[name] = ids
    for name, names in lists.items():
        (root / f"{name}.txt").write_text("\n".join(names))  # no newline at the end
    return made


def camvid(folder: Path) -> Labels:
    """SegNet's folder: grey PNG of ids 0 to 11, 11 void."""
    root = folder / "CamVid"
    made = {}
    for number, split in enumerate(("train", "val", "test")):
        for name in (f"0001TP_00{number}690", f"Seq05VD_f0{number}510"):
            photo(root / split / f"{name}.png", number)
            ids = blocks(number, [0, 5, 10, 11]).astype(np.uint8)
            (root / f"{split}annot").mkdir(exist_ok=True)
            Image.fromarray(ids).save(root / f"{split}annot" / f"{name}.png")
            made[name] = np.where(ids == 11, 255, ids).astype(np.uint8)
        (root / f"{split}.txt").write_text(f"/SegNet/CamVid/{split}/x.png /SegNet/CamVid/x.png\n")
    return made


def siftflow(folder: Path) -> tuple[Labels, Labels]:
    """Semantic ids 1 to 33 with void 0, geometric 1 to 3 with void -1; two without annotations."""
    semantic, geometric = {}, {}
    names = ["coast_natu975", "forest_for121", "street_bost64", "highway_bost181", "street_urb506"]
    for number, name in enumerate(names):
        photo(folder / "Images" / SCENES / f"{name}.jpg", number)
        if name in ("highway_bost181", "street_urb506"):
            continue
        ids = blocks(number, [0, 1, 28, 33])
        mat(
            folder / "SemanticLabels" / SCENES / f"{name}.mat",
            S=ids.astype(np.uint8),
            names=np.array([["awning"], ["balcony"]], object),
        )
        semantic[name] = np.where(ids == 0, 255, ids - 1).astype(np.uint8)
        ids = blocks(number, [-1, 1, 2, 3])
        mat(folder / "GeoLabels" / SCENES / f"{name}.mat", S=ids.astype(np.float64))
        geometric[name] = np.where(ids == -1, 255, ids - 1).astype(np.uint8)
    return semantic, geometric


def pascalcontext(folder: Path) -> Labels:
    """VOC 2010 and the label maps, uint16 ids of 459 names; unknown things and 0 are background."""
    root = folder / "VOCdevkit" / "VOC2010"
    lists = {"train": ["2008_000002", "2008_000015"], "val": ["2008_000008"]}
    #     background  aeroplane  bedclothes  cloth  table  unknown  wall  wood  accordion
    raw = {0: 0, 2: 1, 19: 52, 80: 28, 397: 11, 431: 0, 440: 56, 458: 59, 1: 0}
    made = {}
    for number, name in enumerate(lists["train"] + lists["val"]):
        photo(root / "JPEGImages" / f"{name}.jpg", number)
        ids = blocks(number, list(raw))
        mat(folder / "trainval" / f"{name}.mat", LabelMap=ids.astype(np.uint16))
        made[name] = np.vectorize(raw.get)(ids).astype(np.uint8)
    for name, names in lists.items():
        path = root / "ImageSets" / "Main" / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{n}\r\n" for n in names))
        (path.parent / f"aeroplane_{name}.txt").write_text(f"{names[0]} -1\n")
    return made


def nyud(folder: Path, hha: bool = True) -> Labels:
    """The authors' nyud.tar.gz: labels 1 to 40, void 0, beside data/; depth in millimetres."""
    made = {}
    for number, name in enumerate(("5001", "5002", "5003")):
        photo(folder / "data" / "images" / f"img_{name}.png", number)
        if hha:
            photo(folder / "data" / "hha" / f"img_{name}.png", number + 10)
        depth = folder / "data" / "depth" / f"img_{name}.png"
        depth.parent.mkdir(exist_ok=True)
        Image.fromarray(blocks(number, [700, 2500, 9999]).astype(np.uint16)).save(depth)
        ids = blocks(number, [0, 1, 20, 40])
        mat(folder / "segmentation" / f"img_{name}.mat", segmentation=ids.astype(np.float64))
        made[name] = np.where(ids == 0, 255, ids - 1).astype(np.uint8)
    for split in ("train", "val", "test"):
        (folder / f"{split}.txt").write_text("\n".join(LISTS[f"nyudv2-{split}"]))
    return made


def nyudv2(folder: Path) -> tuple[Labels, NDArray[np.float32], NDArray[np.uint8]]:
    """The labelled .mat: HDF5 behind 512 bytes of MATLAB's, every axis in reverse; and its mapping.

    Returns:
        Labels, depths (N, H, W) in metres, images (N, H, W, 3).
    """
    import importlib

    h5py = importlib.import_module("h5py")
    count, (height, width) = 3, _SIZE
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, height, width, 3), np.uint8)
    depths = rng.uniform(0.7, 9.9, (count, height, width)).astype(np.float32)
    ids = np.stack([blocks(number, [0, 1, 2, 894]) for number in range(count)])
    raw_depths = np.where(rng.random(depths.shape) < 0.1, 0, depths).astype(np.float32)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "nyu_depth_v2_labeled.mat"
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, array in (
            ("images", images.transpose(0, 3, 2, 1)),
            ("depths", depths.transpose(0, 2, 1)),
            ("rawDepths", raw_depths.transpose(0, 2, 1)),
            ("labels", ids.transpose(0, 2, 1).astype(np.uint16)),
        ):
            file.create_dataset(name, data=array, chunks=True, compression="gzip")
        references = file.create_dataset("names", (1, 3), h5py.ref_dtype)
        for number, word in enumerate(("book", "bottle", "cabinet")):
            letters = np.array([[ord(letter)] for letter in word], np.uint16)
            references[0, number] = file.create_dataset(f"#refs#/{number}", data=letters).ref
    with path.open("r+b") as header:
        header.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")
    classes = np.full((1, 894), 40, np.float64)
    classes[0, [0, 1, 893]] = 23, 40, 1
    mat(folder / "classMapping40.mat", mapClass=classes, className=np.array([["wall"]], object))
    table = np.array([255, 22, 39, 0], np.uint8)
    labels = table[np.searchsorted([0, 1, 2, 894], ids)]
    return {str(5001 + number): labels[number] for number in range(count)}, depths, images


def tarred(folder: Path, archive: Path) -> Path:
    """The folder's contents as a tar, as packed on the command line."""
    with tarfile.open(archive, "w:gz" if archive.suffix == ".gz" else "w") as tar:
        for path in sorted(folder.iterdir()):
            tar.add(path, path.name)
    return archive


def zipped(folder: Path, archive: Path) -> Path:
    """The folder's contents as a zip."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for path in sorted(folder.rglob("*")):
            packed.write(path, path.relative_to(folder))
    return archive
