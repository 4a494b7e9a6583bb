"""The doctor of data sets: what is wrong with one, what is in it, and what can be repaired."""

from fullyconv.data.check.finding import Example, Finding
from fullyconv.data.check.report import Report
from fullyconv.data.check.run import check

__all__ = ["Example", "Finding", "Report", "check"]
