"""Data sets broken in every way that is known: the right file and reason, and nothing else."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from broken import BREAKS, CLASSES, Victim, clean, write_classes
from fullyconv.data.check import Report, check, fix, write_findings_page
from fullyconv.data.check.kinds import KINDS
from fullyconv.errors import FullyConvError, UsageError
from fullyconv.labels import voc_palette

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def clean_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clean(tmp_path_factory.mktemp("clean") / "set")


@pytest.fixture
def root(clean_set: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(clean_set, tmp_path / "set"))


def told(report: Report) -> list[tuple[str, tuple[str, ...]]]:
    return [(f.kind.name, example.files) for f in report.findings for example in f.examples]


def test_a_clean_set_has_no_finding(root: Path) -> None:
    report = check(root, progress=False)
    assert told(report) == []
    assert report.is_clean(strict=True)
    assert str(report).startswith(f"{root}: train 10, val 5: 0 errors, 0 warnings, 0 notes (")


@pytest.mark.parametrize("way", BREAKS)
def test_a_broken_set(root: Path, way: str) -> None:
    kind, detail, break_it = BREAKS[way]
    files = break_it(Victim(root, "train", "t03"))
    report = check(root, progress=False)
    assert told(report) == [(kind, files)]
    assert re.search(detail, report.findings[0].examples[0].detail)


def test_bands_are_pictures_too(root: Path) -> None:
    """Also those that Pillow has no mode for; a copy, a size and damage are found."""
    rasterio = pytest.importorskip("rasterio")
    for number, photo in enumerate(sorted(root.glob("*/images/*"))):
        rows, columns, _ = np.asarray(Image.open(photo).convert("RGB")).shape
        rng = np.random.default_rng(number)
        bands = rng.integers(0, 4000, (rows, columns, 5)).astype(np.uint16)
        if number % 2:
            np.save(photo.with_suffix(".npy"), bands)
        else:
            shape = {"height": rows, "width": columns, "count": 5}
            place = rasterio.Affine(1, 0, 5, 0, -1, 5)
            with rasterio.open(
                photo.with_suffix(".tif"),
                "w",
                driver="GTiff",
                dtype="uint16",
                transform=place,
                **shape,
            ) as file:
                file.write(bands.transpose(2, 0, 1))
        photo.unlink()
    assert told(check(root, progress=False)) == []
    first, second = sorted(root.glob("train/images/*.npy"))[:2]
    shutil.copy(first, second)
    cut = sorted(root.glob("val/images/*.npy"))[0]
    cut.write_bytes(cut.read_bytes()[:500])
    found = [kind for kind, _ in told(check(root, progress=False))]
    assert sorted(found) == ["damaged", "duplicate"]


# What only the whole set tells


def test_classes_that_cannot_be_read(root: Path) -> None:
    (root / "classes.json").unlink()
    report = check(root, progress=False)
    assert told(report) == [("classes", ("classes.json",))] * 2
    missing, held = (example.detail for example in report.findings[0].examples)
    assert missing.startswith("there is no such file; write one that names the classes")
    assert held == "the label files hold the ids 0, 1, 2, 3, 4, 5, 255"
    (root / "classes.json").write_text('{"categories": "ground"}')
    report = check(root, progress=False)
    assert "'ground' is not a list" in report.findings[0].examples[0].detail
    assert not report.is_clean()
    write_classes(root, CLASSES)
    (root / "classes-depth.json").write_text("{")
    assert told(check(root, progress=False)) == [("classes", ("classes-depth.json",))]


@pytest.mark.parametrize(
    ("change", "kind", "count", "detail"),
    [
        ({"void": []}, "void-habit", 15, "255 is void for PASCAL VOC and most tools"),
        (
            {"raw_ids": [7, 1, 2, 3, 4, 5]},
            "void-habit",
            15,
            r"id 0 \(576 px\); 0 is often 'not labelled'",
        ),
    ],
)
def test_void_habits_of_a_whole_set(
    root: Path, change: dict[str, Any], kind: str, count: int, detail: str
) -> None:
    write_classes(root, {**CLASSES, **change})
    found = {f.kind.name: f for f in check(root, progress=False).findings}
    assert found[kind].count == count
    assert re.search(detail, found[kind].examples[0].detail)
    new = root.parent / "new"
    assert fix(check(root, progress=False), new, progress=False).written == 15
    assert told(check(new, progress=False)) == [("class-never", ())] * ("raw_ids" in change) + [
        ("class-absent", ())
    ] * ("raw_ids" in change)


def test_a_set_numbered_from_1(root: Path) -> None:
    for path in root.glob("*/labels/*"):
        with Image.open(path) as image:
            ids = np.array(image)
        Image.fromarray(np.where(ids == 255, 0, ids + 1).astype(np.uint8)).save(path)
    write_classes(root, {**CLASSES, "void": [0, 255], "raw_ids": [1, 2, 3, 4, 5, 6]})
    assert told(check(root, progress=False)) == []
    for path in root.glob("*/labels/*"):
        with Image.open(path) as image:
            ids = np.array(image)
        Image.fromarray(np.where(ids == 0, 255, ids).astype(np.uint8)).save(path)
    write_classes(root, CLASSES)
    report = check(root, progress=False)
    assert [(f.kind.name, f.count) for f in report.findings] == [("ids-from-1", 15)]
    fix(report, root.parent / "new", progress=False)
    assert told(check(root.parent / "new", progress=False)) == []


def two_classes(root: Path, object_id: int) -> None:
    for path in root.glob("*/labels/*"):
        with Image.open(path) as image:
            ids = np.array(image)
        Image.fromarray(np.where(ids % 2 == 0, 0, object_id).astype(np.uint8)).save(path)
    write_classes(root, {"categories": ["background", "crack"]})


def test_masks_of_0_and_255(root: Path) -> None:
    two_classes(root, 1)
    assert told(check(root, progress=False)) == []
    two_classes(root, 255)
    report = check(root, progress=False)
    assert [(f.kind.name, f.count) for f in report.findings] == [("mask-0-255", 15)]
    fixed = fix(report, root.parent / "new", progress=False)
    assert fixed.repaired == {"mask-0-255": 15}
    assert told(check(root.parent / "new", progress=False)) == []
    for path in root.glob("*/labels/*"):  # of one bit, 255 is read as 1
        with Image.open(path) as image:
            image.convert("1").save(path)
    assert told(check(root, progress=False)) == []
    # among masks that do hold 1, 255 may be void: nothing is repaired
    two_classes(root, 1)
    one = root / "train" / "labels" / "t03.png"
    with Image.open(one) as image:
        Image.fromarray(np.array(image) * np.uint8(255)).save(one)
    report = check(root, progress=False)
    assert told(report) == [("perhaps-0-255", ("train/labels/t03.png",))]
    assert not fix(report, root.parent / "newer", progress=False).repaired


def test_a_palette_that_goes_by_another_numbering_is_no_finding(root: Path) -> None:
    """As VOC's own label files with some of its classes."""
    for path in root.glob("*/labels/*"):
        with Image.open(path) as image:
            ids = np.array(image)
        labels = Image.fromarray(np.where(ids == 255, 255, ids + 1).astype(np.uint8))
        labels.putpalette([value for color in voc_palette(256) for value in color])
        labels.save(path)
    values = {"categories": CLASSES["categories"], "raw_ids": [1, 2, 3, 4, 5, 6]}
    write_classes(root, values)
    assert told(check(root, progress=False)) == []
    for path in root.glob("*/labels/*"):
        with Image.open(path) as image:
            image.putpalette([0, 0, 0] * 256)
            image.save(path)
    assert told(check(root, progress=False)) == []


def test_labels_that_fit_however_they_are_turned_not_at_all(root: Path) -> None:
    """A TIFF is turned by Pillow as it is read; there is nothing left to turn."""
    victim = Victim(root, "train", "t03")
    tags = Image.Exif()
    tags[0x0112] = 6
    label = Image.fromarray(victim.ids)
    victim.replace("labels", ".tif", label, exif=tags)
    fixed = fix(check(root, progress=False), root.parent / "new", progress=False)
    assert (fixed.written, fixed.left_out) == (14, 1)


def without(root: Path, split: str, index: int, keep: int = 0) -> None:
    """Take a class out of a split's labels, but for some pixels of the first."""
    for number, path in enumerate(sorted((root / split / "labels").iterdir())):
        with Image.open(path) as image:
            ids = np.array(image)
        ids[ids == index] = 0
        if number == 0:
            ids.ravel()[:keep] = index
        Image.fromarray(ids).save(path)


@pytest.mark.parametrize(
    ("split", "keep", "kind", "severity", "detail"),
    [
        ("train", 0, "class-never", "warning", "'sign' in train"),
        ("val", 0, "class-absent", "note", "'sign' in val"),
        ("val", 1, "class-rare", "note", "'sign' in val: 1 px in 1 pictures"),
    ],
)
def test_classes_that_hardly_occur(
    root: Path, split: str, keep: int, kind: str, severity: str, detail: str
) -> None:
    without(root, split, 5, keep)
    (found,) = check(root, progress=False).findings
    assert (found.kind.name, found.kind.severity) == (kind, severity)
    assert [str(example) for example in found.examples] == [detail]


def test_a_class_in_one_of_many_pictures_is_told(root: Path) -> None:
    without(root, "train", 5, keep=50)
    assert told(check(root, progress=False)) == []
    for number in range(10):
        ids = Victim(root, "val", "v01").ids
        Image.fromarray(np.where(ids == 5, 0, ids).astype(np.uint8)).save(
            root / f"train/labels/more{number}.png"
        )
        photo = np.random.default_rng(number).integers(0, 256, (48, 64, 3), np.uint8)
        Image.fromarray(photo).save(root / f"train/images/more{number}.png")
    (found,) = check(root, progress=False).findings
    assert found.kind.name == "class-rare"
    assert str(found.examples[0]) == "'sign' in train: 50 px in 1 pictures"


def test_sizes_that_differ_and_pictures_that_are_tiny(root: Path) -> None:
    for kind in ("images", "labels"):
        path = root / "val" / kind / "v01.png"
        with Image.open(path) as image:
            image.crop((0, 0, 64, 30)).save(path)
    report = check(root, progress=False)
    assert told(report) == [("tiny-picture", ("val/images/v01.png",)), ("mixed-sizes", ())]
    assert report.findings[1].examples[0].detail == "2 sizes; 48 x 64: 14, 30 x 64: 1"
    assert report.is_clean()
    assert not report.is_clean(strict=True)


def test_a_set_of_grey_pictures_is_no_finding(root: Path) -> None:
    for path in root.glob("*/images/*"):
        with Image.open(path) as image:
            image.convert("L").save(path)
    assert told(check(root, progress=False)) == []
    for path in root.glob("*/images/*"):
        with Image.open(path) as image:
            Image.fromarray(np.asarray(image).astype(np.uint16) * 257).save(path)
    (found,) = check(root, progress=False).findings
    assert (found.kind.name, found.count) == ("deep-picture", 15)


def test_folders_of_other_names_and_splits_without_labels(root: Path) -> None:
    (root / "test" / "images").mkdir(parents=True)
    shutil.copy(root / "val/images/v01.png", root / "test/images/x.png")
    report = check(root, progress=False)
    assert told(report) == [("leak", ("val/images/v01.png", "test/images/x.png"))]
    (root / "val" / "labels").rename(root / "val" / "masks")
    report = check(root, progress=False)
    assert told(report)[0] == ("folder", ("val",))
    assert report.findings[0].examples[0].detail == "no labels/, but masks/: rename it"
    with pytest.raises(FullyConvError, match=r"nowhere: there is no such folder; give the folder"):
        check(root / "nowhere", progress=False)
    with pytest.raises(FullyConvError, match=r"splits such as train/ that hold them, but it holds"):
        check(root / "val" / "images", progress=False)
    with pytest.raises(UsageError, match="no label space 'camvit'. Did you mean camvid"):
        check(root, labels="camvit", progress=False)


def test_inputs_and_heads_beside_the_pictures(root: Path) -> None:
    write_classes(root, CLASSES)
    (root / "classes-shape.json").write_text('{"categories": ["flat", "round"], "void": []}')
    for split in ("train", "val"):
        for kind in ("depth", "hha", "shape"):
            (root / split / kind).mkdir()
        for path in (root / split / "images").iterdir():
            name, size = f"{path.stem}.png", (48, 64)
            shutil.copy(path, root / split / "hha" / name)
            depth = np.full(size, 2000, np.uint16)
            Image.fromarray(depth).save(root / split / "depth" / name)
            Image.fromarray(np.arange(64 * 48).reshape(size).astype(np.uint8) % 2).save(
                root / split / "shape" / name
            )
    assert told(check(root, progress=False)) == []
    assert fix(check(root, progress=False), root.parent / "new", progress=False).written == 15
    assert told(check(root.parent / "new", progress=False)) == []
    Image.fromarray(np.zeros((48, 64), np.uint16)).save(root / "train/depth/t01.png")
    (root / "train/hha/t02.png").unlink()
    Image.new("L", (64, 48), 7).save(root / "train/shape/t03.png")
    (root / "train/shape/t04.png").unlink()
    Image.new("RGB", (64, 47), "red").save(root / "train/hha/t05.png")
    report = check(root, progress=False)
    assert told(report) == [
        ("picture-without-labels", ("train/images/t04.png",)),
        ("input-missing", ("train/images/t02.png",)),
        ("size-mismatch", ("train/hha/t05.png", "train/images/t05.png")),
        ("ids-outside", ("train/shape/t03.png",)),
        ("depth", ("train/depth/t01.png",)),
    ]
    for name in "t06", "t07", "t08", "t09":
        (root / "train" / "labels" / f"{name}.png").unlink()
    fixed = fix(report, root.parent / "newer", progress=False)
    assert (fixed.written, fixed.left_out) == (6, 9)
    (root / "val" / "hha" / "v01.png").unlink()
    (root / "val" / "labels" / "v02.png").unlink()
    fixed = fix(report, root.parent / "newest", progress=False)
    assert "and 3 more left out" in str(fixed)


def test_a_flat_set_has_no_splits(clean_set: Path, tmp_path: Path) -> None:
    shutil.copytree(clean_set / "train", tmp_path, dirs_exist_ok=True)
    write_classes(tmp_path, CLASSES)
    report = check(tmp_path, progress=False)
    assert told(report) == []
    assert report.pictures == {"": 10}


# Reports


def test_reports_name_every_finding(root: Path) -> None:
    for name, way in zip(("t01", "t03", "t05", "t06"), list(BREAKS)[3:9:2], strict=False):
        BREAKS[way][2](Victim(root, "train", name))
    BREAKS["two_ids_are_unknown"][2](Victim(root, "train", "t07"))
    BREAKS["label_holds_colours"][2](Victim(root, "train", "t08"))
    report = check(root, progress=False)
    report.write_json(root.parent / "found.json")
    values = json.loads((root.parent / "found.json").read_text())
    page = write_findings_page(root.parent / "found.html", report).read_text()
    text = str(report)
    assert not values["clean"]
    assert values["pictures"] == {"train": 10, "val": 5}
    for found, stored in zip(report.findings, values["findings"], strict=True):
        assert (stored["kind"], stored["count"]) == (found.kind.name, found.count)
        assert found.sentence in text
        assert f'<section id="{found.kind.name}">' in page
        for example in found.examples:
            assert example.files[0] in text
            assert example.files[0] in page
    assert page.count("data:image/jpeg;base64,") >= 3
    shown = page.split("data:image/jpeg;base64,")[-1].split('"')[0]
    with Image.open(io.BytesIO(base64.b64decode(shown))) as image:
        assert image.height == 120


def test_examples_are_bounded(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    monkeypatch.setattr("fullyconv.data.check.finding.MOST_EXAMPLES", 7)
    shutil.rmtree(root / "train" / "labels")
    (root / "train" / "labels").mkdir()
    shutil.copy(root / "train/images/t01.png", root / "train/labels/other.png")
    report = check(root, progress=False)
    found = next(f for f in report.findings if f.kind.name == "picture-without-labels")
    assert (found.count, len(found.examples)) == (10, 7)
    assert "and 5 more" in str(report)
    page = write_findings_page(root.parent / "found.html", report).read_text()
    assert "<li>and " not in page or "3 more" in page


def test_every_kind_is_explained_and_can_be_found() -> None:
    page = (ROOT / "docs" / "howto" / "check-your-data.md").read_text()
    for kind in KINDS.values():
        assert f"| `{kind.name}` | {kind.what} |" in page
    tests = (ROOT / "tests" / "test_check.py").read_text()
    tests += (ROOT / "tests" / "test_check_parts.py").read_text()
    assert [k for k in KINDS if k not in {b[0] for b in BREAKS.values()} and k not in tests] == []


def test_the_same_in_several_processes(root: Path) -> None:
    BREAKS["two_ids_are_unknown"][2](Victim(root, "train", "t07"))
    one, two = (check(root, workers=n, progress=False) for n in (1, 2))
    assert one.findings == two.findings
    with pytest.raises(UsageError, match="workers is 0; it must be at least 1"):
        check(root, workers=0)


# Repair


def test_what_can_be_repaired_is_repaired_elsewhere(root: Path) -> None:
    ways = {
        "t00": "label_holds_colours",
        "t01": "palette_indices_are_no_ids",
        "t02": "palette_is_in_another_order",
        "t03": "only_the_label_is_turned",
        "t04": "label_name_ends_in_mask",
        "t05": "void_is_minus_one_in_16_bits",
        "t06": "label_is_a_jpeg",
        "t07": "labels_are_missing",
        "t08": "two_pictures_of_one_name",
    }
    expected = {name: Victim(root, "train", name).ids for name in ways}
    for name, way in ways.items():
        BREAKS[way][2](Victim(root, "train", name))
    before = {path: path.read_bytes() for path in root.rglob("*.*")}
    fixed = fix(check(root, progress=False), root.parent / "new", progress=False)
    assert {path: path.read_bytes() for path in root.rglob("*.*")} == before
    assert fixed.repaired == {
        "colour-mask": 2,
        "palette-order": 1,
        "exif-rotation": 1,
        "names-differ": 1,
        "void-habit": 1,
    }
    assert (fixed.written, fixed.left_out) == (12, 3)
    assert sorted(reason.partition(": ")[2] for reason in fixed.reasons) == [
        "it has no partner in labels/",
        "label-jpeg",
        "same-stem",
    ]
    assert "12 samples; repaired: colour-mask 2" in str(fixed)
    assert told(check(root.parent / "new", progress=False)) == []
    expected["t05"][:3, :4] = 255
    for name in ("t00", "t01", "t02", "t03", "t04", "t05"):
        np.testing.assert_array_equal(
            Victim(root.parent / "new", "train", name).ids, expected[name]
        )


def test_labels_are_turned_as_their_picture_is(root: Path) -> None:
    upright = Victim(root, "train", "t03").ids
    BREAKS["only_the_picture_is_turned"][2](Victim(root, "train", "t03"))
    fix(check(root, progress=False), root.parent / "new", progress=False)
    # orientation 6: people see the stored rows from the right to the left, as columns
    new = Victim(root.parent / "new", "train", "t03").ids
    np.testing.assert_array_equal(new, np.rot90(upright, -1))


def test_repair_refuses_what_could_do_harm(root: Path) -> None:
    report = check(root, progress=False)
    with pytest.raises(FullyConvError, match=r"new is in the data set itself; name a new folder"):
        fix(report, root / "new", progress=False)
    with pytest.raises(FullyConvError, match=r"is there already; name a new folder"):
        fix(report, root.parent, progress=False)
    (root / "classes.json").unlink()
    with pytest.raises(FullyConvError, match=r"without a classes.json that can be read nothing"):
        fix(check(root, progress=False), root.parent / "new", progress=False)


@pytest.mark.parametrize("folder", ["masks", "labels"])
def test_coloured_masks_are_to_be_imported(folder: str, tmp_path: Path) -> None:
    """What a tool exported is no data set yet, neither by a new name nor by a classes.json."""
    colors = np.zeros((8, 8, 3), np.uint8)
    colors[2:5] = (128, 0, 0)
    for kind, pixels in (("images", np.full((8, 8, 3), 99, np.uint8)), (folder, colors)):
        (tmp_path / kind).mkdir()
        Image.fromarray(pixels).save(tmp_path / kind / "a.png")
    said = str(check(tmp_path, progress=False))
    assert "coloured pictures: fcn data import DIR --out NEWDIR makes ids" in said
    assert "rename it" not in said
    assert "hold the ids" not in said
    Image.fromarray(colors[..., 0] // 128).save(tmp_path / folder / "a.png")
    said = str(check(tmp_path, progress=False))
    assert ("masks/: rename it" if folder == "masks" else "hold the ids 0, 1") in said
    assert "coloured pictures" not in said
