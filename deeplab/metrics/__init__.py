"""Metrics that merge by addition, and metrics of a whole split."""

from deeplab.metrics import bleu, confusion, detection, edits, ranks, roc
from deeplab.metrics.base import Mean, Metrics, Perplexity, defined, hits
from deeplab.metrics.detection import AveragePrecision
from deeplab.metrics.labels import F1
from deeplab.metrics.of_split import OfSplit, auc, average_precision, f1
from deeplab.metrics.regression import R2

__all__ = [
    "F1",
    "R2",
    "AveragePrecision",
    "Mean",
    "Metrics",
    "OfSplit",
    "Perplexity",
    "auc",
    "average_precision",
    "bleu",
    "confusion",
    "defined",
    "detection",
    "edits",
    "f1",
    "hits",
    "ranks",
    "roc",
]
