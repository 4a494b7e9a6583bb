"""``fcn study``."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tyro

from fullyconv.commands.training_studies import TRAINING


def study(args: Sequence[str]) -> int:
    """Run one of the paper's studies and show its table beside what was published.

    Args:
        args: Command line after ``fcn study``.
    """
    return int(tyro.extras.subcommand_cli_from_dict(_STUDIES, args=list(args), prog="fcn study"))


_STUDIES: dict[str, Callable[..., int]] = {**TRAINING}
