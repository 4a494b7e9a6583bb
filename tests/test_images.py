"""Photographs and label files of every kind, and of every kind of damage."""

from __future__ import annotations

import io
import os
import struct
import time
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from PIL import Image, ImageFile

from fullyconv.errors import FullyConvError
from fullyconv.images import (
    image_size,
    read_depth,
    read_labels,
    read_photo,
    save_image,
    take_photo,
    to_rgb,
)
from fullyconv.labels import CAMVID, IGNORE_INDEX, VOC

Pixels = NDArray[np.uint8]
QUICK = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
READERS = pytest.mark.parametrize("read", [read_photo, read_labels])
Reader = Callable[[Path], NDArray[Any]]

# Where the stored picture's first row and first column belong, from TIFF 6.0, page 36
# (EXIF 2.3, tag 274 repeats it).
ORIENTATIONS = {
    1: ("top", "left"),
    2: ("top", "right"),
    3: ("bottom", "right"),
    4: ("bottom", "left"),
    5: ("left", "top"),
    6: ("right", "top"),
    7: ("right", "bottom"),
    8: ("left", "bottom"),
}


def stored(upright: NDArray[Any], orientation: int) -> NDArray[Any]:
    """What a camera held that way writes: rows from the named side on, columns from the other."""
    first_row, first_column = ORIENTATIONS[orientation]
    turned = upright
    if "bottom" in (first_row, first_column):
        turned = turned[::-1]
    if "right" in (first_row, first_column):
        turned = turned[:, ::-1]
    return turned.swapaxes(0, 1) if first_row in ("left", "right") else turned


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[274] = orientation
    return tags


def png(
    width: int,
    height: int,
    depth: int,
    color: int,
    rows: bytes,
    extra: tuple[bytes, bytes] | None = None,
) -> bytes:
    """A PNG file by the specification: rows hold a filter byte 0 each, then the samples."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + (chunk(*extra) if extra else b"")
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def saved(path: Path, image: Image.Image, **options: Any) -> Path:
    image.save(path, **options)
    return path


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def encoded(kind: str, size: tuple[int, int] = (30, 24)) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, kind, **({"exif": exif(6)} if kind == "JPEG" else {}))
    return file.getvalue()


# photographs ------------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_photos_are_upright(tmp_path: Path, orientation: int) -> None:
    upright = np.random.default_rng(1).integers(0, 256, (5, 9, 3), np.uint8)
    image = Image.fromarray(np.ascontiguousarray(stored(upright, orientation)))
    path = saved(tmp_path / "photo.png", image, exif=exif(orientation))
    np.testing.assert_array_equal(read_photo(path), upright)
    with Image.open(path) as opened:
        np.testing.assert_array_equal(to_rgb(opened), upright)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_jpegs_of_turned_cameras_are_upright(tmp_path: Path, orientation: int) -> None:
    upright = np.zeros((32, 64, 3), np.uint8)
    corners = {(2, 2): (250, 0, 0), (2, -3): (0, 250, 0), (-3, 2): (0, 0, 250)}
    for (row, column), color in corners.items():
        upright[slice(0, 16) if row > 0 else slice(16, 32)][
            :, slice(0, 32) if column > 0 else slice(32, 64)
        ] = color
    image = Image.fromarray(np.ascontiguousarray(stored(upright, orientation)))
    got = read_photo(saved(tmp_path / "photo.JPG", image, quality=95, exif=exif(orientation)))
    assert got.shape == (32, 64, 3)
    for corner, color in corners.items():
        assert np.abs(got[corner].astype(int) - color).max() < 12


def test_sixteen_bit_grey_becomes_eight(tmp_path: Path) -> None:
    values = np.arange(0, 65536, 111, dtype=np.uint16)
    rows = b"\0" + values.astype(">u2").tobytes()
    got = read_photo(written(tmp_path / "grey.png", png(len(values), 1, 16, 0, rows)))
    assert got.shape == (1, len(values), 3)
    assert got.dtype == np.uint8
    assert np.abs(got[0] - values[:, None] / 257).max() < 1
    assert tuple(got[0, 0]) == (0, 0, 0)
    white = png(1, 1, 16, 0, b"\0\xff\xff")
    assert tuple(read_photo(written(tmp_path / "white.png", white))[0, 0]) == (255, 255, 255)


@pytest.mark.parametrize("order", ["<", ">"])
def test_sixteen_bit_grey_tiff(tmp_path: Path, order: str) -> None:
    values = np.array([[0, 257, 25700, 65535]], order + "u2")
    image = Image.frombytes("I;16" if order == "<" else "I;16B", (4, 1), values.tobytes())
    path = saved(tmp_path / "grey.tif", image)
    np.testing.assert_array_equal(read_photo(path)[0, :, 0], [0, 1, 100, 255])
    np.testing.assert_array_equal(read_labels(path), values)


def test_thirty_two_bit_grey_is_taken_as_sixteen(tmp_path: Path) -> None:
    path = saved(tmp_path / "deep.tif", Image.fromarray(np.array([[-5, 257, 70000]], np.int32)))
    np.testing.assert_array_equal(read_photo(path)[0, :, 1], [0, 1, 255])


def test_sixteen_bit_color_becomes_eight(tmp_path: Path) -> None:
    values = np.random.default_rng(2).integers(0, 65536, (4, 3)).astype(np.uint16)
    rows = b"\0" + values.astype(">u2").tobytes()
    got = read_photo(written(tmp_path / "deep.png", png(4, 1, 16, 2, rows)))
    assert np.abs(got[0] - values / 257).max() <= 1


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_palette_pictures_show_their_colors(tmp_path: Path, bits: int) -> None:
    palette = [(10, 20, 30), (200, 100, 0)]
    indices = Image.fromarray(np.array([[0, 1, 1], [1, 0, 0]], np.uint8))
    indices.putpalette([value for color in palette for value in color])
    got = read_photo(saved(tmp_path / "palette.png", indices, bits=bits))
    np.testing.assert_array_equal(got, np.array(palette, np.uint8)[[[0, 1, 1], [1, 0, 0]]])


def test_grey_and_one_bit_pictures_become_rgb(tmp_path: Path) -> None:
    grey = np.array([[0, 77, 255]], np.uint8)
    got = read_photo(saved(tmp_path / "grey.png", Image.fromarray(grey)))
    np.testing.assert_array_equal(got, grey[..., None].repeat(3, 2))
    black_white = Image.fromarray(np.array([[False, True]]))
    got = read_photo(saved(tmp_path / "bits.png", black_white))
    np.testing.assert_array_equal(got[0], [[0, 0, 0], [255, 255, 255]])


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_pictures_lie_on_white(tmp_path: Path, mode: str) -> None:
    channels = len(mode)
    values = np.random.default_rng(3).integers(0, 256, (6, 7, channels), np.uint8)
    values[0, 0, -1], values[0, 1, -1] = 0, 255
    got = read_photo(saved(tmp_path / "glass.png", Image.fromarray(values)))
    alpha = values[..., -1:] / 255
    expected = values[..., :-1] * alpha + 255 * (1 - alpha)
    assert np.abs(got - np.broadcast_to(expected, (6, 7, 3))).max() <= 1
    assert tuple(got[0, 0]) == (255, 255, 255)


def test_transparent_palette_and_key_color_lie_on_white(tmp_path: Path) -> None:
    indices = Image.fromarray(np.array([[0, 1]], np.uint8))
    indices.putpalette([9, 9, 9, 50, 60, 70])
    got = read_photo(saved(tmp_path / "palette.png", indices, transparency=0))
    np.testing.assert_array_equal(got[0], [[255, 255, 255], [50, 60, 70]])
    keyed = png(2, 1, 8, 2, b"\0\1\2\3\4\5\6", (b"tRNS", b"\0\1\0\2\0\3"))
    got = read_photo(written(tmp_path / "keyed.png", keyed))
    np.testing.assert_array_equal(got[0], [[255, 255, 255], [4, 5, 6]])


def test_cmyk_jpeg_keeps_its_colors(tmp_path: Path) -> None:
    cmyk = Image.new("CMYK", (16, 16), (55, 225, 195, 0))
    got = read_photo(saved(tmp_path / "print.jpg", cmyk, quality=95))
    assert np.abs(got.astype(int) - (200, 30, 60)).max() <= 6


def test_animations_give_their_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 3), color) for color in ("red", "blue")]
    path = saved(tmp_path / "moving.gif", frames[0], save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(read_photo(path), np.full((3, 4, 3), (255, 0, 0)))


def test_a_photo_can_be_written_to(tmp_path: Path) -> None:
    got = read_photo(written(tmp_path / "a.png", encoded("PNG")))
    got[0] = 7
    assert got[0].tolist() == [[7, 7, 7]] * 30


# what is no picture -------------------------------------------------------------------------------


@READERS
def test_missing_files_are_named(tmp_path: Path, read: Reader) -> None:
    with pytest.raises(FullyConvError, match=r"nowhere\.jpg: there is no such file"):
        read(tmp_path / "nowhere.jpg")


@pytest.mark.parametrize("given", [memoryview(b"0123456789"), [[1, 2]], io.BytesIO(b"x"), None])
def test_what_is_no_photograph_is_named_by_its_kind(given: Any) -> None:
    """A tensor's every number used to be printed as if it were a path."""
    kind = type(given).__name__
    with pytest.raises(
        FullyConvError, match=rf"array \(H, W, 3\) of uint8, but a {kind} was given$"
    ):
        take_photo(given)


@READERS
def test_folders_are_no_pictures(tmp_path: Path, read: Reader) -> None:
    with pytest.raises(FullyConvError, match="this is a folder, not a picture"):
        read(tmp_path)


@READERS
def test_a_path_through_a_file_is_no_damaged_picture(tmp_path: Path, read: Reader) -> None:
    inside = written(tmp_path / "a.png", b"") / "b.png"
    with pytest.raises(FullyConvError, match=r"b\.png: cannot be read \(Not a directory\)"):
        read(inside)


@READERS
@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_files_without_permission(tmp_path: Path, read: Reader) -> None:
    path = written(tmp_path / "secret.png", encoded("PNG"))
    path.chmod(0)
    with pytest.raises(FullyConvError, match=r"secret\.png: no permission to read this file"):
        read(path)


@READERS
@pytest.mark.parametrize(
    ("raised", "message"),
    [
        (PermissionError(13, "Permission denied"), "x.png: no permission to read this file"),
        (MemoryError(), "x.png: too little memory to read this picture"),
        (OSError(5, "Input/output error"), r"x.png: cannot be read \(Input/output error\)"),
        (RuntimeError("plug-in"), r"x.png: the picture is damaged or cut short \(plug-in\)"),
    ],
)
def test_what_reading_raises_becomes_a_sentence(
    monkeypatch: pytest.MonkeyPatch, read: Reader, raised: Exception, message: str
) -> None:
    def fail(*_: object) -> None:
        raise raised

    monkeypatch.setattr(Image, "open", fail)
    with pytest.raises(FullyConvError, match=message):
        read(Path("x.png"))


@READERS
@pytest.mark.parametrize("content", [b"", b"# Readme\n\nNot a picture.\n", b"\xff\xd8", b"\x89PNG"])
def test_other_files_are_no_pictures(tmp_path: Path, read: Reader, content: bytes) -> None:
    with pytest.raises(FullyConvError, match=r"notes\.jpg: this is not a picture in any format"):
        read(written(tmp_path / "notes.jpg", content))


@READERS
def test_postscript_never_reaches_ghostscript(tmp_path: Path, read: Reader) -> None:
    path = written(tmp_path / "program.jpg", encoded("EPS"))
    with pytest.raises(FullyConvError, match="this is not a picture in any format"):
        read(path)


@READERS
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "TIFF"])
def test_cut_short_files_are_refused(tmp_path: Path, read: Reader, kind: str) -> None:
    content = encoded(kind)
    path = written(tmp_path / "cut", content[: len(content) // 2])
    with pytest.raises(FullyConvError, match="the picture is damaged or cut short"):
        read(path)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_no_cut_is_read_as_something_else(tmp_path: Path, kind: str) -> None:
    content = encoded(kind)
    whole = read_photo(written(tmp_path / "whole", content))
    refused = 0
    for length in range(0, len(content), 23):
        try:
            got = read_photo(written(tmp_path / "cut", content[:length]))
        except FullyConvError:
            refused += 1
        else:
            np.testing.assert_array_equal(got, whole)
    assert refused > 40


@QUICK
@given(
    kind=st.sampled_from(["JPEG", "PNG", "TIFF", "GIF", "BMP", "WEBP"]),
    changes=st.lists(st.tuples(st.integers(0, 399), st.integers(0, 255)), min_size=1, max_size=5),
    length=st.one_of(st.none(), st.integers(0, 3000)),
)
def test_damage_is_an_error_for_users_or_none(
    tmp_path: Path, kind: str, changes: list[tuple[int, int]], length: int | None
) -> None:
    content = bytearray(encoded(kind)[:length])
    for place, value in changes:
        if place < len(content):
            content[place] = value
    path = written(tmp_path / "hurt", bytes(content))
    for read in (read_photo, read_labels):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Pillow, about metadata
            try:
                got = read(path)
            except FullyConvError as error:
                said = str(error)
            else:
                assert got.ndim == (3 if read is read_photo else 2)
                continue
        assert said.startswith(f"{path}: ")


@READERS
@pytest.mark.parametrize("side", [14_000, 100_000, 2**31 - 1])
@pytest.mark.parametrize("limit", [Image.MAX_IMAGE_PIXELS, None])
def test_bombs_are_refused_before_they_are_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: Reader, side: int, limit: int | None
) -> None:
    def decode(*_: object) -> None:
        raise AssertionError("the bomb was decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", decode)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    path = written(tmp_path / "bomb.png", png(side, side, 8, 2, b""))
    started = time.perf_counter()
    with pytest.raises(FullyConvError, match=r"bomb\.png: a picture of more than 178,956,970"):
        read(path)
    assert time.perf_counter() - started < 5


def test_large_pictures_are_read_without_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(tmp_path / "large.png", Image.new("L", (5, 3)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)  # Pillow warns above it, refuses at twice
    with pytest.warns(Image.DecompressionBombWarning), Image.open(path):
        pass
    assert read_photo(path).shape == (3, 5, 3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_sizes_are_those_of_the_upright_picture(
    tmp_path: Path, kind: str, orientation: int
) -> None:
    path = tmp_path / "photo"
    Image.new("RGB", (9, 5)).save(path, kind, exif=exif(orientation))
    assert image_size(path) == read_photo(path).shape[:2]
    assert image_size(path) == ((5, 9) if orientation < 5 else (9, 5))


def test_sizes_of_what_is_no_picture(tmp_path: Path) -> None:
    with pytest.raises(FullyConvError, match=r"x\.png: there is no such file"):
        image_size(tmp_path / "x.png")
    bomb = written(tmp_path / "bomb.png", png(100_000, 100_000, 8, 2, b""))
    with pytest.raises(FullyConvError, match=r"bomb\.png: a picture of more than"):
        image_size(bomb)


@pytest.mark.parametrize(("kind", "worst"), [("PNG", 0), ("JPEG", 16)])
def test_pictures_are_saved(tmp_path: Path, kind: str, worst: int) -> None:
    rows, columns = np.mgrid[:20, :30]
    pixels = np.stack([rows * 8, columns * 8, rows + columns], -1).astype(np.uint8)
    path = tmp_path / "new" / "picture"
    save_image(path, Image.fromarray(pixels), kind)
    with Image.open(path) as image:
        assert image.format == kind
        assert np.abs(np.asarray(image).astype(int) - pixels).max() <= worst
    sizes = []
    for quality in (20, 90):
        save_image(path, Image.fromarray(pixels), kind, quality)
        sizes.append(path.stat().st_size)
    assert (sizes[0] < sizes[1]) == (kind == "JPEG")


@READERS
def test_floating_point_pictures_are_refused(tmp_path: Path, read: Reader) -> None:
    path = saved(tmp_path / "height.tif", Image.fromarray(np.array([[0.5, 300]], np.float32)))
    with pytest.raises(FullyConvError, match=r"height\.tif: .*floating-point"):
        read(path)
    image = Image.fromarray(np.zeros((1, 1), np.float32))
    with pytest.raises(FullyConvError, match="a floating-point picture has no fixed range"):
        to_rgb(image)


# label files --------------------------------------------------------------------------------------

IDS = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=20))


@QUICK
@given(ids=IDS, kind=st.sampled_from(["L", "P", "LA", "RGB", "RGBA"]))
def test_ids_come_back_as_they_were_stored(tmp_path: Path, ids: Pixels, kind: str) -> None:
    image = Image.fromarray(ids)
    if kind == "P":  # colours that say nothing about the index
        image.putpalette(np.random.default_rng(4).integers(0, 256, 768).tolist())
    elif kind != "L":
        image = image.convert(kind)
    got = read_labels(saved(tmp_path / "labels.png", image))
    assert got.shape == ids.shape
    np.testing.assert_array_equal(got, ids)


def test_sixteen_bit_ids(tmp_path: Path) -> None:
    ids = np.array([[0, 1, 300], [65535, 255, 256]], np.uint16)
    np.testing.assert_array_equal(
        read_labels(saved(tmp_path / "labels.png", Image.fromarray(ids))), ids
    )


def test_one_bit_ids_are_0_and_1(tmp_path: Path) -> None:
    ids = np.array([[True, False, True]])
    got = read_labels(saved(tmp_path / "labels.png", Image.fromarray(ids)))
    assert got.tolist() == [[1, 0, 1]]


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_palette_indices_of_few_bits(tmp_path: Path, bits: int) -> None:
    ids = np.arange(2**bits, dtype=np.uint8)[None]
    image = Image.fromarray(ids)
    image.putpalette([value for color in VOC.palette for value in color])
    path = saved(tmp_path / "labels.png", image, bits=bits)
    assert path.read_bytes()[24:26] == bytes([bits, 3])  # bit depth, palette
    np.testing.assert_array_equal(read_labels(path), ids)


@pytest.mark.parametrize("bits", [2, 4])
def test_grey_of_few_bits_is_refused(tmp_path: Path, bits: int) -> None:
    path = written(tmp_path / "labels.png", png(4, 1, bits, 0, b"\0\x12\x34"[: 1 + bits // 2]))
    with pytest.raises(FullyConvError, match=rf"labels\.png: .* has {bits} bits of grey"):
        read_labels(path)


def test_color_masks_are_refused_with_their_number_of_colors(tmp_path: Path) -> None:
    mask = VOC.colorize(np.arange(21, dtype=np.uint8)[None].repeat(3, 0))
    mask[0, :3] = [(1, 0, 0), (0, 1, 0), (0, 0, 1)]
    mask[1, :4] = [(0, 1, 255), (0, 2, 0), (1, 0, 255), (2, 0, 0)]
    for mode in ("RGB", "RGBA"):
        path = saved(tmp_path / f"{mode}.png", Image.fromarray(mask).convert(mode))
        with pytest.raises(FullyConvError, match=rf"{mode}\.png: .* is {mode} with 28 colours;"):
            read_labels(path)


def test_jpeg_labels_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "labels.jpg", Image.new("L", (8, 8), 3))
    with pytest.raises(FullyConvError, match=r"labels\.jpg: .* is a JPEG, which does not keep"):
        read_labels(path)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.bool_])
def test_labels_are_turned_as_photos_are(
    tmp_path: Path, orientation: int, dtype: type[np.generic]
) -> None:
    upright = np.random.default_rng(5).integers(0, 2, (5, 9)).astype(dtype)
    image = Image.fromarray(np.ascontiguousarray(stored(upright, orientation)))
    path = saved(tmp_path / "labels.png", image, exif=exif(orientation))
    np.testing.assert_array_equal(read_labels(path), upright)


def test_every_label_of_camvid_is_read(shared: Path) -> None:
    files = sorted((shared / "data/camvid/val/labels").iterdir())
    counts = np.zeros(256, np.int64)
    for path in files:
        raw = read_labels(path)
        with Image.open(path) as image:
            np.testing.assert_array_equal(raw, np.asarray(image))
        target = CAMVID.encode(raw, path)
        assert target.shape == (360, 480)
        np.testing.assert_array_equal(target == IGNORE_INDEX, raw == 11)
        counts += np.bincount(target.ravel(), minlength=256)
    assert len(files) == 101
    assert np.flatnonzero(counts).tolist() == [*range(11), IGNORE_INDEX]


def test_labels_of_pascal_voc_are_read(shared: Path) -> None:
    files = sorted((shared / "data/voc-seg11valid-labels").glob("*.png"))
    assert len(files) == 736
    seen = set()
    for path in files[::8]:
        raw = read_labels(path)
        with Image.open(path) as image:
            assert image.mode == "P"
            palette = image.getpalette() or []
            assert raw.shape == image.size[::-1]
            np.testing.assert_array_equal(read_photo(path), np.asarray(image.convert("RGB")))
        assert palette[:63] == [value for color in VOC.palette for value in color]
        seen |= set(np.unique(VOC.encode(raw, path)).tolist())
    assert seen == {*range(21), IGNORE_INDEX}


def test_depth_is_the_logarithm_of_millimetres(tmp_path: Path) -> None:
    millimetres = np.array([[0, 500], [2550, 10000]], np.uint16)
    Image.fromarray(millimetres).save(tmp_path / "a.png")
    expected = np.log([[500, 500], [2550, 10000]])[..., None]
    np.testing.assert_allclose(read_depth(tmp_path / "a.png"), expected, rtol=1e-6)
    Image.fromarray(np.array([[51, 255]], np.uint8)).save(tmp_path / "b.png")  # 2 m and 10 m
    expected = np.log([[2000, 10000]])[..., None]
    np.testing.assert_allclose(read_depth(tmp_path / "b.png"), expected, rtol=1e-6)
    Image.fromarray(np.zeros((2, 2), np.uint16)).save(tmp_path / "c.png")
    with pytest.raises(FullyConvError, match="c.png: this depth picture holds nothing but 0"):
        read_depth(tmp_path / "c.png")
