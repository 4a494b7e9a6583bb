"""Run the Python on these pages: it checks what they print and draws their pictures.

``python docs/explain/pages.py`` runs every page and draws docs/explain/img anew.
"""

from __future__ import annotations

import doctest
import os
import re
from importlib.util import find_spec
from pathlib import Path

import drawing

HERE = Path(__file__).resolve().parent
_DETAILS = ("<details>", "</details>")
_BLOCK = re.compile(r"^```python(?: needs=([\w.,]+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def run_page(page: Path, folder: Path) -> list[str]:
    """Run a page's blocks from top to bottom, in one namespace, from the repository's root.

    What folded blocks define, visible ones do not see: a reader pastes what is visible.

    Args:
        page: A Markdown file.
        folder: Where its pictures go, into img/.

    Returns:
        The modules that blocks need (``python needs=MODULE,MODULE`` at their fence) and that are
        not installed; these blocks were left out.

    Raises:
        AssertionError: If a block prints something else than the page says.
    """
    text, missing = page.read_text("utf-8"), []
    names, folded = {"__name__": page.stem}, {}
    before = Path.cwd()
    os.chdir(HERE.parents[1])
    drawing.FOLDER = folder
    try:
        for block in _BLOCK.finditer(text):
            code, line = block[2], text.count("\n", 0, block.start(2))
            lacking = [name for name in (block[1] or "").split(",") if name and not find_spec(name)]
            opened, closed = (text.count(tag, 0, block.start()) for tag in _DETAILS)
            folded.update(names)
            here = folded if opened > closed else names
            if lacking:
                missing += lacking
            elif code.startswith(">>>"):
                _check(code, here, page, line)
            else:
                exec(compile("\n" * line + code, str(page), "exec"), here)
    finally:
        os.chdir(before)
    return missing


def _check(code: str, names: dict[str, str], page: Path, line: int) -> None:
    parsed = doctest.DocTestParser().get_doctest(code, {}, page.name, str(page), line)
    parsed.globs = names  # doctest would copy them
    said: list[str] = []
    doctest.DocTestRunner(verbose=False).run(parsed, out=said.append, clear_globs=False)
    assert not said, "".join(said)


if __name__ == "__main__":
    for found in sorted(HERE.glob("*.md")):
        run_page(found, HERE)
