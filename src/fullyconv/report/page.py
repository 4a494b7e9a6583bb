"""The frame of a page that needs nothing from elsewhere: style sheet and tables."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

from fullyconv.files import write_text

STYLE = """
:root {
  color-scheme: light dark;
  --back: #ffffff; --text: #1b1f24; --quiet: #57606a; --rule: #d8dee4; --panel: #f6f8fa;
  --hit: #5b9df0; --miss: #f0883e;
  --c0: #0a5fc2; --c1: #bc4c00; --c2: #1a7f4b; --c3: #9a2f9a;
  --c4: #8a6100; --c5: #0b7c8c; --c6: #c2255c; --c7: #5c6570;
}
@media (prefers-color-scheme: dark) {
  :root {
    --back: #14171c; --text: #e6edf3; --quiet: #9aa5b1; --rule: #343b44; --panel: #1d2127;
    --hit: #2a62b0; --miss: #a8480f;
    --c0: #62b0ff; --c1: #ff9a62; --c2: #4fd39a; --c3: #e592e0;
    --c4: #e3b84a; --c5: #52cfe0; --c6: #ff8aa8; --c7: #b6bec8;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 74rem; overflow-wrap: anywhere;
  background: var(--back); color: var(--text);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
}
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .5rem; }
h3 { font-size: 1rem; margin: 1.5rem 0 .25rem; }
p, header p { margin: .25rem 0 .75rem; color: var(--quiet); }
summary { cursor: pointer; padding: .25rem 0; color: var(--quiet); }
summary h2 { display: inline; color: var(--text); }
section > details { margin-top: 2.5rem; }
:focus-visible { outline: 2px solid var(--c0); outline-offset: 2px; }
.facts {
  display: grid; gap: .75rem; margin: 1.25rem 0 0;
  grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr));
}
.facts div { background: var(--panel); border-radius: .5rem; padding: .6rem .8rem; }
dt { font-size: .8rem; color: var(--quiet); }
dd { margin: 0; font-weight: 600; font-variant-numeric: tabular-nums; }
.charts { display: grid; gap: 1.5rem 2rem; }
@media (min-width: 60rem) { .charts { grid-template-columns: 1fr 1fr; } }
figure { margin: 0; min-width: 0; }
section > figure, section > .charts, .wide + p { margin-top: 1rem; }
.charts figcaption { font-weight: 600; }
.chart { display: block; width: 100%; height: auto; }
svg text { font-size: 12px; fill: var(--text); }
svg .tick, svg .name { fill: var(--quiet); }
@media (max-width: 36rem) { .chart text { font-size: 16.5px; } }
.grid { stroke: var(--rule); fill: none; }
.axis { stroke: var(--quiet); fill: none; }
.c0 { --line: var(--c0); } .c1 { --line: var(--c1); } .c2 { --line: var(--c2); }
.c3 { --line: var(--c3); } .c4 { --line: var(--c4); } .c5 { --line: var(--c5); }
.c6 { --line: var(--c6); } .c7 { --line: var(--c7); }
path[class^="c"] {
  fill: none; stroke: var(--line); stroke-width: 2; stroke-linejoin: round; stroke-linecap: round;
}
path.faint { stroke-width: 1; opacity: .4; }
path.d0 { stroke-dasharray: 7 5; } path.d1 { stroke-dasharray: 1 5; }
path.d2 { stroke-dasharray: 9 4 1 4; }
circle { fill: var(--line); stroke: var(--back); }
.key { width: 1.6rem; height: .5rem; margin-right: .4rem; vertical-align: middle; flex: none; }
.legend {
  display: flex; flex-wrap: wrap; gap: .1rem 1.1rem; list-style: none; margin: 0; padding: 0;
  font-size: .85rem;
}
.wide { overflow-x: auto; max-width: 100%; }
table { border-collapse: collapse; font-size: .9rem; overflow-wrap: normal; }
th, td {
  padding: .3rem .9rem .3rem 0; border-bottom: 1px solid var(--rule);
  text-align: left; vertical-align: top;
}
thead th { font-weight: 600; vertical-align: bottom; }
tbody th { font-weight: 400; }
table.numbers { font-variant-numeric: tabular-nums; }
.numbers td, .numbers tbody th { white-space: nowrap; }
.apart { color: var(--quiet); }
.apart tr:first-child > * { border-top: 2px solid var(--quiet); }
.numbers .apart [colspan] { white-space: normal; font-style: italic; }
table:not(.numbers) td { overflow-wrap: anywhere; min-width: 7rem; }
.swatch {
  display: inline-block; width: .9em; height: .9em; margin-right: .5em; vertical-align: -.1em;
  border: 1px solid var(--quiet); border-radius: 2px;
}
.measure { display: flex; align-items: center; gap: .6rem; justify-content: flex-end; }
.bar { display: block; width: 8rem; height: .6rem; background: var(--panel); }
.bar span { display: block; height: 100%; background: var(--c0); }
@media (max-width: 36rem) { .bar { width: 3.5rem; } }
.matrix { display: block; overflow: visible; }
.area { fill: var(--panel); } .hit { fill: var(--hit); } .miss { fill: var(--miss); }
.share { pointer-events: none; }
img { display: block; width: 100%; height: auto; border-radius: .25rem; }
figcaption { font-size: .85rem; }
.before { display: grid; gap: 1rem; }
@media (min-width: 60rem) { .before { grid-template-columns: 1fr 1fr; } }
"""


def write_page(path: Path, title: str, body: str) -> Path:
    """Write a page of a title, as plain text, and the HTML that it shows; returns its path.

    Raises:
        FullyConvError: If the file cannot be written.
    """
    text = (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n<body>{body}</body></html>\n"
    )
    write_text(path, text)
    return path


def figure(file: str, told: str, caption: str) -> str:
    """A picture with a caption.

    Args:
        file: Its file, relative to the page.
        told: What it shows, for who cannot see it, as plain text.
        caption: What stands below it, as plain text.
    """
    source = escape(quote(os.fsencode(file)))
    return (
        f'<figure><img loading="lazy" src="{source}" alt="{escape(told)}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def sample_figure(file: str, name: str, caption: str) -> str:
    """A picture that shows photograph, truth and prediction side by side.

    Args:
        file: Its file, relative to the page.
        name: What it is of, as plain text.
        caption: What stands below it, as plain text.
    """
    return figure(file, f"{name}: photograph, truth and prediction side by side", caption)


def table(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    numbers: bool = True,
    apart: Mapping[str, Sequence[Sequence[str]]] | None = None,
) -> str:
    """A table that scrolls inside its own box; the first cell of a row is what it is about.

    Args:
        head: HTML of the columns' names.
        rows: HTML of the cells.
        numbers: Whether the cells are numbers, which stay on one line.
        apart: Further rows below a line, under HTML that says what they are.
    """
    top = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    kind = ' class="numbers"' if numbers else ""
    below = "".join(
        f'<tbody class="apart"><tr><th scope="rowgroup" colspan="{len(head)}">{name}</th></tr>'
        f"{_rows(group)}</tbody>"
        for name, group in (apart or {}).items()
    )
    return (
        f'<div class="wide" tabindex="0"><table{kind}><thead><tr>{top}</tr></thead>'
        f"<tbody>{_rows(rows)}</tbody>{below}</table></div>"
    )


def _rows(rows: Sequence[Sequence[str]]) -> str:
    return "".join(
        f'<tr><th scope="row">{name}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'
        for name, *cells in rows
    )
