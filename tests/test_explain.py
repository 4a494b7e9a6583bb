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
    assert drawn <= shown(page)
    if missing:
        pytest.skip(f"a part needs {', '.join(missing)}")
    assert drawn == shown(page)
    for name in drawn:
        committed = FOLDER / name
        assert (tmp_path / name).read_bytes() == committed.read_bytes(), name
        assert committed.stat().st_size < 100_000


def test_every_committed_picture_is_on_a_page() -> None:
    committed = {f"img/{path.name}" for path in (FOLDER / "img").iterdir()}
    assert committed == set().union(*map(shown, PAGES))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)", page.read_text("utf-8"))
    assert links
    for link in links:
        assert (FOLDER / link).exists(), link


def test_the_index_lists_every_page() -> None:
    listed = re.findall(r"\]\(([\w-]+\.md)\)", (FOLDER / "index.md").read_text("utf-8"))
    assert {*listed, "index.md"} == {page.name for page in PAGES}


def test_a_page_that_is_wrong_is_found(pages: Any, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```python\nx = 1\n```\n\n```python\n>>> x + 1\n3\n```\n")
    with pytest.raises(AssertionError, match=r"Expected:\s+3\s+Got:\s+2"):
        pages.run_page(page, tmp_path)
    page.write_text("```python\nx = 1 / 0\n```\n")
    with pytest.raises(ZeroDivisionError):
        pages.run_page(page, tmp_path)
    page.write_text("```python needs=no_such_package\n1 / 0\n```\n")
    assert pages.run_page(page, tmp_path) == ["no_such_package"]


SETTINGS = ("n", "kernel_size", "stride", "padding", "output_padding", "dilation")
ALL_SETTINGS = [
    dict(zip(SETTINGS, values, strict=True))
    for values in product(range(1, 6), range(1, 6), range(1, 5), range(4), range(4), range(1, 4))
]


def test_the_interactive_page_is_pytorchs_transposed_convolution() -> None:
    """Its own functions, run by Node.js: sizes, what is refused, and which cells touch which."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("Node.js is not here to run the page's functions")
    html = (FOLDER / "transposed-convolution.html").read_text("utf-8")
    formula = re.search(r"// <formula>\n(.*?)// </formula>", html, re.DOTALL)
    assert formula is not None
    script = (
        f"{formula[1]} const all = {json.dumps(ALL_SETTINGS)};"
        "console.log(JSON.stringify(all.map(s => [problem(s), outputSize(s), pairs(s)])))"
    )
    answer = subprocess.run([node, "-"], input=script, capture_output=True, text=True, check=True)
    for s, (problem, size, pairs) in zip(ALL_SETTINGS, json.loads(answer.stdout), strict=True):
        n, kernel_size = s["n"], s["kernel_size"]
        kernel = torch.arange(1.0, kernel_size + 1).view(1, 1, -1)
        options = (s["stride"], s["padding"], s["output_padding"], 1, s["dilation"])
        if size < 1:  # PyTorch refuses it or gives an empty map, as its version is
            assert problem, s
            continue
        try:
            out = F.conv_transpose1d(torch.eye(n)[:, None], kernel, None, *options)[:, 0]
        except RuntimeError:
            assert "output_padding" in problem, s
            continue
        assert not problem, s
        touched = torch.zeros(n, size)
        for pair in pairs:
            if 0 <= pair["j"] < size:
                touched[pair["i"], pair["j"]] += pair["m"] + 1
        torch.testing.assert_close(touched, out)


def test_the_interactive_page_needs_nothing_from_elsewhere() -> None:
    html = (FOLDER / "transposed-convolution.html").read_text("utf-8")
    assert not re.search(r"https?:|src=|@import|url\(|<link", html)
    assert len(html.splitlines()) < 250
