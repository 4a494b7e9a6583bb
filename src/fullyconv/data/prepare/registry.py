"""Every data set that can be prepared, by name."""

from __future__ import annotations

from fullyconv.data.prepare import camvid, nyudv2, pascalcontext, sbd, siftflow, voc
from fullyconv.data.prepare.plan import Preparer

PREPARERS: dict[str, Preparer] = {
    "voc": voc.PREPARER,
    "sbd": sbd.PREPARER,
    "nyudv2": nyudv2.PREPARER,
    "siftflow": siftflow.PREPARER,
    "pascalcontext": pascalcontext.PREPARER,
    "camvid": camvid.PREPARER,
}
"""What each is, what to download, and what is expected, in words."""
