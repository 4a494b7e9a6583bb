"""The pages in docs/explain: their code runs, prints what they say and draws what they show."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "explain"
PAGES = sorted(FOLDER.glob("*.md"))


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module that runs a page."""
    monkeypatch.syspath_prepend(FOLDER)
    spec = importlib.util.spec_from_file_location("explain_pages", FOLDER / "pages.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def shown(page: Path) -> set[str]:
    """The pictures on a page."""
    return set(re.findall(r"!\[[^\]]+\]\((img/[^)]+)\)", page.read_text("utf-8")))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_prints_and_draws_what_it_shows(pages: Any, page: Path, tmp_path: Path) -> None:
    missing = pages.run_page(page, tmp_path)
    drawn = {f"img/{path.name}" for path in (tmp_path / "img").glob("*")}
    assert drawn == shown(page)
    for name in drawn:
        committed = FOLDER / name
        assert (tmp_path / name).read_bytes() == committed.read_bytes(), name
        assert committed.stat().st_size < 100_000
    if missing:
        pytest.skip(f"all but a part that needs {', '.join(missing)}")


def test_every_committed_picture_is_on_a_page() -> None:
    committed = {f"img/{path.name}" for path in (FOLDER / "img").iterdir()}
    assert committed == set().union(*map(shown, PAGES))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    prose = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    links = re.findall(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)", prose)
    assert links
    for link in links:
        assert (FOLDER / link).exists(), link


def test_the_index_lists_every_page() -> None:
    listed = re.findall(r"\]\(([\w-]+\.md)\)", (FOLDER / "index.md").read_text("utf-8"))
    assert {*listed, "index.md"} == {page.name for page in PAGES}


def test_the_table_of_deviations_names_files_that_exist() -> None:
    rows = re.findall(r"^\| .*\| (.*) \|$", (FOLDER / "deviations.md").read_text(), re.MULTILINE)
    files = [name for row in rows for name in re.findall(r"[\w/]+\.py", row)]
    assert len(files) > 20
    for name in files:
        assert (FOLDER.parents[1] / "src" / "fullyconv" / name).is_file(), name


def test_a_page_that_is_wrong_is_found(pages: Any, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```python\nx = 1\n```\n\n```python\n>>> x + 1\n3\n```\n")
    with pytest.raises(AssertionError, match=r"Expected:\s+3\s+Got:\s+2"):
        pages.run_page(page, tmp_path)
    page.write_text("```python\nx = 1 / 0\n```\n")
    with pytest.raises(ZeroDivisionError):
        pages.run_page(page, tmp_path)
    page.write_text("<details>\n```python\nx = 1\n```\n</details>\n```python\n>>> x\n1\n```\n")
    with pytest.raises(AssertionError, match="name 'x' is not defined"):
        pages.run_page(page, tmp_path)
    page.write_text("```python needs=no_such_package\n1 / 0\n```\n")
    assert pages.run_page(page, tmp_path) == ["no_such_package"]


SETTINGS = ("n", "kernel_size", "stride", "padding", "output_padding", "dilation")
RANGES = ((1, 3, 8), (1, 2, 5, 8), (1, 2, 3, 4), (0, 1, 4), (0, 1, 3), (1, 3))
ALL_SETTINGS = [dict(zip(SETTINGS, values, strict=True)) for values in product(*RANGES)]


def run_formula(expression: str) -> Any:
    """What a JavaScript expression over ``all`` settings is, with the page's own functions."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("Node.js is not here to run the page's functions")
    html = (FOLDER / "transposed-convolution-interactive.html").read_text("utf-8")
    formula = re.search(r"// <formula>\n(.*?)// </formula>", html, re.DOTALL)
    assert formula is not None
    script = (
        f"{formula[1]} const all = {json.dumps(ALL_SETTINGS)};"
        f"console.log(JSON.stringify({expression}))"
    )
    answer = subprocess.run([node, "-"], input=script, capture_output=True, text=True, check=True)
    return json.loads(answer.stdout)


def stamps(s: dict[str, int]) -> torch.Tensor:
    """(n, output cells): the number of the weight, from 1, by which one cell touches another."""
    kernel = torch.arange(1.0, s["kernel_size"] + 1).view(1, 1, -1)
    options = (s["stride"], s["padding"], s["output_padding"], 1, s["dilation"])
    return F.conv_transpose1d(torch.eye(s["n"])[:, None], kernel, None, *options)[:, 0]


def test_the_interactive_page_knows_what_pytorch_does() -> None:
    """Settings from one end of its sliders to the other: what is refused, and the size."""
    for s, (problem, size) in zip(
        ALL_SETTINGS, run_formula("all.map(s => [problem(s), outputSize(s)])"), strict=True
    ):
        if size < 1:  # PyTorch refuses it or gives an empty map, as its version is
            assert problem, s
        elif problem:
            assert "output_padding" in problem
            assert s["output_padding"] >= max(s["stride"], s["dilation"])
        else:
            assert stamps(s).shape[1] == size, s
    refused = {"n": 2, "kernel_size": 3, "stride": 2, "padding": 0, "dilation": 1}
    with pytest.raises(RuntimeError, match="output padding must be smaller"):
        stamps({**refused, "output_padding": 2})


def test_the_interactive_page_draws_the_cells_that_touch() -> None:
    some = [s for s in ALL_SETTINGS if s["n"] == 3]
    drawn = run_formula("all.filter(s => s.n === 3).map(s => problem(s) ? null : pairs(s))")
    for s, pairs in zip(some, drawn, strict=True):
        if pairs is None:
            continue
        expected = stamps(s)
        touched = torch.zeros_like(expected)
        for pair in pairs:
            if 0 <= pair["j"] < touched.shape[1]:
                touched[pair["i"], pair["j"]] += pair["m"] + 1
        assert torch.equal(touched, expected), s


def test_the_interactive_page_needs_nothing_from_elsewhere() -> None:
    html = (FOLDER / "transposed-convolution-interactive.html").read_text("utf-8")
    assert not re.search(r"https?:|src=|@import|url\(|<link", html)
    assert len(html.splitlines()) < 250
