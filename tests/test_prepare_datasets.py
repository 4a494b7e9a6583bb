"""Each preparer against a miniature of the published archive, opened afterwards as a data set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import miniatures
from fullyconv.data.folder import FolderDataset
from fullyconv.data.hha import NYUDV2_CAMERA, Intrinsics, encode_hha
from fullyconv.data.prepare import PREPARERS, Report, nyudv2, pascalcontext, prepare
from fullyconv.data.prepare import lists as shipped_lists
from fullyconv.data.sources import CLASSES, read_label_space
from fullyconv.errors import FullyConvError
from fullyconv.images import read_labels
from fullyconv.labels import CAMVID, NYUDV2, PASCAL_CONTEXT, SIFTFLOW, VOC, LabelSpace
from miniatures import Labels

pytest.importorskip("scipy.io")


@pytest.fixture(autouse=True)
def _short_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("voc", "sbd", "siftflow", "nyudv2"):
        monkeypatch.setattr(f"fullyconv.data.prepare.{name}.shipped", miniatures.LISTS.__getitem__)


def run(name: str, source: Path, out: Path, splits: list[str] | None = None) -> Report:
    return prepare(name, source, out, splits=splits, progress=False)


def check(out: Path, split: str, names: list[str], labels: Labels, space: LabelSpace) -> None:
    """The split holds these pictures; their labels are exact and in the classes' colours."""
    classes = read_label_space(out / CLASSES)
    assert (classes.categories, classes.palette) == (space.categories, space.palette)
    assert classes.raw_ids == tuple(range(space.num_classes))
    dataset = FolderDataset(out, split, classes)
    assert [files.name for files in dataset.files] == sorted(names)
    for index, files in enumerate(dataset.files):
        path = files.labels[0]
        np.testing.assert_array_equal(dataset[index].target, labels[path.stem])
        with Image.open(path) as image:
            assert image.mode == "P"
            palette = image.getpalette() or []
        assert palette[: 3 * space.num_classes] == [v for color in space.palette for v in color]
        assert palette[3 * 255 :] == [224, 224, 192]


def test_every_published_set_of_the_paper_is_there() -> None:
    assert list(PREPARERS) == ["voc", "sbd", "nyudv2", "siftflow", "pascalcontext", "camvid"]
    for preparer in PREPARERS.values():
        assert preparer.description
        assert preparer.download
        assert preparer.structure
        assert not {*preparer.splits} & {*preparer.more_splits}


def test_the_shipped_lists_are_the_authors() -> None:
    lists = {
        name: shipped_lists.shipped(name)
        for name in ("seg11valid", "nyudv2-train", "nyudv2-val", "nyudv2-test", "siftflow-test")
    }
    assert [len(names) for names in lists.values()] == [736, 381, 414, 654, 200]
    assert all(len(set(names)) == len(names) for names in lists.values())
    nyud = [name for split in ("train", "val", "test") for name in lists[f"nyudv2-{split}"]]
    assert sorted(nyud) == [str(number) for number in range(5001, 6450)]
    assert not {*lists["siftflow-test"]} & {"highway_bost181", "street_urb506"}


def test_the_shipped_lists_agree_with_the_data(shared: Path) -> None:
    for split in ("train", "val"):
        there = sorted(path.stem for path in (shared / "data/nyudv2" / split / "images").iterdir())
        assert there == shipped_lists.shipped(f"nyudv2-{split}")
    labels = sorted(path.stem for path in (shared / "data/voc-seg11valid-labels").iterdir())
    assert labels == sorted(shipped_lists.shipped("seg11valid"))


@pytest.mark.parametrize("year", [2011, 2012])
def test_voc(tmp_path: Path, year: int) -> None:
    labels = miniatures.voc(tmp_path / "source", year)
    if year == 2011:  # its archive wraps everything in one more folder
        (tmp_path / "source" / "TrainVal").mkdir()
        (tmp_path / "source/VOCdevkit").rename(tmp_path / "source/TrainVal/VOCdevkit")
    # 2007_000061 is in the validation list and, only here, in VOC's train: it is not trained on
    report = run("voc", tmp_path / "source", tmp_path / "out")
    check(tmp_path / "out", "train", ["2007_000032", "2007_000039"], labels, VOC)
    check(tmp_path / "out", "val", ["2007_000033", "2007_000061"], labels, VOC)
    assert report.pictures == {"train": 2, "val": 2}
    assert report.left_out == ("pictures of VOC's train that are in seg11valid: 1 (2007_000061)",)
    assert report.notes == (
        f"pictures and labels are those of VOC{year}",
        f"train lists 3 pictures; the published one {1112 if year == 2011 else 1464}",
    )
    assert "train 2, val 2 pictures (4 of 4 made now)" in str(report)


def test_voc_takes_files_over_byte_for_byte(tmp_path: Path) -> None:
    miniatures.voc(tmp_path / "source")
    run("voc", tmp_path / "source", tmp_path / "out", ["val"])
    source = tmp_path / "source/VOCdevkit/VOC2012"
    for kind, folder, suffix in (
        ("images", "JPEGImages", "jpg"),
        ("labels", "SegmentationClass", "png"),
    ):
        made = tmp_path / "out/val" / kind / f"2007_000033.{suffix}"
        original = source / folder / made.name
        assert made.read_bytes() == original.read_bytes()
        assert made.samefile(original)  # takes no room


def test_voc_official_validation_is_made_on_request(tmp_path: Path) -> None:
    labels = miniatures.voc(tmp_path / "source")
    report = run("voc", tmp_path / "source", tmp_path / "out", ["val-official"])
    check(tmp_path / "out", "val-official", ["2007_000033", "2007_000999"], labels, VOC)
    assert report.pictures == {"val-official": 2}


def test_a_split_that_is_made_on_request_says_so(tmp_path: Path) -> None:
    asked = {split: name for name, p in PREPARERS.items() for split in p.more_splits}
    for split, name in asked.items():
        made = f"but it does not exist; fcn data prepare {name} DOWNLOADS .* --splits {split} makes"
        with pytest.raises(FullyConvError, match=made):
            FolderDataset(tmp_path, split, VOC)
    with pytest.raises(FullyConvError, match="but it does not exist$"):
        FolderDataset(tmp_path, "val", VOC)


def test_voc_of_two_years_takes_the_papers(tmp_path: Path) -> None:
    miniatures.voc(tmp_path / "source", 2012)
    miniatures.voc(tmp_path / "source", 2011)
    report = run("voc", tmp_path / "source", tmp_path / "out")
    assert report.notes[0] == "pictures and labels are those of VOC2011"


def test_voc_labels_of_another_kind_are_refused(tmp_path: Path) -> None:
    miniatures.voc(tmp_path / "source")
    path = tmp_path / "source/VOCdevkit/VOC2012/SegmentationClass/2007_000033.png"
    Image.fromarray(np.full((12, 16), 21, np.uint8)).save(path)
    with pytest.raises(FullyConvError, match=r"val/2007_000033: .*label 21 \(192 px\) is neither"):
        run("voc", tmp_path / "source", tmp_path / "out")


def test_sbd_beside_voc(tmp_path: Path) -> None:
    miniatures.voc(tmp_path / "source")
    labels = miniatures.sbd(tmp_path / "source")
    run("voc", tmp_path / "source", tmp_path / "out")
    report = run("sbd", tmp_path / "source", tmp_path / "out")
    check(tmp_path / "out", "sbd-train", ["2008_000002", "2008_000003"], labels, VOC)
    assert report.left_out == ()
    assert report.notes == ("sbd-train lists 2 pictures; the published one 8498",)


def test_sbd_leaves_out_what_is_validated_on(tmp_path: Path) -> None:
    miniatures.voc(tmp_path / "source")
    labels = miniatures.sbd(tmp_path / "source")
    run("voc", tmp_path / "source", tmp_path / "out", ["val"])
    root = tmp_path / "source/benchmark_RELEASE/dataset"
    (root / "train.txt").write_text("2007_000061\n2008_000002\n")
    report = run("sbd", tmp_path / "source", tmp_path / "out", ["sbd-train", "sbd-val"])
    check(tmp_path / "out", "sbd-train", ["2008_000002"], labels, VOC)
    check(tmp_path / "out", "sbd-val", ["2008_000005"], labels, VOC)
    assert report.left_out == (
        "pictures of SBD's train that are validated on: 1 (2007_000061)",
        "pictures of SBD's val that are validated on: 1 (2007_000033)",
    )


def test_sbd_leaves_out_the_official_validation_if_that_is_there(tmp_path: Path) -> None:
    miniatures.sbd(tmp_path / "source")
    root = tmp_path / "source/benchmark_RELEASE/dataset"
    (root / "train.txt").write_text("2007_000999\n2008_000002\n")
    miniatures.voc(tmp_path / "source")
    run("voc", tmp_path / "source", tmp_path / "out", ["val-official"])
    report = run("sbd", tmp_path / "source", tmp_path / "out")
    assert report.pictures == {"sbd-train": 1}
    assert "1 (2007_000999)" in report.left_out[0]


def test_camvid(tmp_path: Path) -> None:
    labels = miniatures.camvid(tmp_path / "source")
    report = run("camvid", tmp_path / "source", tmp_path / "out")
    for number, split in enumerate(("train", "val", "test")):
        names = [f"0001TP_00{number}690", f"Seq05VD_f0{number}510"]
        check(tmp_path / "out", split, names, labels, CAMVID)
    assert report.notes[0] == "train lists 2 pictures; the published one 367"


def test_camvid_says_which_half_of_a_pair_is_missing(tmp_path: Path) -> None:
    miniatures.camvid(tmp_path / "source")
    (tmp_path / "source/CamVid/valannot/0001TP_001690.png").unlink()
    (tmp_path / "source/CamVid/test/0001TP_002690.png").unlink()
    with pytest.raises(FullyConvError, match="pictures could not be made") as error:
        run("camvid", tmp_path / "source", tmp_path / "out")
    assert "missing: val 1, no labels valannot/*.png (0001TP_001690)" in str(error.value)
    assert "missing: test 1, no picture test/*.png (0001TP_002690)" in str(error.value)
    assert (
        len(FolderDataset(tmp_path / "out", "val", read_label_space(tmp_path / "out" / CLASSES)))
        == 1
    )


def test_siftflow(tmp_path: Path) -> None:
    semantic, geometric = miniatures.siftflow(tmp_path / "source")
    report = run("siftflow", tmp_path / "source", tmp_path / "out")
    check(tmp_path / "out", "test", ["coast_natu975"], semantic, SIFTFLOW)
    check(tmp_path / "out", "trainval", ["forest_for121", "street_bost64"], semantic, SIFTFLOW)
    for name, ids in geometric.items():
        split = "test" if name == "coast_natu975" else "trainval"
        path = tmp_path / "out" / split / "geometric" / f"{name}.png"
        np.testing.assert_array_equal(read_labels(path), ids)
    assert report.left_out == ("pictures without annotations: 2 (highway_bost181, street_urb506)",)
    text = (tmp_path / "out/classes-geometric.json").read_text()
    assert '"horizontal"' in text


def test_pascalcontext(tmp_path: Path) -> None:
    labels = miniatures.pascalcontext(tmp_path / "source")
    report = run("pascalcontext", tmp_path / "source", tmp_path / "out")
    train = ["2008_000002", "2008_000015"]
    check(tmp_path / "out", "train", train, labels, PASCAL_CONTEXT)
    check(tmp_path / "out", "val", ["2008_000008"], labels, PASCAL_CONTEXT)
    assert "background, which is trained; nothing is void" in str(report)
    assert "train lists 2 pictures; the published one 4998" in report.notes


def test_pascalcontext_from_two_sources(tmp_path: Path) -> None:
    labels = miniatures.pascalcontext(tmp_path / "source")
    (tmp_path / "labels").mkdir()
    (tmp_path / "source/trainval").rename(tmp_path / "labels/trainval")
    sources = [tmp_path / "source", tmp_path / "labels"]
    prepare("pascalcontext", sources, tmp_path / "out", splits=["val"], progress=False)
    check(tmp_path / "out", "val", ["2008_000008"], labels, PASCAL_CONTEXT)


def test_pascalcontext_names_are_looked_up_in_labels_txt(tmp_path: Path) -> None:
    miniatures.pascalcontext(tmp_path / "source")
    swapped = pascalcontext.RAW_IDS | {"wall": 458, "wood": 440}
    lines = [f"{number}: {name}\n" for name, number in swapped.items()]
    (tmp_path / "source/labels.txt").write_text("".join(lines))
    run("pascalcontext", tmp_path / "source", tmp_path / "swapped", ["val"])
    (tmp_path / "source/labels.txt").unlink()
    run("pascalcontext", tmp_path / "source", tmp_path / "usual", ["val"])
    before, after = (
        read_labels(tmp_path / out / "val/labels/2008_000008.png") for out in ("usual", "swapped")
    )
    np.testing.assert_array_equal(after == 56, before == 59)
    np.testing.assert_array_equal(after == 59, before == 56)


def test_pascalcontext_ids_are_those_that_others_use() -> None:
    # MMSegmentation, tools/dataset_converters/pascal_context.py: the same 60 raw ids
    others = "0 2 259 260 415 324 9 258 144 18 19 22 23 397 25 284 158 159 416 33 162 420 454 295 "
    others += "296 427 44 45 46 308 59 440 445 31 232 65 354 424 68 326 72 458 34 207 80 355 85 "
    others += "347 220 349 360 98 187 104 105 366 189 368 113 115"
    assert sorted(pascalcontext.RAW_IDS.values()) == sorted(map(int, others.split()))[1:]
    assert len(pascalcontext.class_table(pascalcontext.RAW_IDS, None)) == 460


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("19 bedclothes\n", "not a list of lines like '19: bedclothes'"),
        ("19: bedclothes\n", "class 'aeroplane' of the 59 is not in the list of 459"),
        ("999: aeroplane\n", "class 'aeroplane' of the 59 is not in the list of 459"),
    ],
)
def test_pascalcontext_refuses_another_list(tmp_path: Path, text: str, message: str) -> None:
    miniatures.pascalcontext(tmp_path / "source")
    (tmp_path / "source/labels.txt").write_text(text)
    with pytest.raises(FullyConvError, match=message):
        run("pascalcontext", tmp_path / "source", tmp_path / "out")


def test_pascalcontext_refuses_ids_beyond_the_list(tmp_path: Path) -> None:
    miniatures.pascalcontext(tmp_path / "source")
    for name, value in (("2008_000002", 460), ("2008_000015", -1)):
        path = tmp_path / f"source/trainval/{name}.mat"
        miniatures.mat(path, LabelMap=np.full((12, 16), value, np.int16))
    with pytest.raises(FullyConvError, match="pictures could not be made") as error:
        run("pascalcontext", tmp_path / "source", tmp_path / "out", ["train"])
    assert "2008_000002.mat: the label map holds 460; ids are 0 to 459" in str(error.value)
    assert "2008_000015.mat: the label map holds -1; ids are 0 to 459" in str(error.value)


NYUD_SPLITS = {"train": "5002", "val": "5003", "test": "5001"}


@pytest.mark.parametrize("place", ["segmentation", "data/segmentation"])
def test_nyudv2_of_the_authors(tmp_path: Path, place: str) -> None:
    labels = miniatures.nyud(tmp_path / "source")
    (tmp_path / "source/segmentation").rename(tmp_path / "source" / place)
    run("nyudv2", tmp_path / "source", tmp_path / "out")
    for split, name in NYUD_SPLITS.items():
        check(tmp_path / "out", split, [name], labels, NYUDV2)
        for kind in ("images", "depth", "hha"):
            made = tmp_path / "out" / split / kind / f"{name}.png"
            original = tmp_path / "source/data" / kind / f"img_{name}.png"
            assert made.read_bytes() == original.read_bytes()
    assert read_labels(tmp_path / "out/test/depth/5001.png").max() == 9999


def test_nyudv2_without_hha_encodes_it(tmp_path: Path) -> None:
    miniatures.nyud(tmp_path / "source", hha=False)
    report = run("nyudv2", tmp_path / "source", tmp_path / "out", ["val"])
    depth = read_labels(tmp_path / "out/val/depth/5003.png") / 1000
    with Image.open(tmp_path / "out/val/hha/5003.png") as image:
        np.testing.assert_array_equal(np.asarray(image), encode_hha(depth))
    assert "HHA is encoded here" in report.notes[0]


def test_the_authors_pictures_are_seen_by_a_camera_cut_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def encode(depth: NDArray[np.float64], camera: Intrinsics) -> NDArray[np.uint8]:
        seen.append((depth.max(), camera))
        return np.zeros((*depth.shape, 3), np.uint8)

    monkeypatch.setattr(nyudv2, "encode_hha", encode)
    files = {kind: tmp_path / f"{kind}.png" for kind in ("images", "depth")}
    files["labels"] = tmp_path / "labels.mat"
    miniatures.photo(files["images"], 0, (425, 560))
    Image.fromarray(np.full((425, 560), 2000, np.uint16)).save(files["depth"])
    miniatures.mat(files["labels"], segmentation=np.ones((425, 560), np.uint8))
    nyudv2._read_authors(files)
    # I(46:470, 41:600) of MATLAB, whose first index is 1
    assert seen == [(2.0, NYUDV2_CAMERA.cropped(left=40, top=45))]


@pytest.mark.parametrize("mapping", ["classMapping40.mat", "labels40.mat"])
def test_nyudv2_labeled(tmp_path: Path, mapping: str) -> None:
    pytest.importorskip("h5py")
    labels, depths, images = miniatures.nyudv2(tmp_path / "source")
    if mapping == "labels40.mat":
        (tmp_path / "source/classMapping40.mat").unlink()
        stack = [(labels[str(5001 + n)] + np.uint8(1)) for n in range(3)]  # void wraps to 0
        miniatures.mat(tmp_path / "source" / mapping, labels40=np.stack(stack, 2))
    report = run("nyudv2", tmp_path / "source", tmp_path / "out")
    for split, name in NYUD_SPLITS.items():
        check(tmp_path / "out", split, [name], labels, NYUDV2)
        index = int(name) - 5001
        root = tmp_path / "out" / split
        with Image.open(root / "images" / f"{name}.png") as image:
            np.testing.assert_array_equal(np.asarray(image), images[index])
        depth = root / "depth" / f"{name}.png"
        assert depth.read_bytes()[24] == 16  # bits per sample, in PNG's header
        with Image.open(depth) as image:
            millimetres = np.asarray(image).astype(np.float64)
            np.testing.assert_allclose(millimetres, depths[index] * 1000, atol=0.51)
        with Image.open(root / "hha" / f"{name}.png") as image:
            near = np.maximum(depths[index].astype(np.float64) * 100, 100)
            disparity = np.minimum(31000 / near, 255)
            np.testing.assert_allclose(np.asarray(image)[..., 0], disparity, atol=0.51)
    assert f"labels by {mapping}" in report.notes[0]


def test_nyudv2_labeled_as_two_files(tmp_path: Path) -> None:
    pytest.importorskip("h5py")
    labels, *_ = miniatures.nyudv2(tmp_path / "source")
    for sources in (
        [tmp_path / "source/nyu_depth_v2_labeled.mat"],  # the other lies beside it
        [tmp_path / "source/classMapping40.mat", tmp_path / "source/nyu_depth_v2_labeled.mat"],
    ):
        out = tmp_path / str(len(sources))
        prepare("nyudv2", sources, out, splits=["val"], progress=False)
        check(out, "val", ["5003"], labels, NYUDV2)


def test_nyudv2_labeled_needs_the_mapping(tmp_path: Path) -> None:
    pytest.importorskip("h5py")
    miniatures.nyudv2(tmp_path / "source")
    (tmp_path / "source/classMapping40.mat").unlink()
    with pytest.raises(FullyConvError, match="labels 894 classes; classMapping40.mat .* is needed"):
        run("nyudv2", tmp_path / "source", tmp_path / "out")


def test_nyudv2_labeled_of_another_version_is_refused(tmp_path: Path) -> None:
    miniatures.mat(tmp_path / "source/nyu_depth_v2_labeled.mat", images=np.zeros((2, 2)))
    with pytest.raises(FullyConvError, match="not the published file, a .mat of version 7.3"):
        run("nyudv2", tmp_path / "source", tmp_path / "out")


def test_nyudv2_labeled_with_too_few_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("h5py")
    miniatures.nyudv2(tmp_path / "source")
    monkeypatch.setitem(miniatures.LISTS, "nyudv2-train", ["5002", "5004"])
    with pytest.raises(FullyConvError, match=r"missing: train 1, only 3 pictures .* \(5004\)"):
        run("nyudv2", tmp_path / "source", tmp_path / "out")


def test_nyudv2_mappings_of_another_kind_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("h5py")
    miniatures.nyudv2(tmp_path / "source")
    mapping = tmp_path / "source/classMapping40.mat"
    miniatures.mat(mapping, mapClass=np.array([[1.0, 41.0]]))
    with pytest.raises(FullyConvError, match="mapClass holds 41.0; classes are 1 to 40"):
        run("nyudv2", tmp_path / "source", tmp_path / "out")
    miniatures.mat(mapping, mapClass=np.array([[1.0, 40.0]]))
    with pytest.raises(FullyConvError, match=r"label 894 is not in .*classMapping40.mat"):
        run("nyudv2", tmp_path / "source", tmp_path / "out")
    mapping.unlink()
    miniatures.mat(mapping.with_name("labels40.mat"), labels40=np.ones((12, 16)))
    with pytest.raises(FullyConvError, match=r"labels40 has the shape \(12, 16\), not \(H, W, N\)"):
        run("nyudv2", tmp_path / "source", tmp_path / "out")
