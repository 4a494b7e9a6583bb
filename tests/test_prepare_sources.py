"""Archives that may be hostile or broken, folders of another shape, lists and .mat files."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import miniatures
from fullyconv.data.prepare import archives, prepare
from fullyconv.data.prepare.archives import is_archive, unpack
from fullyconv.data.prepare.lists import read_names
from fullyconv.data.prepare.locate import find_file, find_folder
from fullyconv.data.prepare.matlab import opened_v73, read_ids, read_mat
from fullyconv.errors import FullyConvError

pytest.importorskip("scipy.io")

Pack = Callable[[Path, Path], Path]


def tar_of(archive: Path, *members: tuple[str, bytes, bytes]) -> Path:
    """A tar of members (name, content, type)."""
    with tarfile.open(archive, "w") as tar:
        for name, content, kind in members:
            info = tarfile.TarInfo(name)
            info.size, info.type, info.linkname = len(content), kind, "/etc/passwd"
            tar.addfile(info, io.BytesIO(content))
    return archive


def zip_of(archive: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in members.items():
            packed.writestr(name.replace("__", "/"), content)
    return archive


def unpacked(archive: Path, into: Path, members: str = "") -> list[str]:
    into.mkdir()
    unpack(archive, into, members, progress=False)
    return sorted(p.relative_to(into).as_posix() for p in into.rglob("*") if p.is_file())


@pytest.mark.parametrize(
    ("pack", "suffix"),
    [(miniatures.tarred, "tar"), (miniatures.tarred, "tar.gz"), (miniatures.zipped, "zip")],
)
def test_the_published_archive_itself_is_read(tmp_path: Path, pack: Pack, suffix: str) -> None:
    miniatures.camvid(tmp_path / "source")
    archive = pack(tmp_path / "source", tmp_path / f"camvid.{suffix}")
    report = prepare("camvid", archive, tmp_path / "out", progress=False)
    assert report.pictures == {"train": 2, "val": 2, "test": 2}
    original = tmp_path / "source/CamVid/val/0001TP_001690.png"
    made = tmp_path / "out/val/images/0001TP_001690.png"
    assert made.read_bytes() == original.read_bytes()
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "classes.json",
        "test",
        "train",
        "val",
    ]  # what was unpacked is gone


def test_only_what_is_needed_is_unpacked(tmp_path: Path) -> None:
    archive = zip_of(tmp_path / "a.zip", a__x=b"1", b__x=b"2", b__y=b"3")
    assert unpacked(archive, tmp_path / "into", "^b/x$") == ["b/x"]


@pytest.mark.parametrize(
    "name", ["../evil", "a/../../evil", "/tmp/evil", "..\\evil", "C:\\evil", "a/../evil"]
)
def test_members_that_lead_outside_are_refused(tmp_path: Path, name: str) -> None:
    tar = tar_of(tmp_path / "evil.tar", ("good", b"x", tarfile.REGTYPE), (name, b"x", b"0"))
    zipped = tmp_path / "evil.zip"
    with zipfile.ZipFile(zipped, "w") as packed:
        packed.writestr(zipfile.ZipInfo(name), b"x")
    for archive in (tar, zipped):
        with pytest.raises(FullyConvError, match="leads out of the archive's own folder"):
            unpacked(archive, tmp_path / f"into-{archive.suffix}")
    assert not list(tmp_path.rglob("evil"))


def test_a_hostile_archive_of_a_data_set_leaves_nothing(tmp_path: Path) -> None:
    archive = tar_of(tmp_path / "x.tar", ("CamVid/train/../../../x.png", b"x", tarfile.REGTYPE))
    with pytest.raises(FullyConvError, match="this is not the published archive, do not use it"):
        prepare("camvid", archive, tmp_path / "out", progress=False)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE])
def test_links_and_devices_are_refused(tmp_path: Path, kind: bytes) -> None:
    archive = tar_of(tmp_path / "a.tar", ("train/a.png", b"", kind))
    with pytest.raises(FullyConvError, match="'train/a.png' is a link or device, not a file"):
        unpacked(archive, tmp_path / "into", "png$")
    assert unpacked(archive, tmp_path / "other", "jpg$") == []  # not wanted, not looked at


def test_links_in_a_zip_are_refused(tmp_path: Path) -> None:
    archive = tmp_path / "a.zip"
    info = zipfile.ZipInfo("train/a.png")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr(info, "/etc/passwd")
    with pytest.raises(FullyConvError, match="is a link or device, not a file"):
        unpacked(archive, tmp_path / "into")


def test_archives_that_unpack_to_too_much_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = zip_of(tmp_path / "bomb.zip", a=bytes(3 * 2**20), b=bytes(3 * 2**20))
    assert archive.stat().st_size < 10_000
    monkeypatch.setattr(archives, "MAX_BYTES", 5 * 2**20)
    with pytest.raises(FullyConvError, match=r"unpacks to more than 0.00488281 GB; refused"):
        unpacked(archive, tmp_path / "into")
    assert sum(p.stat().st_size for p in (tmp_path / "into").iterdir()) <= 5 * 2**20


def test_archives_of_too_many_members_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = zip_of(tmp_path / "many.zip", **{f"f{n}": b"" for n in range(6)})
    monkeypatch.setattr(archives, "MAX_FILES", 5)
    with pytest.raises(FullyConvError, match="more than 5 members; refused"):
        unpacked(archive, tmp_path / "into", "nothing")


@pytest.mark.parametrize("suffix", ["tar.gz", "tar"])
def test_an_archive_cut_short_is_named(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "source").mkdir()
    for name in ("a", "b"):
        (tmp_path / "source" / name).write_bytes(np.random.default_rng(0).bytes(50_000))
    archive = miniatures.tarred(tmp_path / "source", tmp_path / f"cut.{suffix}")
    archive.write_bytes(archive.read_bytes()[:40_000])
    with pytest.raises(FullyConvError, match="damaged or cut short .*; download it again"):
        unpacked(archive, tmp_path / "into")


def test_a_tar_whose_checksum_is_wrong_is_named(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source/a").write_bytes(np.random.default_rng(0).bytes(50_000))
    archive = miniatures.tarred(tmp_path / "source", tmp_path / "a.tar.gz")
    archive.write_bytes(archive.read_bytes()[:-8] + bytes(8))
    with pytest.raises(FullyConvError, match="damaged or cut short .*CRC"):
        unpacked(archive, tmp_path / "into")


def test_a_zip_with_changed_bytes_is_named(tmp_path: Path) -> None:
    archive = zip_of(tmp_path / "a.zip", a=np.random.default_rng(0).bytes(1000))
    content = bytearray(archive.read_bytes())
    content[500] ^= 255
    archive.write_bytes(content)
    with pytest.raises(FullyConvError, match="damaged or cut short .*CRC"):
        unpacked(archive, tmp_path / "into")


def test_a_folder_that_cannot_be_unpacked_into_is_named(tmp_path: Path) -> None:
    archive = zip_of(tmp_path / "a.zip", a__b=b"x")
    (tmp_path / "into").mkdir()
    (tmp_path / "into/a").write_text("a file where a folder is to be")
    with pytest.raises(FullyConvError, match=r"cannot be unpacked into .* check the free space"):
        unpack(archive, tmp_path / "into", "", progress=False)


def test_a_folder_in_place_of_an_archive_is_named(tmp_path: Path) -> None:
    with pytest.raises(FullyConvError, match="cannot be read"):
        is_archive(tmp_path)


@pytest.mark.parametrize("name", ["x.tar", "x.zip", "x.mat"])
def test_what_is_no_source_at_all(tmp_path: Path, name: str) -> None:
    with pytest.raises(FullyConvError, match="no such file or folder. What to download: .*SegNet"):
        prepare("camvid", tmp_path / name, tmp_path / "out", progress=False)
    (tmp_path / name).write_text("<html>404</html>")
    message = "x.mat is a file" if name == "x.mat" else "neither a folder nor a whole tar or zip"
    with pytest.raises(FullyConvError, match=message):
        prepare("camvid", tmp_path / name, tmp_path / "out", progress=False)


@pytest.mark.parametrize(
    ("name", "looked_for"),
    [
        ("voc", "JPEGImages/, SegmentationClass/, ImageSets/Segmentation/train.txt"),
        ("sbd", "img/, cls/, train.txt"),
        ("nyudv2", "data/images/, data/depth/"),
        ("siftflow", "Images/spatial_envelope_256x256_static_8outdoorcategories/"),
        ("pascalcontext", "JPEGImages/, ImageSets/Main/train.txt, ImageSets/Main/val.txt"),
        ("camvid", "train/, trainannot/, val/, valannot/, test/, testannot/"),
    ],
)
def test_the_wrong_folder_is_told_apart(tmp_path: Path, name: str, looked_for: str) -> None:
    (tmp_path / "source/holiday").mkdir(parents=True)
    (tmp_path / "source/readme.txt").touch()
    with pytest.raises(FullyConvError, match=looked_for) as error:
        prepare(name, tmp_path / "source", tmp_path / "out", progress=False)
    assert f"{tmp_path / 'source'} holds holiday/, readme.txt" in str(error.value)
    assert not (tmp_path / "out/classes.json").exists()


def test_pascalcontext_without_its_label_maps(tmp_path: Path) -> None:
    miniatures.pascalcontext(tmp_path / "source")
    (tmp_path / "source/trainval").rename(tmp_path / "elsewhere")
    with pytest.raises(FullyConvError, match="no PASCAL-Context here: .* holds trainval/"):
        prepare("pascalcontext", tmp_path / "source", tmp_path / "out", progress=False)


def test_a_missing_list_is_named_with_the_nearest_folder(tmp_path: Path) -> None:
    miniatures.voc(tmp_path / "source")
    root = tmp_path / "source/VOCdevkit/VOC2012"
    (root / "ImageSets/Segmentation/train.txt").unlink()
    with pytest.raises(FullyConvError, match="no PASCAL VOC here") as error:
        prepare("voc", tmp_path / "source", tmp_path / "out", progress=False)
    assert f"nearest is {root}, which lacks ImageSets/Segmentation/train.txt" in str(error.value)


def test_several_folders_of_one_kind_are_not_guessed_between(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name / "img").mkdir(parents=True)
    with pytest.raises(FullyConvError, match="several folders hold pictures: .*/a, .*/b; give one"):
        find_folder([tmp_path], ["img/"], "pictures")
    assert find_folder([tmp_path], ["img/"], "pictures", prefer=("c", "b")).name == "b"
    assert find_folder([tmp_path / "a"], ["img/"], "pictures").name == "a"
    (tmp_path / "img").mkdir()  # what was given comes before what lies in it
    assert find_folder([tmp_path], ["img/"], "pictures") == tmp_path


def test_hidden_and_very_deep_folders_are_not_searched(tmp_path: Path) -> None:
    (tmp_path / ".trash/img").mkdir(parents=True)
    (tmp_path / "1/2/3/4/5/img").mkdir(parents=True)
    with pytest.raises(FullyConvError, match=r"no pictures here: .* holds \.trash/, 1/"):
        find_folder([tmp_path], ["img/"], "pictures")
    with pytest.raises(FullyConvError, match=r"holds nothing$"):
        find_folder([tmp_path / "1/2/3/4/5/img"], ["img/"], "pictures")
    assert find_file([tmp_path], lambda name: name == "img") is None


def test_a_list_is_read_as_found_in_the_wild(tmp_path: Path) -> None:
    path = tmp_path / "train.txt"
    path.write_bytes(b"\xef\xbb\xbf2008_000002\r\n\r\n2008_000003  1\r\n2008_000002\r\n")
    assert read_names(path) == ["2008_000002", "2008_000003"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the list of pictures is empty"),
        (b"a\n../../etc/passwd\n", "'../../etc/passwd' is not a plain file name"),
        (b".hidden", "'.hidden' is not a plain file name"),
        (b"\xff\xfe\x00", "the list of pictures cannot be read"),
    ],
)
def test_a_list_of_another_kind_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "train.txt").write_bytes(content)
    with pytest.raises(FullyConvError, match=message):
        read_names(tmp_path / "train.txt")
    with pytest.raises(FullyConvError, match="gone.txt: the list of pictures cannot be read"):
        read_names(tmp_path / "gone.txt")


def hdf5(path: Path, **arrays: Any) -> Path:
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, array in arrays.items():
            file[name.replace("__", "/")] = array
    with path.open("r+b") as header:
        header.write(b"MATLAB 7.3 MAT-file")
    return path


def test_arrays_are_read_from_both_versions_in_one_order(tmp_path: Path) -> None:
    array = np.arange(6, dtype=np.uint8).reshape(2, 3)
    new = hdf5(tmp_path / "new.mat", S=array.T, T__inner=array.T)
    miniatures.mat(tmp_path / "old.mat", S=array, T={"inner": array})
    for path in (new, tmp_path / "old.mat"):
        np.testing.assert_array_equal(read_mat(path, "S"), array)
        np.testing.assert_array_equal(read_mat(path, "T", "inner"), array)
        assert read_ids(path, "S").dtype == np.int64


def test_a_missing_variable_is_named_with_those_that_are_there(tmp_path: Path) -> None:
    array = np.zeros((2, 2))
    new = hdf5(tmp_path / "new.mat", A=array, B__c=array)
    miniatures.mat(tmp_path / "old.mat", A=array, B={"c": array})
    for path in (new, tmp_path / "old.mat"):
        with pytest.raises(FullyConvError, match="no variable S in this .mat file; it holds A, B"):
            read_mat(path, "S")
        for names in (("B", "d"), ("A", "d")):
            with pytest.raises(FullyConvError, match=f"no variable {'.'.join(names)} in this"):
                read_mat(path, *names)


def test_what_is_no_picture_of_ids_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    miniatures.mat(path, text="hello", half=np.full((2, 2), 0.5), cube=np.zeros((2, 2, 2)))
    with pytest.raises(FullyConvError, match="text is not an array of numbers"):
        read_ids(path, "text")
    with pytest.raises(FullyConvError, match=r"half of shape \(2, 2\) is not a picture of whole"):
        read_ids(path, "half")
    with pytest.raises(FullyConvError, match=r"cube of shape \(2, 2, 2\) is not a picture of whol"):
        read_ids(path, "cube")


def test_a_damaged_mat_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    miniatures.mat(path, S=np.random.default_rng(0).integers(0, 34, (64, 64)))
    content = path.read_bytes()
    for cut in (0, 3, 100, 140, len(content) // 2):
        path.write_bytes(content[:cut])
        with pytest.raises(FullyConvError, match=r"a\.mat: "):
            read_mat(path, "S")
    changed = bytearray(content)
    changed[len(content) // 2] ^= 255
    path.write_bytes(changed)
    with pytest.raises(FullyConvError, match="damaged or cut short"):
        read_mat(path, "S")
    with pytest.raises(FullyConvError, match=r"gone\.mat: cannot be read"):
        read_mat(tmp_path / "gone.mat", "S")


def test_a_damaged_hdf5_file_is_named(tmp_path: Path) -> None:
    path = hdf5(tmp_path / "new.mat", S=np.zeros((64, 64)))
    path.write_bytes(path.read_bytes()[:700])
    with (
        pytest.raises(FullyConvError, match="damaged or cut short"),
        opened_v73(path),
    ):
        pass


def test_a_missing_extra_says_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(name)

    miniatures.mat(tmp_path / "a.mat", S=np.zeros((2, 2)))
    monkeypatch.setattr("importlib.import_module", missing)
    with pytest.raises(FullyConvError, match=r'scipy.io is needed .*: pip install "fullyconv\[dat'):
        read_mat(tmp_path / "a.mat", "S")
