"""The reader and the writer of Caffe's files, against the real Caffe's files and by hand.

The encoder here is written from protobuf's documentation and shares no line with the package.
"""

from __future__ import annotations

import errno
import os
import re
import struct
import sys
import time
import tracemalloc
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from formula import DATA, ORACLES, bilinear, parameter, sgd_label, uniform
from fullyconv.caffe import (
    CaffeLayer,
    CaffeNet,
    read_caffemodel,
    read_mean,
    wire,
    write_caffemodel,
    write_mean,
)
from fullyconv.caffe.blob import encode_blob
from fullyconv.errors import FullyConvError

INT, EIGHT, BYTES, FOUR = 0, 1, 2, 5


def number(value: int) -> bytes:
    groups = [value >> shift & 127 for shift in range(0, max(value.bit_length(), 1), 7)]
    return bytes([group | 128 for group in groups[:-1]] + groups[-1:])


def integer(field: int, value: int) -> bytes:
    return number(field * 8 + INT) + number(value % 2**64)


def block(field: int, *parts: bytes | str) -> bytes:
    value = b"".join(part.encode() if isinstance(part, str) else part for part in parts)
    return number(field * 8 + BYTES) + number(len(value)) + value


def packed(values: Iterable[float], field: int = 5) -> bytes:
    return block(field, *(struct.pack("<f" if field < 7 else "<d", x) for x in values))


def unpacked(values: Iterable[float], field: int = 5) -> bytes:
    form, kind = ("<f", FOUR) if field < 7 else ("<d", EIGHT)
    return b"".join(number(field * 8 + kind) + struct.pack(form, x) for x in values)


def shape(*sizes: int) -> bytes:
    return block(7, block(1, *(number(size % 2**64) for size in sizes)))


def legacy(*sizes: int) -> bytes:
    return b"".join(integer(field, size) for field, size in enumerate(sizes, 1))


def v2(*blobs: bytes, name: str = "conv1", kind: str = "Convolution") -> bytes:
    wiring = block(3, "data") + block(4, name)
    return block(100, block(1, name), block(2, kind), wiring, *(block(7, b) for b in blobs))


def v1(*blobs: bytes, name: str = "conv1", kind: int = 4) -> bytes:
    wiring = block(2, "data") + block(3, name)
    return block(2, wiring, block(4, name), integer(5, kind), *(block(6, b) for b in blobs))


def v0(*blobs: bytes, name: str = "conv1", kind: str = "conv") -> bytes:
    inner = block(1, block(1, name), block(2, kind), *(block(50, b) for b in blobs))
    return block(2, inner, block(2, "data"), block(3, name))


ONES = shape(2, 3) + packed([1] * 6)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "net.caffemodel"


def read(path: Path, *parts: bytes) -> CaffeNet:
    path.write_bytes(b"".join(parts))
    return read_caffemodel(path)


def one_blob(path: Path, blob: bytes) -> np.ndarray[Any, Any]:
    return read(path, v2(blob)).layers[0].blobs[0]


def assert_same(one: CaffeNet, other: CaffeNet) -> None:
    assert one.name == other.name
    for a, b in zip(one.layers, other.layers, strict=True):
        assert (a.name, a.type, a.bottoms, a.tops) == (b.name, b.type, b.bottoms, b.tops)
        for x, y in zip(a.blobs, b.blobs, strict=True):
            assert x.dtype == y.dtype
            assert x.shape == y.shape
            assert x.tobytes() == y.tobytes()  # bit for bit, NaN and -0 too


# The real Caffe's files


def assert_follows_formula(path: Path) -> None:
    for layer in read_caffemodel(path).layers:
        for j, blob in enumerate(layer.blobs):
            fixed = layer.type == "Deconvolution"
            wanted = bilinear(blob.shape) if fixed else parameter(layer.name, j, blob.shape)
            np.testing.assert_array_equal(blob, wanted, err_msg=f"{layer.name}/{j}", strict=True)


def test_the_formula_repeats_the_file_of_the_real_caffe_bit_for_bit() -> None:
    assert_follows_formula(DATA / "bvlc_googlenet-w8.caffemodel")


@pytest.mark.skipif(not ORACLES.is_dir(), reason=f"no oracles at {ORACLES}")
@pytest.mark.parametrize(
    ("name", "layers", "blobs", "numbers"),
    [
        ("bvlc_googlenet-w8", 152, 116, 111_287),
        ("voc-fcn-alexnet-w16", 26, 17, 1_980_470),
        ("voc-fcn32s-w16", 42, 33, 2_337_017),
        ("voc-fcn8s-w16", 54, 39, 658_739),
    ],
)
def test_oracles_are_read_whole_and_follow_the_formula(
    name: str, layers: int, blobs: int, numbers: int
) -> None:
    path = ORACLES / f"{name}.caffemodel"
    net = read_caffemodel(path)
    arrays = [blob for layer in net.layers for blob in layer.blobs]
    assert (len(net.layers), len(arrays)) == (layers, blobs)
    assert sum(array.size for array in arrays) == numbers
    assert_follows_formula(path)


def test_names_types_and_wiring_of_a_real_file() -> None:
    net = read_caffemodel(DATA / "bvlc_googlenet-w8.caffemodel")
    assert net.name == "GoogleNet"
    layers = {layer.name: layer for layer in net.layers}
    assert layers["data"].type == "Input"
    concat = layers["inception_3b/output"]
    assert (concat.type, concat.tops, concat.blobs) == ("Concat", ("inception_3b/output",), ())
    assert concat.bottoms[1] == "inception_3b/3x3"
    assert [blob.shape for blob in layers["loss3/classifier"].blobs] == [(125, 128), (125,)]


def test_blobs_are_written_in_the_bytes_of_the_real_caffe() -> None:
    original = (DATA / "bvlc_googlenet-w8.caffemodel").read_bytes()
    for layer in read_caffemodel(DATA / "bvlc_googlenet-w8.caffemodel").layers:
        for blob in layer.blobs:
            assert b"".join(bytes(piece) for piece in encode_blob(blob)) in original


def test_a_real_file_round_trips(path: Path) -> None:
    net = read_caffemodel(DATA / "bvlc_googlenet-w8.caffemodel")
    write_caffemodel(path, net)
    assert_same(read_caffemodel(path), net)


def test_formula_draws_what_it_says() -> None:
    values = uniform("any", 10_000)
    assert values.min() >= 0
    assert values.max() < 1
    assert abs(values.mean() - 0.5) < 0.01
    label = sgd_label(0)
    assert label.shape == (1, 1, 97, 131)
    assert set(np.unique(label)) <= {*range(21), 255}
    assert (label[..., :16, :16] == label[..., 0, 0]).all()


# Round trip


names = st.text(max_size=8)
blobs = hnp.arrays(
    st.sampled_from([np.float32, np.float64]),
    hnp.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=4),
)
layers = st.builds(
    CaffeLayer,
    names,
    names,
    st.lists(blobs, max_size=3).map(tuple),
    st.lists(names, max_size=3).map(tuple),
    st.lists(names, max_size=3).map(tuple),
)


@settings(deadline=None)
@given(net=st.builds(CaffeNet, names, st.lists(layers, min_size=1, max_size=4).map(tuple)))
def test_what_is_written_reads_back(
    tmp_path_factory: pytest.TempPathFactory, net: CaffeNet
) -> None:
    path = tmp_path_factory.getbasetemp() / "round-trip.caffemodel"
    write_caffemodel(path, net)
    assert_same(read_caffemodel(path), net)


@pytest.mark.parametrize(
    "blob",
    [
        np.arange(24, dtype=">f4").reshape(2, 3, 4),
        np.arange(24, dtype="f4").reshape(2, 3, 4).transpose(2, 0, 1),
        np.arange(24, dtype="f8")[::2],
        np.broadcast_to(np.float32(7), (3, 5)),
    ],
    ids=["big-endian", "transposed", "strided", "broadcast"],
)
def test_any_layout_in_memory_is_written(path: Path, blob: np.ndarray[Any, Any]) -> None:
    write_caffemodel(path, CaffeNet("", (CaffeLayer("a", "", (blob,)),)))
    back = read_caffemodel(path).layers[0].blobs[0]
    np.testing.assert_array_equal(back, blob)
    assert back.dtype.itemsize == blob.dtype.itemsize


# Every form in which Caffe has stored nets


@pytest.mark.parametrize("layer", [v2, v1, v0])
def test_three_generations_of_layers(path: Path, layer: Any) -> None:
    net = read(path, block(1, "old"), layer(ONES, shape(1) + packed([5])))
    assert net.name == "old"
    (read_layer,) = net.layers
    assert (read_layer.name, read_layer.type) == ("conv1", "Convolution")
    assert (read_layer.bottoms, read_layer.tops) == (("data",), ("conv1",))
    np.testing.assert_array_equal(read_layer.blobs[0], np.ones((2, 3), np.float32), strict=True)
    np.testing.assert_array_equal(read_layer.blobs[1], np.array([5], np.float32), strict=True)


VALUES = [0.5, -1.25, 3.0, 1e-3, 7.0, 1e30]


@pytest.mark.parametrize(
    ("stored", "dtype"),
    [
        (packed(VALUES), np.float32),
        (unpacked(VALUES), np.float32),
        (packed(VALUES[:2]) + packed([]) + packed(VALUES[2:]), np.float32),
        (packed(VALUES[:1]) + unpacked(VALUES[1:4]) + packed(VALUES[4:]), np.float32),
        (unpacked(VALUES[:3]) + integer(99, 1) + unpacked(VALUES[3:]), np.float32),
        (packed(VALUES, 8), np.float64),
        (unpacked(VALUES, 8), np.float64),
        (packed([9]) + packed(VALUES, 8), np.float64),  # doubles win, as in Caffe
        (packed([], 8) + packed(VALUES), np.float32),
        # A tag may be written in more bytes than it needs; the run ends where the bytes differ.
        (b"\xad\x00" + unpacked(VALUES[:1])[1:] + unpacked(VALUES[1:]), np.float32),
    ],
)
@pytest.mark.parametrize("diff", [b"", packed([1, 2], 6), unpacked([1, 2], 6)])
def test_every_way_to_store_numbers(path: Path, stored: bytes, dtype: Any, diff: bytes) -> None:
    blob = one_blob(path, shape(2, 3) + diff + stored)
    np.testing.assert_array_equal(blob, np.array(VALUES, dtype).reshape(2, 3), strict=True)


@pytest.mark.parametrize("count", [1, 2, 63, 64, 65, 191, 192, 193, 200_000])
@pytest.mark.parametrize("field", [5, 8])
def test_unpacked_runs_of_any_length(path: Path, count: int, field: int) -> None:
    values = np.arange(count, dtype="<f4" if field == 5 else "<f8")
    record = np.zeros(count, [("tag", "u1"), ("value", values.dtype)])
    record["tag"], record["value"] = number(field * 8 + (FOUR if field == 5 else EIGHT))[0], values
    # Another field of the same width follows, so the run must stop by itself.
    other = number(6 * 8 + FOUR) + b"\0" * 4
    np.testing.assert_array_equal(
        one_blob(path, record.tobytes() + other + shape(count)), values, strict=True
    )


def test_shapes_as_stored(path: Path) -> None:
    six = packed(range(6))
    assert one_blob(path, shape(2, 3) + six).shape == (2, 3)
    assert one_blob(path, legacy(1, 1, 2, 3) + six).shape == (1, 1, 2, 3)
    assert one_blob(path, shape(6) + legacy(1, 6, 1, 1) + six).shape == (1, 6, 1, 1)
    assert one_blob(path, block(7, integer(1, 2), integer(1, 3), integer(9, 0)) + six).shape == (
        2,
        3,
    )
    assert one_blob(path, shape(2) + shape(3) + six).shape == (2, 3)  # one message in two parts
    assert one_blob(path, packed([4])).shape == ()
    assert one_blob(path, shape(*[1] * 32) + packed([4])).shape == (1,) * 32
    assert one_blob(path, shape(0, 2**31 - 1)).shape == (0, 2**31 - 1)


def pairs(table: str) -> dict[str, str]:
    words = table.split()
    return dict(zip(words[::2], words[1::2], strict=True))


V1_TYPES = pairs("""
35 AbsVal 1 Accuracy 30 ArgMax 2 BNLL 3 Concat 37 ContrastiveLoss 4 Convolution 5 Data
39 Deconvolution 6 Dropout 32 DummyData 7 EuclideanLoss 25 Eltwise 38 Exp 8 Flatten 9 HDF5Data
10 HDF5Output 28 HingeLoss 11 Im2col 12 ImageData 13 InfogainLoss 14 InnerProduct 15 LRN
29 MemoryData 16 MultinomialLogisticLoss 34 MVN 17 Pooling 26 Power 18 ReLU 19 Sigmoid
27 SigmoidCrossEntropyLoss 36 Silence 20 Softmax 21 SoftmaxWithLoss 22 Split 33 Slice 23 TanH
24 WindowData 31 Threshold 40 Crop
""")
V0_TYPES = pairs("""
accuracy Accuracy bnll BNLL concat Concat conv Convolution data Data dropout Dropout
euclidean_loss EuclideanLoss flatten Flatten hdf5_data HDF5Data hdf5_output HDF5Output
im2col Im2col images ImageData infogain_loss InfogainLoss innerproduct InnerProduct lrn LRN
multinomial_logistic_loss MultinomialLogisticLoss pool Pooling relu ReLU sigmoid Sigmoid
softmax Softmax softmax_loss SoftmaxWithLoss split Split tanh TanH window_data WindowData
padding padding
""")


def test_old_types_get_their_new_names(path: Path) -> None:
    net = read(path, *(v1(kind=int(kind)) for kind in V1_TYPES))
    assert [layer.type for layer in net.layers] == [*V1_TYPES.values()]
    assert sorted(map(int, V1_TYPES)) == [*range(1, 41)]
    net = read(path, *(v0(kind=kind) for kind in V0_TYPES))
    assert [layer.type for layer in net.layers] == [*V0_TYPES.values()]
    unknown = read(path, v1(kind=0), v1(kind=41), v1(kind=-1), block(2))
    assert [layer.type for layer in unknown.layers] == ["", "V1 type 41", "V1 type -1", ""]


def test_unknown_fields_are_skipped(path: Path) -> None:
    junk = integer(77, 5) + block(78, "?") + number(79 * 8 + FOUR) + b"1234"
    junk += number(80 * 8 + EIGHT) + b"12345678"
    net = read(path, junk, block(100, junk, block(1, "a"), block(7, junk, ONES, junk), junk), junk)
    assert net.layers[0].name == "a"
    assert net.layers[0].blobs[0].shape == (2, 3)


def test_packed_numbers_are_read_only_views_of_the_file(path: Path) -> None:
    blob = one_blob(path, ONES)
    assert not blob.flags.owndata
    assert not blob.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        blob[0] = 0


# Files that are wrong


HTML = b"<!DOCTYPE html>\n<html><head><title>404 \xe9\xa1\xb5</title></head></html>"
PROTOTXT = b'name: "FCN"\nlayer {\n  name: "data"\n}\n'


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "byte 0: the file is empty; get it again"),
        (HTML, "byte 0: this is a web page .HTML., expected a .caffemodel; download the binary"),
        (b"\xef\xbb\xbf" + HTML, "byte 0: this is a web page"),
        (PROTOTXT, "byte 0: this is text, such as a .prototxt"),
        (b"version https://git-lfs.github.com/spec/v1\n", "byte 0: this is a Git LFS pointer"),
        (b"\x89HDF\r\n\x1a\n" + b"\0" * 99, "byte 0: this is an HDF5 file .save it from Caffe"),
        (b"PK\x03\x04\x14", "byte 0: this is a zip archive or a PyTorch file"),
        (b"\x1f\x8b\x08\0", "byte 0: this is a gzip archive"),
        (block(1, "x") + integer(5, 1), "byte 5.*: the file has no layers"),
        (integer(1, 1), r"byte 0, layer 0: the net's name \(field 1\) is stored as an integer"),
        (block(1, b"\xffab"), "byte 2, layer 0: the net's name is not UTF-8"),
        (integer(100, 1), r"layer \(field 100\) is stored as an integer, expected a length"),
        (v1() + v2(), "byte 24, layer 1, after 'conv1': both V1 and V2 layers, expected one"),
        (b"\x80" * 11, "an integer of more than 64 bits"),
        (b"\x80" * 9 + b"\x02", "an integer of more than 64 bits"),
        (
            b"\x80" * 9,
            "layer 0: the file ends inside a field, at byte 9: it is cut short or damaged; get it",
        ),
        (b"\x00\x01", "field number 0, expected 1 to 536870911"),
        (number(2**32) + b"\0", "field number 536870912, expected"),
        *(
            (number(8 + wire) + b"\x01", f"wire type {wire}, expected 0, 1, 2 or 5")
            for wire in (3, 4, 6, 7)
        ),
        (block(1, "net\x01") + number(802) + number(2**63), "byte 6, layer 0: the file ends"),
        (v2(ONES)[:-1], "byte 0, layer 0: the file ends inside a field"),
        (v2() + v2(ONES)[:-1], "byte 36, layer 1, after 'conv1': the file ends inside a field"),
        (block(100, b"\x0a\x09abc") + v2(), "byte 3, layer 0: a field runs past its message"),
        (block(100, b"\x2d\x00") + v2(), "byte 3, layer 0: a field runs past its message, which"),
        (block(100, b"\x08") + v2(), "a field runs past its message"),
    ],
)
def test_a_wrong_file_is_named(path: Path, content: bytes, match: str) -> None:
    path.write_bytes(content)
    with pytest.raises(FullyConvError, match=match) as info:
        read_caffemodel(path)
    assert str(info.value).startswith(f"{path}, byte ")
    assert "\n" not in str(info.value)


BIG = 2**62


@pytest.mark.parametrize(
    ("blob", "match"),
    [
        (shape(2, 3) + packed([1] * 5), r"shape \(2, 3\) has 6 numbers, but 5 are stored"),
        (shape(2, 3), r"shape \(2, 3\) has 6 numbers, but 0 are stored"),
        (b"", r"shape \(\) has 1 numbers, but 0 are stored"),
        (legacy(1, 2) + packed([1, 2]), r"shape \(1, 2, 0, 0\) has 0 numbers, but 2 are stored"),
        (shape(-1, -1) + packed([1]), r"shape \(-1, -1\), expected sizes from 0 on"),
        (legacy(-1, 1, 1, 1) + packed([1]), r"shape \(-1, 1, 1, 1\), expected sizes from 0 on"),
        (shape(4, BIG), rf"shape \(4, {BIG}\), expected .* at most 2147483647 numbers"),
        (shape(0, BIG, BIG), "expected .* at most 2147483647 numbers"),
        (shape(2**32, 2**32 + 1) + packed([1]), "at most 2147483647 numbers"),
        (shape(*[1] * 33) + packed([1]), "more than 32 axes"),
        (block(5, b"12345"), r"data has 5 bytes, expected a multiple of 4"),
        (block(8, b"1234"), r"double_data has 4 bytes, expected a multiple of 8"),
        (integer(5, 1), r"data \(field 5\) is stored as an integer, expected a length or 4 bytes"),
        (number(41) + b"12345678", "data .* is stored as 8 bytes, expected a length or 4 bytes"),
        (number(69) + b"1234", "double_data .* as 4 bytes, expected a length or 8 bytes"),
        (integer(7, 1), r"shape \(field 7\) is stored as an integer, expected a length"),
        (block(7, number(13) + b"1234"), r"dim \(field 1\) is stored as 4 bytes, expected an int"),
        (block(7, block(1, b"\x80")) + packed([1]), "a field runs past its message"),
        (block(1, "x"), r"num \(field 1\) is stored as a length, expected an integer"),
    ],
)
def test_a_wrong_blob_is_named(path: Path, blob: bytes, match: str) -> None:
    where = r"byte \d+, layer 1 'conv2', blob 1: "
    with pytest.raises(FullyConvError, match=where + f".*{match}"):
        read(path, v2(), v2(ONES, blob, name="conv2"))


@pytest.mark.parametrize(
    ("layer", "match"),
    [
        (block(100, integer(1, 0)), r"name \(field 1\) is stored as an integer"),
        (block(100, integer(2, 0)), r"type \(field 2\) is stored as an integer"),
        (block(100, integer(3, 0)), r"bottom \(field 3\) is stored as an integer"),
        (block(100, integer(4, 0)), r"top \(field 4\) is stored as an integer"),
        (block(100, integer(7, 0)), r"blobs \(field 7\) is stored as an integer"),
        (block(2, block(5, "x")), r"type \(field 5\) is stored as a length, expected an integer"),
        (block(2, integer(1, 0)), r"layer \(field 1\) is stored as an integer"),
        (block(2, block(1, block(50, b""))), r"layer 0, blob 0: shape \(\)"),
        (v2(b"", name="x" * 99), f"layer 0 '{'x' * 60}[.]{{3}}', blob 0"),
        (v2(b"", name="\x1b[31m\n"), re.escape(r"layer 0 '\x1b[31m\n', blob 0")),
    ],
)
def test_a_wrong_layer_is_named(path: Path, layer: bytes, match: str) -> None:
    with pytest.raises(FullyConvError, match=match):
        read(path, layer)


def test_a_file_cut_anywhere_is_refused(path: Path) -> None:
    whole = block(1, "net") + v2(
        ONES, shape(2) + unpacked([1, 2]), legacy(1, 1, 1, 1) + packed([3])
    )
    assert len(read(path, whole).layers[0].blobs) == 3
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(FullyConvError, match=r"net\.caffemodel, byte \d+"):
            read_caffemodel(path)


def test_a_cut_real_file_names_the_layer(path: Path) -> None:
    whole = (DATA / "bvlc_googlenet-w8.caffemodel").read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    match = (
        r"byte \d+, layer 111, after 'inception_4e/relu_5x5_reduce': the file ends inside a field"
    )
    with pytest.raises(FullyConvError, match=match):
        read_caffemodel(path)


@pytest.mark.parametrize("layer", [v2, v1, v0])
def test_flipped_bytes_never_crash(path: Path, layer: Any) -> None:
    random = np.random.default_rng(0)
    other = legacy(1, 1, 1, 3) + unpacked([1, 2, 3])
    whole = block(1, "net") + layer(ONES, other) + layer(shape(2) + packed([1, 2], 8))
    clean = np.frombuffer(whole, np.uint8)
    refused = 0
    for _ in range(700):
        damaged = clean.copy()
        places = random.integers(len(damaged), size=random.integers(1, 5))
        damaged[places] = random.integers(256, size=len(places))
        path.write_bytes(damaged.tobytes())
        try:
            read_caffemodel(path)
        except FullyConvError:
            refused += 1
    assert 100 < refused < 700


@settings(deadline=None)
@given(content=st.binary(max_size=200))
def test_random_bytes_never_crash(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "random.caffemodel"
    path.write_bytes(content)
    for reader in (read_caffemodel, read_mean):
        try:
            reader(path)
        except FullyConvError as error:
            assert str(path) in str(error)  # noqa: PT017


def test_the_number_of_fields_is_limited(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "MAX_FIELDS", 1000)
    assert len(read(path, block(100) * 1000).layers) == 1000
    with pytest.raises(FullyConvError, match=r"byte 3000, .*more than 1000 fields"):
        read(path, block(100) * 1001)


@pytest.mark.slow
def test_a_bomb_of_small_fields_is_refused_in_seconds(path: Path) -> None:
    path.write_bytes((integer(99, 0) + number(99 * 8 + FOUR) + b"1234") * 1_000_000)
    start = time.perf_counter()
    with pytest.raises(FullyConvError, match="more than 1000000 fields"):
        read_caffemodel(path)
    assert time.perf_counter() - start < 30


def test_what_is_not_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FullyConvError, match=r"none cannot be read \(No such file"):
        read_caffemodel(tmp_path / "none")
    with pytest.raises(FullyConvError, match="is not a file; give the path of a file"):
        read_caffemodel(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_a_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FullyConvError, match="is not a file"):
        read_caffemodel(tmp_path / "pipe")


@pytest.mark.slow
def test_a_file_of_600_megabytes_is_mapped_and_not_copied(path: Path) -> None:
    resource = pytest.importorskip("resource", reason="no resource module on this system")
    count = 150_000_000
    head = number(5 * 8 + BYTES) + number(4 * count)
    end = shape(count)
    blob_size = len(head) + 4 * count + len(end)
    head = number(7 * 8 + BYTES) + number(blob_size) + head
    layer = block(1, "fc6")
    head = number(802) + number(len(layer) + len(head) + 4 * count + len(end)) + layer + head
    with path.open("wb") as stream:
        stream.write(head)
        stream.seek(4 * count - 4, os.SEEK_CUR)  # sparse: zeros that take no room
        stream.write(struct.pack("<f", 2.5) + end)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tracemalloc.start()
    start = time.perf_counter()
    blob = read_caffemodel(path).layers[0].blobs[0]
    seconds = time.perf_counter() - start
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    unit = 1 if sys.platform == "darwin" else 1024
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * unit
    assert (blob.shape, blob[0], blob[-1]) == ((count,), 0, 2.5)
    assert seconds < 1
    assert peak < 1e6
    assert grown < 20e6
    path.unlink()


# Mean images


@pytest.mark.parametrize(
    "stored",
    [
        legacy(1, 3, 2, 2) + packed(range(12)),
        shape(1, 3, 2, 2) + packed(range(12)),
        shape(3, 2, 2) + unpacked(range(12)),
        legacy(1, 3, 2, 2) + packed(range(12), 8),
    ],
)
def test_a_mean_in_every_form(path: Path, stored: bytes) -> None:
    path.write_bytes(stored)
    mean = read_mean(path)
    np.testing.assert_array_equal(
        mean, np.arange(12, dtype=np.float32).reshape(3, 2, 2), strict=True
    )
    mean += 1  # a copy, and one's own


def test_a_mean_round_trips(path: Path) -> None:
    mean = np.random.default_rng(0).uniform(0, 255, (3, 5, 4)).astype(np.float32)
    write_mean(path, mean)
    np.testing.assert_array_equal(read_mean(path), mean, strict=True)
    assert path.read_bytes() == legacy(1, 3, 5, 4) + packed(mean.ravel())
    write_mean(path, mean.astype(np.uint8).transpose(0, 2, 1))
    assert read_mean(path).shape == (3, 4, 5)


def test_a_mean_too_large_for_float32_becomes_infinite(path: Path) -> None:
    path.write_bytes(shape(1, 1, 1) + packed([1e300], 8))
    assert np.isposinf(read_mean(path)).all()


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (shape(2, 3) + packed(range(6)), r"mean image: shape \(2, 3\), expected \(1, C, H, W\)"),
        (legacy(2, 3, 1, 1) + packed(range(6)), r"shape \(2, 3, 1, 1\), expected"),
        (HTML, "this is a web page .HTML., expected a mean .binaryproto"),
        (v2(ONES), "byte 0, mean image: .* 1 numbers, but 0 are stored"),
        (block(1, "net") + v2(ONES), r"num \(field 1\) is stored as a length"),
    ],
)
def test_a_wrong_mean_is_named(path: Path, content: bytes, match: str) -> None:
    path.write_bytes(content)
    with pytest.raises(FullyConvError, match=match):
        read_mean(path)


# Writing


NET = CaffeNet("net", (CaffeLayer("a", "b", (np.ones(3, np.float32),)),))


def test_a_net_is_written_over_the_file_it_was_read_from(path: Path) -> None:
    write_caffemodel(path, NET)
    net = read_caffemodel(path)
    write_caffemodel(path, CaffeNet("second", net.layers))
    assert_same(read_caffemodel(path), CaffeNet("second", NET.layers))


def test_the_new_file_has_ordinary_permissions(path: Path) -> None:
    write_caffemodel(path, NET)
    plain = path.with_name("plain")
    plain.touch()
    assert path.stat().st_mode == plain.stat().st_mode


def test_a_full_disk_leaves_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path.write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FullyConvError, match=r"net\.caffemodel: cannot be written \(No space"):
        write_caffemodel(path, NET)
    assert path.read_bytes() == b"old"
    assert list(path.parent.iterdir()) == [path]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FullyConvError, match=r"x: cannot be written \(Not a directory\)"):
        write_caffemodel(tmp_path / "file" / "x", NET)
    (tmp_path / "file").unlink()
    with pytest.raises(FullyConvError, match="cannot be written"):
        write_mean(tmp_path, np.zeros((3, 2, 2), np.float32))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("blobs", "match"),
    [
        ((np.zeros(2, np.int64),), "layer 'a', blob 0: int64 numbers, expected float32 or float64"),
        ((np.ones(1, np.float32), np.zeros(2, np.float16)), "blob 1: float16 numbers"),
        ((np.broadcast_to(np.float32(0), (2**31,)),), "at most 2147483647 numbers"),
        ((np.broadcast_to(np.float32(0), (2**29,)),), "have 2147483684 bytes, expected at most"),
    ],
)
def test_a_net_that_caffe_could_not_read_is_not_written(
    path: Path, blobs: tuple[Any, ...], match: str
) -> None:
    with pytest.raises(FullyConvError, match=match):
        write_caffemodel(path, CaffeNet("", (CaffeLayer("a", "b", blobs),)))
    assert not path.exists()


@pytest.mark.skipif(np.lib.NumpyVersion(np.__version__) < "2.0.0", reason="numpy has 32 axes")
def test_too_many_axes_are_not_written(path: Path) -> None:
    blob = np.zeros((1,) * 33, np.float32)
    with pytest.raises(FullyConvError, match="33 axes, expected at most 32"):
        write_caffemodel(path, CaffeNet("", (CaffeLayer("a", "b", (blob,)),)))


def test_an_empty_net_and_a_flat_mean_are_not_written(path: Path) -> None:
    with pytest.raises(FullyConvError, match="a net without layers; give it one at least"):
        write_caffemodel(path, CaffeNet("net", ()))
    with pytest.raises(FullyConvError, match=r"a mean of shape \(3,\), expected \(C, H, W\)"):
        write_mean(path, np.zeros(3))
    assert not path.exists()
