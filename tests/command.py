"""The command, run in this process."""

from __future__ import annotations

import sys

import pytest

from fullyconv import cli


def fcn(monkeypatch: pytest.MonkeyPatch, *args: object) -> int:
    """Run the command; its exit status."""
    monkeypatch.setattr(sys, "argv", ["fcn", *map(str, args)])
    with pytest.raises(SystemExit) as exit_info:
        cli.main()
    code = exit_info.value.code
    assert isinstance(code, int)
    return code
