"""What the doctor found, as text and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fullyconv.data.check.finding import Finding
from fullyconv.data.check.kinds import SEVERITIES, Severity
from fullyconv.files import write_json
from fullyconv.labels import LabelSpace

_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class Report:
    """What is wrong with a data set.

    Attributes:
        root: Its folder.
        pictures: Samples of each split.
        labels: What its ids mean, None if that could not be read.
        findings: What was found, the worst first.
        seconds: How long it took.
    """

    root: Path
    pictures: Mapping[str, int]
    labels: LabelSpace | None
    findings: tuple[Finding, ...]
    seconds: float

    def of(self, severity: Severity) -> tuple[Finding, ...]:
        """The findings of one severity."""
        return tuple(found for found in self.findings if found.kind.severity == severity)

    def is_clean(self, strict: bool = False) -> bool:
        """Whether there is no error, and, if ``strict``, no warning either; notes never count."""
        return not self.of("error") and not (strict and self.of("warning"))

    def summary(self) -> str:
        """One line: how many pictures, and how many kinds of findings."""
        splits = ", ".join(f"{split or 'pictures'} {n:,}" for split, n in self.pictures.items())
        found = [f"{len(self.of(s))} {s}{'s' * (len(self.of(s)) != 1)}" for s in SEVERITIES]
        return f"{self.root}: {splits}: {', '.join(found)} ({self.seconds:.1f} s)"

    def __str__(self) -> str:
        lines = []
        for found in self.findings:
            kind = found.kind
            lines.append(f"{kind.severity}: {kind.name} ({found.count:,}): {found.sentence}")
            lines += [f"  {example}" for example in found.examples[:_SHOWN]]
            if found.count > _SHOWN:
                lines.append(f"  and {found.count - _SHOWN:,} more")
        return "\n".join([*lines, self.summary()])

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a JSON file."""
        return {
            "root": str(self.root),
            "pictures": dict(self.pictures),
            "clean": self.is_clean(),
            "seconds": round(self.seconds, 2),
            "findings": [
                {
                    "kind": found.kind.name,
                    "severity": found.kind.severity,
                    "count": found.count,
                    "sentence": found.sentence,
                    "examples": [
                        {"files": list(example.files), "detail": example.detail}
                        for example in found.examples
                    ],
                }
                for found in self.findings
            ],
        }

    def write_json(self, path: Path) -> None:
        """Write :meth:`to_dict` to a file.

        Raises:
            FullyConvError: If it cannot be written.
        """
        write_json(path, self.to_dict())
