"""The layout, and predictions, in forms that labelling tools import."""

from __future__ import annotations

from fullyconv.data.exporters.run import Exported, export_data

__all__ = ["Exported", "export_data"]
