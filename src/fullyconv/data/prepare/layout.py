"""Writing the files of the layout, each whole or not at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from fullyconv.data.prepare.plan import Copied, Drawn, Item
from fullyconv.data.sources import read_label_space
from fullyconv.errors import FullyConvError
from fullyconv.files import write_whole
from fullyconv.labels import IGNORE_INDEX, Color, Ids, LabelSpace

VOID_COLOR: Color = (224, 224, 192)  # as in VOC's own label files


def write_classes(path: Path, labels: LabelSpace) -> None:
    """Write what the ids mean.

    Raises:
        FullyConvError: If the file is there and says something else, or cannot be read.
    """
    if path.exists():
        if read_label_space(path) != labels:
            raise FullyConvError(
                f"{path} is of another data set, whose labels mean something else; choose an empty "
                "folder"
            )
        return
    text = json.dumps(labels.to_dict(), indent=1)
    write_whole(path, lambda file: file.write(text.encode()))


def make(root: Path, item: Item) -> None:
    """Read an item's sources, then write those of its files that are not there yet.

    Nothing is written before everything is read and checked: a picture never stands without labels.

    Raises:
        FullyConvError: If a source is damaged, sizes differ, or a file cannot be written.
    """
    contents = item.read()
    shapes = {kind: content.shape for kind, content in contents.items()}
    if len(set(shapes.values())) > 1:
        found = ", ".join(f"{kind} {h} x {w}" for kind, (h, w) in shapes.items())
        raise FullyConvError(f"{item.name}: files of different sizes: {found}")
    for kind, path in item.files(root).items():
        content = contents[kind]
        if path.exists():
            continue
        if isinstance(content, Copied):
            take_over(content.path, path)
        else:
            write_whole(path, partial(draw, content))


def take_over(source: Path, target: Path) -> None:
    """Hard link, or copy where the file system has none.

    Raises:
        FullyConvError: If the file cannot be written.
    """
    source = source.resolve()  # a link to a symbolic link would be one, too
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.hardlink_to(source)
    except OSError:
        write_whole(target, partial(_copy, source))


def _copy(source: Path, file: BinaryIO) -> None:
    with source.open("rb") as original:
        shutil.copyfileobj(original, file)


def draw(content: Drawn, file: BinaryIO) -> None:
    """Write pixels as PNG, ids with their colours and void's."""
    picture = Image.fromarray(content.pixels)
    if content.palette is not None:
        picture = label_picture(content.pixels, content.palette)
    picture.save(file, format="PNG")


def label_picture(ids: Ids, palette: Sequence[Color]) -> Image.Image:
    """A palette picture of class ids (H, W); void has a colour too, else Pillow would change it.

    Of 16 bits, which have no palette: a grey one.
    """
    picture = Image.fromarray(ids)
    if ids.dtype != np.uint8:
        return picture
    colors = [(0, 0, 0)] * 256
    colors[: len(palette)] = palette
    colors[IGNORE_INDEX] = VOID_COLOR
    picture.putpalette([value for color in colors for value in color])
    return picture
