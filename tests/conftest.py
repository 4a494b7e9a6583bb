"""What many tests share: the folder beside the checkout, and a small data set made on the spot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fullyconv.labels import CAMVID

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture
def shared() -> Path:
    """The folder beside the checkout with data and weights, where there is one."""
    if not SHARED.is_dir():
        pytest.skip("the folder ../shared with data and weights is not here")
    return SHARED


def write_scenes(root: Path) -> Path:
    """A data set in the form of CamVid: coloured blocks whose colour tells their class."""
    rng = np.random.default_rng(0)
    palette = np.array(CAMVID.palette, np.uint8)
    for split, count in (("train", 6), ("val", 3)):
        for kind in ("images", "labels"):
            (root / split / kind).mkdir(parents=True)
        for number in range(count):
            cells = rng.integers(0, 12, (3, 4)).astype(np.uint8)
            labels = cells.repeat(16, 0).repeat(16, 1)
            image = palette[labels % 11]
            Image.fromarray(image).save(root / split / "images" / f"{split}{number}.png")
            Image.fromarray(labels).save(root / split / "labels" / f"{split}{number}.png")
    return root


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    """A small data set to train on; see :func:`write_scenes`."""
    return write_scenes(tmp_path)
