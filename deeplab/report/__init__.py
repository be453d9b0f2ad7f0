"""From run directories to pictures and pages: a pure reader of what `train` has written."""

from deeplab.report import cards, masks
from deeplab.report.comparison import compare
from deeplab.report.page import write
from deeplab.report.record import Run, read
from deeplab.report.runs import RunSummary, find, table

__all__ = ["Run", "RunSummary", "cards", "compare", "find", "masks", "read", "table", "write"]
