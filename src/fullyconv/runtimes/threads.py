"""How many threads an engine may use."""

from __future__ import annotations

import os


def processors() -> int:
    """Physical processors that this process may run on, or ``OMP_NUM_THREADS`` if it is set."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdigit() and int(asked) > 0:
        return int(asked)
    return physical()


def physical() -> int:
    """Physical processors that this process may run on."""
    import psutil

    there = psutil.cpu_count(logical=False) or psutil.cpu_count() or 1
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else there
    return max(1, min(there, allowed))
