"""A small clean data set, and ways to break one: each names the kind and the files to be found."""

from __future__ import annotations

import json
import shutil
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from fullyconv.data.sources import read_label_space
from fullyconv.labels import LabelSpace

SIZE = (48, 64)  # height, width
CLASSES: dict[str, Any] = {
    "categories": ["ground", "tree", "car", "wall", "sky", "sign"],
    "palette": [
        [90, 60, 30],
        [0, 160, 0],
        [200, 0, 60],
        [128, 128, 128],
        [0, 90, 250],
        [240, 200, 0],
    ],
    "void": [255],
}
NAMES = {"train": [f"t{k:02}" for k in range(10)], "val": [f"v{k:02}" for k in range(5)]}


def clean(root: Path) -> Path:
    """Write the clean set: every class is in every label file, no two pictures look alike."""
    rng = np.random.default_rng(5)
    for split, names in NAMES.items():
        for kind in ("images", "labels"):
            (root / split / kind).mkdir(parents=True)
        for name in names:
            coarse = rng.integers(0, 256, (6, 8, 3), np.uint8)
            photo = Image.fromarray(coarse).resize(SIZE[::-1], Image.Resampling.BICUBIC)
            photo.save(root / split / "images" / f"{name}.png")
            cells = rng.permutation(np.resize([0, 1, 2, 3, 4, 5, 255], 16)).reshape(4, 4)
            ids = cells.astype(np.uint8).repeat(12, 0).repeat(16, 1)
            Image.fromarray(ids).save(root / split / "labels" / f"{name}.png")
    write_classes(root, CLASSES)
    return root


def write_classes(root: Path, values: dict[str, Any]) -> None:
    (root / "classes.json").write_text(json.dumps(values))


@dataclass(frozen=True)
class Victim:
    """One sample that is to be broken."""

    root: Path
    split: str
    name: str

    @property
    def image(self) -> Path:
        return next((self.root / self.split / "images").glob(f"{self.name}.*"))

    @property
    def label(self) -> Path:
        return next((self.root / self.split / "labels").glob(f"{self.name}.*"))

    @property
    def photo(self) -> Image.Image:
        with Image.open(self.image) as image:
            return image.convert("RGB")

    @property
    def ids(self) -> NDArray[np.uint8]:
        with Image.open(self.label) as image:
            return np.array(image)

    @property
    def space(self) -> LabelSpace:
        return read_label_space(self.root / "classes.json")

    def colors(self) -> NDArray[np.uint8]:
        return self.space.colorize(self.space.encode(self.ids))

    def write(self, pixels: NDArray[Any] | Image.Image, **options: Any) -> None:
        """Replace the labels."""
        image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
        image.save(self.label, **options)

    def replace(self, kind: str, suffix: str, image: Image.Image, **options: Any) -> str:
        """Replace a file by one of another suffix; the new path relative to the root."""
        old = self.image if kind == "images" else self.label
        old.unlink()
        image.save(old.with_suffix(suffix), **options)
        return self.path(old.with_suffix(suffix))

    def path(self, path: Path) -> str:
        return str(path.relative_to(self.root))


Told = tuple[str, ...]  # the files that a finding names
Break = Callable[[Victim], Told]

BREAKS: dict[str, tuple[str, str, Break]] = {}
"""By name: the kind to be found, what its detail says, and how one sample is broken."""


def breaks(kind: str, detail: str = "") -> Callable[[Break], Break]:
    def register(function: Break) -> Break:
        BREAKS[function.__name__] = (kind, detail, function)
        return function

    return register


# Files and names


@breaks("picture-without-labels")
def labels_are_missing(v: Victim) -> Told:
    v.label.unlink()
    return (v.path(v.image),)


@breaks("labels-without-picture")
def picture_is_missing(v: Victim) -> Told:
    v.image.unlink()
    return (v.path(v.label),)


@breaks("names-differ")
def label_name_ends_in_mask(v: Victim) -> Told:
    new = v.label.with_name(f"{v.name}_mask.png")
    v.label.rename(new)
    return v.path(new), v.path(v.image)


@breaks("same-stem")
def two_pictures_of_one_name(v: Victim) -> Told:
    first = v.image
    other = first.with_suffix(".webp")
    v.photo.save(other)
    return v.path(other), v.path(first)


@breaks("empty-file")
def picture_is_empty(v: Victim) -> Told:
    v.image.write_bytes(b"")
    return (v.path(v.image),)


@breaks("empty-file")
def label_is_empty(v: Victim) -> Told:
    v.label.write_bytes(b"")
    return (v.path(v.label),)


@breaks("not-a-picture")
def picture_is_a_web_page(v: Victim) -> Told:
    v.image.write_text("<html>404 not found</html>")
    return (v.path(v.image),)


@breaks("damaged", "cut short")
def picture_is_cut_short(v: Victim) -> Told:
    v.image.write_bytes(v.image.read_bytes()[: v.image.stat().st_size // 2])
    return (v.path(v.image),)


@breaks("damaged", "cut short")
def label_is_cut_short(v: Victim) -> Told:
    v.label.write_bytes(v.label.read_bytes()[: v.label.stat().st_size // 2])
    return (v.path(v.label),)


@breaks("unreadable", "no such file")
def link_to_nowhere(v: Victim) -> Told:
    path = v.image
    path.unlink()
    path.symlink_to("nowhere.png")
    return (v.path(path),)


@breaks("too-large", "178,956,970 pixels")
def picture_of_400_megapixels(v: Victim) -> Told:
    def chunk(kind: bytes, data: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + crc

    path = v.image
    path.unlink()
    path = path.with_suffix(".png")
    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return (v.path(path),)


@breaks("junk")
def hidden_file_of_a_mac(v: Victim) -> Told:
    path = v.image.with_name(f"._{v.image.name}")
    path.write_bytes(b"\0\5\x16\7")
    return (v.path(path),)


@breaks("junk", "no picture by its suffix")
def json_among_the_labels(v: Victim) -> Told:
    path = v.label.with_suffix(".json")
    path.write_text("{}")
    return (v.path(path),)


@breaks("sub-folder")
def folder_in_a_folder(v: Victim) -> Told:
    path = v.image.parent / "more"
    path.mkdir()
    return (v.path(path),)


# Sizes and rotation


@breaks("size-mismatch", "the same shape at another scale")
def label_is_half_as_large(v: Victim) -> Told:
    v.write(v.ids[::2, ::2])
    return v.path(v.label), v.path(v.image)


@breaks("size-mismatch", "height and width are swapped")
def label_lies_on_its_side(v: Victim) -> Told:
    v.write(np.ascontiguousarray(v.ids.T))
    return v.path(v.label), v.path(v.image)


@breaks("size-mismatch", "")
def label_lacks_a_row(v: Victim) -> Told:
    v.write(v.ids[:-1])
    return v.path(v.label), v.path(v.image)


def _tag(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


@breaks("exif-rotation", r"only the picture has an orientation \(6, 1\)")
def only_the_picture_is_turned(v: Victim) -> Told:
    image = v.photo
    return v.path(v.label), v.replace("images", ".png", image, exif=_tag(6))


@breaks("exif-rotation", r"only this file has an orientation \(1, 8\)")
def only_the_label_is_turned(v: Victim) -> Told:
    v.write(v.ids, exif=_tag(8))
    return v.path(v.label), v.path(v.image)


@breaks("exif-doubt", "orientation 3 and 1")
def picture_stands_on_its_head(v: Victim) -> Told:
    image = v.photo
    return v.path(v.label), v.replace("images", ".png", image, exif=_tag(3))


# What the label files hold


@breaks("label-jpeg")
def label_is_a_jpeg(v: Victim) -> Told:
    return (v.replace("labels", ".jpg", Image.fromarray(v.ids)),)


@breaks("label-float")
def label_is_of_floats(v: Victim) -> Told:
    return (v.replace("labels", ".tif", Image.fromarray(v.ids.astype(np.float32))),)


@breaks("label-shades")
def label_has_four_bits_of_grey(v: Victim) -> Told:
    ids = np.minimum(v.ids, 15)
    height, width = ids.shape
    rows = np.pad(ids, ((0, 0), (0, width % 2)))
    packed = (rows[:, ::2] << 4) | rows[:, 1::2]
    lines = b"".join(b"\0" + row.tobytes() for row in packed)

    def chunk(kind: bytes, data: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + crc

    header = struct.pack(">IIBBBBB", width, height, 4, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    v.label.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return (v.path(v.label),)


@breaks("colour-mask", "colours, all of them known")
def label_holds_colours(v: Victim) -> Told:
    v.write(v.colors())
    return (v.path(v.label),)


@breaks("colour-mask", "colours, all of them known")
def label_holds_colours_and_alpha(v: Victim) -> Told:
    v.write(Image.fromarray(v.colors()).convert("RGBA"))
    return (v.path(v.label),)


def _palette_picture(v: Victim, first: int, step: int) -> Image.Image:
    """The right colours under other indices: first, first + step, ..."""
    encoded, count = v.space.encode(v.ids), v.space.num_classes
    table = np.full(256, max(0, first + step * count), np.uint8)
    table[:count] = [first + step * k for k in range(count)]
    image = Image.fromarray(table[encoded])
    colors = dict(zip(table[:count].tolist(), v.space.palette, strict=True))
    image.putpalette([c for k in range(256) for c in colors.get(k, (0, 0, 0))])
    return image


@breaks("colour-mask", "while the colours are all known")
def palette_indices_are_no_ids(v: Victim) -> Told:
    v.write(_palette_picture(v, 100, 1))
    return (v.path(v.label),)


@breaks("palette-order", "index . is '.*', its colour .* '.*'")
def palette_is_in_another_order(v: Victim) -> Told:
    last = v.space.num_classes - 1
    image = _palette_picture(v, last, -1)
    ids = np.array(image)
    ids[v.space.encode(v.ids) == 255] = 255
    other = Image.fromarray(ids)
    other.putpalette(image.getpalette() or [])
    v.write(other)
    return (v.path(v.label),)


@breaks("unknown-colours", r"\(1, 2, 3\) \(12 px\), \(4, 5, 6\) \(8 px\)$")
def two_colours_are_unknown(v: Victim) -> Told:
    colors = v.colors()
    colors[:3, :4], colors[-2:, -4:] = (1, 2, 3), (4, 5, 6)
    v.write(colors)
    return (v.path(v.label),)


@breaks("unknown-colours", "colours, as in a photograph")
def label_is_the_photograph(v: Victim) -> Told:
    v.write(v.photo)
    return (v.path(v.label),)


@breaks("ids-outside", r"id 77 \(12 px\), id 99 \(8 px\)$")
def two_ids_are_unknown(v: Victim) -> Told:
    ids = v.ids
    ids[:3, :4], ids[-2:, -4:] = 77, 99
    v.write(ids)
    return (v.path(v.label),)


@breaks("void-habit", r"id 65535 \(12 px\); 65535 is -1 in 16 bits")
def void_is_minus_one_in_16_bits(v: Victim) -> Told:
    ids = v.ids.astype(np.uint16)
    ids[:3, :4] = 65535
    v.write(ids)
    return (v.path(v.label),)


@breaks("interpolated", "different ids")
def ids_were_resized_bilinearly(v: Victim) -> Told:
    image = Image.fromarray(np.where(v.ids == 255, 0, v.ids).astype(np.uint8))
    small = image.resize((image.width // 2, image.height // 2), Image.Resampling.BILINEAR)
    v.write(small.resize(image.size, Image.Resampling.BILINEAR))
    return (v.path(v.label),)


@breaks("interpolated", "different colours")
def colours_were_resized_bilinearly(v: Victim) -> Told:
    image = Image.fromarray(v.colors())
    small = image.resize((image.width // 2, image.height // 2), Image.Resampling.NEAREST)
    v.write(small.resize(image.size, Image.Resampling.BILINEAR))
    return (v.path(v.label),)


@breaks("all-void")
def nothing_is_labelled(v: Victim) -> Told:
    v.write(np.full_like(v.ids, 255))
    return (v.path(v.label),)


@breaks("constant-mask", "only ")
def one_class_is_everywhere(v: Victim) -> Told:
    v.write(np.ones_like(v.ids))
    return (v.path(v.label),)


# Pictures


@breaks("picture-float")
def picture_is_of_floats(v: Victim) -> Told:
    grey = np.asarray(v.photo.convert("L"), np.float32)
    return (v.replace("images", ".tif", Image.fromarray(grey)),)


@breaks("constant-picture")
def picture_is_black(v: Victim) -> Told:
    Image.new("RGB", v.photo.size).save(v.image)
    return (v.path(v.image),)


@breaks("grey-picture")
def picture_is_grey(v: Victim) -> Told:
    v.photo.convert("L").save(v.image)
    return (v.path(v.image),)


@breaks("dark-16-bit", "its largest value is ")
def picture_has_12_of_16_bits(v: Victim) -> Told:
    grey = np.asarray(v.photo.convert("L")).astype(np.uint16)
    return (v.replace("images", ".png", Image.fromarray(grey * 16)),)


@breaks("transparent")
def picture_is_transparent(v: Victim) -> Told:
    image = v.photo.convert("RGBA")
    image.putpixel((3, 3), (0, 0, 0, 0))
    return (v.replace("images", ".png", image),)


@breaks("frames", "2 pictures")
def picture_moves(v: Victim) -> Told:
    image = v.photo
    more = [image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)]
    told = v.replace("images", ".webp", image, save_all=True, append_images=more, lossless=True)
    return (told,)


# Copies


def _copy(v: Victim, split: str, image: Image.Image, suffix: str, **options: Any) -> Told:
    """Put a picture into a split as a further sample, with the same labels."""
    new = v.root / split / "images" / f"zz-{v.name}{suffix}"
    image.save(new, **options)
    shutil.copy(v.label, v.root / split / "labels" / f"zz-{v.name}.png")
    return v.path(new), v.path(v.image)


@breaks("leak")
def picture_is_in_both_splits(v: Victim) -> Told:
    return _copy(v, "val", v.photo, ".png")


@breaks("near-leak")
def picture_is_in_both_splits_encoded_again(v: Victim) -> Told:
    return _copy(v, "val", v.photo, ".jpg", quality=60)


@breaks("near-leak")
def picture_is_in_both_splits_brighter(v: Victim) -> Told:
    brighter = ImageEnhance.Brightness(v.photo).enhance(1.15)
    return _copy(v, "val", brighter, ".png")


@breaks("duplicate", "^$")
def picture_is_there_twice(v: Victim) -> Told:
    return _copy(v, "train", v.photo, ".png")


@breaks("duplicate", "their labels differ")
def picture_is_there_twice_with_other_labels(v: Victim) -> Told:
    told = _copy(v, "train", v.photo, ".png")
    ids = v.ids[::-1]
    Image.fromarray(np.ascontiguousarray(ids)).save(v.root / "train/labels" / f"zz-{v.name}.png")
    return told


@breaks("name-in-both")
def other_picture_of_the_same_name(v: Victim) -> Told:
    other = min((v.root / "val" / "images").iterdir())
    new = other.with_name(f"{v.name}{other.suffix}")
    other.rename(new)
    labels = v.root / "val" / "labels"
    (labels / f"{other.stem}.png").rename(labels / f"{v.name}.png")
    return v.path(new), v.path(v.image)
