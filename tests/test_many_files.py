"""Folders of very many files: what is kept of each is a name and some numbers, never a picture."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fullyconv.data.check import check, stats
from fullyconv.data.folder import FolderDataset
from fullyconv.data.importers import import_data
from fullyconv.data.sources import read_label_space
from fullyconv.data.splitting import split_data

MOST = 3000
"""Bytes kept of a picture and its labels, of 64 x 64 pixels: decoded they are 16,384."""
PALETTE = [90, 60, 30, 0, 160, 0, 200, 0, 60]


def write_many(root: Path, count: int) -> Path:
    """Pictures that differ in two pixels; half of a percent of the labels' pixels are class 2."""
    for kind in ("images", "labels"):
        (root / kind).mkdir(parents=True)
    ids = np.zeros((64, 64), np.uint8)
    ids[:20], ids[40, :20] = 1, 2
    labels = Image.fromarray(ids)
    labels.putpalette(PALETTE)
    labels.save(root / "labels.png")
    mask = (root / "labels.png").read_bytes()
    (root / "labels.png").unlink()
    photo = np.zeros((64, 64, 3), np.uint8)
    for number in range(count):
        photo[0, 0], photo[0, 1] = number % 251, (number // 251) % 251
        name = f"scene {number % 97:02}_{number:07}.png"
        Image.fromarray(photo).save(root / "images" / name, compress_level=1)
        (root / "labels" / name).write_bytes(mask)
    values = {"categories": ["ground", "tree", "car"], "void": [255],
              "palette": np.reshape(PALETTE, (3, 3)).tolist()}  # fmt: skip
    (root / "classes.json").write_text(json.dumps(values))
    return root


def open_dataset(root: Path, out: Path) -> object:
    return FolderDataset(root, "", read_label_space(root / "classes.json"))


WALKS: dict[str, Callable[[Path, Path], object]] = {
    "check": lambda root, out: check(root, workers=1, progress=False),
    "stats": lambda root, out: stats(root, workers=1, progress=False),
    "lists": lambda root, out: split_data(root, out, lists=True, progress=False),
    "split": lambda root, out: split_data(root, out, group=r"^scene \d+", progress=False),
    "import": lambda root, out: import_data(root, out, workers=1, progress=False),
    "train": open_dataset,
}


@pytest.fixture(scope="module")
def few_and_more(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("many")
    return write_many(folder / "few", 50), write_many(folder / "more", 250)


@pytest.mark.parametrize("verb", WALKS)
def test_no_picture_is_kept(verb: str, few_and_more: tuple[Path, Path], tmp_path: Path) -> None:
    """What the peak grows by when there are more of them, all of Python's and NumPy's memory."""
    peaks = []
    WALKS[verb](few_and_more[0], tmp_path / "warm")  # what is imported and cached once
    for number, root in enumerate(few_and_more):
        gc.collect()
        tracemalloc.start()
        kept = WALKS[verb](root, tmp_path / str(number))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        del kept
    assert (peaks[1] - peaks[0]) / 200 < MOST


_MEASURED = """
import re, sys
from pathlib import Path
from fullyconv import cli
if __name__ == "__main__":
    assert cli.run(sys.argv[1:]) == 0
    print("kB", re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_of_a_hundred_thousand_files(tmp_path: Path) -> None:
    """As they are typed, in several processes: the peak of the one that keeps the books."""
    (tmp_path / "measured.py").write_text(_MEASURED)
    roots = [write_many(tmp_path / f"set{n}", n) for n in (5_000, 50_000)]
    commands = {"check": [], "stats": [], "split": ["--out"], "import": ["--out"]}
    for verb, options in commands.items():
        peaks = []
        for root in roots:
            out = [*options, str(tmp_path / f"{verb} {root.name}")] if options else []
            done = subprocess.run(
                [sys.executable, tmp_path / "measured.py", "data", verb, root, *out],
                capture_output=True, text=True, check=True,
            )  # fmt: skip
            peaks.append(1024 * int(done.stdout.split()[-1]))
        assert (peaks[1] - peaks[0]) / 45_000 < MOST, verb
