"""``fcn weights``."""

from __future__ import annotations

from dataclasses import asdict
from json import dumps
from pathlib import Path
from typing import Annotated

import tyro

from fullyconv.commands.group import Group


def _list_weights(json: bool = False) -> int:
    """Every published file: what it fits, its size, checksum and licence, how to get it.

    Args:
        json: Print JSON.
    """
    from fullyconv.weights import cache_folder, list_weights

    rows = list_weights()
    if json:
        listed = [{**asdict(e), "path": str(path) if path else None} for e, path in rows]
        print(dumps(listed, indent=1))
        return 0
    for entry, path in rows:
        size = f"{entry.size / 1e6:.0f} MB" if entry.size else "size not published"
        known = "sha256" if entry.sha256 else "sha1" if entry.sha1 else "no checksum published"
        print(f"{entry.name} for {entry.holds}: {size}, {known}")
        print(f"  {entry.address or 'nowhere'}")
        print(f"  licence: {entry.licence}")
        if entry.note:
            print(f"  {entry.note}")
        print(f"  {'here: ' + str(path) if path else 'get it: ' + entry.how}")
    print(f"\nCache: {cache_folder()} (FULLYCONV_HOME); FULLYCONV_OFFLINE=1 downloads nothing.")
    return 0


def _get_weights(
    name: Annotated[str, tyro.conf.Positional],
    source: Annotated[Path | None, tyro.conf.arg(name="from")] = None,
    offline: bool = False,
) -> int:
    """Download a file into the cache, going on where a broken download ended, and check it.

    Args:
        name: As fcn weights list prints it.
        source: The file, got by hand: it is checked and copied.
        offline: Download nothing.
    """
    from fullyconv.weights import get

    print(get(name, source=source, offline=offline))
    return 0


def _verify_weights(name: Annotated[str, tyro.conf.Positional]) -> int:
    """Check a file in the cache again, and say which checksum it was held against.

    Args:
        name: As fcn weights list prints it.
    """
    from fullyconv.weights import verify

    checked = verify(name)
    print(f"{checked.path}\n  {checked.checksum} ({checked.origin})")
    return 0


def _import_weights(
    name: Annotated[str, tyro.conf.Positional],
    out: Annotated[Path, tyro.conf.Positional],
    source: Annotated[Path | None, tyro.conf.arg(name="from")] = None,
    partial: bool = False,
    width: float = 1.0,
) -> int:
    """Turn a .caffemodel of the authors' release into a checkpoint that predicts and trains.

    Args:
        name: Network, such as voc-fcn8s.
        out: The .safetensors file to write.
        source: The .caffemodel; without it, the published one from the cache or its address.
        partial: Accept a file that lacks layers or has more.
        width: Factor on the hidden channels, for small copies.
    """
    from fullyconv.conversion import import_caffemodel
    from fullyconv.weights import WEIGHTS, get

    licence = "as the file's owner says"
    if source is None:
        source, licence = get(name), WEIGHTS[name].licence
    report = import_caffemodel(source, name, out, licence=licence, partial=partial, width=width)
    print(f"{report}\n{out}\nNext: fcn predict PHOTO --model {out}")
    return 0


weights = Group(
    "List, get, check and import published weights: the authors' networks, ImageNet's.",
    {
        "list": _list_weights,
        "get": _get_weights,
        "verify": _verify_weights,
        "import": _import_weights,
    },
)
