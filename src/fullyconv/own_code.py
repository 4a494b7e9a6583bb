"""A user's own Python file, run because the command line names it and for no other reason."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

from fullyconv.errors import FullyConvError, UsageError

_OPTION = "--import"


def import_named(args: Sequence[str]) -> list[str]:
    """Import each file that a command line names by ``--import FILE.py``.

    Args:
        args: Command line.

    Returns:
        The rest of it.

    Raises:
        UsageError: If no file is named, or it is not there.
        FullyConvError: If it ends in an error.
    """
    rest: list[str] = []
    words = iter(args)
    for word in words:
        option, equals, file = word.partition("=")
        if option == _OPTION:
            _import(file if equals else next(words, ""))
        else:
            rest.append(word)
    return rest


def _import(file: str) -> None:
    path = Path(file).resolve()
    if path.suffix != ".py" or not path.is_file():
        raise UsageError(
            f"{_OPTION} {file}: there is no such Python file; name one of your own, such as "
            "own_backbone.py, that calls fullyconv.register_backbone"
        )
    name = f"imported_{path.stem}"  # a file called torch.py must not stand in torch's place
    spec = spec_from_file_location(name, path)
    assert spec is not None  # it ends in .py
    assert spec.loader is not None
    module = sys.modules[name] = module_from_spec(spec)
    sys.path.append(str(path.parent))  # its neighbours, as when Python runs it
    try:
        spec.loader.exec_module(module)
    except FullyConvError:
        raise
    except Exception as error:  # whatever a user's file raises
        raise FullyConvError(
            f"{_OPTION} {file}: it ended in {type(error).__name__}: {error}; --debug shows where"
        ) from error
