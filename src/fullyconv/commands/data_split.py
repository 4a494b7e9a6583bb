"""``fcn data split``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro


def split(
    root: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")],
    out: Path,
    val: float = 0.2,
    test: float = 0.0,
    group: str | None = None,
    seed: int = 0,
    lists: bool = False,
) -> int:
    r"""Split a data set: what belongs together stays together, every part has all classes.

    Args:
        root: Data set with a classes.json.
        out: Folder to make, of hard links (copies on another file system).
        val: Share of the pictures to validate on.
        test: Share to test on.
        group: What stays together: a regular expression in the pictures' names, such as
            ^(scene\d+); folder, for the folders of the export; or a .csv file of lines name,group.
        seed: Another one gives another split.
        lists: Write only lists of names, train.txt and val.txt, to train on without new files.
    """
    from fullyconv.data.splitting import split_data

    options = {"val": val, "test": test}
    made = split_data(root, out, **options, group=group, seed=seed, lists=lists, progress=True)
    print(made)
    print(f"Next: fcn new {root} --lists {out}" if lists else f"Next: fcn new {out}")
    return 0
