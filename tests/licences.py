"""The packages that fullyconv may bring with it, and their licences, as a table (make licences)."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import tomllib
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from fullyconv.files import write_text

ROOT = Path(__file__).resolve().parents[1]
PATH = ROOT / "THIRD-PARTY.md"
_TOOLS = {"dev", "docs"}
_HEAD = """\
# Packages of others, and their licences

None of their code is in this package: `pip` installs them beside it. *Where* says what brings one:
nothing more than `pip install fullyconv` (base), or an extra; those that the tests alone need are
left out. Written by `make licences` from what the packages say of themselves, together with what
they bring along; a test holds the list against `pyproject.toml`. The weights and data that the
commands fetch have terms of their own: `fcn weights list`.

| package | version | licence | where |
|---|---|---|---|
"""


def declared() -> dict[str, set[str]]:
    """The packages named in pyproject.toml, and the extras that bring them; "base" for none."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = {"base": project["dependencies"], **project["optional-dependencies"]}
    found: dict[str, set[str]] = {}
    for where, texts in groups.items():
        for name in (Requirement(text).name for text in texts):
            if where not in _TOOLS and name != "fullyconv":
                found.setdefault(canonicalize_name(name), set()).add(where)
    return found


def brought_along(found: dict[str, set[str]]) -> dict[str, set[str]]:
    """The same with what they need in turn, as far as it is installed."""
    every = {name: set(where) for name, where in found.items()}
    queue = list(every)
    while queue:
        name = queue.pop()
        try:
            needs = distribution(name).requires or []
        except PackageNotFoundError:
            continue
        for requirement in map(Requirement, needs):
            if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
                continue
            needed = canonicalize_name(requirement.name)
            before = every.setdefault(needed, set())
            if not every[name] <= before:
                before |= every[name]
                queue.append(needed)
    return every


def table() -> str:
    """The document."""
    every = brought_along(declared())
    said = subprocess.run(
        [sys.executable, "-m", "piplicenses", "--format=json", "--from=mixed", "--with-system"],
        capture_output=True,
        text=True,
        check=True,
    )
    known: dict[str, dict[str, str]] = {
        canonicalize_name(row["Name"]): row for row in json.loads(said.stdout)
    }
    absent: dict[str, str] = {
        "Version": "-",
        "License": "not looked at: not installed where this was written",
    }
    rows = []
    for name in sorted(every):
        row = known.get(name, absent)
        version = row["Version"].partition("+")[0]
        licence = row["License"].replace("UNKNOWN", "not stated by the package")
        where = "base" if "base" in every[name] else ", ".join(sorted(every[name]))
        rows.append(f"| {name} | {version} | {licence} | {where} |\n")
    return _HEAD + "".join(rows)


if __name__ == "__main__":
    write_text(PATH, table())
