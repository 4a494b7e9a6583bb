"""What a preparation came to, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fullyconv.errors import shortened

_SHOWN = 8


@dataclass(frozen=True)
class Report:
    """What is in the layout now.

    Attributes:
        name: Data set.
        root: Root of the layout.
        pictures: Complete pictures of each split.
        made: How many of them this run made; the others were there.
        left_out: Sentences about pictures left out on purpose.
        notes: Sentences about what was found.
        missing: Pictures that the source lacks, by split and reason.
        problems: Sentences about files that are damaged or of another kind.
    """

    name: str
    root: Path
    pictures: dict[str, int]
    made: int
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    missing: Mapping[tuple[str, str], Sequence[str]] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    def __str__(self) -> str:
        splits = ", ".join(f"{split} {n}".strip() for split, n in self.pictures.items()) or "no"
        total = sum(self.pictures.values())
        lines = [f"{self.name} in {self.root}: {splits} pictures ({self.made} of {total} made now)"]
        lines += [f"left out: {sentence}" for sentence in self.left_out]
        lines += [f"note: {sentence}" for sentence in self.notes]
        lines += [
            f"missing: {split} {len(names)}, {reason} ({shortened(names)})"
            for (split, reason), names in self.missing.items()
        ]
        lines += [f"problem: {sentence}" for sentence in self.problems[:_SHOWN]]
        if len(self.problems) > _SHOWN:
            lines.append(f"and {len(self.problems) - _SHOWN} more problems")
        return "\n".join(lines)

    def unmade(self) -> list[str]:
        """A line for every picture that is not there and should be."""
        lines = [
            f"{split}/{name}: {reason}"
            for (split, reason), names in self.missing.items()
            for name in names
        ]
        return [*lines, *self.problems]
