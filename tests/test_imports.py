"""What a command imports before it does anything: counted by Python itself (-X importtime)."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

STREET = Path(__file__).resolve().parents[1] / "examples" / "wide_road_overcast.jpg"
COMMAND_LINE = {"tyro", "docstring_parser", "typeguard", "typing_extensions"}
PICTURES = {"numpy", "PIL"} | {"defusedxml", "olefile", "cffi"}  # the last: if Pillow finds them
PREDICTING = PICTURES | {"onnxruntime", "psutil", "tqdm"}


def imported(*words: str) -> set[str]:
    """Modules that a command imports, by their full names."""
    result = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "fullyconv", *words],
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [line for line in result.stderr.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip() for line in lines[1:]}


@pytest.mark.parametrize(
    ("words", "packages", "most"),
    [
        (["--version"], COMMAND_LINE, 220),
        (["--help"], COMMAND_LINE, 350),
        (["predict", "--help"], COMMAND_LINE, 350),
        (["predict", str(STREET), "--out"], COMMAND_LINE | PREDICTING, 620),
        (["weights", "list"], COMMAND_LINE | {"tqdm"}, 330),
        (["data", "list"], COMMAND_LINE | PICTURES | {"tqdm"}, 490),
        (["info"], COMMAND_LINE | {"numpy"}, 480),
        (["train", "--help"], COMMAND_LINE | {"numpy"}, 370),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, list) else "",
)
def test_a_command_imports_what_it_needs_and_no_more(
    words: list[str], packages: set[str], most: int, tmp_path: Path
) -> None:
    """No torch, no scipy, no rasterio; and not ever more of what is allowed.

    On an idle machine a module costs about half a millisecond: fcn --version takes 0.15 s of the
    processor.
    """
    modules = imported(*words, *([str(tmp_path)] if words[-1] == "--out" else []))
    foreign = {module.partition(".")[0] for module in modules} - set(sys.stdlib_module_names)
    # modules of the installation itself: editable installs, coverage in children
    foreign = {name for name in foreign if not name.startswith(("_", "fullyconv", "coverage"))}
    foreign -= {"sitecustomize", "pytest_cov"}
    # what packages ask for in vain, as tqdm for envwrap, is listed too
    foreign = {name for name in foreign if importlib.util.find_spec(name)}
    assert foreign <= packages
    assert len(modules) <= most
