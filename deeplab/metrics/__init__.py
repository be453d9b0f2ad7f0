"""Metrics that merge by addition, and metrics of a whole split."""

from deeplab.metrics import bleu, confusion, edits, ranks, roc
from deeplab.metrics.base import Mean, Metrics, Perplexity, defined, hits

__all__ = ["Mean", "Metrics", "Perplexity", "bleu", "confusion", "defined", "edits", "hits", "ranks", "roc"]
