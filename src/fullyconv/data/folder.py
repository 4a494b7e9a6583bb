"""The plainest data set: a folder of images/ and a folder of labels/, paired by file name."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fullyconv.errors import FullyConvError
from fullyconv.images import IMAGE_SUFFIXES, read_labels, read_photo
from fullyconv.labels import LabelSpace


@dataclass(frozen=True)
class Sample:
    """One picture and its labels.

    Attributes:
        name: File name without its suffix.
        image: (H, W, 3) uint8, RGB.
        target: (H, W) uint8 of class ids, void 255.
    """

    name: str
    image: NDArray[np.uint8]
    target: NDArray[np.uint8]


class FolderDataset:
    """Pictures in ``images/`` and label files of the same names in ``labels/``.

    Args:
        root: Data set folder.
        split: Sub-folder (``train``, ``val``) that holds ``images/`` and ``labels/``; empty if
            they lie in ``root`` itself.
        labels: What the ids in the label files mean.

    Raises:
        FullyConvError: If a folder is missing or empty, or a file has no partner.
    """

    def __init__(self, root: str | os.PathLike[str], split: str, labels: LabelSpace) -> None:
        self.folder = Path(root) / split
        self.labels = labels
        images, targets = (_by_stem(self.folder, name) for name in ("images", "labels"))
        if images.keys() != targets.keys():
            raise FullyConvError(
                f"{self.folder}: files have no partner of the same name: "
                f"{_orphans(images, targets)} in images/, {_orphans(targets, images)} in labels/"
            )
        self.pairs = [(images[stem], targets[stem]) for stem in sorted(images)]

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Sample:
        """Read one pair.

        Raises:
            FullyConvError: If a file is damaged, the sizes differ or a label is out of range; the
                file is named.
        """
        image_path, label_path = self.pairs[index]
        image, target = read_photo(image_path), self.target(index)
        if image.shape[:2] != target.shape:
            raise FullyConvError(
                f"{image_path} has {image.shape[0]} x {image.shape[1]} pixels (after its EXIF "
                f"rotation), but {label_path} {target.shape[0]} x {target.shape[1]}"
            )
        return Sample(image_path.stem, image, target)

    def target(self, index: int) -> NDArray[np.uint8]:
        """Read the labels of one pair alone: (H, W) uint8."""
        path = self.pairs[index][1]
        return self.labels.encode(read_labels(path), path)


def _orphans(files: dict[str, Path], partners: dict[str, Path]) -> str:
    names = [path.name for stem, path in files.items() if stem not in partners]
    shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    return f"{len(names)} of {len(files)}" + (f" ({shown})" if names else "")


def _by_stem(folder: Path, kind: str) -> dict[str, Path]:
    """Pictures in ``folder/kind`` by name without suffix; hidden files are none (macOS's ._x)."""
    inside = folder / kind
    if not inside.is_dir():
        found = sorted(p.name for p in folder.iterdir())[:8] if folder.is_dir() else None
        what = "it does not exist" if found is None else f"it holds {', '.join(found) or 'nothing'}"
        raise FullyConvError(
            f"{folder}: expected the folders images/ and labels/ in it, but {what}"
        )
    visible = [path for path in sorted(inside.iterdir()) if not path.name.startswith(".")]
    files = [path for path in visible if path.suffix.lower() in IMAGE_SUFFIXES]
    if not files:
        held = ", ".join(path.name for path in visible[:5]) or "nothing"
        raise FullyConvError(
            f"{inside}: no picture in this folder; it holds {held}, and pictures end in "
            f"{', '.join(sorted(IMAGE_SUFFIXES))}"
        )
    by_stem: dict[str, Path] = {}
    for path in files:
        if path.stem in by_stem:
            raise FullyConvError(
                f"{inside}: {by_stem[path.stem].name} and {path.name} have the same name but for "
                "the suffix; keep one of them"
            )
        by_stem[path.stem] = path
    return by_stem
