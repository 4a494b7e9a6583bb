"""Pictures and label files paired by name, and what can be wrong with a folder."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fullyconv.data.check import check, stats
from fullyconv.data.folder import FolderDataset
from fullyconv.errors import FullyConvError
from fullyconv.labels import CAMVID, LabelSpace

TWO = LabelSpace(categories=("ground", "tree"))


def folder(
    root: Path, images: Iterable[str], labels: Iterable[str], size: tuple[int, int] = (5, 4)
) -> Path:
    """A data set: number k in sorted order is all of colour k and label k % 2."""
    for kind, names in (("images", images), ("labels", labels)):
        (root / kind).mkdir(parents=True, exist_ok=True)
        for k, name in enumerate(sorted(names)):
            picture = Image.new("RGB", size, (k, k, k)) if kind == "images" else None
            (picture or Image.new("L", size, k % 2)).save(root / kind / name)
    return root


def test_pairs_by_name_whatever_the_suffix(tmp_path: Path) -> None:
    folder(
        tmp_path / "train",
        ["b.JPG", "a.jpeg", "c.two.PNG", "Ä d.webp"],
        ["a.png", "b.PNG", "c.two.tif", "Ä d.bmp"],
    )
    dataset = FolderDataset(tmp_path, "train", TWO)
    assert len(dataset) == 4
    assert dataset.root == tmp_path
    for index, name in enumerate(["a", "b", "c.two", "Ä d"]):
        sample = dataset[index]
        assert sample.name == name
        assert sample.image.shape == (4, 5, 3)
        assert np.abs(sample.image.astype(int) - index).max() <= 1  # JPEG
        assert sample.target.dtype == np.uint8
        np.testing.assert_array_equal(sample.target, np.full((4, 5), index % 2))
        np.testing.assert_array_equal(dataset.target(index), sample.target)
    assert len(list(dataset)) == 4  # type: ignore[call-overload]


def test_names_are_compared_as_they_look(tmp_path: Path) -> None:
    """Umlauts as one character, or as a letter and a mark of its own, as macOS writes them."""
    composed, apart = (unicodedata.normalize(form, "Münster") for form in ("NFC", "NFD"))
    folder(tmp_path, [f"{composed}.png"], [f"{apart}.png"])
    (tmp_path / "list.txt").write_text(f"{apart}.png\n")
    for split in ("", "list.txt"):
        assert FolderDataset(tmp_path, split, TWO)[0].image.shape == (4, 5, 3)
    report = check(tmp_path, labels="camvid", progress=False)
    assert "names-differ" not in str(report)
    assert report.pictures == {"": 1}
    assert stats(tmp_path, labels="camvid", progress=False).training.counts[0].sum() == 20


def test_without_a_split_the_root_holds_the_pictures(tmp_path: Path) -> None:
    folder(tmp_path, ["a.png"], ["a.png"])
    assert FolderDataset(str(tmp_path), "", TWO)[0].name == "a"


def test_void_and_raw_ids_are_read_as_the_label_space_says(tmp_path: Path) -> None:
    folder(tmp_path, ["a.png"], [])
    Image.fromarray(np.array([[7, 9, 0, 9, 7]] * 4, np.uint8)).save(tmp_path / "labels/a.png")
    space = LabelSpace(categories=("ground", "tree"), raw_ids=(9, 7), void=(0,))
    assert FolderDataset(tmp_path, "", space)[0].target[0].tolist() == [1, 0, 255, 0, 1]


def test_hidden_files_and_other_kinds_are_no_pictures(tmp_path: Path) -> None:
    folder(tmp_path, ["a.png"], ["a.png"])
    for name in (".DS_Store", "._a.png", "._b.jpg", ".hidden.png", "Thumbs.db", "readme.txt"):
        (tmp_path / "images" / name).write_bytes(b"\0\5\x16\7")
    (tmp_path / "labels" / "._a.png").write_bytes(b"\0\5\x16\7")
    dataset = FolderDataset(tmp_path, "", TWO)
    assert [files.inputs[0].name for files in dataset.files] == ["a.png"]
    assert dataset[0].name == "a"


def test_orphans_are_listed_with_their_side(tmp_path: Path) -> None:
    folder(tmp_path, ["a.png", "b.jpg", "c.jpg"], ["a.png", "d.png"])
    with pytest.raises(
        FullyConvError,
        match=r": files have no partner of the same name: 2 of 3 \(b\.jpg, c\.jpg\) in images/, "
        r"1 of 2 \(d\.png\) in labels/$",
    ):
        FolderDataset(tmp_path, "", TWO)


def test_five_orphans_are_all_named(tmp_path: Path) -> None:
    folder(tmp_path, ["a.png"], [f"{i}.png" for i in "abcdef"])
    with pytest.raises(
        FullyConvError,
        match=r"5 of 6 \(b\.png, c\.png, d\.png, e\.png, f\.png\) in labels/$",
    ):
        FolderDataset(tmp_path, "", TWO)


def test_further_inputs_are_stacked(tmp_path: Path) -> None:
    folder(tmp_path, ["a.bmp", "b.png"], ["a.png", "b.png"])
    for kind in ("hha", "depth"):
        (tmp_path / kind).mkdir()
    for name in ("a.png", "b.png"):
        Image.new("RGB", (5, 4), (50, 60, 70)).save(tmp_path / "hha" / name)
        Image.fromarray(np.full((4, 5), 2000, np.uint16)).save(tmp_path / "depth" / name)
    both = FolderDataset(tmp_path, "", TWO, ("images", "hha"))[1]
    assert both.image.dtype == np.uint8
    assert both.image[3, 4].tolist() == [1, 1, 1, 50, 60, 70]
    three = FolderDataset(tmp_path, "", TWO, ("images", "hha", "depth"))[1]
    assert three.image.dtype == np.float32
    assert three.image[3, 4].tolist() == pytest.approx([1, 1, 1, 50, 60, 70, np.log(2000)])
    Image.new("RGB", (5, 3)).save(tmp_path / "hha" / "b.png")
    with pytest.raises(
        FullyConvError, match=r"hha/b\.png has 3 x 5 pixels, but .*images/b\.png 4 x 5$"
    ):
        FolderDataset(tmp_path, "", TWO, ("images", "hha"))[1]
    (tmp_path / "hha" / "b.png").unlink()
    with pytest.raises(FullyConvError, match=r"0 of 1 in hha/, 1 of 2 \(b\.png\) in labels/$"):
        FolderDataset(tmp_path, "", TWO, ("images", "hha"))
    with pytest.raises(FullyConvError, match=r"the folders thermal/ and labels/ in it, but it hol"):
        FolderDataset(tmp_path, "", TWO, ("images", "thermal"))


def test_many_orphans_are_counted(tmp_path: Path) -> None:
    folder(tmp_path, [f"{i}.png" for i in range(9)], ["0.png"])
    with pytest.raises(
        FullyConvError,
        match=r"8 of 9 \(1\.png, 2\.png, 3\.png, 4\.png, 5\.png, \.\.\.\) in images/, "
        r"0 of 1 in labels/$",
    ):
        FolderDataset(tmp_path, "", TWO)


@pytest.mark.parametrize("kind", ["images", "labels"])
def test_two_files_of_one_name(tmp_path: Path, kind: str) -> None:
    folder(tmp_path, ["a.png"], ["a.png"])
    Image.new("L", (5, 4)).save(tmp_path / kind / "a.BMP")
    with pytest.raises(
        FullyConvError,
        match=rf"{kind}: a\.BMP and a\.png have the same name but for the suffix; keep one of them",
    ):
        FolderDataset(tmp_path, "", TWO)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ([], "train: expected the folders images/ and labels/ in it, but it does not exist"),
        (["train"], "train: expected the folders images/ and labels/ in it, but it holds nothing"),
        (["train/images", "train/masks"], "in it, but it holds images, masks$"),
        (["images", "labels"], r"exist; .* in one piece, and fcn data split .* --out FOLDER puts"),
        (["val/images", "val/labels", "test/images"], "but it does not exist; .* has val$"),
    ],
)
def test_missing_folders(tmp_path: Path, made: list[str], message: str) -> None:
    for name in made:
        (tmp_path / name).mkdir(parents=True)
    if "train/images" in made:
        Image.new("L", (5, 4)).save(tmp_path / "train/images/a.png")
    with pytest.raises(FullyConvError, match=message):
        FolderDataset(tmp_path, "train", TWO)


@pytest.mark.parametrize("kind", ["images", "labels"])
def test_folders_without_pictures(tmp_path: Path, kind: str) -> None:
    folder(tmp_path, ["a.png"], ["a.png"])
    (tmp_path / kind / "a.png").unlink()
    with pytest.raises(
        FullyConvError, match=rf"{kind}: no picture in this folder; it holds nothing, and pictures"
    ):
        FolderDataset(tmp_path, "", TWO)
    (tmp_path / kind / "a.heic").write_bytes(b"")
    with pytest.raises(FullyConvError, match=r"it holds a\.heic, and pictures end in \.bmp, \.gif"):
        FolderDataset(tmp_path, "", TWO)


def test_sizes_must_agree(tmp_path: Path) -> None:
    folder(tmp_path, ["a.png"], ["a.png"])
    Image.new("L", (5, 6)).save(tmp_path / "labels/a.png")
    with pytest.raises(
        FullyConvError,
        match=r"images/a\.png has 4 x 5 pixels \(after its EXIF rotation\), but .*labels/a\.png "
        "6 x 5",
    ):
        FolderDataset(tmp_path, "", TWO)[0]


def test_the_exif_rotation_of_a_photo_counts(tmp_path: Path) -> None:
    tags = Image.Exif()
    tags[274] = 6
    folder(tmp_path, [], ["a.png"], size=(4, 5))
    Image.new("RGB", (5, 4), "red").save(tmp_path / "images/a.png", exif=tags)
    assert FolderDataset(tmp_path, "", TWO)[0].image.shape == (5, 4, 3)


def test_bad_files_are_named(tmp_path: Path) -> None:
    folder(tmp_path, ["a.png", "b.png", "c.png"], ["a.png", "b.png", "c.png"])
    dataset = FolderDataset(tmp_path, "", TWO)
    (tmp_path / "images/a.png").write_bytes(b"no picture")
    Image.new("L", (5, 4), 2).save(tmp_path / "labels/b.png")
    (tmp_path / "labels/c.png").unlink()
    for index, message in enumerate(
        (
            r"images/a\.png: this is not a picture in any format",
            r"labels/b\.png: label 2 \(20 px\) is neither one of the 2 class ids",
            r"labels/c\.png: there is no such file",
        )
    ):
        with pytest.raises(FullyConvError, match=message):
            dataset[index]


def test_camvid_is_read(shared: Path) -> None:
    dataset = FolderDataset(shared / "data/camvid", "val", CAMVID)
    assert len(dataset) == 101
    sample = dataset[50]
    assert sample.image.shape == (360, 480, 3)
    assert set(np.unique(sample.target)) <= {*range(11), 255}
