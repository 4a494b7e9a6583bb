"""One scene in the form of each labelling tool's export, by hand after the tools' documents.

A picture ``one`` of 12 x 16 pixels: a road, a car that covers part of it, and a sign with a hole
that covers part of both.
"""

from __future__ import annotations

import base64
import io
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

DATA = Path(__file__).parent / "data" / "importers"

HEIGHT, WIDTH = 12, 16
ROAD = [(1.0, 1.0), (9.0, 1.0), (9.0, 7.0), (1.0, 7.0)]
CAR = [(4.2, 3.1), (11.7, 4.4), (6.5, 10.9)]
SIGN = np.zeros((HEIGHT, WIDTH), bool)
SIGN[2:6, 9:14] = True
SIGN[3:5, 10:12] = False
SIGN_BOX = SIGN[2:6, 9:14]
# the same as one ring: to the hole and back
SIGN_RING = [(9, 2), (14, 2), (14, 6), (9, 6), (10, 5), (12, 5), (12, 3), (10, 3), (10, 5), (9, 6)]
COLORS = {
    "background": (0, 0, 0),
    "road": (128, 64, 128),
    "car": (0, 0, 142),
    "sign": (220, 220, 0),
}
NAMES = list(COLORS)

# Which pixels' centres lie in which shape, as GDAL draws them one over the other.
EXPECTED = np.array(
    [
        [int(c) for c in row]
        for row in (
            "0000000000000000",
            "0111111110000000",
            "0111111113333300",
            "0111222113003300",
            "0111122223223300",
            "0111122223333300",
            "0111122222000000",
            "0000022220000000",
            "0000002200000000",
            "0000002200000000",
            "0000002000000000",
            "0000000000000000",
        )
    ],
    np.uint8,
)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return path


def write_json(path: Path, values: Any) -> Path:
    return write(path, json.dumps(values))


def photo(path: Path, height: int = HEIGHT, width: int = WIDTH) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def png(pixels: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def colored(ids: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.array(list(COLORS.values()), np.uint8)[ids]


def shifted(ring: list[tuple[float, float]], by: float) -> list[list[float]]:
    return [[x + by, y + by] for x, y in ring]


def flat(ring: list[Any]) -> list[float]:
    return [float(value) for point in ring for value in point]


def coco_values(sign: Any = None, name: str = "one.png") -> dict[str, Any]:
    """Category ids with gaps; the small regions first in the file, to be drawn last."""
    counts = [110, 4, 8, 1, 2, 1, 8, 1, 2, 1, 8, 4, 8, 4, 30]
    sign = sign or {"counts": counts, "size": [HEIGHT, WIDTH]}
    regions = [(90, sign, 1), (5, [flat(CAR)], 0), (1, [flat(ROAD)], 0)]
    return {
        "info": {},
        "licenses": [],
        "images": [{"id": 7, "file_name": name, "height": HEIGHT, "width": WIDTH}],
        "annotations": [
            {"id": i, "image_id": 7, "category_id": c, "segmentation": s, "iscrowd": crowd}
            for i, (c, s, crowd) in enumerate(regions)
        ],
        "categories": [
            {"id": 90, "name": "sign"},
            {"id": 1, "name": "road"},
            {"id": 5, "name": "car"},
        ],
    }


def coco(root: Path) -> Path:
    photo(root / "images" / "one.png")
    write_json(root / "annotations" / "instances_default.json", coco_values())
    return root


def coco_packed(root: Path) -> Path:
    """As Roboflow lays it out, the mask as pycocotools packs it."""
    sign = {"counts": "^348MJ060J06300f0", "size": [HEIGHT, WIDTH]}
    photo(root / "one.png")
    write_json(root / "_annotations.coco.json", coco_values(sign))
    return root


def cvat_xml(regions: str, labels: list[str] = NAMES[1:], name: str = "one.png") -> str:
    def hexadecimal(label: str) -> str:
        return "".join(f"{v:02x}" for v in COLORS.get(label, (1, 2, 3)))

    listed = "".join(
        f"<label><name>{label}</name><color>#{hexadecimal(label)}</color><type>any</type></label>"
        for label in labels
    )
    return (
        '<?xml version="1.0" encoding="utf-8"?><annotations><version>1.1</version><meta><job>'
        f"<id>5</id><labels>{listed}</labels></job></meta>"
        f'<image id="0" name="{name}" width="{WIDTH}" height="{HEIGHT}">{regions}</image>'
        "</annotations>"
    )


def points(ring: list[Any]) -> str:
    return ";".join(f"{x:.2f},{y:.2f}" for x, y in ring)


CVAT_REGIONS = (
    '<mask label="sign" source="manual" occluded="0" rle="0, 6, 2, 3, 2, 7" left="9" top="2" '
    'width="5" height="4" z_order="2"></mask>'
    f'<polygon label="road" source="manual" occluded="0" points="{points(ROAD)}" z_order="0">'
    '<attribute name="wet">no</attribute></polygon>'
    f'<polygon label="car" source="manual" occluded="0" points="{points(CAR)}" z_order="1">'
    "</polygon>"
    '<tag label="road" source="manual"></tag>'
)


def cvat(root: Path) -> Path:
    photo(root / "images" / "one.png")
    write(root / "annotations.xml", cvat_xml(CVAT_REGIONS))
    return root


def cvat_masks(root: Path) -> Path:
    photo(root / "JPEGImages" / "one.png")
    (root / "SegmentationClass").mkdir()
    Image.fromarray(colored(EXPECTED)).save(root / "SegmentationClass" / "one.png")
    (root / "SegmentationObject").mkdir()
    Image.fromarray(colored(EXPECTED)[::-1]).save(root / "SegmentationObject" / "one.png")
    lines = [f"{name}:{r},{g},{b}::" for name, (r, g, b) in COLORS.items()]
    write(root / "labelmap.txt", "\n".join(["# label:color_rgb:parts:actions", *lines]) + "\n")
    write(root / "ImageSets" / "Segmentation" / "default.txt", "one\n")
    return root


def labelstudio_task(name: str = "one.png") -> dict[str, Any]:
    brush = json.loads((DATA / "labelstudio-brush.json").read_text())["sign"]

    def result(kind: str, label: str, **value: Any) -> dict[str, Any]:
        return {
            "id": label,
            "type": kind,
            "from_name": "tag",
            "to_name": "image",
            "original_width": WIDTH,
            "original_height": HEIGHT,
            "image_rotation": 0,
            "value": {**value, kind: [label]},
        }

    def percent(ring: list[Any]) -> list[list[float]]:
        return [[x / WIDTH * 100, y / HEIGHT * 100] for x, y in ring]

    results = [
        result("polygonlabels", "road", points=percent(ROAD), closed=True),
        result("polygonlabels", "car", points=percent(CAR), closed=True),
        result("brushlabels", "sign", format="rle", rle=brush),
        {"type": "choices", "value": {"choices": ["sunny"]}},
    ]
    annotations = [
        {"id": 1, "was_cancelled": True, "result": []},
        {"id": 2, "was_cancelled": False, "completed_by": 1, "result": results},
    ]
    image = f"/data/upload/1/0a1b2c3d-{name}"
    return {"id": 12, "annotations": annotations, "predictions": [], "data": {"image": image}}


def labelstudio(root: Path) -> Path:
    photo(root / "one.png")
    write_json(root / "project-1.json", [labelstudio_task()])
    return root


def labelstudio_min(root: Path) -> Path:
    photo(root / "one.png")
    results = labelstudio_task()["annotations"][1]["result"][:3]
    tag = [{**r["value"], "original_width": WIDTH, "original_height": HEIGHT} for r in results]
    task = {"image": "/data/upload/1/0a1b2c3d-one.png", "id": 12, "tag": tag, "annotator": 1}
    write_json(root / "project-1.json", [task])
    return root


def labelstudio_png(root: Path) -> Path:
    labelstudio(root)
    for label, mask in (("road", EXPECTED == 1), ("car", EXPECTED == 2), ("sign", SIGN)):
        name = f"task-12-annotation-2-by-1-tag-{label}-0.png"
        (root / name).write_bytes(png(mask.astype(np.uint8) * 255))
    return root


def labelme_values(embedded: bytes | None = None, name: str = "one.png") -> dict[str, Any]:
    mask = base64.b64encode(png(SIGN_BOX.astype(np.uint8))).decode()

    def shape(label: str, points: list[Any], kind: str, **more: Any) -> dict[str, Any]:
        common: dict[str, Any] = {
            "label": label,
            "points": points,
            "group_id": None,
            "description": "",
            "flags": {},
        }
        return {**common, "shape_type": kind, "mask": None, **more}

    return {
        "version": "5.5.0",
        "flags": {},
        "shapes": [
            shape("road", shifted(ROAD, 0), "polygon"),
            shape("car", shifted(CAR, 0), "polygon"),
            shape("sign", [[9.0, 2.0], [13.0, 5.0]], "mask", mask=mask),
        ],
        "imagePath": name,
        "imageData": base64.b64encode(embedded).decode() if embedded else None,
        "imageHeight": HEIGHT,
        "imageWidth": WIDTH,
    }


def labelme(root: Path) -> Path:
    photo(root / "one.png")
    write_json(root / "one.json", labelme_values())
    return root


def labelme_embedded(root: Path) -> Path:
    content = photo(root / "one.png").read_bytes()
    (root / "one.png").unlink()
    write_json(root / "one.json", labelme_values(content, "..\\pictures\\one.png"))
    return root


def voc(root: Path) -> Path:
    """VOC's own classes, 0, 1, 2, 3 of its table, in its own palette."""
    inside = root / "VOCdevkit" / "VOC2012"
    photo(inside / "JPEGImages" / "one.jpg")
    (inside / "SegmentationClass").mkdir()
    mask = Image.fromarray(EXPECTED)
    from fullyconv.labels import voc_palette

    mask.putpalette([value for color in voc_palette(256) for value in color])
    mask.save(inside / "SegmentationClass" / "one.png")
    write(inside / "ImageSets" / "Segmentation" / "val.txt", "one\n")
    return root


def cityscapes(root: Path) -> Path:
    """Polygons; the sign's hole is its own ring."""
    objects = [("road", shifted(ROAD, -0.5)), ("car", shifted(CAR, -0.5))]
    ring = shifted([(float(x), float(y)) for x, y in SIGN_RING], -0.5)
    values = {
        "imgHeight": HEIGHT,
        "imgWidth": WIDTH,
        "objects": [
            *({"label": label, "polygon": polygon} for label, polygon in objects),
            {"label": "cargroup", "polygon": [[0, 0], [9, 0], [9, 9]], "deleted": 1},
            {"label": "traffic sign", "polygon": ring},
        ],
    }
    photo(root / "leftImg8bit" / "val" / "ulm" / "ulm_000000_000019_leftImg8bit.png")
    name = "ulm_000000_000019_gtFine_polygons.json"
    write_json(root / "gtFine" / "val" / "ulm" / name, values)
    return root


def cityscapes_ids(root: Path) -> Path:
    """The published table's ids: unlabeled 0, road 7, car 26, traffic sign 20."""
    cityscapes(root)
    ids = np.array([0, 7, 26, 20], np.uint8)[EXPECTED]
    folder = root / "gtFine" / "val" / "ulm"
    Image.fromarray(ids).save(folder / "ulm_000000_000019_gtFine_labelIds.png")
    return root


def yolo(root: Path) -> Path:
    def line(number: int, ring: list[Any]) -> str:
        return " ".join([str(number), *(f"{x / WIDTH:.8f} {y / HEIGHT:.8f}" for x, y in ring)])

    photo(root / "images" / "train" / "one.png")
    lines = [line(2, SIGN_RING), line(1, CAR), line(0, ROAD)]
    write(root / "labels" / "train" / "one.txt", "\n".join(lines) + "\n")
    write(
        root / "data.yaml",
        "path: ../datasets/scene\ntrain: images/train\nval: images/train\n"
        "names:\n  0: road\n  1: car\n  2: sign\n",
    )
    return root


def supervisely_values() -> dict[str, Any]:
    bitmap = base64.b64encode(zlib.compress(png(SIGN_BOX))).decode()

    def polygon(label: str, ring: list[tuple[float, float]]) -> dict[str, Any]:
        points = {"exterior": shifted(ring, -0.5), "interior": []}
        return {"classTitle": label, "geometryType": "polygon", "points": points, "tags": []}

    return {
        "description": "",
        "tags": [],
        "size": {"height": HEIGHT, "width": WIDTH},
        "objects": [
            polygon("road", ROAD),
            polygon("car", CAR),
            {
                "classTitle": "sign",
                "geometryType": "bitmap",
                "bitmap": {"data": bitmap, "origin": [9, 2]},
            },
        ],
    }


def supervisely(root: Path) -> Path:
    classes = [
        {"title": name, "shape": "any", "color": "#{:02X}{:02X}{:02X}".format(*COLORS[name])}
        for name in NAMES[1:]
    ]
    write_json(root / "project" / "meta.json", {"classes": classes, "tags": []})
    photo(root / "project" / "ds 1" / "img" / "one.png")
    write_json(root / "project" / "ds 1" / "ann" / "one.png.json", supervisely_values())
    return root


def masks(root: Path) -> Path:
    photo(root / "images" / "one.jpg")
    (root / "masks").mkdir()
    Image.fromarray(colored(EXPECTED)).save(root / "masks" / "one_mask.png")
    lines = [f"{name},{r},{g},{b}" for name, (r, g, b) in COLORS.items()]
    write(root / "class_dict.csv", "\n".join(["name,r,g,b", *lines]) + "\n")
    return root


def many(root: Path, names: list[str]) -> Path:
    """Pictures in LabelMe's form."""
    for name in names:
        photo(root / f"{name}.png")
        values = labelme_values(name=f"{name}.png".rpartition("/")[2])
        write_json(root / f"{name}.json", values)
    return root


EXPORTS: dict[str, tuple[str, Callable[[Path], Path]]] = {
    "coco": ("coco", coco),
    "coco-packed": ("coco", coco_packed),
    "cvat": ("cvat", cvat),
    "cvat-masks": ("cvat-masks", cvat_masks),
    "labelstudio": ("labelstudio", labelstudio),
    "labelstudio-min": ("labelstudio", labelstudio_min),
    "labelstudio-png": ("labelstudio-png", labelstudio_png),
    "labelme": ("labelme", labelme),
    "labelme-embedded": ("labelme", labelme_embedded),
    "voc": ("voc", voc),
    "cityscapes": ("cityscapes", cityscapes),
    "cityscapes-ids": ("cityscapes", cityscapes_ids),
    "yolo": ("yolo", yolo),
    "supervisely": ("supervisely", supervisely),
    "masks": ("masks", masks),
}
"""The format that each is of, and what writes it."""
