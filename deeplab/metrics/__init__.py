"""Metrics that merge by addition, and metrics of a whole split."""

from deeplab.metrics import bleu, confusion, edits, ranks, roc
from deeplab.metrics.base import Mean, Metrics, Perplexity

__all__ = ["Mean", "Metrics", "Perplexity", "bleu", "confusion", "edits", "ranks", "roc"]
