"""Tasks: loss, metrics and predictions per kind of problem."""

from deeplab.tasks.base import Apply, Loss, Mean, Metrics, Perplexity, Summarizes, Task
from deeplab.tasks.classification import Classification
from deeplab.tasks.language import LanguageModelling
from deeplab.tasks.segmentation import MeanIoU, Segmentation

__all__ = [
    "Apply",
    "Classification",
    "LanguageModelling",
    "Loss",
    "Mean",
    "MeanIoU",
    "Metrics",
    "Perplexity",
    "Segmentation",
    "Summarizes",
    "Task",
]
