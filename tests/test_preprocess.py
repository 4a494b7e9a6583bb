"""From photographs to a network's input, against the formulas of those who trained it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from fullyconv.config import RELEASED_MODELS
from fullyconv.errors import FullyConvError, UsageError
from fullyconv.networks import BACKBONES, preprocess_for, released_preprocess
from fullyconv.preprocess import (
    CAFFE,
    EFFICIENTNET_LITE,
    NYUD_COLOR,
    NYUD_HHA,
    SIFTFLOW_COLOR,
    TORCHVISION,
    Preprocess,
)

Pixels = NDArray[np.uint8]
QUICK = settings(max_examples=40, deadline=None)

images = hnp.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3)))


def infer_py(image: Pixels) -> NDArray[np.float32]:
    """The authors' infer.py, from ``in_ = np.array(im, dtype=np.float32)`` on."""
    in_ = np.array(image, dtype=np.float32)
    in_ = in_[:, :, ::-1]
    in_ -= np.array((104.00698793, 116.66876762, 122.67891434))
    return in_.transpose((2, 0, 1))


@QUICK
@given(images)
def test_caffe_nets_get_what_the_authors_fed_them(image: Pixels) -> None:
    got = CAFFE(image)
    assert got.dtype == np.float32
    assert got.flags.c_contiguous
    np.testing.assert_allclose(got, infer_py(image), atol=2e-5)


@QUICK
@given(images)
def test_torchvision_nets_get_normalised_fractions(image: Pixels) -> None:
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    expected = [(image[..., c] / 255 - mean[c]) / std[c] for c in range(3)]
    np.testing.assert_allclose(TORCHVISION(image), expected, atol=2e-6)


@QUICK
@given(images)
def test_efficientnet_lite_gets_about_minus_one_to_one(image: Pixels) -> None:
    expected = (image.astype(np.float64) - 127) / 128
    np.testing.assert_allclose(EFFICIENTNET_LITE(image), np.moveaxis(expected, 2, 0), atol=1e-6)


@QUICK
@given(
    images,
    st.floats(1e-3, 10),
    st.tuples(*[st.floats(-200, 200)] * 3),
    st.tuples(*[st.floats(0.1, 100)] * 3),
    st.sampled_from(["RGB", "BGR"]),
)
def test_any_numbers(
    image: Pixels,
    scale: float,
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
    order: Any,
) -> None:
    kept = image.copy()
    got = Preprocess(order=order, scale=scale, mean=mean, std=std)(image)
    assert got.shape == (3, *image.shape[:2])
    for channel in range(3):
        source = channel if order == "RGB" else 2 - channel
        expected = (image[..., source] * scale - mean[channel]) / std[channel]
        bound = 1e-6 * (255 * scale + abs(mean[channel])) / std[channel] + 1e-6
        assert np.abs(got[channel] - expected).max() < bound
    np.testing.assert_array_equal(image, kept)


def test_means_of_the_release() -> None:
    # nyud_layers.py and siftflow_layers.py: mean_bgr, mean_hha, mean_logd
    color, hha, log_depth = (116.190, 97.203, 92.318), (132.431, 94.076, 118.477), (7.844,)
    means = {
        "nyud-fcn32s-color": ("BGR", color),
        "nyud-fcn32s-hha": ("RGB", hha),  # load_hha leaves the channels as they are
        "nyud-fcn32s-color-d": ("BGR", color + log_depth),
        "nyud-fcn32s-color-hha": ("BGR", color + hha),
        "siftflow-fcn8s": ("BGR", (114.578, 115.294, 108.353)),
        "voc-fcn8s": ("BGR", (104.00698793, 116.66876762, 122.67891434)),
    }
    for name, (order, mean) in means.items():
        got = released_preprocess(name)
        assert (got.order, got.mean) == (order, mean), name
        assert (got.scale, got.std) == (1, (1,) * len(mean)), name


@pytest.mark.parametrize("name", RELEASED_MODELS)
def test_released_nets_get_as_many_channels_as_they_take(name: str) -> None:
    assert len(released_preprocess(name).mean) == RELEASED_MODELS[name].in_channels


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 6])
def test_only_the_first_three_channels_change_places(channels: int) -> None:
    image = np.arange(channels, dtype=np.uint8)[None, None].repeat(2, 0).repeat(5, 1)
    got = Preprocess(order="BGR", mean=(0.0,) * channels, std=(1.0,) * channels)(image)
    assert got.shape == (channels, 2, 5)
    assert (
        got[:, 1, 4].tolist()
        == {
            1: [0],
            2: [1, 0],
            3: [2, 1, 0],
            4: [2, 1, 0, 3],
            6: [2, 1, 0, 3, 4, 5],
        }[channels]
    )


def test_views_of_larger_pictures_are_read_right() -> None:
    large = np.random.default_rng(0).integers(0, 256, (12, 14, 3), np.uint8)
    view = large[9:2:-2, 1:8]
    np.testing.assert_array_equal(CAFFE(view), CAFFE(np.ascontiguousarray(view)))


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 5), np.uint8),
        np.zeros((4, 5, 4), np.uint8),
        np.zeros((3, 4, 5), np.uint8),
        np.zeros((1, 4, 5, 3), np.uint8),
        np.zeros((4, 5, 3), np.float32),
        np.zeros((4, 5, 3), np.int64),
        np.zeros((0, 5, 3), np.uint8),
        np.zeros((4, 0, 3), np.uint8),
    ],
)
def test_other_arrays_are_refused(image: Any) -> None:
    with pytest.raises(
        FullyConvError,
        match=r"an image is \(H, W, 3\) uint8, RGB, 0-255, of at least 1 x 1 pixels; got "
        rf"{image.dtype} of shape \({image.shape[0]}, {image.shape[1]}",
    ):
        CAFFE(image)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"order": "GBR"}, "channel order 'GBR' is neither 'RGB' nor 'BGR'"),
        ({"order": ["RGB"]}, "channel order .* is neither"),
        ({"scale": 0.0}, "scale is 0.0; it must be above 0"),
        ({"scale": float("nan")}, "scale is nan; it must be above 0"),
        ({"scale": float("inf")}, "scale is inf; it must be above 0"),
        ({"mean": ()}, "must have one number per channel"),
        ({"mean": (1.0,)}, "must have one number per channel"),
        ({"mean": (1.0, float("nan"), 1.0)}, "must have one number per channel"),
        ({"std": (1.0, 0.0, 1.0)}, "must have one number per channel, deviations above 0"),
        ({"std": (1.0, -2.0, 1.0)}, "must have one number per channel, deviations above 0"),
        ({"std": (1.0, float("nan"), 1.0)}, "must have one number per channel"),
        ({"std": (1.0, float("inf"), 1.0)}, "must have one number per channel"),
        ({"mean": (), "std": ()}, "must have one number per channel"),
    ],
)
def test_numbers_must_make_sense(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(FullyConvError, match=message):
        Preprocess(**{"mean": (0.0,) * 3, "std": (1.0,) * 3, **fields})


@pytest.mark.parametrize(
    "preprocess", [CAFFE, TORCHVISION, EFFICIENTNET_LITE, NYUD_COLOR, NYUD_HHA, SIFTFLOW_COLOR]
)
def test_json_round_trip(preprocess: Preprocess) -> None:
    assert Preprocess.from_dict(json.loads(json.dumps(preprocess.to_dict()))) == preprocess


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=120, deadline=None)
@given(key=st.sampled_from(["order", "scale", "mean", "std"]), value=json_values)
def test_hostile_headers_are_refused_or_harmless(key: str, value: Any) -> None:
    header = json.loads(json.dumps({**CAFFE.to_dict(), key: value}))
    try:
        preprocess = Preprocess.from_dict(header)
    except FullyConvError:
        return
    assert all(np.isfinite([preprocess.scale, *preprocess.mean, *preprocess.std]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mean": "123"}, "'123' is not a list"),
        ({"mean": [None, 1, 1]}, "TypeError"),
        ({"std": ["one", 1, 1]}, "could not convert string to float"),
        ({"scale": 10**400}, "too large to convert to float"),
        ({"scale": []}, "TypeError"),
    ],
)
def test_headers_name_what_is_wrong(change: dict[str, Any], message: str) -> None:
    with pytest.raises(FullyConvError, match=f"the preprocessing is not readable: .*{message}"):
        Preprocess.from_dict({**CAFFE.to_dict(), **change})


@pytest.mark.parametrize("key", ["order", "scale", "mean", "std"])
def test_headers_need_every_key(key: str) -> None:
    header = CAFFE.to_dict()
    del header[key]
    with pytest.raises(FullyConvError, match=f"the preprocessing is not readable: .*{key}"):
        Preprocess.from_dict(header)


@pytest.mark.parametrize("header", [None, [], "abc", 5])
def test_headers_are_mappings(header: Any) -> None:
    with pytest.raises(FullyConvError, match="the preprocessing is not readable"):
        Preprocess.from_dict(header)


def test_every_backbone_has_the_preprocessing_of_its_weights() -> None:
    assert {name: preprocess_for(name) for name in BACKBONES} == {
        "alexnet": CAFFE,
        "alexnet_torchvision": TORCHVISION,
        "vgg16": CAFFE,
        "vgg16_torchvision": TORCHVISION,
        "googlenet": CAFFE,
        "googlenet_torchvision": TORCHVISION,
        "efficientnet_lite0": EFFICIENTNET_LITE,
        "efficientnet_lite1": EFFICIENTNET_LITE,
        "efficientnet_lite2": EFFICIENTNET_LITE,
    }


@pytest.mark.parametrize("name", RELEASED_MODELS)
def test_a_released_net_s_preprocessing_by_name(name: str) -> None:
    assert preprocess_for("efficientnet_lite0", name) == released_preprocess(name)


def test_other_preprocessings_are_refused() -> None:
    with pytest.raises(UsageError, match=r"no preprocessing 'voc-fcn8'\. Did you mean voc-fcn8s"):
        preprocess_for("vgg16", "voc-fcn8")


def test_depth_is_brought_to_the_scale_of_colours() -> None:
    for backbone, base in (("vgg16", CAFFE), ("vgg16_torchvision", TORCHVISION)):
        got = preprocess_for(backbone, inputs=("images", "hha", "depth"))
        assert got.inputs == ("images", "hha", "depth")
        assert got.mean[:6] == base.mean * 2
        assert got.std[:6] == base.std * 2
        image = np.zeros((1, 2, 7), np.float32)
        image[0, :, 6] = 7.844, 8.344  # the logarithm's mean, and half a unit more
        np.testing.assert_allclose(got(image)[6], [[0, 1]], atol=1e-5)
    with pytest.raises(UsageError, match=r"there is no input 'thermal'\. Known: depth, hha, ima"):
        preprocess_for("vgg16", inputs=("thermal",))
