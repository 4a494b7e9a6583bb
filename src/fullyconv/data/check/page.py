"""What the doctor found, as a page with small pictures of each finding."""

from __future__ import annotations

from html import escape
from pathlib import Path

from fullyconv.data.check.finding import Example, Finding
from fullyconv.data.check.report import Report
from fullyconv.data.check.thumbnails import thumbnail
from fullyconv.report.page import table, write_page

_SHOWN = 12  # of each finding; the text names more
_NAMED = 50


def write_findings_page(path: Path, report: Report) -> Path:
    """Write a page that needs nothing from elsewhere; returns its path.

    Raises:
        FullyConvError: If it cannot be written.
    """
    name = report.root.resolve().name
    rows = [
        [
            f'<a href="#{found.kind.name}">{found.kind.name}</a>',
            found.kind.severity,
            f"{found.count:,}",
            escape(found.kind.what),
        ]
        for found in report.findings
    ]
    listed = table(["finding", "how bad", "how often", "what it means"], rows, numbers=False)
    sections = "".join(_section(report, found) for found in report.findings)
    body = (
        f"<header><h1>{escape(name)}</h1><p>{escape(report.summary())}</p></header>"
        f"{listed if rows else '<p>Nothing was found.</p>'}{sections}"
    )
    return write_page(path, f"{name}: what was found", f"<style>{_STYLE}</style>{body}")


_STYLE = """
.found { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(17rem, 1fr)); }
.found img { width: auto; max-width: 100%; max-height: 7.5rem; }
"""


def _section(report: Report, found: Finding) -> str:
    kind = found.kind
    figures = "".join(_figure(report, example) for example in found.examples[:_SHOWN])
    more = found.examples[_SHOWN:_NAMED]
    others = "".join(f"<li>{escape(str(example))}</li>" for example in more)
    unnamed = found.count - _SHOWN - len(more)
    if unnamed > 0:
        others += f"<li>and {unnamed:,} more</li>"
    listed = f"<details><summary>{len(more) + max(0, unnamed):,} more</summary><ul>{others}</ul>"
    return (
        f'<section id="{kind.name}"><h2>{kind.severity}: {kind.name} ({found.count:,})</h2>'
        f'<p>{escape(found.sentence)}.</p><div class="found">{figures}</div>'
        f"{listed + '</details>' if others else ''}</section>"
    )


def _figure(report: Report, example: Example) -> str:
    source = thumbnail(report.root, example, report.labels)
    shown = f'<img loading="lazy" src="{source}" alt="">' if source else ""
    return f"<figure>{shown}<figcaption>{escape(str(example))}</figcaption></figure>"
