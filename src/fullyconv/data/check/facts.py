"""What one decoding of each file of a sample tells, in a few hundred bytes."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from fullyconv.bands import read_bands
from fullyconv.data.check.duplicates import look_of
from fullyconv.data.check.layout import Sample
from fullyconv.errors import FullyConvError
from fullyconv.images import ORIENTATION, no_ids, opened, read_depth, to_rgb
from fullyconv.labels import Color

MOST_VALUES = 4096
"""Ids or colours of one file that are told apart; more than there are classes in one picture."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known of any file.

    Attributes:
        problem: Kind of finding, if the file cannot be used; empty if it can.
        sentence: What is wrong then.
        size: Height and width as people see it; None if unknown.
        turned: EXIF orientation, 1 for none.
        content: Hash of its pixels; 0 for a picture of one colour.
    """

    problem: str = ""
    sentence: str = ""
    size: tuple[int, int] | None = None
    turned: int = 1
    content: int = 0


@dataclass(frozen=True, kw_only=True)
class PictureFacts(Facts):
    """What is known of a picture.

    Attributes:
        grey: Whether its channels are the same.
        brightest: Largest value of a 16-bit picture; None for others.
        transparent: Whether anything shines through.
        frames: Pictures in the file.
        look: :func:`~fullyconv.data.check.duplicates.look_of` it.
    """

    grey: bool = False
    brightest: int | None = None
    transparent: bool = False
    frames: int = 1
    look: int = 0


@dataclass(frozen=True, kw_only=True)
class LabelFacts(Facts):
    """What is known of a label file.

    Attributes:
        ids: Pixels of its ids, the most frequent :data:`MOST_VALUES`; empty if it holds colours.
        colors: Likewise of its colours.
        distinct: How many ids or colours there are.
        palette: Colours of the ids, in a palette picture.
        between: Share of the edges' pixels whose id, or colour, lies between those on both sides.
    """

    ids: dict[int, int] = field(default_factory=dict)
    colors: dict[Color, int] = field(default_factory=dict)
    distinct: int = 0
    palette: dict[int, Color] = field(default_factory=dict)
    between: float = 0.0


def examine(root: Path, kind: str, path: str, *, labels: bool) -> PictureFacts | LabelFacts:
    """Decode one file.

    Args:
        root: Folder of the data set.
        kind: Folder that the file lies in: images, hha, depth, labels.
        path: The file, relative to ``root``.
        labels: Whether it holds labels.
    """
    whole = root / path
    made = LabelFacts if labels else PictureFacts
    try:
        if not whole.is_symlink() and whole.stat().st_size == 0:
            return made(problem="empty-file")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, of tags that it cannot read
            return _labels(whole) if labels else _picture(whole, kind)
    except (FullyConvError, OSError) as error:
        sentence = str(error).removeprefix(f"{whole}: ")
        return made(problem=_problem(error, kind), sentence=sentence)


def examine_sample(
    root: Path, heads: frozenset[str], sample: Sample
) -> dict[str, PictureFacts | LabelFacts]:
    """Decode every file of a sample; facts by the folder they lie in."""
    return {
        kind: examine(root, kind, sample.path(kind), labels=kind in heads)
        for kind in sample.suffixes
    }


def _problem(error: Exception, kind: str) -> str:
    """Kind of finding of a file that could not be read, by what Pillow raised."""
    cause = error.__cause__ or error
    if isinstance(cause, UnidentifiedImageError):
        return "not-a-picture"
    if isinstance(cause, Image.DecompressionBombError):
        return "too-large"
    if isinstance(cause, FileNotFoundError | PermissionError | IsADirectoryError):
        return "unreadable"
    return "depth" if kind == "depth" and cause is error else "damaged"


def _picture(path: Path, kind: str) -> PictureFacts:
    if kind == "depth":
        height, width, _ = read_depth(path).shape
        return PictureFacts(size=(height, width))
    if path.suffix.lower() == ".npy":
        return _bands(path)
    try:
        return _photograph(path)
    except FullyConvError as error:
        several = path.suffix.lower() in (".tif", ".tiff")  # bands that Pillow has no mode for
        if several and isinstance(error.__cause__, UnidentifiedImageError):
            return _bands(path)
        raise


def _bands(path: Path) -> PictureFacts:
    values = read_bands(path)
    return PictureFacts(size=values.shape[:2], content=content_hash(values))


def _photograph(path: Path) -> PictureFacts:
    with opened(path) as image:
        turned = image.getexif().get(ORIENTATION, 1)
        frames = getattr(image, "n_frames", 1) if image.format != "MPO" else 1  # phones' previews
        if image.mode == "F":
            size = (image.height, image.width)
            return PictureFacts(problem="picture-float", size=size, turned=turned)
        deep = image.mode.startswith("I")
        brightest = int(np.asarray(image).max()) if deep else None
        transparent = image.has_transparency_data and _shines_through(image)
        pixels = to_rgb(image)
    height, width, _ = pixels.shape
    constant = bool((pixels == pixels[:1, :1]).all())
    return PictureFacts(
        size=(height, width),
        turned=turned,
        grey=bool((pixels == pixels[..., :1]).all()),
        brightest=brightest,
        transparent=transparent,
        frames=frames,
        content=0 if constant else content_hash(pixels),
        look=0 if constant else look_of(Image.fromarray(pixels)),
    )


def _shines_through(image: Image.Image) -> bool:
    alpha = np.asarray(image.convert("RGBA").getchannel("A"))
    return bool((alpha < 255).any())


def content_hash(pixels: NDArray[Any]) -> int:
    """64 bits of an array's values and shape."""
    data = np.ascontiguousarray(pixels).tobytes()
    digest = blake2b(data, digest_size=8, person=str(pixels.shape[:2]).encode()[:16])
    return int.from_bytes(digest.digest(), "little")


def _labels(path: Path) -> LabelFacts:
    with opened(path) as image:
        problem = _format_problem(image)  # before the tags are read: a PNG is decoded for them
        turned = image.getexif().get(ORIENTATION, 1)
        image.load()
        image = ImageOps.exif_transpose(image)
        size = (image.height, image.width)
        if problem:
            return LabelFacts(problem=problem, size=size, turned=turned)
        pixels = label_pixels(image)
        palette = image.getpalette("RGB") if image.mode == "P" else None
    if pixels.ndim == 3:
        codes = pixels @ np.array([1 << 16, 1 << 8, 1])
        colors, distinct = _counted(codes)
        return LabelFacts(
            size=size,
            turned=turned,
            colors={(c >> 16, c >> 8 & 255, c & 255): n for c, n in colors.items()},
            distinct=distinct,
            between=_between(codes),  # a sum of the channels: between two colours in all of them
            content=content_hash(pixels),
        )
    ids, distinct = _counted(pixels)
    return LabelFacts(
        size=size,
        turned=turned,
        ids=ids,
        distinct=distinct,
        palette=_used(palette, ids),
        between=_between(pixels),
        content=content_hash(pixels),
    )


def label_pixels(image: Image.Image) -> NDArray[np.integer[Any]]:
    """Ids (H, W) of a label picture, or its colours (H, W, 3) uint8 if they are not grey."""
    if image.mode == "1":
        return np.asarray(image).astype(np.uint8)
    if image.mode in ("P", "L") or image.mode.startswith("I"):
        return np.asarray(image)
    colors = np.asarray(image.convert("RGB"))
    return colors[..., 0] if (colors == colors[..., :1]).all() else colors


def _format_problem(image: Image.Image) -> str:
    """Kind of finding of a picture, not decoded yet, that cannot hold ids."""
    if not no_ids(image):
        return ""
    if image.format in ("JPEG", "MPO"):
        return "label-jpeg"
    return "label-float" if image.mode == "F" else "label-shades"


def _counted(values: NDArray[np.integer[Any]]) -> tuple[dict[int, int], int]:
    """Pixels of the most frequent values, and how many values there are."""
    if values.dtype == np.uint8:
        every = np.bincount(values.ravel(), minlength=256)
        found = np.flatnonzero(every)
        counts = every[found]
    else:
        found, counts = np.unique(values, return_counts=True)
    most = np.argsort(-counts, kind="stable")[:MOST_VALUES]
    pairs = zip(found[most].tolist(), counts[most].tolist(), strict=True)
    return dict(pairs), len(found)


def _used(palette: list[int] | None, ids: dict[int, int]) -> dict[int, Color]:
    if palette is None:
        return {}
    return {
        i: (palette[3 * i], palette[3 * i + 1], palette[3 * i + 2])
        for i in ids
        if 3 * i + 2 < len(palette)
    }


def _between(ids: NDArray[np.integer[Any]]) -> float:
    """Share of the edges' pixels whose id, or colour, lies between those on both sides.

    Interpolation leaves such pixels; real masks have few. Where fewer than three ids lie between
    others it says nothing: 0 inside, 1 border, 2 outside is a common way to label cells.
    """
    between, edges, values = 0, 0, set()
    for lines in (ids, ids.T):
        left, here, right = lines[:, :-2], lines[:, 1:-1], lines[:, 2:]
        edge = left != here
        ramp = ((left < here) & (here < right)) | ((left > here) & (here > right))
        edges += int(edge.sum())
        between += int(ramp.sum())
        values.update(np.unique(here[ramp]).tolist())
    return between / edges if len(values) >= 3 else 0.0
