"""What the doctor looks for: the table of all findings, what each means and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning", "note"]

SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
"""From what training refuses or learns garbage from, to what is only worth knowing."""


@dataclass(frozen=True)
class Kind:
    """One thing that can be wrong.

    Attributes:
        name: Its name in reports; a test asks that docs/howto/check-your-data.md explains each.
        severity: How bad it is.
        what: What is wrong, as the end of a sentence that begins with the number of files.
        cure: What to do about it.
    """

    name: str
    severity: Severity
    what: str
    cure: str


_FIX = "fcn data check DIR --fix NEWDIR does it"

_ERRORS = {
    "classes": (
        "classes.json does not say what the ids mean",
        'write one, such as {"categories": ["background", "crack"]}',
    ),
    "folder": (
        "a split lacks a folder of images or of labels, or has nothing in it",
        "the folders are named images/ and labels/",
    ),
    "picture-without-labels": (
        "pictures have no label file of the same name",
        "label them, or take them out",
    ),
    "labels-without-picture": (
        "label files have no picture of the same name",
        "add the picture, or take them out",
    ),
    "names-differ": (
        "pictures and label files belong together but for a suffix in their names",
        f"give both the same name ({_FIX})",
    ),
    "input-missing": (
        "pictures lack a file of the same name in the folder of a further input",
        "add it, or take the picture out",
    ),
    "same-stem": (
        "files have the same name but for the suffix, so that it is not clear which is meant",
        "keep one of them",
    ),
    "empty-file": ("files hold nothing, 0 bytes", "copy or export them again"),
    "unreadable": (
        "files cannot be opened",
        "look at their permissions, and where their links point",
    ),
    "not-a-picture": (
        "files are pictures by name only: no format known here",
        "export them again, as PNG",
    ),
    "damaged": ("pictures are damaged or cut short", "copy or export them again"),
    "too-large": (
        "pictures have more pixels than are read whole; they were not decoded",
        "cut them into parts",
    ),
    "size-mismatch": (
        "pictures and their labels differ in size",
        "export the labels at the picture's own size; enlarge masks with nearest neighbour only",
    ),
    "exif-rotation": (
        "only one of picture and labels is turned by an EXIF orientation",
        f"turn the labels like the picture ({_FIX})",
    ),
    "label-jpeg": (
        "label files are JPEGs, which do not keep numbers as they were",
        "export them again as PNG; a JPEG cannot be turned back",
    ),
    "label-float": ("label files hold floating-point numbers", "save class ids, as 8-bit PNG"),
    "label-shades": (
        "label files have 2 or 4 bits of grey, which may be ids or shades",
        "save them as 8-bit grey or palette PNG",
    ),
    "colour-mask": (
        "label files hold the classes' colours instead of their ids",
        f"turn the colours into ids ({_FIX})",
    ),
    "unknown-colours": (
        "label files hold colours that no class has",
        'correct them, or give the classes\' colours as "palette" in classes.json',
    ),
    "ids-outside": (
        "label files hold ids that are neither a class nor void",
        "correct them, or name every class in classes.json",
    ),
    "ids-from-1": (
        "label files number the classes from 1, while classes.json numbers them from 0",
        'write "raw_ids": [1, 2, ...] and "void": [0, 255] into classes.json',
    ),
    "void-habit": (
        "label files hold an id that tools use for void, but classes.json does not say so",
        f'add it to "void" in classes.json (or {_FIX}: they become 255)',
    ),
    "mask-0-255": (
        "two-class masks hold 0 and 255, of which 255 is void here: the object is never learned",
        'write "raw_ids": [0, 255], "void": [] into classes.json, or '
        "(fcn data check DIR --fix NEWDIR) turn 255 into 1",
    ),
    "interpolated": (
        "masks were resized with interpolation: along the edges they hold ids or colours between "
        "the two sides",
        "export them again at full size, or resize with nearest neighbour",
    ),
    "name-in-both": (
        "names are in the training and in the validation split; training refuses that",
        "take the picture out of one, or rename it if it is another one",
    ),
    "leak": (
        "pictures are the same, pixel by pixel, in two splits: the score would be of pictures "
        "learned by heart",
        "take them out of one split",
    ),
    "picture-float": (
        "pictures hold floating-point numbers, which have no fixed range",
        "convert them to 8 or 16 bits, or train on them as they are: --data.inputs bands",
    ),
    "depth": ("depth pictures cannot be used", "save millimetres as 16-bit grey PNG"),
}

_WARNINGS = {
    "near-leak": (
        "pictures are nearly the same in two splits: encoded again, resized or brightened",
        "take them out of one split",
    ),
    "duplicate": (
        "pictures are in one split twice, pixel by pixel",
        "keep one of them; where their labels differ, the right one",
    ),
    "exif-doubt": (
        "only one of picture and labels has an EXIF orientation, and the sizes do not tell "
        "whether the other is turned",
        "look at them; if they do not fit, turn the labels and drop the tag",
    ),
    "palette-order": (
        "palette masks whose indices and colours say different classes; the indices are read",
        f"if the colours are right, turn them into ids ({_FIX})",
    ),
    "perhaps-0-255": (
        "two-class masks hold 0 and 255 (void) but no 1, which other files do hold",
        "look whether 255 is the object in them; if it is, write 1 instead",
    ),
    "all-void": ("label files are void in every pixel; nothing is learned from them", "label them"),
    "class-never": ("classes never occur in the pictures to train on", "label some, or drop them"),
    "constant-picture": ("pictures are of one single colour", "look whether the export went wrong"),
    "dark-16-bit": (
        "16-bit pictures use the lowest tenth of their range only, and become black",
        "stretch them to the whole range, 0 to 65535",
    ),
    "tiny-picture": (
        "pictures are narrower than 32 pixels, the coarsest stride of the networks",
        "enlarge them and their labels",
    ),
    "sub-folder": (
        "folders lie inside images/ or labels/; what is in them is not read",
        "move the files up",
    ),
}

_NOTES = {
    "junk": ("hidden files and files of other kinds are not read", "delete them if they disturb"),
    "constant-mask": ("label files are of one class in every pixel", "look whether that is meant"),
    "class-absent": ("classes never occur in a split that is scored", "their scores will be n/a"),
    "class-rare": (
        "classes hardly occur: less than one pixel in 10,000, or in one of 20 or more pictures",
        "label more of them, or set --optim.class-weights median_frequency",
    ),
    "grey-picture": (
        "pictures are grey among coloured ones",
        "nothing need be done: they are read as RGB with three equal channels",
    ),
    "deep-picture": ("pictures have 16 bits", "nothing need be done: they are scaled to 8 bits"),
    "transparent": (
        "pictures are transparent in places",
        "nothing need be done: they are laid on white",
    ),
    "frames": ("files hold several pictures, of which the first is read", "split them if needed"),
    "mixed-sizes": (
        "pictures have different sizes",
        "train with --data.crop, or with one picture in a batch",
    ),
    "uncompared": (
        "pictures looked so much alike that not all were compared with each other",
        "look for copies of one scene in two splits by hand",
    ),
}

KINDS: dict[str, Kind] = {
    name: Kind(name, severity, *texts)
    for severity, table in zip(SEVERITIES, (_ERRORS, _WARNINGS, _NOTES), strict=True)
    for name, texts in table.items()
}
"""Every kind of finding by its name, the worst first."""
