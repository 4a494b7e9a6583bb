"""``fcn data``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from fullyconv.commands.data_check import check_data, stats_data
from fullyconv.commands.data_export import export
from fullyconv.commands.data_import import formats, import_
from fullyconv.commands.data_split import split
from fullyconv.commands.data_tiles import tiles
from fullyconv.commands.group import Group


def _list_data() -> int:
    """What can be prepared, what to download, and how it should look."""
    from fullyconv.data.prepare import PREPARERS

    for name, preparer in PREPARERS.items():
        print(f"{name}: {preparer.description}\n  download: {preparer.download}")
        print(f"  expected: {preparer.structure}")
        more = "".join(f", and by --splits {split}" for split in preparer.more_splits)
        print(f"  splits: {', '.join(preparer.splits)}{more}")
    return 0


def _prepare_data(
    name: Annotated[str, tyro.conf.Positional],
    sources: Annotated[list[Path], tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE")],
    out: Path,
    splits: list[str] | None = None,
    workers: int | None = None,
) -> int:
    """Make a data set's folders of images and labels; called again, it goes on where it ended.

    Args:
        name: voc, sbd, nyudv2, siftflow, pascalcontext or camvid; see fcn data list.
        sources: Extracted folders or the published archives.
        out: Folder to make.
        splits: Splits to make; the usual ones if none is named, as fcn data list has them. Only if
            named: val-official (voc's own val) and sbd-val (sbd's).
        workers: Processes; as many as there are processors, if not given.
    """
    from fullyconv.data.prepare import prepare

    print(prepare(name, sources, out, splits=splits, workers=workers, progress=True))
    return 0


data = Group(
    "Make a data set that training reads, of whatever there is; check it, count it, export it.",
    {
        "check": check_data,
        "stats": stats_data,
        "import": import_,
        "formats": formats,
        "export": export,
        "split": split,
        "tiles": tiles,
        "prepare": _prepare_data,
        "list": _list_data,
    },
)
