"""Every data set that can be prepared, by name."""

from __future__ import annotations

from fullyconv.data.prepare import camvid, nyudv2, pascalcontext, sbd, siftflow, voc
from fullyconv.data.prepare.plan import Preparer
from fullyconv.errors import UsageError, did_you_mean

PREPARERS: dict[str, Preparer] = {
    "voc": voc.PREPARER,
    "sbd": sbd.PREPARER,
    "nyudv2": nyudv2.PREPARER,
    "siftflow": siftflow.PREPARER,
    "pascalcontext": pascalcontext.PREPARER,
    "camvid": camvid.PREPARER,
}
"""What each is, what to download, and what is expected, in words."""


def preparer(name: str) -> Preparer:
    """How a data set is prepared, by its name.

    Raises:
        UsageError: If there is none of that name.
    """
    if name not in PREPARERS:
        raise UsageError(f"no data set {name!r} is known. {did_you_mean(name, list(PREPARERS))}")
    return PREPARERS[name]
