"""The fenced blocks of the documents, and a folder in which what they say can be done.

A block is run unless the line before it says why not: ``<!-- not run: needs a camera -->``. With
``<!-- not run: "fcn predict camera:0": needs a camera -->`` only its lines that begin so are not.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [
    *(
        ROOT / name
        for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "examples/README.md")
    ),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "src").rglob("*.md")),
]
_FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_MARK = re.compile(r'<!-- not run: (?:"(.+?)": )?(.{8,}) -->')


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        page: Path of its document in the repository.
        line: Of its fence.
        language: What stands behind the fence.
        text: Its content.
        skipped: Beginnings of lines that are not run, with the reason; "" stands for all lines.
    """

    page: str
    line: int
    language: str
    text: str
    skipped: dict[str, str]

    def commands(self) -> list[str]:
        """Its lines as a shell reads them, without comments."""
        joined = re.sub(r"\\\n\s*", "", self.text)
        lines = (re.sub(r"(^|  *)# .*$", "", line).strip() for line in joined.splitlines())
        return [line for line in lines if line]

    def is_skipped(self, line: str = "") -> bool:
        """Whether a line of it, or all of it, is marked as not run."""
        return any(line.startswith(start) if start else True for start in self.skipped)


def blocks(document: Path) -> list[Block]:
    """The fenced blocks of a document, in order."""
    text, found = document.read_text("utf-8"), []
    for fence in _FENCE.finditer(text):
        before = text[: fence.start()]
        marks = re.search(r"(?:^<!-- .*? -->\n)+\n?\Z", before, re.MULTILINE)
        skipped = dict(_MARK.findall(marks[0])) if marks else {}
        page = str(document.relative_to(ROOT))
        found.append(Block(page, before.count("\n") + 1, fence[1], fence[2], skipped))
    return found
