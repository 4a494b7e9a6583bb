"""What labelling tools export, turned into the one folder layout that the package reads.

Each tool's file finds the classes, and each picture's regions or mask; the rest is common to all:
`shapes.py` and `runs.py` turn regions into pixels, `classes.py` their names into ids, and `run.py`
writes the files. docs/howto/import.md says the rules.
"""

from __future__ import annotations

from fullyconv.data.importers.found import Importer
from fullyconv.data.importers.registry import IMPORTERS
from fullyconv.data.importers.run import import_data

__all__ = ["IMPORTERS", "Importer", "import_data"]
