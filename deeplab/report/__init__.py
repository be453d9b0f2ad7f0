"""Pages of runs, as a pure function of the run directory: one run, a comparison, a sweep or a study."""

from typing import Any

from deeplab.core import blocks as cards
from deeplab.core.blocks import boxes, masks, sounds
from deeplab.report.comparison import compare
from deeplab.report.document import Framed
from deeplab.report.page import write
from deeplab.report.record import RunRecord, read
from deeplab.report.runs import RunSummary, find, table
from deeplab.report.shading import STYLE

__all__ = [
    "STYLE",
    "Framed",
    "RunRecord",
    "RunSummary",
    "boxes",
    "cards",
    "compare",
    "find",
    "masks",
    "read",
    "sounds",
    "table",
    "write",
]

_RENAMED = {"Run": "RunRecord"}


def __getattr__(name: str) -> Any:
    new = f"; it is called {_RENAMED[name]} now" if name in _RENAMED else ""
    raise AttributeError(f"module 'deeplab.report' has no attribute {name!r}{new}")
