"""From the layout, or predicted masks, to what labelling tools read."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fullyconv.data.exporters import coco, masks, yolo
from fullyconv.data.exporters.layout import Labelled, classes_of, labelled
from fullyconv.data.prepare.layout import take_over
from fullyconv.errors import FullyConvError, UsageError, did_you_mean
from fullyconv.progress import progress_bar

PathLike = str | os.PathLike[str]
Form = Literal["masks", "coco", "yolo"]
_FORMS = ("masks", "coco", "yolo")
_ZIP = ".zip"


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        root: Folder or archive.
        form: In which form.
        pictures: How many.
        notes: Sentences about what the form cannot hold.
    """

    root: Path
    form: str
    pictures: int
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [f"{self.pictures} pictures as {self.form} in {self.root}"]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


def export_data(
    root: PathLike,
    out: PathLike,
    to: Form,
    *,
    images: PathLike | None = None,
    classes: str | None = None,
    shape: coco.Shape = "polygon",
    tolerance: float = 0,
    pictures: bool = True,
    progress: bool = True,
) -> Exported:
    """Write a data set, or predicted masks, in a form that labelling tools import.

    Args:
        root: Data set; or a folder of masks such as ``fcn predict`` writes, with ``images``.
        out: Folder to make, which must be empty or new; or a .zip file.
        to: ``masks`` (CVAT's Segmentation mask 1.1), ``coco`` or ``yolo``.
        images: Folder of the pictures of predicted masks.
        classes: A classes.json, a model's .safetensors or a known label space; None for the data
            set's own classes.json.
        shape: For ``coco``: a polygon for each region of pixels, or a run-length mask for each
            class.
        tolerance: Pixels that polygons may be off, for fewer corners; 0 for the masks themselves,
            whose outlines go around every pixel.
        pictures: Whether the pictures are put in, too: hard links, or copies.
        progress: Show a bar.

    Returns:
        What was written.

    Raises:
        UsageError: If the form or the classes do not exist.
        FullyConvError: If a file is damaged or has no partner, ``out`` is in use, or two splits
            have pictures of one name and the form has one folder for both.
    """
    if to not in _FORMS:
        raise UsageError(f"there is no form {to!r}. {did_you_mean(to, list(_FORMS))}")
    if shape not in ("polygon", "mask"):
        raise UsageError(f"there is no shape {shape!r}. Known: mask, polygon.")
    if not tolerance >= 0:
        raise UsageError(f"tolerance is {tolerance}; it must be 0 or more pixels")
    root, out = Path(root), Path(out)
    space = classes_of(root, classes)
    samples = labelled(root, None if images is None else Path(images))
    _check(out, samples, to)
    out.parent.mkdir(parents=True, exist_ok=True)
    # made whole beside its place: an export cut short is not taken for one
    with tempfile.TemporaryDirectory(prefix=".export-", dir=out.parent) as folder:
        made = Path(folder) / out.name.removesuffix(_ZIP)
        made.mkdir()
        with progress_bar(total=len(samples), desc=f"writing {to}", disable=not progress) as bar:
            if to == "coco":
                notes = coco.write(made, samples, space, bar, shape, tolerance)
            elif to == "yolo":
                notes = yolo.write(made, samples, space, bar, tolerance)
            else:
                notes = masks.write(made, samples, space, bar)
        for sample in samples if pictures else ():
            take_over(sample.image, _place(made, sample, to))
        _move(made, out)
    return Exported(out, to, len(samples), tuple(notes))


def _check(out: Path, samples: list[Labelled], to: Form) -> None:
    if out.exists() and (out.suffix == _ZIP or not out.is_dir() or any(out.iterdir())):
        raise FullyConvError(f"{out}: is there already; choose a new folder, or a new .zip file")
    if to != "masks":
        return
    names: dict[str, str] = {}
    for sample in samples:
        if sample.name in names:
            raise FullyConvError(
                f"{sample.name} is in {names[sample.name]} and in {sample.split}, but masks lie in "
                "one folder; export one split at a time, or as coco"
            )
        names[sample.name] = sample.split


def _place(out: Path, sample: Labelled, to: Form) -> Path:
    folder = out / "JPEGImages" if to == "masks" else out / "images" / sample.split
    return folder / f"{sample.name}{sample.image.suffix}"


def _move(made: Path, out: Path) -> None:
    try:
        if out.suffix == _ZIP:
            packed = Path(shutil.make_archive(str(made), "zip", made))
            packed.replace(out)
            return
        if out.exists():
            out.rmdir()
        made.replace(out)
    except OSError as error:
        raise FullyConvError(f"{out}: cannot be written ({error.strerror or error})") from error
