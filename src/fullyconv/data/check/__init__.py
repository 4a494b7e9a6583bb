"""The doctor of data sets: what is wrong with one, what is in it, and what can be repaired."""

from fullyconv.data.check.finding import Example, Finding
from fullyconv.data.check.fix import Fixed, fix
from fullyconv.data.check.page import write_findings_page
from fullyconv.data.check.report import Report
from fullyconv.data.check.run import check
from fullyconv.data.check.stats import SplitStats, Stats, stats
from fullyconv.data.check.stats_page import stats_text, write_stats_page

__all__ = [
    "Example",
    "Finding",
    "Fixed",
    "Report",
    "SplitStats",
    "Stats",
    "check",
    "fix",
    "stats",
    "stats_text",
    "write_findings_page",
    "write_stats_page",
]
