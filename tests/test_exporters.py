"""What is exported and imported again is what it was."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from test_importers import bring

import exports
from fullyconv.cli import run
from fullyconv.data.exporters import export_data, layout
from fullyconv.data.exporters.outlines import joined, outlines, polygons
from fullyconv.data.importers.shapes import Polygon
from fullyconv.data.sources import CLASSES, read_label_space
from fullyconv.errors import FullyConvError, UsageError
from fullyconv.files import write_json
from fullyconv.labels import CAMVID, LabelSpace

pytest.importorskip("scipy")

THREE = LabelSpace(categories=("background", "crack", "hole"))


def write_set(
    root: Path, space: LabelSpace = THREE, splits: tuple[str, ...] = ("train", "val")
) -> Path:
    """Random blobs of every class and of void, with holes and corners that touch."""
    rng = np.random.default_rng(0)
    for number, split in enumerate(splits):
        for name in (f"a{number}", f"b{number}"):
            exports.photo(root / split / "images" / f"{name}.jpg", 20, 24)
            labels = rng.integers(0, space.num_classes, (20, 24)).astype(np.uint8)
            labels[:, :12] = labels[:10].repeat(2, 0)[:, 12:]
            labels[rng.random((20, 24)) < 0.1] = 255
            (root / split / "labels").mkdir(exist_ok=True)
            Image.fromarray(labels).save(root / split / "labels" / f"{name}.png")
    write_json(root / CLASSES, space.to_dict())
    return root


def give(root: Path, out: Path, to: Any, **options: Any) -> str:
    return str(export_data(root, out, to, **{"progress": False, **options}))


def labels(root: Path) -> dict[str, NDArray[np.uint8]]:
    found = sorted(root.rglob("labels/*.png"))
    return {str(path.relative_to(root)): np.array(Image.open(path)) for path in found}


@pytest.mark.parametrize("splits", [("train", "val"), ("",)])
@pytest.mark.parametrize(
    ("to", "options"), [("masks", {}), ("coco", {}), ("coco", {"shape": "mask"})]
)
def test_exported_and_imported_it_is_the_same(
    to: str, options: dict[str, Any], splits: tuple[str, ...], tmp_path: Path
) -> None:
    """Ids, void, classes, colours, splits and pictures."""
    root = write_set(tmp_path / "set", splits=splits)
    give(root, tmp_path / "export", to, **options)
    bring(tmp_path / "export", tmp_path / "again")
    before, after = labels(root), labels(tmp_path / "again")
    assert before.keys() == after.keys()
    for name, ids in before.items():
        np.testing.assert_array_equal(after[name], ids)
    assert read_label_space(tmp_path / "again" / CLASSES).categories == THREE.categories
    for path in root.rglob("images/*"):
        assert (tmp_path / "again" / path.relative_to(root)).read_bytes() == path.read_bytes()


def test_yolo_keeps_all_but_void(tmp_path: Path) -> None:
    root = write_set(tmp_path / "set")
    said = give(root, tmp_path / "export", "yolo")
    assert "note: void has no form in YOLO: 4 pictures have some, background there" in said
    bring(tmp_path / "export", tmp_path / "again")
    after = labels(tmp_path / "again")
    for name, ids in labels(root).items():
        np.testing.assert_array_equal(after[name], np.where(ids == 255, 0, ids))


@pytest.mark.parametrize("to", ["masks", "coco"])
def test_without_background(to: str, tmp_path: Path) -> None:
    """Every class is one to be labelled; what has no label is void."""
    root = write_set(tmp_path / "set", CAMVID)
    give(root, tmp_path / "export", to)
    bring(tmp_path / "export", tmp_path / "again", unlabelled="void")
    after = labels(tmp_path / "again")
    for name, ids in labels(root).items():
        np.testing.assert_array_equal(after[name], ids)
    space = read_label_space(tmp_path / "again" / CLASSES)
    assert space.categories == CAMVID.categories
    if to == "masks":
        assert space.palette == CAMVID.palette


def test_masks_are_in_the_form_that_cvat_documents(tmp_path: Path) -> None:
    """docs.cvat.ai, Segmentation mask: labelmap.txt, ImageSets/Segmentation, SegmentationClass."""
    give(write_set(tmp_path / "set"), tmp_path / "export.zip", "masks", pictures=False)
    with zipfile.ZipFile(tmp_path / "export.zip") as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
        table = archive.read("labelmap.txt").decode().splitlines()
        assert archive.read("ImageSets/Segmentation/train.txt").decode() == "a0\nb0\n"
    assert names == {
        "labelmap.txt",
        "ImageSets/Segmentation/train.txt",
        "ImageSets/Segmentation/val.txt",
        *(f"SegmentationClass/{name}.png" for name in ("a0", "b0", "a1", "b1")),
    }
    assert table == [
        "# label:color_rgb:parts:actions",
        "background:0,0,0::",
        "crack:128,0,0::",
        "hole:0,128,0::",
        "void:224,224,192::",
    ]


def test_coco_says_what_cocos_tools_ask_for(tmp_path: Path) -> None:
    """Boxes and areas are those of the masks."""
    root = write_set(tmp_path / "set", splits=("val",))
    for shape in ("polygon", "mask"):
        give(root, tmp_path / shape, "coco", shape=shape)
        values = json.loads((tmp_path / shape / "annotations/instances_val.json").read_text())
        assert [c["name"] for c in values["categories"]] == ["crack", "hole", "void"]
        areas = np.zeros(4, int)
        for region in values["annotations"]:
            if region["image_id"] == 1:
                areas[region["category_id"]] += region["area"] if shape == "mask" else 0
        ids = labels(root)["val/labels/a0.png"]
        if shape == "mask":
            assert areas.tolist() == [0, (ids == 1).sum(), (ids == 2).sum(), (ids == 255).sum()]
            ys, xs = np.nonzero(ids == 1)
            box = values["annotations"][0]["bbox"]
            assert box == [xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1]


def test_predictions_are_exported_to_be_corrected(tmp_path: Path) -> None:
    """As fcn predict names them, with overlays beside them and the model's own classes."""
    (tmp_path / "masks").mkdir()
    for name in ("x", "y"):
        exports.photo(tmp_path / "photos" / "day 1" / f"{name}.jpg")
        mask = Image.fromarray(exports.EXPECTED)
        mask.putpalette([value for color in CAMVID.palette for value in color])
        mask.save(tmp_path / "masks" / f"{name}-mask.png")
        exports.photo(tmp_path / "masks" / f"{name}-overlay.jpg")
    options = {"images": tmp_path / "photos", "classes": "camvid"}
    assert "2 pictures as coco" in give(tmp_path / "masks", tmp_path / "e", "coco", **options)
    bring(tmp_path / "e", tmp_path / "out", unlabelled="void")
    after = labels(tmp_path / "out")
    np.testing.assert_array_equal(after["labels/x.png"], exports.EXPECTED)
    exports.write_json(tmp_path / "c.json", {"categories": ["a", "b", "c", "d"]})
    give(
        tmp_path / "masks",
        tmp_path / "f",
        "masks",
        **{**options, "classes": str(tmp_path / "c.json")},
    )
    assert "b:128,0,0::" in (tmp_path / "f" / "labelmap.txt").read_text()
    (tmp_path / "photos" / "day 1" / "y.jpg").unlink()
    with pytest.raises(FullyConvError, match="y-mask.png: its picture 'y' is not in"):
        give(tmp_path / "masks", tmp_path / "g", "masks", **options)


def test_the_classes_of_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Read:
        labels = THREE

    monkeypatch.setattr(layout, "read_header", lambda path: Read)
    assert layout.classes_of(tmp_path, "model.safetensors") is THREE


def test_colours_that_are_not_unlike(tmp_path: Path) -> None:
    space = LabelSpace(categories=("a", "b"), palette=((1, 1, 1), (1, 1, 1)))
    root = write_set(tmp_path / "set", space)
    assert "two classes had one colour; all have VOC's now" in give(root, tmp_path / "e", "masks")
    bring(tmp_path / "e", tmp_path / "again")
    after = labels(tmp_path / "again")
    for name, ids in labels(root).items():
        np.testing.assert_array_equal(after[name], ids)


@pytest.mark.parametrize("seed", range(10))
def test_outlines_drawn_again_are_the_mask(seed: int) -> None:
    """Noise: regions that touch at corners, holes in holes; one ring for each region."""
    from scipy import ndimage

    mask = np.random.default_rng(seed).random((20, 25)) < 0.6
    rings = outlines(mask)
    drawn = Polygon.of(rings).draw(20, 25)
    whole = np.zeros_like(mask)
    rows, columns = drawn.mask.shape
    whole[drawn.top : drawn.top + rows, drawn.left : drawn.left + columns] = drawn.mask
    np.testing.assert_array_equal(whole, mask)
    count = np.zeros(mask.shape, int)
    found = list(polygons(mask))
    for ring in found:
        one, top, left = Polygon.of([ring]).draw(20, 25)
        count[top : top + one.shape[0], left : left + one.shape[1]] += one
    np.testing.assert_array_equal(count, mask)
    assert len(found) == ndimage.label(mask)[1]


def test_a_tolerance_saves_corners_and_moves_outlines_no_farther() -> None:
    """A disc with a hole and a slanted bar."""
    from scipy import ndimage

    y, x = np.mgrid[:120, :160]
    radius = np.hypot(x - 50, y - 60)
    mask = ((radius < 40) & (radius > 12)) | (abs(x - 120 - y / 3) < 6)
    mask[:9] = mask[-9:] = False  # beyond the border there are no distances
    exact = list(polygons(mask))
    for tolerance, fewer in ((1.0, 3), (2.0, 5)):
        rings = list(polygons(mask, tolerance))
        assert len(rings) == len(exact)
        assert sum(map(len, rings)) < sum(map(len, exact)) / fewer
        drawn = np.zeros(mask.shape, bool)
        for ring in rings:
            one, top, left = Polygon.of([ring]).draw(*mask.shape)
            drawn[top : top + one.shape[0], left : left + one.shape[1]] |= one
        inside, outside = (ndimage.distance_transform_edt(m) for m in (mask, ~mask))
        assert (inside + outside)[drawn != mask].max() <= tolerance + 1
    single = np.zeros((3, 3), bool)
    single[1, 1] = True
    assert Polygon.of(list(polygons(single, 9))).area == 1


def test_an_outline_has_only_corners() -> None:
    mask = np.zeros((6, 8), bool)
    mask[1:5, 2:7] = True
    mask[2:4, 3:5] = False
    outer, hole = outlines(mask)
    assert outer.tolist() == [[2, 1], [7, 1], [7, 5], [2, 5]]
    assert sorted(hole.tolist()) == [[3, 2], [3, 4], [5, 2], [5, 4]]
    assert len(joined([outer, hole])) == 4 + 4 + 2


def test_what_cannot_be_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_set(tmp_path / "set")
    out = tmp_path / "e"
    with pytest.raises(UsageError, match=r"no form 'mask'. Did you mean masks\?"):
        give(root, out, "mask")
    with pytest.raises(UsageError, match="tolerance is -1; it must be 0 or more pixels"):
        give(root, out, "coco", tolerance=-1)
    with pytest.raises(UsageError, match="no shape 'box'. Known: mask, polygon"):
        give(root, out, "coco", shape="box")
    with pytest.raises(UsageError, match="'vocc' is neither a .json, a .safetensors nor a known"):
        give(root, out, "masks", classes="vocc")
    with pytest.raises(FullyConvError, match="nothing: there is no such folder"):
        give(tmp_path / "nothing", out, "masks", classes="voc")
    with pytest.raises(FullyConvError, match="expected images/ and labels/ in it or in its sub-f"):
        give(tmp_path / "set" / "val" / "images", out, "masks", classes="voc")
    with pytest.raises(FullyConvError, match="set: is there already; choose a new folder"):
        give(root, root, "masks")
    lonely = root / "val" / "labels" / "a1.png"
    lonely.rename(lonely.with_name("c.png"))
    with pytest.raises(FullyConvError, match=r"2 files have no partner of the same name \(a1, c"):
        give(root, out, "masks")
    lonely.with_name("c.png").rename(lonely)
    exports.photo(root / "val" / "images" / "a1.jpg", 5, 6)
    with pytest.raises(FullyConvError, match=r"a1.png has 20 x 24 pixels, but .*a1.jpg 5 x 6"):
        give(root, out, "coco")
    assert not out.exists()
    for kind in ("images/a1.jpg", "labels/a1.png"):
        path = root / "val" / kind
        path.unlink()
        path.with_stem("a0").write_bytes((root / "train" / kind.replace("a1", "a0")).read_bytes())
    with pytest.raises(FullyConvError, match="a0 is in train and in val, but masks lie in one"):
        give(root, out, "masks")
    assert "4 pictures" in give(root, tmp_path / "coco", "coco")
    assert bring(tmp_path / "coco", tmp_path / "again").pictures == {"train": 2, "val": 2}
    monkeypatch.setitem(__import__("sys").modules, "scipy", None)
    with pytest.raises(FullyConvError, match=r'needs scipy: pip install "fullyconv\[data\]"'):
        give(root, out, "coco")
    assert list(tmp_path.glob(".export-*")) == []

    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(FullyConvError, match="No space left on device"):
        give(root, out, "coco", shape="mask")
    monkeypatch.undo()
    monkeypatch.setattr("shutil.make_archive", full)
    with pytest.raises(FullyConvError, match="e.zip: cannot be written .No space left on device"):
        give(root, tmp_path / "e.zip", "coco", shape="mask")


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_set(tmp_path / "set")
    (tmp_path / "e").mkdir()
    assert run(["data", "export", str(root), "--to", "coco", "--out", str(tmp_path / "e")]) == 0
    assert "4 pictures as coco" in capsys.readouterr().out
