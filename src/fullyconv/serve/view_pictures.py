"""What a browser is shown of one picture: thumbnail, photograph, labels as runs."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any

import numpy as np
from PIL import Image

from fullyconv.errors import FullyConvError
from fullyconv.images import encode_image, opened, read_photo, to_rgb
from fullyconv.serve.answers import described
from fullyconv.serve.view_folder import File, Folder, Item
from fullyconv.serve.view_scores import compare
from fullyconv.visualize import overlay

_WIDE, _HIGH = 360, 240  # of a thumbnail, in pixels: twice what is seen, for dense screens
_KEPT = 2000  # thumbnails, of some 15 kB each
_TYPES = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp", "GIF": "image/gif"}


def photograph(file: File) -> tuple[bytes, str]:
    """A photograph for a browser, and its media type: as it lies there, or else as PNG.

    Raises:
        FullyConvError: If it cannot be read.
    """
    path = file.checked()
    with opened(path) as image:
        kind, mode = image.format or "", image.mode
    if kind in _TYPES and not mode.startswith("I"):
        return path.read_bytes(), _TYPES[kind]
    return encode_image(Image.fromarray(read_photo(path)), "PNG", compress_level=1), "image/png"


def details(folder: Folder, number: int) -> dict[str, Any]:
    """Everything about a picture but its photograph.

    Raises:
        FullyConvError: If a file cannot be used.
    """
    item = folder.items[number]
    layers = {
        name: described(labels, folder.space, "runs")
        for name, labels in (("truth", folder.truth(item)), ("prediction", folder.prediction(item)))
        if labels is not None
    }
    compared = compare(folder, item)
    iou = None
    if compared is not None:
        metrics = compared[1]
        iou = [None if np.isnan(value) else float(value) for value in metrics.per_class_iou]
    return {"id": number, "name": item.name, "photo": item.photo is not None, "layers": layers} | (
        {"iou": iou} if iou is not None else {}
    )


class Thumbnails:
    """Small pictures, made when they are asked for; the latest are kept in memory.

    Args:
        folder: What is looked through.
    """

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        self._kept: OrderedDict[int, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, number: int) -> bytes:
        """A JPEG of the photograph with its labels over it.

        Raises:
            FullyConvError: If a file cannot be used.
        """
        with self._lock:
            if number in self._kept:
                self._kept.move_to_end(number)
                return self._kept[number]
        made = _thumbnail(self.folder, self.folder.items[number])
        with self._lock:
            self._kept[number] = made
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return made


def _thumbnail(folder: Folder, item: Item) -> bytes:
    labels = folder.prediction(item)
    if labels is None:
        labels = folder.truth(item)
    photo = _small(item.photo) if item.photo else None
    if photo is None and labels is None:
        raise FullyConvError(f"{item.name}: there is nothing to show of it")
    width, height = photo.size if photo else (labels.shape[1], labels.shape[0])  # type: ignore[union-attr]
    share = min(_WIDE / width, _HIGH / height, 1)
    size = max(1, round(width * share)), max(1, round(height * share))
    shown = photo.resize(size, Image.Resampling.BILINEAR) if photo else Image.new("RGB", size)
    if labels is not None:
        small = np.asarray(Image.fromarray(labels).resize(size, Image.Resampling.NEAREST))
        alpha = 0.5 if photo else 1.0
        shown = Image.fromarray(overlay(np.asarray(shown), small, folder.space, alpha))
    return encode_image(shown, "JPEG", quality=80)


def _small(file: File) -> Image.Image:
    with opened(file.checked()) as image:
        image.draft("RGB", (2 * _WIDE, 2 * _HIGH))  # of a large JPEG, an eighth is decoded
        return Image.fromarray(to_rgb(image))
