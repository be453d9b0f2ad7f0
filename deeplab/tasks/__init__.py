"""Tasks: loss, metrics and predictions per kind of problem."""

from deeplab.tasks.base import Apply, Loss, Mean, Metrics, Perplexity, Summarizes, Task
from deeplab.tasks.classification import Classification
from deeplab.tasks.ctc import CTC
from deeplab.tasks.language import LanguageModelling

__all__ = [
    "CTC",
    "Apply",
    "Classification",
    "LanguageModelling",
    "Loss",
    "Mean",
    "Metrics",
    "Perplexity",
    "Summarizes",
    "Task",
]
