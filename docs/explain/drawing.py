"""A few shapes as SVG, for the pictures on these pages: dark on white in any theme."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

FOLDER = Path(__file__).resolve().parent  # where pictures go
INK, QUIET, BLUE = "#1b1f24", "#57606a", "#0a5fc2"
COLORS = ("#f2a65e", "#6ea8ec", "#74c69d", "#d592d8")


def blend(weights: Sequence[float], colors: Sequence[str] = COLORS) -> str:
    """The colours mixed by their weights; white for what the weights lack of 1."""
    total = max(1.0, sum(weights))
    mixed = [255.0 * (1 - sum(weights) / total)] * 3
    for weight, color in zip(weights, colors, strict=False):
        for channel in range(3):
            level = int(color[1 + 2 * channel : 3 + 2 * channel], 16)
            mixed[channel] += weight / total * level
    return "#" + "".join(f"{round(level):02x}" for level in mixed)


def shade(share: float) -> str:
    """From white at 0 to dark blue at 1."""
    share = min(1.0, max(0.0, share))
    return blend([share], ["#0a3f85"])


class Drawing:
    """An SVG picture; coordinates are pixels from its top left corner."""

    def __init__(self, width: int, height: int) -> None:
        self.size = (width, height)
        self.parts: list[str] = []

    def rect(
        self, x: float, y: float, w: float, h: float, fill: str = "none", line: str = INK,
        dashed: bool = False,
    ) -> None:  # fmt: skip
        """A rectangle; ``line`` may be ``"none"``."""
        dash = ' stroke-dasharray="3 3"' if dashed else ""
        self.parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{w:g}" height="{h:g}" fill="{fill}" '
            f'stroke="{line}"{dash}/>'
        )

    def text(
        self, x: float, y: float, words: object, size: float = 13, anchor: str = "middle",
        color: str = INK, bold: bool = False,
    ) -> None:  # fmt: skip
        """Words on the line at ``y``; ``anchor`` is start, middle or end."""
        weight = ' font-weight="600"' if bold else ""
        self.parts.append(
            f'<text x="{x:g}" y="{y:g}" font-size="{size:g}" text-anchor="{anchor}" '
            f'fill="{color}"{weight}>{escape(str(words))}</text>'
        )

    def cell(
        self, x: float, y: float, side: float, words: object = "", fill: str = "#ffffff",
        dashed: bool = False,
    ) -> None:  # fmt: skip
        """A square with words in its middle."""
        self.rect(x, y, side, side, fill, QUIET if dashed else INK, dashed)
        if words != "":
            ink = QUIET if dashed else INK
            self.text(x + side / 2, y + side * 0.66, words, side * 0.45, color=ink)

    def path(
        self, points: Sequence[tuple[float, float]], color: str = INK, width: float = 1.5,
        dashed: bool = False,
    ) -> None:  # fmt: skip
        """A line through points."""
        dash = ' stroke-dasharray="4 4"' if dashed else ""
        through = "L".join(f"{x:g} {y:g}" for x, y in points)
        self.parts.append(
            f'<path d="M{through}" fill="none" stroke="{color}" stroke-width="{width:g}"{dash}/>'
        )

    def dot(self, x: float, y: float, radius: float, fill: str = INK) -> None:
        """A filled circle."""
        self.parts.append(f'<circle cx="{x:g}" cy="{y:g}" r="{radius:g}" fill="{fill}"/>')

    def save(self, path: str) -> None:
        """Write it, to a path in FOLDER."""
        width, height = self.size
        text = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            f'width="{width}" height="{height}" font-family="system-ui, Helvetica, Arial, '
            f'sans-serif">\n<rect width="{width}" height="{height}" fill="#ffffff"/>\n'
        )
        (FOLDER / path).parent.mkdir(exist_ok=True)
        (FOLDER / path).write_text(text + "\n".join(self.parts) + "\n</svg>\n", "utf-8")
