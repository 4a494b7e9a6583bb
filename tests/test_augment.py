"""Pictures and labels are varied together, and labels never take a value they did not have."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from fullyconv.data.augment import Augmentation
from fullyconv.labels import CAMVID, IGNORE_INDEX

Pixels = NDArray[np.uint8]
QUICK = settings(max_examples=60, deadline=None)

sides = st.integers(1, 24)
scales = st.tuples(st.floats(0.3, 3), st.floats(0.3, 3)).map(lambda s: (min(s), max(s)))
augmentations = st.builds(
    Augmentation,
    crop=st.none() | st.tuples(st.integers(1, 30), st.integers(1, 30)),
    scale=scales,
    mirror=st.booleans(),
    color=st.sampled_from([0.0, 0.4, 1.0]),
)


def coordinates(height: int, width: int) -> Pixels:
    """An image whose red is its column and whose green is its row."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([columns, rows, np.full_like(rows, 77)], -1).astype(np.uint8)


@QUICK
@given(augmentations, sides, sides, st.data(), st.integers(0, 1000))
def test_labels_keep_their_values(
    augmentation: Augmentation, height: int, width: int, data: st.DataObject, seed: int
) -> None:
    image = data.draw(hnp.arrays(np.uint8, (height, width, 3)))
    target = data.draw(hnp.arrays(np.uint8, (height, width), elements=st.integers(0, 255)))
    before = image.copy(), target.copy()
    picture, labels = augmentation(image, target, np.random.default_rng(seed))
    assert picture.dtype == labels.dtype == np.uint8
    assert picture.shape == (*labels.shape, 3)
    assert {*np.unique(labels)} <= {*np.unique(target), IGNORE_INDEX}
    if augmentation.crop is not None:
        assert labels.shape == augmentation.crop
    else:  # nothing is void that was not
        assert {*np.unique(labels)} <= {*np.unique(target)}
        low, high = augmentation.scale
        for got, side in zip(labels.shape, target.shape, strict=True):
            assert max(1, round(side * low) - 1) <= got <= round(side * high) + 1
    np.testing.assert_array_equal(image, before[0])
    np.testing.assert_array_equal(target, before[1])


@QUICK
@given(sides, sides, st.integers(0, 100))
def test_the_default_changes_nothing(height: int, width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (height, width, 3), np.uint8)
    target = rng.integers(0, 256, (height, width), np.uint8)
    picture, labels = Augmentation()(image, target, rng)
    np.testing.assert_array_equal(picture, image)
    np.testing.assert_array_equal(labels, target)


# alignment ----------------------------------------------------------------------------------------


@QUICK
@given(
    st.integers(2, 120),
    st.integers(2, 120),
    scales,
    st.none() | st.tuples(st.integers(1, 90), st.integers(1, 90)),
    st.booleans(),
    st.integers(0, 1000),
)
def test_image_and_labels_show_the_same_place(
    height: int,
    width: int,
    scale: tuple[float, float],
    crop: tuple[int, int] | None,
    mirror: bool,
    seed: int,
) -> None:
    """Each label, the number of its column (or row), agrees with the image to one pixel.

    Half of it is nearest's, half is rounding; at the borders, shrinking averages one-sidedly.
    """
    image = coordinates(height, width)
    augmentation = Augmentation(crop=crop, scale=scale, mirror=mirror)
    for channel in (0, 1):
        picture, labels = augmentation(image, image[..., channel], np.random.default_rng(seed))
        known = labels != IGNORE_INDEX
        assert known.any()
        apart = np.abs(picture[..., channel].astype(int) - labels)
        assert apart[known].max() <= 1 + 0.5 / scale[0]
        border, last = 1 + 2 / scale[0], image[..., channel].max()
        inner = known & (labels > border) & (labels < last - border)
        assert apart[inner].max(initial=0) <= 1


@pytest.mark.parametrize("seed", range(8))
def test_colours_still_tell_the_class(seed: int) -> None:
    """Away from edges, an image in its labels' colours is the labels' picture afterwards too."""
    rng = np.random.default_rng(seed)
    cells = rng.integers(0, 11, (6, 8)).astype(np.uint8)
    target = cells.repeat(20, 0).repeat(20, 1)
    palette = np.array(CAMVID.palette, np.uint8)
    augmentation = Augmentation(crop=(100, 130), scale=(0.5, 2), mirror=True)
    picture, labels = augmentation(palette[target], target, rng)
    inner = np.zeros(labels.shape, bool)
    inner[3:-3, 3:-3] = True
    for dy in range(-3, 4):
        for dx in range(-3, 4):
            inner &= np.roll(labels, (dy, dx), (0, 1)) == labels
    assert (inner & (labels != IGNORE_INDEX)).mean() > 0.05
    distance = np.abs(picture[:, :, None].astype(int) - palette).sum(-1)
    shown = inner & (labels != IGNORE_INDEX)
    np.testing.assert_array_equal(distance.argmin(-1)[shown], labels[shown])
    assert not distance.min(-1)[shown].any()


# crops --------------------------------------------------------------------------------------------


@QUICK
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40), st.integers(1, 40), sides)
def test_a_crop_is_a_window_of_the_picture_on_void(
    height: int, width: int, crop_height: int, crop_width: int, seed: int
) -> None:
    image = coordinates(height, width)
    target = (image[..., 0] + image[..., 1]) % 200
    augmentation = Augmentation(crop=(crop_height, crop_width))
    picture, labels = augmentation(image, target, np.random.default_rng(seed))
    inside = labels != IGNORE_INDEX
    assert inside.sum() == min(height, crop_height) * min(width, crop_width)
    rows, columns = picture[inside][:, 1], picture[inside][:, 0]
    np.testing.assert_array_equal(picture[inside], image[rows, columns])
    np.testing.assert_array_equal(labels[inside], target[rows, columns])
    # neighbours in the crop are neighbours in the picture, in the same order
    places = np.argwhere(inside)
    offsets = {tuple(o) for o in np.stack([rows, columns], 1).astype(int) - places}
    assert len(offsets) == 1
    mean = [int(v) for v in image.reshape(-1, 3).mean(0)]
    assert (picture[~inside] == mean).all()


@pytest.mark.parametrize(
    ("size", "crop"), [((7, 9), (4, 5)), ((4, 5), (7, 9)), ((7, 5), (4, 9)), ((6, 6), (6, 6))]
)
def test_crops_reach_every_place(size: tuple[int, int], crop: tuple[int, int]) -> None:
    image, rng = coordinates(*size), np.random.default_rng(0)
    target = np.zeros(size, np.uint8)
    seen = set()
    for _ in range(300):
        picture, labels = Augmentation(crop=crop)(image, target, rng)
        row, column = np.argwhere(labels == 0)[0]
        seen.add((picture[row, column, 1] - row, picture[row, column, 0] - column))
    spans = [range(min(0, s - c), max(0, s - c) + 1) for s, c in zip(size, crop, strict=True)]
    assert seen == {(y, x) for y in spans[0] for x in spans[1]}


@pytest.mark.parametrize("crop", [None, (1, 1), (5, 3)])
@pytest.mark.parametrize("scale", [(1.0, 1.0), (0.1, 0.1), (3.0, 3.0)])
def test_a_picture_of_one_pixel(crop: tuple[int, int] | None, scale: tuple[float, float]) -> None:
    image, target = np.full((1, 1, 3), 99, np.uint8), np.full((1, 1), 4, np.uint8)
    augmentation = Augmentation(crop=crop, scale=scale, mirror=True, color=0.0)
    picture, labels = augmentation(image, target, np.random.default_rng(0))
    side = max(1, round(scale[0]))
    assert labels.shape == (crop or (side, side))
    assert (picture == 99).all()
    height, width = crop or (side, side)
    assert (labels == 4).sum() == min(side, height) * min(side, width)


# mirror, scale, colour ----------------------------------------------------------------------------


def test_mirror_turns_both_or_neither_half_of_the_time() -> None:
    image = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
    target = image[..., 0] // 2
    turned = 0
    for seed in range(200):
        picture, labels = Augmentation(mirror=True)(image, target, np.random.default_rng(seed))
        if np.array_equal(picture, image):
            np.testing.assert_array_equal(labels, target)
        else:
            np.testing.assert_array_equal(picture, image[:, ::-1])
            np.testing.assert_array_equal(labels, target[:, ::-1])
            turned += 1
    assert 80 <= turned <= 120


def test_scales_are_drawn_evenly_in_their_logarithm() -> None:
    image, target = np.zeros((100, 100, 3), np.uint8), np.zeros((100, 100), np.uint8)
    rng = np.random.default_rng(0)
    augmentation = Augmentation(scale=(0.5, 2))
    factors = np.array([augmentation(image, target, rng)[1].shape[0] / 100 for _ in range(300)])
    assert 0.5 <= factors.min() < 0.52
    assert 1.95 < factors.max() <= 2
    assert 0.43 < (factors < 1).mean() < 0.57  # drawn evenly in itself: 1 in 3
    assert 0.2 < (factors < np.sqrt(0.5)).mean() < 0.3


def test_color_changes_the_picture_alone() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (8, 9, 3), np.uint8)
    target = rng.integers(0, 5, (8, 9)).astype(np.uint8)
    pictures = []
    for _ in range(5):
        picture, labels = Augmentation(color=0.3)(image, target, rng)
        np.testing.assert_array_equal(labels, target)
        pictures.append(picture)
    assert len({picture.tobytes() for picture in [image, *pictures]}) == 6


def test_color_stays_in_its_range() -> None:
    """Of a uniform grey, only brightness changes: by the factor's range at most."""
    image = np.full((4, 4, 3), 100, np.uint8)
    values = set()
    for seed in range(200):
        rng = np.random.default_rng(seed)
        picture, _ = Augmentation(color=0.3)(image, image[..., 0], rng)
        assert (picture == picture[0, 0, 0]).all()
        values.add(int(picture[0, 0, 0]))
    assert 69 <= min(values) < 75
    assert 125 < max(values) <= 130


# reproducibility ----------------------------------------------------------------------------------


@QUICK
@given(augmentations, st.integers(0, 1000))
def test_the_generator_decides_everything(augmentation: Augmentation, seed: int) -> None:
    image = coordinates(20, 30)
    first, second = (
        augmentation(image, image[..., 0], np.random.default_rng(seed)) for _ in range(2)
    )
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])


def test_draws_are_those_that_models_were_trained_with() -> None:
    """A change here means that no shipped model can be trained again from its recipe."""
    augmentation = Augmentation(crop=(10, 12), scale=(1, 1), mirror=True, color=0)
    image = coordinates(40, 60)
    corners = []
    for seed in range(6):
        rng = np.random.default_rng((1337, seed, 0))
        picture, _ = augmentation(image, image[..., 0], rng)
        corners.append((int(picture[0, 0, 1]), int(picture[0, 0, 0]), int(picture[0, 1, 0])))
    assert corners == [  # row, column, next column: smaller where mirrored
        (5, 35, 36),
        (30, 20, 19),
        (17, 41, 40),
        (20, 9, 10),
        (14, 42, 43),
        (28, 38, 37),
    ]


@pytest.mark.parametrize(("channels", "dtype"), [(4, np.float32), (6, np.uint8), (7, np.float32)])
def test_further_channels_move_with_the_colours(channels: int, dtype: type[np.generic]) -> None:
    """Every channel holds the same ramp: where scale, crop and mirror put one, they put all."""
    ramp = np.arange(40, dtype=np.uint8)[:, None] * 3 + np.arange(50, dtype=np.uint8)[None] * 2
    image = np.dstack([ramp] * channels).astype(dtype)
    vary = Augmentation(crop=(30, 30), scale=(0.8, 1.4), mirror=True)
    for seed in range(8):
        out, target = vary(image, ramp // 100, np.random.default_rng(seed))
        assert out.shape == (30, 30, channels)
        assert out.dtype == dtype
        known = target != 255
        reference = out[..., :1].astype(np.float64)
        assert np.abs(out - reference)[known].max() <= 1  # floats are not rounded, bytes are


def test_depth_alone_has_no_colour_to_vary() -> None:
    depth = np.linspace(6, 9, 20, dtype=np.float32).reshape(4, 5, 1)
    out, _ = Augmentation(color=0.5)(depth, np.zeros((4, 5), np.uint8), np.random.default_rng(0))
    np.testing.assert_array_equal(out, depth)


@pytest.mark.parametrize("crop", [None, (12, 10)])
def test_jitter_moves_picture_and_labels_together(crop: tuple[int, int] | None) -> None:
    """Each pixel tells where it came from; what comes in is void, and the shift is bounded."""
    image = coordinates(20, 24)
    target = image[..., 0].copy()  # its column
    shifts = set()
    for seed in range(200):
        out, labels = Augmentation(jitter=3, crop=crop)(image, target, np.random.default_rng(seed))
        assert labels.shape == (crop or (20, 24))
        known = labels != IGNORE_INDEX
        np.testing.assert_array_equal(out[..., 0][known], labels[known])
        if crop is None:
            rows, columns = np.nonzero(known)
            by = out[rows, columns, :2].astype(int) - np.stack([columns, rows], 1)
            assert (by == by[0]).all()
            assert known.sum() == (24 - abs(by[0, 0])) * (20 - abs(by[0, 1]))
            shifts.add((int(by[0, 0]), int(by[0, 1])))
    if crop is None:
        assert {x for x, _ in shifts} == {y for _, y in shifts} == set(range(-3, 4))


def test_a_shift_out_of_sight_leaves_void() -> None:
    vary = Augmentation(jitter=40)
    seen = [vary(coordinates(4, 4), np.zeros((4, 4), np.uint8), np.random.default_rng(s))
            for s in range(20)]  # fmt: skip
    assert any((labels == IGNORE_INDEX).all() for _, labels in seen)


def test_labels_of_several_heads_move_together() -> None:
    target = np.stack([coordinates(20, 24)[..., 0], coordinates(20, 24)[..., 1]])
    vary = Augmentation(crop=(9, 11), scale=(0.7, 1.5), mirror=True, jitter=2)
    for seed in range(20):
        image, labels = vary(coordinates(20, 24), target, np.random.default_rng(seed))
        alone = [vary(coordinates(20, 24), head, np.random.default_rng(seed))[1] for head in target]
        np.testing.assert_array_equal(labels, alone)
        assert image.shape == (9, 11, 3)
