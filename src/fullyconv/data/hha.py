"""Depth as three channels a colour network can start from: disparity, height, angle (HHA).

Gupta, Girshick, Arbelaez, Malik, Learning Rich Features from RGB-D Images for Object Detection and
Segmentation, ECCV 2014, section 2; the constants are those of the authors' saveHHA.m and
processDepthImage.m (s-gupta/rcnn-depth). Written anew from the description.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fullyconv.errors import FullyConvError

Floats = NDArray[np.float64]

_DISPARITY = 31_000.0  # over the depth in centimetres; saveHHA.m
_NEAREST = 100.0  # cm: nearer points get the same disparity, which still fits into 8 bits
_ANGLE_OFFSET = 128 - 90  # of the angle in degrees: a wall is 128
_CAMERA_HEIGHT = 130.0  # cm, assumed where the floor is not in sight; processDepthImage.m
_FLOOR_IN_SIGHT = 90.0  # cm below the camera: a point lower than this is taken for the floor
_FINE, _COARSE = 3, 10  # radii in pixels of the patches a normal is fitted to: angle, gravity
_ROUNDS = ((45.0, 5), (15.0, 5))  # degrees around gravity's direction, and how many repetitions
_INERTIA = 0.01  # share of all normals that the last estimate counts for (not in the original)
_FLAT = 1e-6  # determinant, relative, below which points lie on one line


@dataclass(frozen=True)
class Intrinsics:
    """A pinhole camera in pixels; the first pixel's centre is (0, 0).

    Attributes:
        fx: Focal length in pixel widths.
        fy: Focal length in pixel heights.
        cx: Column of the principal point.
        cy: Row of the principal point.
    """

    fx: float
    fy: float
    cx: float
    cy: float

    def __post_init__(self) -> None:
        if not (0 < self.fx < np.inf and 0 < self.fy < np.inf):
            raise FullyConvError(
                f"focal lengths {self.fx} and {self.fy} are not numbers of pixels above 0"
            )
        if not (np.isfinite(self.cx) and np.isfinite(self.cy)):
            raise FullyConvError(f"the principal point ({self.cx}, {self.cy}) is not finite")

    def cropped(self, left: int, top: int) -> Intrinsics:
        """The camera of a picture whose first ``left`` columns and ``top`` rows are cut off."""
        return Intrinsics(self.fx, self.fy, self.cx - left, self.cy - top)


NYUDV2_CAMERA = Intrinsics(518.85790117450188, 519.46961112127485, 325.58244941119034, 253.7361663)
"""Colour camera of NYUDv2 at 640 x 480: fx_rgb and so on of camera_params.m in Silberman's toolbox,
the same in getNYU2Camera.m (s-gupta/rgbd). Depth is registered to this camera."""


def encode_hha(
    depth: NDArray[np.floating],
    camera: Intrinsics = NYUDV2_CAMERA,
    measured: NDArray[np.bool_] | None = None,
) -> NDArray[np.uint8]:
    """Horizontal disparity, height above ground and angle with gravity of every pixel.

    Args:
        depth: (H, W) metres along the optical axis, registered to the camera; 0, negative or not
            finite where unknown.
        camera: Intrinsics of that camera; the picture is taken upright.
        measured: (H, W) true where the depth was measured rather than filled in; normals are fitted
            to those pixels only, as saveHHA.m does with the raw depth. None for everywhere.

    Returns:
        (H, W, 3) uint8 in the order of the authors' PNG files: 31000 / depth in cm (depth at least
        1 m); height in cm above the lowest point (the camera counts as 130 cm high if no point is
        90 cm below it); 38 + angle in degrees of the normal with gravity (floor 38, wall 128,
        ceiling 218). Rounded and clipped to 0-255. Pixels of unknown depth are 0 in all three.

    Raises:
        FullyConvError: If the depth is not a picture of floating-point metres, or ``measured`` is
            of another size.

    Example:
        >>> encode_hha(np.full((48, 64), 2.0), Intrinsics(50, 50, 32, 24))[10, 10].tolist()
        [155, 148, 128]
    """
    if depth.ndim != 2 or depth.size == 0 or depth.dtype.kind != "f":
        raise FullyConvError(
            f"depth is an array of {depth.dtype} of shape {depth.shape}; it must be (H, W) "
            "floating-point metres"
        )
    if measured is not None and measured.shape != depth.shape:
        raise FullyConvError(
            f"depth has the shape {depth.shape}, but the mask of measured pixels {measured.shape}"
        )
    z = np.where(np.isfinite(depth) & (depth > 0), depth, 0).astype(np.float64) * 100
    known = z > 0
    rays = _rays(depth.shape, camera)
    seen = z if measured is None else np.where(measured, z, 0)
    gravity = _gravity(_normals(seen, rays, _COARSE))
    height = -np.tensordot(rays, gravity, 1) * z
    lowest = height[known].min() if known.any() else 0.0
    floor = lowest if lowest <= -_FLOOR_IN_SIGHT else -_CAMERA_HEIGHT
    cosine = np.tensordot(_normals(seen, rays, _FINE), gravity, 1)
    # MATLAB's max(-1, NaN) is -1: a pixel without a normal is a ceiling there, so it is here
    cosine = np.clip(np.where(np.isnan(cosine), -1, cosine), -1, 1)
    channels = np.stack(
        [
            _DISPARITY / np.maximum(z, _NEAREST),
            height - floor,
            np.degrees(np.arccos(cosine)) + _ANGLE_OFFSET,
        ],
        axis=2,
    )
    whole = np.floor(np.clip(channels, 0, 255) + 0.5)  # MATLAB's rounding
    encoded: NDArray[np.uint8] = np.where(known[..., None], whole, 0).astype(np.uint8)
    return encoded


def _rays(shape: tuple[int, ...], camera: Intrinsics) -> Floats:
    """(H, W, 3): what a depth of 1 multiplies to a point; x right, y down, z forward."""
    rows, columns = np.indices(shape, np.float64)
    x, y = (columns - camera.cx) / camera.fx, (rows - camera.cy) / camera.fy
    return np.stack([x, y, np.ones(shape)], axis=2)


def _normals(z: Floats, rays: Floats, radius: int) -> Floats:
    """Unit normals (H, W, 3), pointing away from the camera; NaN where none can be fitted.

    A plane n . p = 1 is n . ray = 1 / z: linear in the ray, so each pixel's square patch gives n by
    least squares over its known points, from sums over the patch.
    """
    known = z > 0
    inverse = np.divide(1, z, out=np.zeros_like(z), where=known)
    u, v = rays[..., 0], rays[..., 1]
    terms = [known, u, v, inverse, u * u, u * v, v * v, u * inverse, v * inverse]
    count, *sums = (_patch_sums(np.where(known, term, 0.0), radius) for term in terms)
    with np.errstate(divide="ignore", invalid="ignore"):
        mu, mv, mi, uu, uv, vv, ui, vi = (total / count for total in sums)
        uu, uv, vv, ui, vi = uu - mu * mu, uv - mu * mv, vv - mv * mv, ui - mu * mi, vi - mv * mi
        determinant = uu * vv - uv * uv
        spread = (uu + vv) ** 2
        determinant[~(determinant > _FLAT * spread)] = np.nan
        a = (vv * ui - uv * vi) / determinant
        b = (uu * vi - uv * ui) / determinant
        normals = np.stack([a, b, mi - a * mu - b * mv], axis=2)
        normals /= np.linalg.norm(normals, axis=2, keepdims=True)
    towards = known & ((normals * rays).sum(2) < 0)
    normals[towards] *= -1
    return normals


def _patch_sums(values: Floats, radius: int) -> Floats:
    """Sums over the square of ``2 radius + 1`` pixels around each, cut off at the border."""
    side = 2 * radius + 1
    for _ in range(2):
        totals = np.zeros((values.shape[0], values.shape[1] + side))
        np.cumsum(values, axis=1, out=totals[:, radius + 1 : -radius])
        totals[:, -radius:] = totals[:, -radius - 1, None]
        values = np.ascontiguousarray((totals[:, side:] - totals[:, :-side]).T)
    return values


def _gravity(normals: Floats) -> Floats:
    """Unit vector that most normals lie along (floors) or across (walls), found from "down".

    Each round takes the normals within a threshold of the last estimate, or of its perpendicular,
    and finds the direction that fits them best: the eigenvector of the smallest eigenvalue of walls
    minus floors.
    """
    found = normals[~np.isnan(normals).any(2)]
    gravity = np.array([0.0, 1.0, 0.0])
    for degrees, repetitions in _ROUNDS:
        threshold = np.radians(degrees)
        for _ in range(repetitions):
            along = np.abs(found @ gravity)
            floors, walls = found[along > np.cos(threshold)], found[along < np.sin(threshold)]
            if len(floors) + len(walls) == 0:
                return gravity
            misfit = walls.T @ walls - floors.T @ floors
            # one wall alone fits every direction along it: of equals, take the one before
            misfit -= _INERTIA * len(found) * np.outer(gravity, gravity)
            best: Floats = np.linalg.eigh(misfit)[1][:, 0]
            gravity = best if best @ gravity >= 0 else -best
    return gravity
