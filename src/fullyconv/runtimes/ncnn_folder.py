"""What a folder for ncnn holds, and reading what it says about itself. No torch, no ncnn."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from fullyconv.checkpoint import Header
from fullyconv.errors import FullyConvError
from fullyconv.models.plan import Plan

PARAM, WEIGHTS, DESCRIPTION = "model.ncnn.param", "model.ncnn.bin", "fullyconv.json"
FORMAT = 1


@dataclass(frozen=True)
class NcnnFolder:
    """A folder that ``fcn export --to ncnn`` wrote.

    Attributes:
        path: Where it is.
        header: As of a checkpoint.
        plan: The network's geometry.
        smallest: Height and width that the network needs; smaller pictures are padded with zeros.
        multiple: Of what number height and width must be a multiple, by padding too.
        size: Height and width of the only pictures that it takes, if it was written for one size.
    """

    path: Path
    header: Header
    plan: Plan
    smallest: int
    multiple: int
    size: tuple[int, int] | None

    @property
    def blobs(self) -> tuple[str, ...]:
        """The maps that it names, in the order in which they are made; the image first."""
        return blob_names(self.plan)


def blob_names(plan: Plan) -> tuple[str, ...]:
    """The maps of a network that have a blob, in the order in which they are made."""
    return ("images", *(piece.target for piece in plan.pieces), *plan.scored, "scores", "logits")


def read_ncnn_folder(path: str | os.PathLike[str]) -> NcnnFolder:
    """Read what a folder says about itself, and check that its files are whole.

    Raises:
        FullyConvError: If it is not such a folder, of a newer format, or a file of it is missing
            or cut off.
    """
    path = Path(path)
    try:
        values = json.loads((path / DESCRIPTION).read_text(encoding="utf-8"))
        if values["format"] > FORMAT:
            raise FullyConvError(
                f"it was written by a newer fullyconv, in format {values['format']} where this one "
                f"reads {FORMAT}; upgrade fullyconv"
            )
        size = values.get("size")
        folder = NcnnFolder(
            path=path,
            header=Header.from_json(json.dumps(values["header"])),
            plan=Plan.from_dict(values["plan"]),
            smallest=int(values["smallest"]),
            multiple=int(values["multiple"]),
            size=None if size is None else (int(size[0]), int(size[1])),
        )
        for name in (PARAM, WEIGHTS):
            found, expected = (path / name).stat().st_size, int(values["bytes"][name])
            if found != expected:
                raise FullyConvError(
                    f"{name} has {found} bytes where {expected} were written; copy or export it "
                    "again"
                )
    except OSError as error:
        raise FullyConvError(
            f"{path}: this is no folder of an exported network: {Path(error.filename).name} cannot "
            f"be read ({error.strerror}); fcn export --to ncnn writes one"
        ) from error
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        raise FullyConvError(f"{path / DESCRIPTION}: not readable ({error!r})") from error
    except FullyConvError as error:
        raise FullyConvError(f"{path}: {error}") from error
    return folder
