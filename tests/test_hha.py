"""HHA of scenes whose floor, walls and camera are known, and of real rooms."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from fullyconv.data.hha import NYUDV2_CAMERA, Intrinsics, _gravity, _normals, _rays, encode_hha
from fullyconv.errors import FullyConvError

Floats = NDArray[np.float64]

CAMERA = Intrinsics(130, 128, 81.4, 58.7)
SHAPE = (120, 160)
FLOOR, WALL, CEILING = 38, 128, 218


def directions(pitch: float, roll: float) -> tuple[Floats, Floats]:
    """Gravity and the horizontal direction of sight of a camera that looks down by ``pitch``."""
    p, r = np.radians([pitch, roll])
    gravity = np.array([np.sin(r) * np.cos(p), np.cos(r) * np.cos(p), np.sin(p)])
    ahead = np.array([0, 0, 1]) - gravity[2] * gravity
    return gravity, ahead / np.linalg.norm(ahead)


def room(pitch: float, roll: float = 0) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """A floor 1.5 m below, a ceiling 1.1 m above and a wall 3 m ahead of the camera.

    Returns:
        Depth in metres, height above the floor in metres, and the surface: 0, 1, 2 for floor, wall
        and ceiling.
    """
    gravity, ahead = directions(pitch, roll)
    rows, columns = np.indices(SHAPE)
    rays = np.stack(
        [(columns - CAMERA.cx) / CAMERA.fx, (rows - CAMERA.cy) / CAMERA.fy, np.ones(SHAPE)], 2
    )
    planes = [(gravity, 1.5), (ahead, 3.0), (-gravity, 1.1)]
    with np.errstate(divide="ignore"):
        hits = np.stack([distance / (rays @ normal) for normal, distance in planes])
    hits[hits <= 0] = np.inf
    surface = hits.argmin(0)
    depth = hits.min(0)
    return depth, 1.5 - (rays @ gravity) * depth, surface


def inner(surface: NDArray[np.int64], radius: int = 4) -> NDArray[np.bool_]:
    """Pixels whose patch lies on one surface."""
    size = 2 * radius + 1
    padded = np.pad(surface, radius, "edge")
    patches = np.lib.stride_tricks.sliding_window_view(padded, (size, size))
    same: NDArray[np.bool_] = (patches == surface[..., None, None]).all((2, 3))
    return same


@pytest.mark.parametrize(("pitch", "roll"), [(0, 0), (20, 0), (35, 0), (-12, 6), (10, -9)])
def test_a_room_seen_by_a_tilted_camera(pitch: float, roll: float) -> None:
    depth, height, surface = room(pitch, roll)
    assert len(np.unique(surface)) >= 2
    hha = encode_hha(depth, CAMERA).astype(np.float64)
    flat = inner(surface)
    angle = np.choose(surface, [FLOOR, WALL, CEILING])
    assert np.abs(hha[..., 2] - angle)[flat].max() <= 2  # half of it is rounding
    # the lowest point is the ground, if it is 0.9 m below the camera; else that is 1.3 m high
    ground = height.min() if height.min() <= 1.5 - 0.9 else 1.5 - 1.3
    above = np.minimum((height - ground) * 100, 255)
    assert np.abs(hha[..., 1] - above).max() <= 3
    np.testing.assert_allclose(hha[..., 0], np.minimum(31000 / (depth * 100), 255), atol=0.5001)


@pytest.mark.parametrize(("pitch", "roll"), [(0, 0), (25, 0), (-15, 8)])
def test_gravity_is_found(pitch: float, roll: float) -> None:
    depth, _, _ = room(pitch, roll)
    found = _gravity(_normals(depth * 100, _rays(SHAPE, CAMERA), 10))
    assert np.degrees(np.arccos(found @ directions(pitch, roll)[0])) < 1


def test_normals_are_the_least_squares_planes_and_point_away() -> None:
    rng = np.random.default_rng(0)
    shape, radius = (14, 17), 3
    z = rng.uniform(150, 300, shape)
    z[rng.random(shape) < 0.2] = 0
    rays = _rays(shape, CAMERA)
    normals = _normals(z, rays, radius)
    for row, column in np.ndindex(shape):
        window = (slice(max(0, row - 3), row + 4), slice(max(0, column - 3), column + 4))
        known = z[window] > 0
        plane = np.linalg.lstsq(rays[window][known], 1 / z[window][known], rcond=None)[0]
        plane /= np.linalg.norm(plane)
        if z[row, column] > 0:
            plane *= np.sign(plane @ rays[row, column])
            assert normals[row, column] @ rays[row, column] >= 0
        np.testing.assert_allclose(normals[row, column], plane, atol=1e-6)


def test_disparity_is_31000_over_centimetres_but_not_nearer_than_a_metre() -> None:
    depth = np.array([[0.4, 1.0, 1.2], [2.0, 5.0, 10.0]])
    # 31000 / 100 does not fit into 8 bits and is clipped, as MATLAB's uint8 does
    expected = [[255, 255, 255], [155, 62, 31]]
    assert encode_hha(depth)[..., 0].tolist() == expected
    assert encode_hha(depth.astype(np.float32))[..., 0].tolist() == expected


def test_without_a_floor_the_camera_is_130_cm_high() -> None:
    camera = Intrinsics(200, 200, 40, 30)
    hha = encode_hha(np.full((61, 81), 2.0), camera)
    assert hha[30, 40].tolist() == [155, 130, WALL]
    assert (hha[..., 1] == np.floor(130 - (np.arange(61) - 30) + 0.5)[:, None]).all()


def test_a_wall_alone_leaves_gravity_where_it_was() -> None:
    # every direction along it fits; without inertia any of them would be taken
    for noise in (0.0, 1e-3):
        depth = 2 + noise * np.random.default_rng(1).standard_normal((60, 80))
        hha = encode_hha(depth, Intrinsics(200, 200, 40, 30))
        rows, columns = hha[..., 1].mean(1), hha[..., 1].mean(0)
        assert (np.diff(rows) < 0.1).all()
        assert np.ptp(columns) < 4
        assert np.ptp(rows) > 55


def test_holes_are_black_and_change_nothing_else() -> None:
    depth, _, surface = room(20)
    whole = encode_hha(depth, CAMERA)
    holes = np.random.default_rng(0).random(SHAPE) < 0.3
    holes[40:60, 50:90] = True
    for unknown in (0.0, np.nan, np.inf, -1.0):
        hha = encode_hha(np.where(holes, unknown, depth), CAMERA)
        assert (hha[holes] == 0).all()
        there = ~holes & inner(surface)
        assert np.abs(hha[there].astype(int) - whole[there]).max() <= 2


def test_unknown_depth_everywhere_is_black() -> None:
    assert (encode_hha(np.zeros((5, 7))) == 0).all()


def test_a_single_pixel_has_no_normal() -> None:
    # MATLAB's saveHHA.m makes 180 degrees of it
    assert encode_hha(np.full((1, 1), 2.0), Intrinsics(9, 9, 0, 0)).tolist() == [[[155, 130, 218]]]


def test_normals_come_from_measured_pixels_only() -> None:
    depth, _, surface = room(20)
    measured = np.ones(SHAPE, bool)
    measured[:, 100:] = False
    filled = np.where(measured, depth, 1.7)  # filled in, and wrong
    hha = encode_hha(filled, CAMERA, measured)
    right = encode_hha(depth, CAMERA)
    good = inner(surface)
    good[:, 96:] = False
    assert np.abs(hha[good][:, 2].astype(int) - right[good][:, 2]).max() <= 2
    assert (hha[:, 104:, 2] == CEILING).all()  # no normal
    assert (hha[:, 104:, 0] == round(31000 / 170)).all()  # the depth counts all the same


def test_the_camera_of_a_cut_picture() -> None:
    depth, _, _ = room(20, 5)
    cut = encode_hha(depth[10:, 20:], CAMERA.cropped(left=20, top=10))
    whole = encode_hha(depth, CAMERA)[10:, 20:]
    assert np.abs(cut.astype(int) - whole)[4:, 4:].max() <= 2


@pytest.mark.parametrize(
    "depth",
    [np.ones((3, 3), np.uint16), np.ones((3, 3, 3)), np.ones((0, 3)), np.ones((3, 3), bool)],
)
def test_depth_is_floating_point_metres(depth: NDArray[np.floating]) -> None:
    with pytest.raises(FullyConvError, match=r"it must be \(H, W\) floating-point metres"):
        encode_hha(depth)


def test_the_mask_is_of_the_depths_size() -> None:
    with pytest.raises(FullyConvError, match=r"shape \(3, 4\), but the mask .* pixels \(4, 3\)"):
        encode_hha(np.ones((3, 4)), measured=np.ones((4, 3), bool))


@pytest.mark.parametrize("values", [(0, 1, 1, 1), (1, -1, 1, 1), (np.nan, 1, 1, 1)])
def test_focal_lengths_are_above_0(values: tuple[float, float, float, float]) -> None:
    with pytest.raises(FullyConvError, match="are not numbers of pixels above 0"):
        Intrinsics(*values)


def test_the_principal_point_is_finite() -> None:
    with pytest.raises(FullyConvError, match=r"the principal point \(nan, 1\) is not finite"):
        Intrinsics(1, 1, np.nan, 1)


def test_a_kinect_picture_takes_less_than_a_second() -> None:
    depth = np.random.default_rng(0).uniform(1, 4, (480, 640))
    start = time.process_time()  # of the processor: other programs do not count
    encode_hha(depth, NYUDV2_CAMERA)
    assert time.process_time() - start < 1


def test_real_rooms(shared: Path) -> None:
    # their labels know what is floor, wall and ceiling; depth has 8 bits, 25.5 steps to the metre,
    # which tilts the normals of small patches towards the camera
    root = shared / "data/nyudv2/val"
    camera = NYUDV2_CAMERA
    half = Intrinsics(camera.fx / 2, camera.fy / 2, camera.cx / 2, camera.cy / 2)
    values: dict[int, list[NDArray[np.uint8]]] = {0: [], 1: [], 21: []}
    for path in sorted((root / "depth").glob("*.png"))[::50]:
        hha = encode_hha(np.asarray(Image.open(path))[::2, ::2] / 25.5, half)
        labels = np.asarray(Image.open(root / "labels" / path.name))[::2, ::2]
        for kind, found in values.items():
            found.append(hha[labels == kind])
    wall, floor, ceiling = (np.median(np.concatenate(values[kind]), 0) for kind in (0, 1, 21))
    assert abs(wall[2] - WALL) < 8
    assert floor[2] < FLOOR + 20
    assert ceiling[2] > WALL + 25
    assert floor[1] < 30 < wall[1] < ceiling[1]


def test_real_rooms_have_the_authors_means(shared: Path) -> None:
    # (132.431, 94.076, 118.477) over NYUDv2's pictures, cut to 560 x 425 (nyud_layers.py). The mean
    # angle needs the raw depth, which is not here: where there is none, it is 218
    camera = NYUDV2_CAMERA.cropped(left=40, top=45)
    quarter = Intrinsics(camera.fx / 4, camera.fy / 4, camera.cx / 4, camera.cy / 4)
    means = []
    for split in ("train", "val"):
        for path in sorted((shared / "data/nyudv2" / split / "depth").glob("*.png"))[::13]:
            depth = np.asarray(Image.open(path))[45:470:4, 40:600:4] / 25.5
            means.append(encode_hha(depth, quarter)[..., :2].mean((0, 1)))
    disparity, height = np.mean(means, 0)
    assert abs(disparity - 132.431) < 3
    assert abs(height - 94.076) < 6
