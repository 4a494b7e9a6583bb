"""``fcn weights``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from fullyconv.commands.group import Group

if TYPE_CHECKING:
    from fullyconv.weights_table import WeightFile


def _list_weights(
    name: Annotated[str, tyro.conf.Positional] = "",
    json: bool = False,
) -> int:
    """Every published file: what it fits, its size, checksum and terms; of one, how to get it.

    Args:
        name: One of them, in full: with its address, and how to get it.
        json: Print JSON.
    """
    from fullyconv.weights import cache_folder, list_weights

    rows = list_weights(name)
    if json:
        listed = [{**asdict(e), "path": str(path) if path else None} for e, path in rows]
        print(dumps(listed, indent=1))
    elif name:
        print(_in_full(*rows[0]))
    else:
        print(_table(rows))
        print("\nMB and checksum as published; - where they are not.")
        print("fcn weights list NAME: address, and how to get it.")
        print(f"Cache: {cache_folder()} (FULLYCONV_HOME); FULLYCONV_OFFLINE=1 downloads nothing.")
    return 0


def _table(rows: Sequence[tuple[WeightFile, Path | None]]) -> str:
    """A line for each file, and below them the terms by their number."""
    terms = {licence: str(i) for i, licence in enumerate({e.licence: 0 for e, _ in rows}, 1)}
    cells = [("name", "for", "MB", "checksum", "terms", "here")]
    cells += [
        (e.name, e.holds, _megabytes(e), _checksum(e), terms[e.licence], "yes" if path else "")
        for e, path in rows
    ]
    width, holds = (max(len(line[i]) for line in cells) for i in (0, 1))
    lines = [
        f"{name:<{width}}  {fits:<{holds}}  {size:>4}  {known:<8}  {term:>5}  {here}".rstrip()
        for name, fits, size, known, term, here in cells
    ]
    return "\n".join([*lines, "", "terms:", *(f"{i:>3}  {text}" for text, i in terms.items())])


def _in_full(entry: WeightFile, path: Path | None) -> str:
    lines = {
        "name": entry.name,
        "for": entry.holds,
        "address": entry.address or "nowhere",
        "MB": _megabytes(entry),
        "checksum": " ".join(filter(None, (_checksum(entry), entry.sha256 or entry.sha1))),
        "terms": entry.licence,
        "note": entry.note,
        "here" if path else "get it": str(path or entry.how),
    }
    return "\n".join(f"{title:<10}{text}" for title, text in lines.items() if text)


def _megabytes(entry: WeightFile) -> str:
    return f"{entry.size / 1e6:.0f}" if entry.size else "-"


def _checksum(entry: WeightFile) -> str:
    return "sha256" if entry.sha256 else "sha1" if entry.sha1 else "-"


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
