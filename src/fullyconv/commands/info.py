"""``fcn info``."""

from __future__ import annotations

from json import dumps
from typing import Annotated

import tyro


def info(
    name: Annotated[str, tyro.conf.Positional] = "",
    size: tuple[int, int] = (500, 500),
    measure: tyro.conf.FlagCreatePairsOff[bool] = False,
    json: bool = False,
) -> int:
    """Describe a network or a checkpoint; without a name, list what there is.

    Args:
        name: voc-fcn8s, fcn8s_vgg16, camvid, a checkpoint...
        size: Height and width at which operations are counted and time is measured.
        measure: Also measure the time of a forward pass, which takes a few seconds.
        json: Print JSON.
    """
    from fullyconv.checkpoint import is_checkpoint, model_path, read_header

    if not name:
        _print_names(json)
        return 0
    if is_checkpoint(name):
        path = model_path(name)
        header = read_header(path)
        if json:
            print(header.to_json())
            return 0
        megabytes = path.stat().st_size / 1e6
        print(f"{path} ({megabytes:.1f} MB, fullyconv {header.version})\n{header}\n")
    from fullyconv.network_info import info as describe

    network = describe(name, size, measure)
    print(dumps(network.to_dict(), indent=1) if json else network)
    return 0


def _print_names(as_json: bool) -> None:
    from fullyconv.config import RELEASED_MODELS
    from fullyconv.networks import BACKBONES, SHIPPED_MODELS, model_names

    combined = [name for name in model_names() if name not in RELEASED_MODELS]
    groups = {
        "shipped models": list(SHIPPED_MODELS),
        "the authors' networks": list(RELEASED_MODELS),
        "networks over a backbone": combined,
        "backbones": list(BACKBONES),
    }
    if as_json:
        print(dumps(groups, indent=1))
        return
    for title, names in groups.items():
        print(f"{title}:\n  " + "\n  ".join(names))
