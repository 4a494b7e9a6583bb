"""What is given away: wheel and sdist hold what they must and nothing else; licences are listed."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "fullyconv"
TRASH = re.compile(
    r"__pycache__|\.py[co]$|\.so$|(^|/)\.(venv|git|coverage|hypothesis)(/|$)|~$|\.part$"
)


def build(folder: Path) -> tuple[Path, Path]:
    """Wheel and sdist, as their build backend makes them."""
    pytest.importorskip("hatchling")
    code = (
        "import sys; from hatchling import build as b;"
        " print(b.build_wheel(sys.argv[1]), b.build_sdist(sys.argv[1]))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    wheel, sdist = result.stdout.split()[-2:]
    return folder / wheel, folder / sdist


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return build(tmp_path_factory.mktemp("dist"))


def test_the_wheel_holds_the_package_and_nothing_else(built: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(built[0]) as wheel:
        names = set(wheel.namelist())
        metadata = wheel.read(next(n for n in names if n.endswith("/METADATA"))).decode()
    about = {name for name in names if ".dist-info/" in name}
    there = {p.relative_to(ROOT / "src").as_posix() for p in PACKAGE.rglob("*") if p.is_file()}
    assert names - about == {name for name in there if not TRASH.search(name)}
    assert {name.partition("/")[2] for name in about} == {
        *("METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE")
    }
    for needed in (
        *("py.typed", "imagenet.txt", "shipped/camvid.safetensors", "shipped/camvid.onnx"),
        *("shipped/nyudv2.md", "serve/page/index.html", "serve/page/page.js"),
    ):
        assert f"fullyconv/{needed}" in names
    assert "Requires-Python: >=3.10" in metadata
    assert "License-Expression: BSD-2-Clause" in metadata


def test_the_sdist_holds_what_is_needed_to_work_on_it(built: tuple[Path, Path]) -> None:
    with tarfile.open(built[1]) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert not [name for name in names if TRASH.search(name)]
    for folder in ("src", "tests", "docs", "examples", "benchmarks"):
        files = [p for p in (ROOT / folder).rglob("*") if p.is_file()]
        there = {p.relative_to(ROOT).as_posix() for p in files}
        assert {name for name in there if not TRASH.search(name)} <= names
    for name in (
        *("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "THIRD-PARTY.md"),
        *("LICENSE", "CITATION.cff", "Makefile", "constraints.txt", "pyproject.toml", ".ci/run"),
    ):
        assert name in names


@pytest.mark.slow
def test_a_second_build_is_the_same(built: tuple[Path, Path], tmp_path: Path) -> None:
    """make dist does it, too."""
    for first, second in zip(built, build(tmp_path), strict=True):
        a, b = (hashlib.sha256(path.read_bytes()).hexdigest() for path in (first, second))
        assert a == b, first.name


def test_the_licence_of_every_package_is_listed() -> None:
    pytest.importorskip("tomllib")
    from licences import declared

    rows = re.findall(
        r"^\| ([\w-]+) \| [^|]+ \| ([^|]+) \| ([^|]+) \|$",
        (ROOT / "THIRD-PARTY.md").read_text(),
        re.MULTILINE,
    )
    listed = {name: set(where.split(", ")) for name, _, where in rows if name != "package"}
    for name, extras in declared().items():
        assert name in listed, f"{name} is not in THIRD-PARTY.md: make licences"
        assert "base" in listed[name] or extras <= listed[name], name
    licences = {name: licence for name, licence, _ in rows}
    copyleft = [n for n, text in licences.items() if re.search(r"\bA?GPL|General Public", text)]
    assert not copyleft  # MPL, which certifi and tqdm have, asks for nothing of those who import
