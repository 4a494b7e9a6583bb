"""Each tool's export, and those its own libraries write, become exactly the masks they mean."""

from __future__ import annotations

import base64
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import exports
from exports import DATA, EXPECTED, EXPORTS, HEIGHT, SIGN, WIDTH
from fullyconv.data.folder import FolderDataset
from fullyconv.data.importers import IMPORTERS, import_data
from fullyconv.data.prepare import Report
from fullyconv.data.sources import CLASSES, read_label_space
from fullyconv.errors import FullyConvError
from fullyconv.labels import VOC

_OTHER_NAMES = {"traffic sign": "sign", "aeroplane": "road", "bicycle": "car", "bird": "sign"}


def bring(source: Path, out: Path, **options: Any) -> Report:
    return import_data(source, out, **{"progress": False, **options})


def ids(root: Path) -> NDArray[np.uint8]:
    """The one label file."""
    (path,) = root.rglob("labels/*.png")
    return np.array(Image.open(path))


def as_scene(root: Path) -> NDArray[np.uint8]:
    """The one label file, in the order of the scene's classes; void stays 255."""
    space = read_label_space(root / CLASSES)
    table = np.full(256, 255, np.uint8)
    for place, name in enumerate(space.categories):
        name = _OTHER_NAMES.get(name, name)
        if name in exports.NAMES:
            table[place] = exports.NAMES.index(name)
    return table[ids(root)]


@pytest.mark.parametrize("name", EXPORTS)
def test_every_tools_export_becomes_the_masks_it_means(name: str, tmp_path: Path) -> None:
    """Also: its form is recognised, and training can read what comes out."""
    form, make = EXPORTS[name]
    report = bring(make(tmp_path / "export"), tmp_path / "out")
    assert (report.name, report.made) == (form, 1)
    scene = as_scene(tmp_path / "out")
    expected = np.where(EXPECTED == 0, 255, EXPECTED) if form == "cityscapes" else EXPECTED
    np.testing.assert_array_equal(scene, expected)
    (split,) = report.pictures
    sample = FolderDataset(tmp_path / "out", split, read_label_space(tmp_path / "out" / CLASSES))[0]
    assert sample.image.shape == (HEIGHT, WIDTH, 3)
    assert {"yolo": "train", "voc": "val", "cityscapes": "val"}.get(form, "") == split


@pytest.mark.parametrize("name", EXPORTS)
def test_the_format_can_be_named(name: str, tmp_path: Path) -> None:
    form, make = EXPORTS[name]
    assert bring(make(tmp_path / "export"), tmp_path / "out", form=form).made == 1


def test_every_format_has_a_fixture_and_a_line_in_the_document() -> None:
    assert {form for form, _ in EXPORTS.values()} == set(IMPORTERS)
    document = (Path(__file__).parents[1] / "docs" / "howto" / "import.md").read_text()
    for form in IMPORTERS:
        assert f"| `{form}` |" in document


def test_classes_come_in_the_order_and_colours_of_the_tools_table(tmp_path: Path) -> None:
    bring(exports.supervisely(tmp_path / "s"), tmp_path / "supervisely")
    space = read_label_space(tmp_path / "supervisely" / CLASSES)
    assert dict(zip(space.categories, space.palette, strict=True)) == exports.COLORS
    bring(exports.coco(tmp_path / "c"), tmp_path / "coco")
    assert read_label_space(tmp_path / "coco" / CLASSES).categories == tuple(exports.NAMES)
    bring(exports.voc(tmp_path / "v"), tmp_path / "voc")
    assert read_label_space(tmp_path / "voc" / CLASSES) == VOC


def test_what_datumaro_writes(tmp_path: Path) -> None:
    """COCO and CVAT exactly; where datumaro drew the polygons itself, but for their borders."""
    photo = exports.photo(tmp_path / "photos" / "one.jpg").parent
    for name in ("coco.json", "cvat.xml"):
        bring(DATA / f"datumaro-{name}", tmp_path / name, images=photo)
        np.testing.assert_array_equal(as_scene(tmp_path / name), EXPECTED)
    voc = tmp_path / "voc"
    exports.write(voc / "labelmap.txt", (DATA / "datumaro-labelmap.txt").read_text())
    (voc / "SegmentationClass").mkdir()
    (voc / "SegmentationClass" / "one.png").write_bytes((DATA / "datumaro-voc.png").read_bytes())
    bring(voc, tmp_path / "o-voc", images=photo)
    city = tmp_path / "city"
    exports.write(city / "label_colors.txt", (DATA / "datumaro-label_colors.txt").read_text())
    (city / "gtFine" / "train").mkdir(parents=True)
    mask = city / "gtFine" / "train" / "one_gtFine_labelIds.png"
    mask.write_bytes((DATA / "datumaro-cityscapes.png").read_bytes())
    bring(city, tmp_path / "o-city", images=photo, unlabelled="background")
    for out in ("o-voc", "o-city"):
        differ = as_scene(tmp_path / out) != EXPECTED
        assert differ.sum() <= 4
        assert not differ[SIGN].any()


def test_labelmes_own_drawing_differs_at_the_border_only(tmp_path: Path) -> None:
    """LabelMe's covers every pixel that the outline touches; ours the centres inside."""
    from scipy import ndimage

    exports.photo(tmp_path / "photos" / "one.png", 48, 64)
    for number, shape in enumerate(json.loads((DATA / "labelme.json").read_text())):
        rows = shape.pop("rows")
        values = {**exports.labelme_values(), "imageHeight": 48, "imageWidth": 64}
        values["shapes"] = [{"label": "thing", **shape}]
        path = exports.write_json(tmp_path / str(number) / "one.json", values)
        bring(path, tmp_path / f"out{number}", images=tmp_path / "photos")
        ours = ids(tmp_path / f"out{number}") == 1
        theirs = np.array([[c == "#" for c in row] for row in rows])
        border = ndimage.binary_dilation(theirs) & ~ndimage.binary_erosion(theirs)
        assert not ((ours != theirs) & ~border).any()


def test_cvats_boxes_and_ellipses_turn(tmp_path: Path) -> None:
    """By the formula, centre by centre; what has no area is told."""
    exports.photo(tmp_path / "e" / "one.png")
    regions = (
        '<box label="car" xtl="4" ytl="3" xbr="12" ybr="7" rotation="30" z_order="0"/>'
        '<ellipse label="road" cx="10" cy="8" rx="4" ry="2" rotation="20" z_order="1"/>'
        '<polyline label="sign" points="1,1;2,2" z_order="0"/>'
    )
    exports.write(tmp_path / "e" / "annotations.xml", exports.cvat_xml(regions))
    report = bring(tmp_path / "e", tmp_path / "out")
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5

    def turned_back(cx: float, cy: float, degrees: float) -> tuple[Any, Any]:
        a = np.radians(degrees)
        dx, dy = x - cx, y - cy
        return dx * np.cos(a) + dy * np.sin(a), -dx * np.sin(a) + dy * np.cos(a)

    u, v = turned_back(8, 5, 30)
    expected = np.where((abs(u) < 4) & (abs(v) < 2), 2, 0)
    u, v = turned_back(10, 8, 20)
    expected[(u / 4) ** 2 + (v / 2) ** 2 < 1] = 1
    np.testing.assert_array_equal(as_scene(tmp_path / "out"), expected)
    assert "one: a region 'sign' is left out: a polyline has no area" in str(report)


def test_label_studios_rectangles_and_ellipses(tmp_path: Path) -> None:
    """In percent; a rectangle turns around its first corner."""
    exports.photo(tmp_path / "e" / "one.png")
    task = exports.labelstudio_task()
    common = {"original_width": WIDTH, "original_height": HEIGHT}
    task["annotations"][1]["result"] = [
        {
            "type": "rectanglelabels",
            **common,
            "value": {
                "x": 50,
                "y": 25,
                "width": 25,
                "height": 50,
                "rotation": 90,
                "rectanglelabels": ["car", "road"],
            },
        },
        {
            "type": "ellipselabels",
            **common,
            "value": {"x": 75, "y": 50, "radiusX": 12.5, "radiusY": 25, "ellipselabels": ["road"]},
        },
        {"type": "keypointlabels", **common, "value": {"x": 1, "y": 1, "keypointlabels": ["sign"]}},
    ]
    exports.write_json(tmp_path / "e" / "p.json", [task])
    report = bring(tmp_path / "e", tmp_path / "out")
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[3:7, 2:8] = 2  # 4 x 6 at (8, 3), turned to the left of its first corner
    expected[((x - 12) / 2) ** 2 + ((y - 6) / 3) ** 2 < 1] = 1
    np.testing.assert_array_equal(as_scene(tmp_path / "out"), expected)
    assert "a region has 2 labels; the first one counts" in str(report)
    assert "'sign' is left out: it has no area" in str(report)


def test_superviselys_holes_rectangles_and_transparent_bitmaps(tmp_path: Path) -> None:
    root = exports.supervisely(tmp_path / "e")
    rgba = np.zeros((2, 3, 4), np.uint8)
    rgba[0, :, 3] = 255
    data = base64.b64encode(zlib.compress(exports.png(rgba))).decode()
    hole = [[4, 4], [7, 4], [7, 7], [4, 7]]
    values = exports.supervisely_values()
    values["objects"] = [
        {
            "classTitle": "road",
            "geometryType": "polygon",
            "points": {"exterior": [[1, 1], [10, 1], [10, 10], [1, 10]], "interior": [hole]},
        },
        {
            "classTitle": "car",
            "geometryType": "rectangle",
            "points": {"exterior": [[12, 1], [13, 3]], "interior": []},
        },
        {"classTitle": "sign", "bitmap": {"data": data, "origin": [12, 8]}},
        {"classTitle": "sign", "geometryType": "point", "points": {"exterior": [[1, 1]]}},
    ]
    exports.write_json(root / "project" / "ds 1" / "ann" / "one.png.json", values)
    report = bring(root, tmp_path / "out")
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[1:10, 1:10] = 1
    expected[4:7, 4:7] = 0
    expected[1:4, 12:14] = 2
    expected[8, 12:15] = 3
    np.testing.assert_array_equal(as_scene(tmp_path / "out"), expected)
    assert "a point has no area" in str(report)


def test_coco_unites_the_polygons_of_a_region_and_draws_boxes(tmp_path: Path) -> None:
    """As pycocotools does: two squares that overlap have no hole where they do."""
    exports.photo(tmp_path / "e" / "one.png")
    values = exports.coco_values()
    squares = [[1, 1, 5, 1, 5, 5, 1, 5], [3, 3, 8, 3, 8, 8, 3, 8], [0, 0, 1, 1]]
    box = {"id": 2, "image_id": 7, "category_id": 5, "bbox": [10, 2, 3, 4], "segmentation": []}
    nothing = {"id": 3, "image_id": 7, "category_id": 5}
    values["annotations"] = [
        {"id": 1, "image_id": 7, "category_id": 1, "segmentation": squares},
        box,
        nothing,
    ]
    exports.write_json(tmp_path / "e" / "a.json", values)
    report = bring(tmp_path / "e", tmp_path / "out")
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[1:5, 1:5] = expected[3:8, 3:8] = 1
    expected[2:6, 10:13] = 2
    np.testing.assert_array_equal(as_scene(tmp_path / "out"), expected)
    for note in ("fewer than 3 points", "drawn as a rectangle", "neither an outline nor a box"):
        assert note in str(report)


def test_yolos_boxes_and_pictures_without_objects(tmp_path: Path) -> None:
    """Also Roboflow's folders, and names as a list."""
    for name in ("a", "b"):
        exports.photo(tmp_path / "e" / "valid" / "images" / f"{name}.png")
    exports.write(tmp_path / "e" / "valid" / "labels" / "a.txt", "0 0.5 0.5 0.25 0.5\n\n")
    exports.write(tmp_path / "e" / "data.yaml", "nc: 2\nnames: ['road', 'car']\n")
    report = bring(tmp_path / "e", tmp_path / "out")
    assert report.pictures == {"val": 2}
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[3:9, 6:10] = 1
    labels = tmp_path / "out" / "val" / "labels"
    np.testing.assert_array_equal(np.array(Image.open(labels / "a.png")), expected)
    assert not np.array(Image.open(labels / "b.png")).any()
    assert "val/a: 1 boxes are drawn as rectangles" in str(report)


def test_labelme_names_background_void_and_an_order(tmp_path: Path) -> None:
    """labels.txt says the order; _background_ and __ignore__ mean what they say."""
    root = exports.labelme(tmp_path / "e")
    exports.write(root / "labels.txt", "__ignore__\n_background_\nsign\ncar\nroad\n")
    values = exports.labelme_values()
    values["shapes"][1]["label"] = "__ignore__"
    values["shapes"].append({"label": "road", "points": [[1, 1], [9, 9]], "shape_type": "line"})
    exports.write_json(root / "one.json", values)
    report = bring(root, tmp_path / "out")
    space = read_label_space(tmp_path / "out" / CLASSES)
    assert space.categories == ("background", "sign", "car", "road")
    np.testing.assert_array_equal(
        as_scene(tmp_path / "out"), np.where(EXPECTED == 2, 255, EXPECTED)
    )
    assert "a line has no area" in str(report)


def test_vocs_void_and_masks_of_ids(tmp_path: Path) -> None:
    """A grey mask is ids, a coloured one colours; VOC's border colour is void in both."""
    root = exports.voc(tmp_path / "e")
    folder = root / "VOCdevkit" / "VOC2012"
    grey = EXPECTED.copy()
    grey[0] = 255
    Image.fromarray(grey).save(folder / "SegmentationClass" / "one.png")
    bring(root, tmp_path / "grey")
    np.testing.assert_array_equal(ids(tmp_path / "grey"), grey)
    colors = VOC.colorize(EXPECTED)
    colors[0] = (224, 224, 192)
    Image.fromarray(colors).save(folder / "SegmentationClass" / "one.png")
    bring(root, tmp_path / "colors")
    np.testing.assert_array_equal(ids(tmp_path / "colors"), grey)


def test_cityscapes_other_classes_are_void_until_named(tmp_path: Path) -> None:
    """19 classes count; a name that is not in the table is a class of its own."""
    root = exports.cityscapes(tmp_path / "e")
    (path,) = root.rglob("*_polygons.json")
    values = json.loads(path.read_text())
    values["objects"][0]["label"] = "parking"
    values["objects"][1]["label"] = "cargroup"
    values["objects"][3]["label"] = "robot"
    exports.write_json(path, values)
    bring(root, tmp_path / "usual")
    space = read_label_space(tmp_path / "usual" / CLASSES)
    assert len(space.categories) == 20
    assert space.categories[-1] == "robot"
    labels = ids(tmp_path / "usual")
    assert (labels[EXPECTED == 1] == 255).all()
    assert (labels[EXPECTED == 2] == space.index("car")).all()
    assert (labels[EXPECTED == 3] == space.index("robot")).all()
    bring(root, tmp_path / "named", classes="parking,car=parking")
    expected = np.where((EXPECTED == 1) | (EXPECTED == 2), 0, 255)
    # the robot is left out, so what it covered shows
    assert (ids(tmp_path / "named")[expected == 0] == 0).all()
    assert read_label_space(tmp_path / "named" / CLASSES).categories == ("parking",)


def test_coloured_masks_without_a_table_are_named_by_their_colours(tmp_path: Path) -> None:
    root = exports.masks(tmp_path / "e")
    (root / "class_dict.csv").unlink()
    report = bring(root, tmp_path / "found")
    assert "name them with --classes" in str(report)
    space = read_label_space(tmp_path / "found" / CLASSES)
    assert space.categories == ("#000000", "#00008e", "#804080", "#dcdc00")
    named = "#000000=background,#804080=road,#00008e=car,#dcdc00=sign"
    bring(root, tmp_path / "named", classes=named)
    np.testing.assert_array_equal(ids(tmp_path / "named"), EXPECTED)
    for path in root.glob("masks/*.png"):
        path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(FullyConvError, match=r"masks/one_mask\.png: the picture is damaged"):
        bring(root, tmp_path / "none")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("labelmap.txt", "road:128,64,128::\ncar:0,0,142::\nsign:220,220,0::\n"),
        ("label_colors.txt", "128 64 128\troad\n0 0 142 car\n220 220 0 sign\n"),
        ("colors.csv", "road;128;64;128\ncar;0;0;142\nsign;220;220;0\n"),
        ("colors.txt", "road,#804080\ncar,#00008e\nsign,#DCDC00\n"),
        ("labelmap.json", '{"road": [128, 64, 128], "car": "#00008e", "sign": "#dcdc00"}'),
    ],
)
def test_tables_of_colours_of_every_form(name: str, text: str, tmp_path: Path) -> None:
    """None names black, which then has no label."""
    root = exports.masks(tmp_path / "e")
    (root / "class_dict.csv").unlink()
    exports.write(root / name, text)
    bring(root, tmp_path / "out")
    assert read_label_space(tmp_path / "out" / CLASSES).categories == tuple(exports.NAMES)
    np.testing.assert_array_equal(ids(tmp_path / "out"), EXPECTED)
    bring(root, tmp_path / "void", unlabelled="void")
    expected = np.where(EXPECTED == 0, 255, EXPECTED - 1)
    np.testing.assert_array_equal(ids(tmp_path / "void"), expected)


def test_our_own_layout_is_an_export_of_coloured_masks(tmp_path: Path) -> None:
    bring(exports.coco(tmp_path / "e"), tmp_path / "first")
    (path,) = (tmp_path / "first").rglob("labels/*.png")
    image = Image.open(path)
    values = np.array(image)
    values[0] = 255
    changed = Image.fromarray(values)
    changed.putpalette(image.getpalette() or [])
    changed.save(path)
    bring(tmp_path / "first", tmp_path / "second")
    np.testing.assert_array_equal(ids(tmp_path / "second"), values)
    first, second = (read_label_space(tmp_path / n / CLASSES) for n in ("first", "second"))
    assert first == second


def test_two_classes_and_two_hundred(tmp_path: Path) -> None:
    exports.photo(tmp_path / "two" / "one.png")
    crack = '<polygon label="crack" points="1,1;5,1;5,5;1,5" z_order="0"/>'
    exports.write(tmp_path / "two" / "a.xml", exports.cvat_xml(crack, ["crack"]))
    bring(tmp_path / "two", tmp_path / "out2")
    assert read_label_space(tmp_path / "out2" / CLASSES).categories == ("background", "crack")
    assert np.bincount(ids(tmp_path / "out2").ravel()).tolist() == [HEIGHT * WIDTH - 16, 16]
    exports.photo(tmp_path / "many" / "one.png")
    values = exports.coco_values()
    values["categories"] = [{"id": 5 * i, "name": f"class {i}"} for i in range(200)]
    values["annotations"] = [
        {
            "id": i,
            "image_id": 7,
            "category_id": 5 * i,
            "bbox": [i % WIDTH, i // WIDTH, 1, 1],
            "segmentation": [],
        }
        for i in range(HEIGHT * WIDTH)
    ]
    exports.write_json(tmp_path / "many" / "a.json", values)
    bring(tmp_path / "many", tmp_path / "out200")
    expected = np.arange(1, HEIGHT * WIDTH + 1).reshape(HEIGHT, WIDTH)
    np.testing.assert_array_equal(ids(tmp_path / "out200"), expected)
