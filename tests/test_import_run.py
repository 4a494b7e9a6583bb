"""One import: classes, splits, names, archives, and everything that is wrong in an export."""

from __future__ import annotations

import base64
import gc
import json
import tracemalloc
import unicodedata
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from PIL import Image
from test_importers import bring, ids

import exports
from exports import EXPECTED, HEIGHT, WIDTH, many
from fullyconv.cli import main, run
from fullyconv.data.importers import IMPORTERS, import_data, reading, source
from fullyconv.data.importers import classes as classes_module
from fullyconv.data.importers import run as run_module
from fullyconv.data.importers.classes import class_map, parse_classes
from fullyconv.data.importers.found import Category
from fullyconv.data.sources import CLASSES, read_label_space
from fullyconv.errors import FullyConvError, UsageError
from fullyconv.labels import LabelSpace


def categories(root: Path) -> tuple[str, ...]:
    return read_label_space(root / CLASSES).categories


# Classes


@pytest.mark.parametrize(
    ("classes", "expected", "table"),
    [
        (None, ("background", "road", "car", "sign"), [0, 1, 2, 3]),
        ("sign,road,car", ("background", "sign", "road", "car"), [0, 2, 3, 1]),
        ("car=vehicle,sign=vehicle,road=way", ("background", "vehicle", "way"), [0, 2, 1, 1]),
        ("road=void,car", ("background", "car"), [0, 255, 1, 3]),
        ("road=background,car,sign", ("background", "car", "sign"), [0, 0, 1, 2]),
    ],
)
def test_classes_are_ordered_renamed_merged_and_left_out(
    classes: str | None, expected: tuple[str, ...], table: list[int], tmp_path: Path
) -> None:
    """A class that is left out is not drawn: what it would cover shows."""
    bring(exports.coco(tmp_path / "e"), tmp_path / "out", classes=classes)
    assert categories(tmp_path / "out") == expected
    wanted = np.array(table, np.uint8)[EXPECTED]
    if classes and "sign" not in classes:
        shown = np.array(
            [[2 if c == 2 else 1 if c == 1 else 0 for c in row] for row in EXPECTED.tolist()]
        )
        seen = EXPECTED != 3
        assert (ids(tmp_path / "out")[seen] == np.array([0, 255, 1], np.uint8)[shown][seen]).all()
        assert (ids(tmp_path / "out")[~seen] != 3).all()
    else:
        np.testing.assert_array_equal(ids(tmp_path / "out"), wanted)


def test_a_class_left_out_of_a_mask_is_unlabelled(tmp_path: Path) -> None:
    bring(exports.cvat_masks(tmp_path / "e"), tmp_path / "out", classes="car,background")
    assert categories(tmp_path / "out") == ("car", "background")
    np.testing.assert_array_equal(ids(tmp_path / "out"), np.where(EXPECTED == 2, 0, 1))


@pytest.mark.parametrize("make", [exports.coco, exports.cvat_masks])
def test_unlabelled_pixels_may_be_void(make: Any, tmp_path: Path) -> None:
    said = bring(make(tmp_path / "e"), tmp_path / "usual").notes
    if make is exports.coco:  # CVAT's masks have a class background
        assert "pixels without a label are background; --unlabelled void leaves them out" in said
    said = bring(tmp_path / "e", tmp_path / "out", unlabelled="void").notes
    assert not any("without a label" in note for note in said)
    assert categories(tmp_path / "out") == ("road", "car", "sign")
    expected = np.where(EXPECTED == 0, 255, EXPECTED - 1)
    np.testing.assert_array_equal(ids(tmp_path / "out"), expected)


def test_colours_are_the_tools_only_if_all_differ() -> None:
    same = [Category("a", (1, 2, 3)), Category("b", (1, 2, 3))]
    apart = [Category("a", (1, 2, 3)), Category("b", (3, 2, 1))]
    usual = LabelSpace(categories=("background", "a", "b"))
    assert class_map(same, None, "background", False).labels == usual
    found = class_map(apart, None, "background", False).labels
    assert found.palette == ((0, 0, 0), (1, 2, 3), (3, 2, 1))
    assert classes_module.unique([*apart, Category("a")]) == apart


def test_classes_that_cannot_be(tmp_path: Path) -> None:
    for text in ("a,,b", "a=", "a,a=b"):
        with pytest.raises(UsageError, match="is empty or given twice"):
            parse_classes(text)
    root = exports.coco(tmp_path / "e")
    with pytest.raises(UsageError, match=r"the export has no class 'cat'. Did you mean car\?"):
        bring(root, tmp_path / "out", classes="cat")
    with pytest.raises(FullyConvError, match="no class that could be learned"):
        class_map([], None, "void", False)
    with pytest.raises(FullyConvError, match="70000 categories given; 1 to 65535 are possible"):
        class_map([Category(str(i)) for i in range(70_000)], None, "void", True)


def test_another_order_of_classes_is_not_mixed_in(tmp_path: Path) -> None:
    root = exports.coco(tmp_path / "e")
    bring(root, tmp_path / "out")
    with pytest.raises(FullyConvError, match="is of another data set"):
        bring(root, tmp_path / "out", classes="car,road")


# Splits, names and pictures


def test_splits_of_the_export_are_kept(tmp_path: Path) -> None:
    """Of folders, of the names of files; pictures in none are said to be in train."""
    report = bring(many(tmp_path / "e", ["train/a", "valid/b", "Test/c", "d"]), tmp_path / "out")
    assert report.pictures == {"train": 2, "val": 1, "test": 1}
    assert "1 pictures are in no split of the export; they are in train" in str(report)
    coco = tmp_path / "coco"
    for split, name in (("train2017", "a"), ("val2017", "b")):
        exports.photo(coco / split / f"{name}.png")
        path = coco / "annotations" / f"instances_{split}.json"
        exports.write_json(path, exports.coco_values(name=f"{name}.png"))
    captions: dict[str, list[Any]] = {"images": [], "annotations": [], "categories": []}
    exports.write_json(coco / "annotations" / "captions_val2017.json", captions)
    assert bring(coco, tmp_path / "out2").pictures == {"train": 1, "val": 1}
    cvat = tmp_path / "cvat"
    exports.photo(cvat / "one.png")
    xml = exports.cvat_xml(exports.CVAT_REGIONS)
    exports.write(cvat / "a.xml", xml.replace("<image ", '<image subset="Validation" '))
    assert bring(cvat, tmp_path / "out3").pictures == {"val": 1}


def test_folders_are_part_of_the_name(tmp_path: Path) -> None:
    """So that pictures of one name in two folders stay two, and a split can go by folders."""
    root = many(tmp_path / "e", ["street 1/a", "street 2/a", "train/images/b"])
    bring(root, tmp_path / "out")
    found = sorted(path.stem for path in (tmp_path / "out").rglob("labels/*.png"))
    assert found == ["b", "street 1__a", "street 2__a"]


def test_names_that_would_lead_elsewhere(tmp_path: Path) -> None:
    exports.photo(tmp_path / "photos" / "passwd.png")
    values = exports.coco_values(name="../../../etc/passwd.png")
    values["images"].append({"id": 8, "file_name": "/", "height": 1, "width": 1})
    path = exports.write_json(tmp_path / "e" / "a.json", values)
    with pytest.raises(FullyConvError, match="1 pictures could not be imported"):
        bring(path, tmp_path / "out", images=tmp_path / "photos")
    assert (tmp_path / "out" / "images" / "etc__passwd.png").is_file()
    assert source.plain_name("C:\\data\\a?.png") == "C___data__a_"
    with pytest.raises(FullyConvError, match="'...' is no name of a picture"):
        source.plain_name("...")


def test_pictures_are_found_elsewhere(tmp_path: Path) -> None:
    """Whatever the export's path was; several of one name are told apart by their folders."""
    photos = tmp_path / "photos"
    for folder in ("north", "south"):
        exports.photo(
            photos / folder / "one.png", *((HEIGHT, WIDTH) if folder == "south" else (5, 5))
        )
    values = exports.coco_values(name="D:\\job\\south\\one.png")
    path = exports.write_json(tmp_path / "e" / "a.json", values)
    bring(path, tmp_path / "out", images=[photos])
    np.testing.assert_array_equal(ids(tmp_path / "out"), EXPECTED)
    exports.write_json(path, exports.coco_values())
    with pytest.raises(FullyConvError, match="'one.png' may be .*north.* or .*south.*; keep one"):
        bring(path, tmp_path / "out2", images=[photos])
    exports.write_json(path, exports.coco_values(name="two.png"))
    with pytest.raises(
        FullyConvError, match="its picture 'two.png' is neither in the export nor in a folder"
    ):
        bring(path, tmp_path / "out3", images=[photos])
    with pytest.raises(FullyConvError, match="nowhere: there is no such folder"):
        bring(path, tmp_path / "out4", images=tmp_path / "nowhere")


def test_an_import_again_brings_what_is_new(tmp_path: Path) -> None:
    """Labels that were corrected in the tool, and pictures that changed, replace the old ones."""
    root = exports.labelme(tmp_path / "e")
    bring(root, tmp_path / "out")
    picture = tmp_path / "out" / "images" / "one.png"
    assert picture.samefile(root / "one.png")
    values = exports.labelme_values()
    values["shapes"] = values["shapes"][1:] + values["shapes"][:1]
    exports.write_json(root / "one.json", values)
    (root / "one.png").unlink()
    Image.new("RGB", (WIDTH, HEIGHT), "red").save(root / "one.png")
    report = bring(root, tmp_path / "out")
    assert report.made == 1
    assert (ids(tmp_path / "out")[1:7, 1:9] == 2).all()  # the road is drawn last now
    assert Image.open(picture).getpixel((0, 0)) == (255, 0, 0)


def test_pictures_in_the_json_become_files(tmp_path: Path) -> None:
    bring(exports.labelme_embedded(tmp_path / "e"), tmp_path / "out")
    content = exports.photo(tmp_path / "same.png").read_bytes()
    assert (tmp_path / "out" / "images" / "one.png").read_bytes() == content
    exports.write_json(tmp_path / "f" / "one.json", {**exports.labelme_values(b"no picture")})
    with pytest.raises(FullyConvError, match="one: the picture in it: this is not a picture"):
        bring(tmp_path / "f", tmp_path / "out2")


def test_a_picture_without_a_name(tmp_path: Path) -> None:
    root = exports.many(tmp_path / "e", ["a", " "])
    assert "' ' is no name of a picture" in problem(root, tmp_path / "out")


# Archives


@pytest.mark.parametrize("name", ["cvat-masks", "yolo", "supervisely"])
def test_archives_are_read(name: str, tmp_path: Path) -> None:
    form, make = exports.EXPORTS[name]
    root = make(tmp_path / "export")
    with zipfile.ZipFile(tmp_path / "job.zip", "w") as archive:
        for path in sorted(root.rglob("*")):
            archive.write(path, path.relative_to(root))
    assert bring(tmp_path / "job.zip", tmp_path / "out").name == form
    np.testing.assert_array_equal(ids(tmp_path / "out"), EXPECTED)
    assert not list((tmp_path / "out").glob(".unpacked-*"))


def test_archives_that_would_do_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "out.zip", "w") as archive:
        archive.writestr("../../evil.json", "{}")
    with pytest.raises(FullyConvError, match="leads out of the archive's own folder"):
        bring(tmp_path / "out.zip", tmp_path / "o")
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.json", bytes(2**22))
    monkeypatch.setattr(run_module, "_USUAL_BYTES", 2**20)
    with pytest.raises(FullyConvError, match="bomb.zip: unpacks to more than"):
        bring(tmp_path / "bomb.zip", tmp_path / "o")
    assert not (tmp_path.parent / "evil.json").exists()


# What is wrong in an export


def problem(root: Path, out: Path, **options: Any) -> str:
    """What is said of an export of which nothing can be made."""
    with pytest.raises(FullyConvError) as error:
        bring(root, out, **options)
    return str(error.value)


def test_one_bad_picture_does_not_stop_the_others(tmp_path: Path) -> None:
    """Each has its sentence, in the message and in a file; exported again, the file goes."""
    root = many(tmp_path / "e", ["a", "b", "c", "d", "e"])
    (root / "a.png").write_bytes(b"no picture")
    (root / "b.png").unlink()
    (root / "c.json").write_bytes(b'{"shapes": [], "imagePath": "\xff\xfe"}')
    exports.photo(root / "d.png", WIDTH, HEIGHT)
    said = problem(root, tmp_path / "out")
    assert "4 pictures could not be imported" in said
    lines = (tmp_path / "out" / "problems.txt").read_text().splitlines()
    assert [line.partition(":")[0] for line in lines] == ["a", "b.json", "c.json", "d"]
    assert "not a picture in any format known" in lines[0]
    assert "'/b.png' is neither in the export" in lines[1]
    assert "not UTF-8 at byte 29; save it as UTF-8" in lines[2]
    assert "its annotation is of 12 x 16 pixels, but the picture has 16 x 12" in lines[3]
    assert [path.stem for path in (tmp_path / "out" / "labels").iterdir()] == ["e"]
    for name in "abcd":
        many(root, [name])
    assert bring(root, tmp_path / "out").made == 5
    assert not (tmp_path / "out" / "problems.txt").exists()


def test_regions_without_area_and_outside_are_said(tmp_path: Path) -> None:
    """Both leave the picture usable, so they are notes; the first few are shown, all in a file."""
    root = many(tmp_path / "e", [f"p{i}" for i in range(6)])
    for path in root.glob("*.json"):
        values = exports.labelme_values(name=f"{path.stem}.png")
        values["shapes"][0]["points"] = [[1, 1], [5, 5]]
        values["shapes"][1]["points"][2] = [60.5, 90.9]
        exports.write_json(path, values)
    report = bring(root, tmp_path / "out")
    assert "p0: a region 'road' is left out: a polygon of 2 points has no area" in str(report)
    assert "p0: a region 'car' reaches outside; it is clipped" in str(report)
    assert "note: 4 more are in" in str(report)
    assert len((tmp_path / "out" / "notes.txt").read_text().splitlines()) == 12
    labels = np.array(Image.open(tmp_path / "out" / "labels" / "p0.png"))
    assert set(np.unique(labels)) == {0, 1, 3}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"category_id": 6}, r"region 1 \('category 6'\): its class is not in the export's own"),
        ({"segmentation": {"counts": [1, 2], "size": [12, 16]}}, "holds 3 pixels, but its box"),
        ({"segmentation": {"counts": "zz", "size": [12, 16]}}, "does not belong into a run-length"),
        ({"segmentation": {"counts": [0, 400], "size": [20, 20]}}, "20 x 20 pixels, but the pic"),
        ({"segmentation": {"counts": [1]}}, "not in the form that COCO writes .KeyError: 'size'"),
        ({"segmentation": [[1, 2, 3, 4, 5]]}, r"not in the form that COCO writes \(ValueError"),
        ({"segmentation": [["a", "b"] * 3]}, r"not in the form that COCO writes \(ValueError"),
        ({"segmentation": [[1, 2, 3, 4, 5, 1e300]]}, "a coordinate beyond 1,000,000"),
        ({"segmentation": [7]}, r"not in the form that COCO writes \(TypeError"),
        ({"category_id": None}, r"not in the form that COCO writes \(TypeError"),
        ({"image_id": 99}, "annotations are of a picture 99 it lacks"),
    ],
)
def test_broken_regions_of_coco(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    root = exports.coco(tmp_path / "e")
    values = exports.coco_values()
    values["annotations"] = [{**values["annotations"][2], **change}]
    exports.write_json(root / "annotations" / "instances_default.json", values)
    with pytest.raises(FullyConvError, match=message):
        bring(root, tmp_path / "out")


@pytest.mark.parametrize(
    ("region", "message"),
    [
        ('<mask label="car" rle="1, 2" left="0" top="0" width="5" height="4"/>', "its box of 5 x"),
        ('<mask label="car" rle="1, x" left="0" top="0" width="5" height="4"/>', "ValueError"),
        ('<polygon label="car" points="1,2;3;4,5"/>', "ValueError"),
        ('<polygon points="1,2;3,4;4,5"/>', "KeyError: 'label'"),
        ('<polygon label="cat" points="1,2;3,4;4,5"/>', r"'cat'\): its class is not in the export"),
        ('<box label="car" xtl="1" ytl="nan" xbr="4" ybr="5"/>', "a coordinate beyond"),
    ],
)
def test_broken_regions_of_cvat(region: str, message: str, tmp_path: Path) -> None:
    exports.photo(tmp_path / "e" / "one.png")
    exports.write(tmp_path / "e" / "a.xml", exports.cvat_xml(region))
    with pytest.raises(FullyConvError, match=message.replace("5 x", "4 x")):
        bring(tmp_path / "e", tmp_path / "out")


def test_xml_that_would_do_harm_or_is_of_videos(tmp_path: Path) -> None:
    exports.photo(tmp_path / "e" / "one.png")
    laughs = '<!DOCTYPE a [<!ENTITY b "bbbb"><!ENTITY c "&b;&b;">]>'
    xml = exports.cvat_xml("")
    path = exports.write(
        tmp_path / "e" / "a.xml", xml.replace("<annotations>", f"{laughs}<annotations>")
    )
    assert "a document type or entity has no place" in problem(path, tmp_path / "out")
    exports.write(path, xml.replace("<image ", '<track id="1"></track><image '))
    assert "CVAT for video, whose tracks are not read" in problem(path, tmp_path / "out1")
    exports.write(path, xml[:-9])
    assert "no whole XML" in problem(path, tmp_path / "out2")


def test_json_that_would_do_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exports.photo(tmp_path / "e" / "one.png")
    path = tmp_path / "e" / "one.json"
    keys = '{"imagePath": "one.png", "shapes": '
    exports.write(path, keys + "[" * 200_000)
    assert "nested too deeply for an annotation file" in problem(path, tmp_path / "out")
    exports.write(path, keys)
    assert "no whole JSON" in problem(path, tmp_path / "out2")
    exports.write(path, keys + "7}")
    assert "one.json: cannot be read ('int' object is not iterable)" in problem(
        path, tmp_path / "o"
    )
    monkeypatch.setattr(reading, "MAX_TEXT", 100)
    monkeypatch.setattr(reading.read_text, "__defaults__", (100,))
    exports.write(path, keys + " " * 100 + "[]}")
    assert "bytes, and at most 100 are read; export in parts" in problem(path, tmp_path / "out3")


def test_embedded_masks_that_would_do_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = exports.supervisely(tmp_path / "e")
    (path,) = root.rglob("one.png.json")

    def said(data: str) -> str:
        values = exports.supervisely_values()
        values["objects"][2]["bitmap"]["data"] = data
        exports.write_json(path, values)
        return problem(root, tmp_path / "out")

    assert "what should be base64 is none" in said("%%%")
    assert "a packed mask is damaged" in said(base64.b64encode(b"abc").decode())
    cut = base64.b64encode(zlib.compress(bytes(99))[:-4]).decode()
    assert "a packed mask is cut short, or too large" in said(cut)
    assert "the mask 'sign': this is not a picture" in said(
        base64.b64encode(zlib.compress(bytes(99))).decode()
    )
    monkeypatch.setattr(reading, "MAX_PIXELS", 1000)
    bomb = base64.b64encode(zlib.compress(bytes(2000))).decode()
    assert "a packed mask is cut short, or too large" in said(bomb)


def test_a_picture_of_200_megapixels_is_refused_undecoded(tmp_path: Path) -> None:
    root = many(tmp_path / "e", ["a", "b"])
    header = exports.png(np.zeros((1, 1), np.uint8))
    size = (20_000).to_bytes(4, "big") + (10_000).to_bytes(4, "big")
    chunk = b"IHDR" + size + header[24:29]
    checked = chunk + zlib.crc32(chunk).to_bytes(4, "big")
    (root / "a.png").write_bytes(header[:12] + checked + header[33:])
    tracemalloc.start()
    said = problem(root, tmp_path / "out")
    assert tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()
    gc.collect()
    assert "a: " in said
    assert "a picture of more than 178,956,970 pixels is not read whole" in said
    assert (tmp_path / "out" / "labels" / "b.png").is_file()


def test_masks_that_do_not_fit(tmp_path: Path) -> None:
    root = exports.masks(tmp_path / "e")
    (mask,) = (root / "masks").iterdir()
    strange = exports.colored(EXPECTED)
    strange[0, :3] = (1, 2, 3)
    strange[0, 3] = (9, 9, 9)
    Image.fromarray(strange).save(mask)
    said = problem(root, tmp_path / "out")
    assert "colours that are no class's: #010203 (3 px), #090909 (1 px); add them" in said
    Image.fromarray(strange[:5]).save(mask)
    assert "colours that are no class's" in problem(root, tmp_path / "out")
    Image.fromarray(exports.colored(EXPECTED[:5])).save(mask)
    assert "its mask has 5 x 16 pixels, but the picture 12 x 16" in problem(root, tmp_path / "out")
    Image.fromarray(EXPECTED.astype(np.uint16)).save(mask)
    assert "holds numbers of more than 8 bits" in problem(root, tmp_path / "out")
    mask.unlink()
    exports.photo(mask.with_suffix(".jpg"))
    assert "is a JPEG, which does not keep colours" in problem(root, tmp_path / "out")
    (root / "class_dict.csv").write_text("nothing\n")
    assert "no line like car:128,0,0:: or car,128,0,0" in problem(root, tmp_path / "out")
    (root / "class_dict.csv").write_text("a,1,2,3\nb,1,2,3\n")
    assert "'a' and 'b' have one colour" in problem(root, tmp_path / "out")


def test_masks_of_many_colours_need_a_table(tmp_path: Path) -> None:
    exports.photo(tmp_path / "e" / "images" / "one.png", 40, 40)
    exports.photo(tmp_path / "e" / "masks" / "one.png", 40, 40)
    exports.photo(tmp_path / "e" / "masks" / "bad.jpg")
    said = problem(tmp_path / "e", tmp_path / "out")
    assert "1 masks hold more than 255 colours, by themselves or together" in said
    assert "smooth edges (masks/one.png); add a table of colours" in said


def test_a_mask_that_is_none_stops_only_itself(tmp_path: Path) -> None:
    """Without a table as with one: what no id could count is a problem of that picture."""
    root = tmp_path / "e"
    for name in ("a", "b", "c"):
        exports.photo(root / "images" / f"{name}.jpg")
        (root / "masks").mkdir(exist_ok=True)
        Image.fromarray(exports.colored(EXPECTED)).save(root / "masks" / f"{name}.png")
    exports.photo(root / "images" / "b.jpg", 40, 40)
    exports.photo(root / "masks" / "b.png", 40, 40)
    said = problem(root, tmp_path / "out")
    assert "masks/b.png: 1,600 colours, as in masks saved as JPEG or with smooth edges" in said
    assert "no labels" not in said
    assert {path.stem for path in (tmp_path / "out" / "labels").iterdir()} == {"a", "c"}
    assert len(categories(tmp_path / "out")) == len(np.unique(EXPECTED))


def test_masks_of_too_many_colours_together_are_named(tmp_path: Path) -> None:
    """Those with colours that no other mask has, the worst first; not the one in which it shows."""
    root = tmp_path / "e"
    plain = np.zeros((12, 16, 3), np.uint8)
    for number, name in enumerate("abcdz"):
        exports.photo(root / "images" / f"{name}.jpg")
        mask = plain.copy()
        if name in "bd":
            rows = slice(0, 11 if name == "b" else 12)
            mask[rows, :, 0] = 100 + number
            mask[rows, :, 1:] = np.arange(192).reshape(12, 16, 1)[rows]
        (root / "masks").mkdir(exist_ok=True)
        Image.fromarray(mask).save(root / "masks" / f"{name}.png")
    said = problem(root, tmp_path / "out")
    assert "2 masks hold more than 255 colours" in said
    assert "(masks/d.png, masks/b.png)" in said
    assert not (tmp_path / "out").exists()


def test_ids_beyond_the_table(tmp_path: Path) -> None:
    for make, path in (
        (exports.voc, "VOCdevkit/VOC2012/SegmentationClass/one.png"),
        (exports.cityscapes_ids, "gtFine/val/ulm/ulm_000000_000019_gtFine_labelIds.png"),
    ):
        root = make(tmp_path / make.__name__)
        Image.fromarray(np.full((HEIGHT, WIDTH), 77, np.uint8)).save(root / path)
        assert "id 77" in problem(root, tmp_path / f"{make.__name__}-out")


def test_yolo_without_names_or_with_half_points(tmp_path: Path) -> None:
    root = exports.yolo(tmp_path / "e")
    exports.write(root / "labels" / "train" / "one.txt", "0 0.1 0.2 0.3\n")
    assert "line 1 holds 3 numbers; polygons have pairs" in problem(root, tmp_path / "out")
    exports.write(root / "labels" / "train" / "one.txt", "zero 0.1 0.2 0.3\n")
    assert "not in the form that YOLO writes (ValueError" in problem(root, tmp_path / "out")
    exports.write(root / "data.yaml", "train: x\n")
    assert "it has no names of classes" in problem(root, tmp_path / "out")
    exports.write(root / "data.yaml", "names: [a\n")
    assert "no YAML" in problem(root, tmp_path / "out")


def test_label_studio_png_needs_the_json(tmp_path: Path) -> None:
    root = exports.labelstudio_png(tmp_path / "e")
    (root / "project-1.json").unlink()
    assert "put the same project's JSON export beside them" in problem(root, tmp_path / "out")


def test_supervisely_of_no_shape(tmp_path: Path) -> None:
    root = exports.supervisely(tmp_path / "e")
    (path,) = root.rglob("one.png.json")
    values = exports.supervisely_values()
    values["objects"] = [{"classTitle": "car", "geometryType": "any"}]
    exports.write_json(path, values)
    assert "geometry 'any' says nothing of its shape" in problem(root, tmp_path / "out")


def test_damaged_files_that_are_also_looked_through_for_classes(tmp_path: Path) -> None:
    """Cityscapes' polygons for their names, coloured masks for their colours."""
    root = exports.cityscapes(tmp_path / "city")
    (path,) = root.rglob("*_polygons.json")
    exports.write(path, "{")
    assert "no whole JSON" in problem(root, tmp_path / "out")
    root = exports.masks(tmp_path / "masks")
    (root / "class_dict.csv").unlink()
    exports.photo(root / "images" / "two.png")
    exports.write(root / "masks" / "two.png", "no picture")
    assert "two.png: this is not a picture" in problem(root, tmp_path / "out2")
    exports.write(root / "masks" / "three.png", "no picture")
    assert "its picture 'images/three' is neither" in problem(root, tmp_path / "out3")


def test_the_last_of_several_annotations_counts(tmp_path: Path) -> None:
    root = exports.labelstudio(tmp_path / "e")
    task = exports.labelstudio_task()
    task["annotations"].insert(1, {"id": 9, "result": []})
    exports.write_json(root / "project-1.json", [task])
    report = bring(root, tmp_path / "out")
    assert "task 12: of 2 annotations, the last one counts" in str(report)
    assert ids(tmp_path / "out").any()


def test_tables_of_colours_that_are_none(tmp_path: Path) -> None:
    """CVAT's table may leave a colour empty, which means VOC's of that place."""
    root = exports.masks(tmp_path / "e")
    (root / "class_dict.csv").unlink()
    exports.write(root / "labelmap.json", "[1, 2]")
    assert "no line like" in problem(root, tmp_path / "out")
    (root / "labelmap.json").unlink()
    exports.write(root / "labelmap.txt", "background:::\nroad:::\n")
    (mask,) = (root / "masks").iterdir()
    Image.fromarray(np.array([[0, 0, 0], [128, 0, 0]], np.uint8)[(EXPECTED > 0) * 1]).save(mask)
    bring(root, tmp_path / "out2")
    np.testing.assert_array_equal(ids(tmp_path / "out2"), EXPECTED > 0)


def test_pictures_of_one_name(tmp_path: Path) -> None:
    root = exports.coco(tmp_path / "e")
    values = exports.coco_values()
    values["images"].append({**values["images"][0], "id": 8})
    exports.write_json(root / "annotations" / "instances_default.json", values)
    assert "one: two pictures have this name but for a suffix" in problem(root, tmp_path / "out")


def test_sources_that_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "gone: there is no such file or folder" in problem(tmp_path / "gone", tmp_path / "new")
    assert not (tmp_path / "new").exists()
    (tmp_path / "empty").mkdir()
    assert "of no format known here" in problem(tmp_path / "empty", tmp_path / "new")
    assert not (tmp_path / "new").exists()
    exports.write(tmp_path / "e" / "notes.md", "x")
    said = problem(tmp_path / "e", tmp_path / "out")
    assert "of no format known here. It holds notes.md. Looked for cvat-masks:" in said
    with pytest.raises(UsageError, match=r"no format 'cocoo' is known. Did you mean coco\?"):
        bring(tmp_path / "e", tmp_path / "out", form="cocoo")
    with pytest.raises(UsageError, match="workers is 0; it must be at least 1"):
        bring(tmp_path / "e", tmp_path / "out", workers=0)
    empty = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "a"}]}
    exports.write_json(tmp_path / "f" / "a.json", empty)
    assert "speaks of no picture; is it empty?" in problem(tmp_path / "f", tmp_path / "out")
    exports.write_json(tmp_path / "f" / "a.json", {**empty, "images": 3})
    assert "not in the form that COCO writes" in problem(tmp_path / "f", tmp_path / "out")
    monkeypatch.setattr(source, "MAX_FILES", 1)
    many(tmp_path / "e", ["a"])
    assert "more than 1 files; give the folder of" in problem(tmp_path / "e", tmp_path / "out")


@pytest.mark.parametrize("make", [exports.cvat_masks, exports.voc, exports.masks])
def test_a_file_that_is_no_export_stands_for_none_beside_it(make: Any, tmp_path: Path) -> None:
    root = make(tmp_path / "e")
    (root / "weights.pth").write_bytes(b"no export")
    assert "weights.pth: of no format known here" in problem(root / "weights.pth", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_named_format_that_is_not_there(tmp_path: Path) -> None:
    exports.write(tmp_path / "e" / "notes.md", "x")
    for form in IMPORTERS:
        with pytest.raises(FullyConvError, match="e: no export of .*; expected: "):
            bring(tmp_path / "e", tmp_path / "out", form=form)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(FullyConvError, match="cannot be read"):
        reading.read_text(tmp_path / "none")
    assert not source.Source(tmp_path).says("none", "x")


def test_hidden_files_are_none(tmp_path: Path) -> None:
    """macOS's ._one.json and __MACOSX/."""
    root = exports.labelme(tmp_path / "e")
    (root / "._one.json").write_bytes(b"\x00\x05")
    exports.write(root / "__MACOSX" / "one.json", '"shapes" "imagePath"')
    assert bring(root, tmp_path / "out").made == 1


def test_processes_make_the_same(tmp_path: Path) -> None:
    root = many(tmp_path / "e", ["a", "b", "c"])
    (root / "b.png").write_bytes(b"no picture")
    for workers in (1, 2):
        problem(root, tmp_path / f"out{workers}", workers=workers)
    trees = [
        {p.relative_to(out): p.read_bytes() for p in out.rglob("*") if p.is_file()}
        for out in (tmp_path / "out1", tmp_path / "out2")
    ]
    assert trees[0] == trees[1]


# The command


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = exports.cvat(tmp_path / "e")
    arguments = ["data", "import", str(root), "--out", str(tmp_path / "out"), "--from", "cvat"]
    assert run([*arguments, "--classes", "road,car", "--unlabelled", "void"]) == 0
    assert "cvat in" in capsys.readouterr().out
    assert categories(tmp_path / "out") == ("road", "car")
    assert run(["data", "formats"]) == 0
    listed = capsys.readouterr().out
    assert all(f"{name}: " in listed for name in IMPORTERS)


def test_the_command_fails_with_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = many(tmp_path / "e", ["a", "b"])
    (root / "a.png").unlink()
    arguments = ["fcn", "data", "import", str(root), "--out", str(tmp_path / "out")]
    monkeypatch.setattr("sys.argv", arguments)
    with pytest.raises(SystemExit) as exit_info:
        main()
    assert exit_info.value.code == 1
    said = capsys.readouterr().err
    assert said.startswith("fcn: 1 pictures could not be imported; ")
    assert "Traceback" not in said


def test_yaml_needs_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = exports.yolo(tmp_path / "e")
    monkeypatch.setitem(__import__("sys").modules, "yaml", None)
    assert 'needs PyYAML: pip install "fullyconv[data]"' in problem(root, tmp_path / "out")


def test_the_public_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fullyconv

    assert fullyconv.import_data is import_data
    monkeypatch.chdir(exports.labelme(tmp_path / "e"))
    assert fullyconv.import_data(".", tmp_path / "out", progress=True).made == 1
    assert json.loads((tmp_path / "out" / CLASSES).read_text())["void"] == [255]


# Where to


def contents(root: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_the_export_itself_is_never_written_into(tmp_path: Path) -> None:
    root = many(tmp_path / "above" / "e", ["a"])
    before = contents(tmp_path)
    for out in (root, root / "new" / "out"):
        with pytest.raises(FullyConvError, match="is in the export itself; name a new folder"):
            bring(root, out)
    with pytest.raises(FullyConvError, match="above holds the export itself; name a new folder"):
        bring(root, tmp_path / "above")
    assert contents(tmp_path) == before
    assert not (root / "new").exists()


def test_a_folder_that_no_import_made_is_left_alone(tmp_path: Path) -> None:
    """Not even one with the same classes; hidden files, as a killed import leaves, are nobody's."""
    root, out = many(tmp_path / "e", ["a"]), tmp_path / "out"
    exports.write(out / ".unpacked-left" / "job" / "a.txt", "")
    bring(root, out)
    mine = tmp_path / "mine"
    exports.write(mine / "notes.txt", "my own")
    exports.write(mine / CLASSES, (out / CLASSES).read_text())
    exports.photo(mine / "images" / "a.png")
    before = contents(mine)
    with pytest.raises(
        FullyConvError,
        match=r"mine is no folder of an earlier import .* holds "
        r"classes.json, images, notes.txt; name a new folder",
    ):
        bring(root, mine)
    assert contents(mine) == before
    assert bring(root, out).made == 1


def test_a_file_beside_its_pictures_is_imported_twice_into_a_folder_beside_them(
    tmp_path: Path,
) -> None:
    """What the first import made is no picture of the export."""
    exports.photo(tmp_path / "one.png")
    exports.write_json(tmp_path / "job.json", exports.coco_values(name="one.png"))
    for _ in range(2):
        report = bring(tmp_path / "job.json", tmp_path / "out")
        assert report.made == 1
        assert "no labels" not in str(report)


@pytest.mark.parametrize("name", exports.EXPORTS)
def test_pictures_without_labels_are_said(name: str, tmp_path: Path) -> None:
    """Every picture that has labels is none of them, in each tool's form."""
    form, make = exports.EXPORTS[name]
    made = make(tmp_path / "e")
    root = made if made.is_dir() else made.parent
    report = bring(made, tmp_path / "out", form=form)
    assert "no labels" not in str(report)
    (picture,) = (tmp_path / "out").rglob("images/*")
    inside = {"supervisely": "ds/img", "labelstudio": "", "masks": "images"}.get(form, "more")
    for more in ("x", "y"):
        exports.photo(root / inside / f"{more}.png")
    images = {"images": root} if form == "labelstudio" else {}
    report = bring(made, tmp_path / "out", form=form, **images)
    said = "2 pictures have no labels in the export and are left out (x.png, y.png)"
    assert said in report.notes
    lines = (tmp_path / "out" / "notes.txt").read_text().splitlines()
    assert lines[-2:] == [f"{n}.png: no labels in the export, left out" for n in "xy"]
    assert list((tmp_path / "out").rglob("images/*")) == [picture]


def test_a_damaged_annotation_is_a_problem_and_its_picture_not_unlabelled(tmp_path: Path) -> None:
    root = many(tmp_path / "e", ["a", "b"])
    exports.write(root / "a.json", '{"shapes": "imagePath"')
    said = problem(root, tmp_path / "out")
    assert "a.json: cannot be read" in said
    assert "no labels" not in said


@pytest.mark.parametrize("turn", [("NFC", "NFD"), ("NFD", "NFC")])
def test_names_are_compared_as_they_look(
    turn: tuple[Literal["NFC", "NFD"], Literal["NFC", "NFD"]], tmp_path: Path
) -> None:
    """Umlauts as one character, or as a letter and a mark: macOS writes the latter."""
    mine, other = (unicodedata.normalize(form, "Münster tor") for form in turn)
    root = tmp_path / "masks"
    exports.photo(root / "images" / f"{mine}.png")
    (root / "labels").mkdir()
    Image.fromarray(EXPECTED).save(root / "labels" / f"{other}.png")
    labelme = many(tmp_path / "labelme", [mine])
    exports.write_json(labelme / f"{mine}.json", exports.labelme_values(name=f"{other}.png"))
    yolo = exports.yolo(tmp_path / "yolo")
    for kind, name in (("images", f"{mine}.png"), ("labels", f"{other}.txt")):
        inside = yolo / kind / "train"
        (inside / f"one{name[-4:]}").rename(inside / name)
    for export in (root, labelme, yolo):
        out = tmp_path / f"{export.name}-out"
        report = bring(export, out)
        assert (report.made, "no labels" in str(report)) == (1, False)
        names = {path.stem for path in out.rglob("*.png")}
        assert names == {unicodedata.normalize("NFC", "Münster tor")}
        assert ids(out).any()


@pytest.mark.parametrize("make", [exports.coco, exports.labelme, exports.cvat])
def test_blanks_around_a_name_make_no_class_and_capitals_are_said(
    make: Callable[[Path], Path], tmp_path: Path
) -> None:
    made = make(tmp_path / "e")
    root = made if made.is_dir() else made.parent
    (path,) = [p for p in root.rglob("*") if p.suffix in (".json", ".xml")]
    text = path.read_text()
    path.write_text(text.replace("road", "road ").replace("sign", "Car"))
    report = bring(made, tmp_path / "out")
    assert set(categories(tmp_path / "out")) == {"background", "road", "car", "Car"}
    (said,) = (note for note in report.notes if "capitals" in note)
    option = said.rpartition("these as ")[2]
    assert option in ("car,Car=car", "Car,car=Car")
    bring(made, tmp_path / "one", classes=f"road,{option}")
    expected = np.array([0, 1, 2, 2], np.uint8)[EXPECTED]
    np.testing.assert_array_equal(ids(tmp_path / "one"), expected)


def test_an_import_that_was_killed_is_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, out = many(tmp_path / "e", ["a"]), tmp_path / "out"

    def killed(*arguments: object) -> None:
        raise KeyboardInterrupt

    for step in ("write_classes", "_make_all"):
        with monkeypatch.context() as patch:
            patch.setattr(run_module, step, killed)
            with pytest.raises(KeyboardInterrupt):
                bring(root, out)
        assert list(out.iterdir())
    assert bring(root, out).made == 1
