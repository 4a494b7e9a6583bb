"""What a folder for ncnn holds, and reading what it says about itself. No torch, no ncnn."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fullyconv.checkpoint import Header
from fullyconv.errors import FullyConvError
from fullyconv.models.fast.plan import Plan

PARAM, WEIGHTS, DESCRIPTION = "model.ncnn.param", "model.ncnn.bin", "fullyconv.json"
FORMAT = 1
_MOST_PADDED = 4096  # pixels to which a small picture may be padded: some hundred are usual


@dataclass(frozen=True)
class Blob:
    """A map that ncnn is given, or makes.

    Attributes:
        channels: How many it has.
        needs: The maps that it is made of.
    """

    channels: int
    needs: tuple[str, ...]


@dataclass(frozen=True)
class NcnnFolder:
    """A folder that :func:`~fullyconv.runtimes.ncnn_writer.write_ncnn` wrote.

    Attributes:
        path: Where it is.
        header: As of a checkpoint.
        plan: The network's geometry.
        blobs: The network's maps by name, in the order in which they are made.
        smallest: Height and width that the network needs; smaller pictures are padded with zeros.
        multiple: Of what number height and width must be a multiple, by padding too.
        size: Height and width of the only pictures that it takes, if it was written for one size.
    """

    path: Path
    header: Header
    plan: Plan
    blobs: Mapping[str, Blob]
    smallest: int
    multiple: int
    size: tuple[int, int] | None


def read_ncnn_folder(path: str | os.PathLike[str]) -> NcnnFolder:
    """Read what a folder says about itself, and check that its files are whole.

    Raises:
        FullyConvError: If it is not such a folder, of a newer format, or a file of it is missing
            or cut off.
    """
    path = Path(path)
    try:
        values = json.loads((path / DESCRIPTION).read_text(encoding="utf-8"))
        _check(path, values)
        size = values["size"]
        made = NcnnFolder(
            path=path,
            header=Header.from_json(json.dumps(values["header"])),
            plan=Plan.from_dict(values["plan"]),
            blobs={
                str(name): Blob(int(blob["channels"]), tuple(map(str, blob["needs"])))
                for name, blob in values["blobs"].items()
            },
            smallest=int(values["smallest"]),
            multiple=int(values["multiple"]),
            size=None if size is None else (int(size[0]), int(size[1])),
        )
        _check_network(made)
    except OSError as error:
        raise FullyConvError(
            f"{path}: this is no folder of an exported network: {Path(error.filename).name} cannot "
            f"be read ({error.strerror}); fcn export --to ncnn writes one"
        ) from error
    except (
        LookupError,
        ValueError,
        TypeError,
        AttributeError,
        ArithmeticError,
        RecursionError,
    ) as error:
        raise FullyConvError(f"{path / DESCRIPTION}: not readable ({error!r})") from error
    except FullyConvError as error:
        raise FullyConvError(f"{path}: {error}") from error
    return made


def _check_network(folder: NcnnFolder) -> None:
    """That sizes can be those of pictures, and that maps are made from maps before them."""
    padded = (folder.smallest, folder.multiple)
    if not all(1 <= size <= _MOST_PADDED for size in padded):
        raise ValueError(f"pictures padded to {padded[0]} or multiples of {padded[1]} pixels")
    known: set[str] = set()
    for name, blob in folder.blobs.items():
        if not known.issuperset(blob.needs):
            raise ValueError(f"{name} is made from {', '.join(blob.needs)}")
        known.add(name)


def _check(path: Path, values: Mapping[str, Any]) -> None:
    """That the folder is of a format known here, and its files of the size that they had."""
    if values["format"] > FORMAT:
        raise FullyConvError(
            f"it was written by a newer fullyconv, in format {values['format']} where this one "
            f"reads {FORMAT}; upgrade fullyconv"
        )
    for name in (PARAM, WEIGHTS):
        found, expected = (path / name).stat().st_size, int(values["bytes"][name])
        if found != expected:
            raise FullyConvError(
                f"{name} has {found} bytes where {expected} were written; copy or export it again"
            )
