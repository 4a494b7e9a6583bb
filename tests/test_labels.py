"""Classes, their colours, and what the ids of label files become."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fullyconv.errors import FullyConvError
from fullyconv.labels import (
    CAMVID,
    IGNORE_INDEX,
    LABEL_SPACES,
    NYUDV2,
    NYUDV2_39,
    PASCAL_CONTEXT,
    SIFTFLOW,
    VOC,
    LabelSpace,
    voc_palette,
)

QUICK = settings(max_examples=60, deadline=None)
TWO = LabelSpace(categories=("ground", "tree"))

names = st.text(st.characters(categories=["L", "N", "P", "So"]), min_size=1, max_size=8)
colors = st.tuples(*[st.integers(0, 255)] * 3)


@st.composite
def label_spaces(draw: st.DrawFn) -> LabelSpace:
    categories = draw(st.lists(names, min_size=1, max_size=12, unique=True))
    count = len(categories)
    ids = draw(st.lists(st.integers(0, 400), min_size=count, max_size=count + 3, unique=True))
    return LabelSpace(
        categories=tuple(categories),
        palette=tuple(draw(st.lists(colors, min_size=count, max_size=count))),
        raw_ids=tuple(ids[:count]),
        void=tuple(ids[count:]),
    )


# the label spaces themselves ----------------------------------------------------------------------


def test_voc_colors_are_the_devkit_s() -> None:
    # VOC2012 devkit, "Segmentation class" colour key
    assert VOC.palette == (
        (0, 0, 0),
        (128, 0, 0),
        (0, 128, 0),
        (128, 128, 0),
        (0, 0, 128),
        (128, 0, 128),
        (0, 128, 128),
        (128, 128, 128),
        (64, 0, 0),
        (192, 0, 0),
        (64, 128, 0),
        (192, 128, 0),
        (64, 0, 128),
        (192, 0, 128),
        (64, 128, 128),
        (192, 128, 128),
        (0, 64, 0),
        (128, 64, 0),
        (0, 192, 0),
        (128, 192, 0),
        (0, 64, 128),
    )


def test_voc_palette_is_the_devkit_s_colormap() -> None:
    expected = []
    for index in range(256):  # VOClabelcolormap.m
        rgb, left = [0, 0, 0], index
        for j in range(8):
            for channel in range(3):
                rgb[channel] |= (left >> channel & 1) << 7 - j
            left >>= 3
        expected.append(tuple(rgb))
    assert voc_palette(256) == tuple(expected)
    assert expected[255] == (224, 224, 192)
    assert len(set(expected)) == 256


@pytest.mark.parametrize(
    ("space", "classes", "some", "void"),
    [
        (VOC, 21, {0: "background", 15: "person", 20: "tvmonitor"}, (255,)),
        (NYUDV2, 40, {1: "wall", 24: "refridgerator", 40: "otherprop"}, (0,)),
        (NYUDV2_39, 39, {0: "wall", 38: "otherfurniture"}, (39, 255)),
        (PASCAL_CONTEXT, 60, {0: "background", 20: "tvmonitor", 59: "wood"}, (255,)),
        (SIFTFLOW, 33, {1: "awning", 28: "sky", 33: "window"}, (0,)),
        (CAMVID, 11, {0: "sky", 8: "car", 10: "bicyclist"}, (11, 255)),
    ],
)
def test_ids_of_the_data_sets(
    space: LabelSpace, classes: int, some: dict[int, str], void: tuple[int, ...]
) -> None:
    assert space.num_classes == classes == len(space.palette)
    for raw, name in some.items():
        assert space.categories[space.encode(np.array([[raw]], np.uint8))[0, 0]] == name
    for raw in void:
        assert space.encode(np.array([[raw]], np.uint8))[0, 0] == IGNORE_INDEX
    with pytest.raises(FullyConvError, match=r"label 200 \(1 px\)"):
        space.encode(np.array([[200]], np.uint8))


def test_names_of_label_spaces() -> None:
    assert {name: space.num_classes for name, space in LABEL_SPACES.items()} == {
        "voc": 21,
        "nyud": 40,
        "nyudv2-39": 39,
        "pascalcontext": 60,
        "siftflow": 33,
        "siftflow-geometric": 3,
        "camvid": 11,
    }


# encode -------------------------------------------------------------------------------------------


@QUICK
@given(
    label_spaces(),
    st.data(),
    st.sampled_from([np.uint8, np.int8, np.uint16, np.int32, np.int64, np.uint64, ">u2"]),
)
def test_encode_equals_a_dictionary(space: LabelSpace, data: st.DataObject, dtype: Any) -> None:
    meaning = {raw: index for index, raw in enumerate(space.raw_ids)}
    meaning |= dict.fromkeys(space.void, IGNORE_INDEX)
    known = [raw for raw in meaning if raw <= np.iinfo(dtype).max]
    if not known:
        return
    ids = data.draw(st.lists(st.sampled_from(known), min_size=1, max_size=12))
    raw = np.array([ids, ids], dtype)
    encoded = space.encode(raw)
    assert encoded.dtype == np.uint8
    assert encoded.tolist() == [[meaning[i] for i in ids]] * 2


@pytest.mark.parametrize(
    ("values", "dtype", "found"),
    [
        ([2, 0, 2], np.uint8, "label 2 (2 px)"),
        ([-1, 0, 1], np.int32, "label -1 (1 px)"),
        ([-1, -1, 1], np.int8, "label -1 (2 px)"),
        ([-256, 0, 1], np.int16, "label -256 (1 px)"),
        ([256, 300, 300], np.uint16, "label 256 (1 px), 300 (2 px)"),
        ([65536, 0, 0], np.int64, "label 65536 (1 px)"),
        ([2**64 - 1, 0, 0], np.uint64, "label 18446744073709551615 (1 px)"),
    ],
)
def test_foreign_ids_are_refused_with_file_value_and_count(
    values: list[int], dtype: type[np.generic], found: str
) -> None:
    message = (
        f"a/b.png: {found} is neither one of the 2 class ids (0 to 1) nor void (255); correct the "
        "file, the number of classes or the void ids"
    )
    with pytest.raises(FullyConvError, match=f"^{re.escape(message)}$"):
        TWO.encode(np.array([values], dtype), "a/b.png")


def test_many_foreign_ids_are_counted() -> None:
    with pytest.raises(FullyConvError, match=r"label 2 \(1 px\), .*, 9 \(1 px\) and 11 more is"):
        TWO.encode(np.arange(21, dtype=np.uint8))
    with pytest.raises(FullyConvError, match=r"label 2 \(1 px\), .*, 9 \(1 px\) is neither"):
        TWO.encode(np.arange(10, dtype=np.uint8))
    with pytest.raises(FullyConvError, match=r", 9 \(1 px\) and 1 more is neither"):
        TWO.encode(np.arange(11, dtype=np.uint8))


def test_without_void_every_other_id_is_foreign() -> None:
    space = LabelSpace(categories=("ground", "tree"), raw_ids=(0, 255), void=())
    assert space.encode(np.array([0, 255], np.uint8)).tolist() == [0, 1]
    with pytest.raises(FullyConvError, match=r"\(0 to 255\) nor void \(none\)"):
        space.encode(np.array([1], np.uint8))


def test_one_bit_labels_are_ids() -> None:
    assert TWO.encode(np.array([[True, False]])).tolist() == [[1, 0]]


@pytest.mark.parametrize("dtype", [np.float32, np.complex64, np.str_])
def test_encode_takes_whole_numbers_only(dtype: type[np.generic]) -> None:
    with pytest.raises(FullyConvError, match=r"depth\.npy: labels are whole numbers, not "):
        TWO.encode(np.zeros((1, 1), dtype), "depth.npy")


def test_empty_labels_stay_empty() -> None:
    assert TWO.encode(np.zeros((0, 4), np.uint8)).shape == (0, 4)
    assert TWO.encode(np.zeros((4, 0), np.int64)).shape == (4, 0)


def test_encode_leaves_its_argument_alone() -> None:
    raw = np.array([[1, 2, 0]], np.uint8)
    NYUDV2.encode(raw)
    assert raw.tolist() == [[1, 2, 0]]


# colours ------------------------------------------------------------------------------------------


def test_colorize_shows_void_and_unknown_ids_black() -> None:
    labels = np.array([[0, 3, 10], [11, 254, 255]], np.uint8)
    shown = CAMVID.colorize(labels)
    assert shown.dtype == np.uint8
    assert shown.shape == (2, 3, 3)
    assert [tuple(pixel) for pixel in shown[0]] == [CAMVID.palette[i] for i in (0, 3, 10)]
    assert not shown[1].any()


# construction -------------------------------------------------------------------------------------


def test_as_many_classes_as_labels_have_room_for() -> None:
    space = LabelSpace(categories=tuple(f"class {i}" for i in range(255)))
    ids: NDArray[np.uint8] = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(space.encode(ids), ids)


@pytest.mark.parametrize("count", [0, 65536])
def test_number_of_categories(count: int) -> None:
    with pytest.raises(FullyConvError, match=f"^{count} categories given; 1 to 65535 are possible"):
        LabelSpace(categories=tuple(str(i) for i in range(count)))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"palette": ((0, 0, 0),)}, "1 entries in palette for 2 categories"),
        ({"raw_ids": (0, 1, 2)}, "3 entries in raw_ids for 2 categories"),
        ({"palette": ((0, 0, 0), (0, 256, 0))}, r"colour \(0, 256, 0\) is not three numbers from"),
        ({"palette": ((0, 0, 0), (0, -1, 0))}, r"colour \(0, -1, 0\) is not three numbers from"),
        ({"palette": ((0, 0, 0), (0, 0))}, r"colour \(0, 0\) is not three numbers from 0 to 255"),
        (
            {"categories": ("a", "b", "c"), "raw_ids": (5, 7, 7)},
            "raw_ids gives 7 to two classes; ids must differ",
        ),
        ({"categories": ("a", "b", "b")}, "category 'b' is given twice; names must differ"),
        ({"raw_ids": (0, 0)}, "raw_ids gives 0 to two classes; ids must differ"),
        ({"raw_ids": (0, -1)}, "raw_ids holds -1, but ids in label files are 0 to 65535"),
        ({"void": (65536,)}, "void holds 65536, but ids in label files are 0 to 65535"),
        ({"void": (255, 1)}, "id 1 is both class 'tree' and void; take it out of void or out of"),
        ({"raw_ids": (0, 255)}, "id 255 is both class 'tree' and void"),
        ({"categories": ("tree", "tree")}, "category 'tree' is given twice; names must differ"),
        ({"categories": ("a", " ")}, "category ' ' is not one line of 1 to 100 characters"),
        ({"categories": ("a", "b\nc")}, r"category 'b\\nc' is not one line of 1 to 100"),
        ({"categories": ("a", "b\x1b[2J")}, "is not one line of 1 to 100 characters"),
        ({"categories": ("a", "b" * 101)}, "is not one line of 1 to 100 characters"),
    ],
)
def test_fields_must_fit_each_other(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(FullyConvError, match=message):
        LabelSpace(**{"categories": ("ground", "tree"), **fields})


def test_ids_may_be_all_that_sixteen_bits_hold() -> None:
    space = LabelSpace(categories=("a", "b"), raw_ids=(65535, 0), void=(65534,))
    raw = np.array([65535, 65534, 0], np.uint16)
    assert space.encode(raw).tolist() == [0, IGNORE_INDEX, 1]


def test_names_may_be_of_any_script() -> None:
    categories = ("道路", "bâtiment clair", "क्षेत्र", "x" * 100)
    assert LabelSpace(categories=categories).categories == categories


# in a checkpoint's header -------------------------------------------------------------------------


@QUICK
@given(label_spaces())
def test_json_round_trip(space: LabelSpace) -> None:
    assert LabelSpace.from_dict(json.loads(json.dumps(space.to_dict()))) == space


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None)
@given(key=st.sampled_from(["categories", "palette", "raw_ids", "void"]), value=json_values)
def test_hostile_headers_are_refused_or_harmless(key: str, value: Any) -> None:
    header = json.loads(json.dumps({**CAMVID.to_dict(), key: value}))
    try:
        space = LabelSpace.from_dict(header)
    except FullyConvError:
        return
    labels = space.encode(np.array([*space.raw_ids, *space.void], np.uint16))
    assert labels[: space.num_classes].tolist() == list(range(space.num_classes))
    assert space.colorize(labels).shape == (len(labels), 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"categories": "sky"}, "'sky' is not a list"),
        ({"categories": [1, 2]}, "1 is not a name"),
        ({"palette": [[0, 0]]}, "not enough values to unpack"),
        ({"palette": [[0, 0, 0.5]]}, "'float' object cannot be interpreted as an integer"),
        ({"palette": [7]}, "not iterable"),
        ({"raw_ids": "12"}, "'12' is not a list"),
        ({"raw_ids": [float("inf")]}, "'float' object cannot be interpreted as an integer"),
        ({"void": [None]}, "'NoneType' object cannot be interpreted as an integer"),
        ({"void": 255}, "255 is not a list"),
    ],
)
def test_headers_name_what_is_wrong(change: dict[str, Any], message: str) -> None:
    with pytest.raises(FullyConvError, match=f"the label space is not readable: .*{message}"):
        LabelSpace.from_dict({**CAMVID.to_dict(), **change})


@pytest.mark.parametrize("key", ["categories", "palette", "raw_ids", "void"])
def test_headers_need_every_key(key: str) -> None:
    header = CAMVID.to_dict()
    del header[key]
    with pytest.raises(FullyConvError, match=f"the label space is not readable: .*{key}"):
        LabelSpace.from_dict(header)


@pytest.mark.parametrize("header", [None, [], "abc", 5])
def test_headers_are_mappings(header: Any) -> None:
    with pytest.raises(FullyConvError, match="the label space is not readable"):
        LabelSpace.from_dict(header)


def test_huge_ids_in_a_header_take_no_memory() -> None:
    with pytest.raises(FullyConvError, match="raw_ids holds 1000000000000"):
        LabelSpace.from_dict({**CAMVID.to_dict(), "raw_ids": [10**12, *range(10)]})
