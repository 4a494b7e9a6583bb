"""What the site holds beyond docs/: pages of other folders, the commands' own help, linked files.

Documents stay readable where they lie, with links from file to file; the links follow them here.
"""

from __future__ import annotations

import contextlib
import io
import os
import posixpath
import re
from pathlib import Path
from unittest import mock

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
# Documents that lie elsewhere, and the pages they become
PAGES = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "README.md": "index.md",
    "SECURITY.md": "security.md",
    "THIRD-PARTY.md": "third-party.md",
    "examples/README.md": "examples.md",
    "src/fullyconv/shipped/camvid.md": "models/camvid.md",
    "src/fullyconv/shipped/nyudv2.md": "models/nyudv2.md",
}
_LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#|/)([^)#\s]+)")
_FENCED = re.compile(r"(^ *```.*?^ *```$)", re.MULTILINE | re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the documents that lie elsewhere, and the page of commands."""
    for source, target in PAGES.items():
        if target != "index.md":
            text = _relinked((ROOT / source).read_text("utf-8"), source, target, files, config)
            files.append(File.generated(config, target, content=text))
    files.append(File.generated(config, "reference/commands.md", content=commands()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links from docs/ to the rest of the repository lead to where that is on the site."""
    here = page.file.src_uri
    markdown = re.sub(r"^```python needs=.*$", "```python", markdown, flags=re.MULTILINE)
    if page.file.generated_by:
        return markdown
    return _relinked(markdown, f"docs/{here}", here, files, config)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Of the roles in docstrings (:func:`~fullyconv.train`), show the name."""
    return re.sub(r":\w+:<code>~?(?:[\w.]+\.)?([^<]+)</code>", r"<code>\1</code>", html)


def _relinked(text: str, source: str, target: str, files: Files, config: MkDocsConfig) -> str:
    """A document's text with its links as they must be on its page of the site."""

    def moved(link: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), link[1]))
        if path in PAGES:
            place = PAGES[path]
        elif path.startswith("docs/"):
            place = path.removeprefix("docs/")
        elif (ROOT / path).is_file() and not path.endswith(".md"):  # as it is, beside the pages
            place = f"repository/{path}"
            if files.get_file_from_path(place) is None:
                files.append(File.generated(config, place, abs_src_path=str(ROOT / path)))
        else:
            return link[0]  # the strict build says what is wrong with it
        return posixpath.relpath(place, posixpath.dirname(target) or ".")

    parts = _FENCED.split(text)
    return "".join(p if i % 2 else _LINK.sub(moved, p) for i, p in enumerate(parts))


def commands() -> str:
    """The page of all commands: what each prints for --help."""
    parts = ["# Commands\n\nWhat `fcn COMMAND --help` prints, taken when this page was built.\n"]
    top = _help()
    parts.append(f"```text\n{top}```\n")
    for verb in _subcommands(top):
        said = _help(verb)
        parts.append(f"## fcn {verb}\n\n```text\n{said}```\n")
        # each of train's is a recipe, and they all have the same options
        for sub in ["finetune"] if verb == "train" else _subcommands(said):
            parts.append(f"### fcn {verb} {sub}\n\n```text\n{_help(verb, sub)}```\n")
    return "\n".join(parts)


def _subcommands(said: str) -> list[str]:
    found = re.search(r"^usage: fcn[\w -]*\[-h\] \{([\w,-]+)\}$", said, re.MULTILINE)
    return found[1].split(",") if found else []


def _help(*verbs: str) -> str:
    from fullyconv import cli

    said = io.StringIO()
    width = mock.patch.dict(os.environ, {"COLUMNS": "88", "NO_COLOR": "1", "TERM": "dumb"})
    with width, contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        cli.run([*verbs, "--help"])
    lines = (line.rstrip() for line in said.getvalue().splitlines())
    return "\n".join(line for line in lines if not re.fullmatch(r" *-{20,}", line)) + "\n"
