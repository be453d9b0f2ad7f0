"""Tasks: loss, metrics and predictions per kind of problem."""

from deeplab.tasks.base import Apply, Loss, Mean, Metrics, Perplexity, Summarizes, Task
from deeplab.tasks.classification import Classification
from deeplab.tasks.clinical import Clinical
from deeplab.tasks.forecast import Forecasting
from deeplab.tasks.language import LanguageModelling

__all__ = [
    "Apply",
    "Classification",
    "Clinical",
    "Forecasting",
    "LanguageModelling",
    "Loss",
    "Mean",
    "Metrics",
    "Perplexity",
    "Summarizes",
    "Task",
]
