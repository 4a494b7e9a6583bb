"""A finding, and collecting them without remembering every file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from fullyconv.data.check.kinds import KINDS, Kind

MOST_EXAMPLES = 1000
"""Examples kept of each kind; the others are only counted, so that memory stays flat."""


@dataclass(frozen=True)
class Example:
    """Where something was found.

    Attributes:
        files: The files concerned, relative to the data set's folder, the one to correct first.
        detail: What exactly is wrong there.
    """

    files: tuple[str, ...]
    detail: str = ""

    def __str__(self) -> str:
        said = ", ".join(self.files)
        return f"{said}: {self.detail}" if said and self.detail else said or self.detail


@dataclass
class Finding:
    """All that was found of one kind.

    Attributes:
        kind: What is wrong, how bad it is and what to do.
        count: How often.
        examples: The first :data:`MOST_EXAMPLES` of them, in the order of the files.
    """

    kind: Kind
    count: int = 0
    examples: list[Example] = field(default_factory=list)

    @property
    def sentence(self) -> str:
        """What is wrong and what to do, in one sentence."""
        return f"{self.kind.what}; {self.kind.cure}"


class Findings:
    """Findings of every kind as they come."""

    def __init__(self) -> None:
        self._found: dict[str, Finding] = {}

    def add(self, kind: str, files: Iterable[str] = (), detail: str = "") -> None:
        """Count one more of a kind of :data:`~fullyconv.data.check.kinds.KINDS`."""
        finding = self._found.setdefault(kind, Finding(KINDS[kind]))
        finding.count += 1
        if len(finding.examples) < MOST_EXAMPLES:
            finding.examples.append(Example(tuple(files), detail))

    def drop(self, kind: str) -> None:
        """Forget a kind that turned out to be no finding."""
        self._found.pop(kind, None)

    def rename(self, kind: str, other: str) -> None:
        """Turn all that was found of a kind into another, which nothing was found of."""
        if kind in self._found:
            self._found[other] = self._found.pop(kind)
            self._found[other].kind = KINDS[other]

    def count(self, kind: str) -> int:
        """How often a kind was found so far."""
        return self._found[kind].count if kind in self._found else 0

    def all(self) -> tuple[Finding, ...]:
        """What was found, the worst first."""
        return tuple(self._found[kind] for kind in KINDS if kind in self._found)
