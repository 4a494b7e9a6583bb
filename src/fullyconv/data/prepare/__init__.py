"""The paper's published data sets, turned into the one folder layout that the package reads.

``ROOT/SPLIT/images/NAME.jpg`` or ``.png``, ``ROOT/SPLIT/labels/NAME.png`` (palette PNG of class
ids 0 to C - 1, void 255), and where the data set has them ``depth/`` (16-bit PNG, millimetres),
``hha/`` and ``geometric/``. ``ROOT/classes.json`` says what the ids mean.
"""

from __future__ import annotations

from fullyconv.data.prepare.plan import Preparer
from fullyconv.data.prepare.registry import PREPARERS
from fullyconv.data.prepare.report import Report
from fullyconv.data.prepare.run import prepare

__all__ = ["PREPARERS", "Preparer", "Report", "prepare"]
