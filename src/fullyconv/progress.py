"""Progress bars: on a terminal a bar, in a log a plain line now and then."""

from __future__ import annotations

import os
import sys
from typing import Any, TextIO

from tqdm import tqdm

_PAUSE = 30.0  # seconds between the lines of a log; what is done sooner has none
_LINE = "{l_bar} {n_fmt} of {total_fmt}, {elapsed}, {remaining} left, {rate_fmt}{postfix}"


class _Log:
    """A file in which every state of a bar is a line of its own: no carriage returns."""

    def __init__(self, file: TextIO) -> None:
        self.file = file

    def write(self, text: str) -> None:
        if said := text.strip():
            print(said, file=self.file, flush=True)

    def flush(self) -> None:
        self.file.flush()


def progress_bar(*args: Any, **kwargs: Any) -> Any:
    """Tqdm's bar by tqdm's arguments; where standard error is no terminal, lines of text."""
    if not sys.stderr.isatty():
        plain = {"file": _Log(sys.stderr), "bar_format": _LINE, "delay": _PAUSE}
        kwargs = plain | {"mininterval": _PAUSE, "maxinterval": 2 * _PAUSE} | kwargs
    elif _is_without_a_window(sys.stderr):  # tqdm finds no room for a bar then
        kwargs = {"ncols": 80, "nrows": 24} | kwargs
    return tqdm(*args, **kwargs)


def _is_without_a_window(terminal: TextIO) -> bool:
    """Whether a terminal says that it is 0 wide or high, as those of scripts do."""
    try:
        return 0 in os.get_terminal_size(terminal.fileno())
    except OSError:  # no file of this process
        return False


def say_nothing(text: str) -> None:
    """For who does not want to be told, and for processes that are not the first one."""
