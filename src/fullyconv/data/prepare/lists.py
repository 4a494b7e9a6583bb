"""Lists of picture names: the ones shipped, and the ones in the published data sets."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from fullyconv.data.prepare.plan import checked_name
from fullyconv.errors import FullyConvError


def shipped(name: str) -> list[str]:
    """Names in one of the authors' lists, which the package brings along.

    ``seg11valid``: the 736 of VOC 2011's val that are not in SBD's train. ``nyudv2-train``,
    ``nyudv2-val``, ``nyudv2-test``: 381, 414, 654. ``siftflow-test``: 200. All from
    shelhamer/fcn.berkeleyvision.org, data/.
    """
    text = files("fullyconv.data").joinpath("splits", f"{name}.txt").read_text(encoding="utf-8")
    return text.split()


def read_names(path: Path) -> list[str]:
    """Names in a list file: the first word of each line, repetitions once.

    Raises:
        FullyConvError: If the file is missing, empty or no text, or a name would leave its folder.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise FullyConvError(f"{path}: the list of pictures cannot be read ({error})") from error
    names = dict.fromkeys(checked_name(line.split()[0], path) for line in lines if line.strip())
    if not names:
        raise FullyConvError(f"{path}: the list of pictures is empty")
    return list(names)
