"""Metrics of a whole split from probabilities, which a user lists: `Classification(extra_metrics=(auc, f1))`.

They need all examples at once, because a ranking of some says nothing about the others. Where an example that counts
has a probability that is NaN, a metric is NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped
from numpy import ndarray

from deeplab.core.errors import UserError
from deeplab.metrics import roc

OfSplit = Callable[[Any, Any, Any], float]
"""`(probabilities [N, K], label [N] or [N, K], weight [N]) -> float`, named as its function is."""


def auc(
    probability: Float[ndarray, "N ..."], label: Shaped[ndarray, "N ..."], weight: Float[ndarray, " N"] | None = None
) -> float:
    """Area under the ROC curve of class 1 of two; of more classes, the mean over each against the others.

    Args:
      probability: Probability of each class, [N, K]; or of the positive class alone, [N].
      label: Class of each example, [N]; or whether each of K labels is present, [N, K].
      weight: Weight of each example; 1 when None.

    Returns:
      The area. A class without positives or without negatives is left out; NaN where no class is left.

    Example:
      >>> auc(np.array([0.1, 0.4, 0.35, 0.8]), np.array([0, 0, 1, 1]))
      0.75
    """
    return _over_classes(roc.auroc, probability, label, weight)


def average_precision(
    probability: Float[ndarray, "N ..."], label: Shaped[ndarray, "N ..."], weight: Float[ndarray, " N"] | None = None
) -> float:
    """Average precision (the area under the precision-recall curve); of several classes as for `auc`.

    Example:
      >>> round(average_precision(np.array([0.1, 0.4, 0.35, 0.8]), np.array([0, 0, 1, 1])), 3)
      0.833
    """
    return _over_classes(roc.average_precision, probability, label, weight)


def f1(
    probability: Float[ndarray, "N ..."], label: Shaped[ndarray, "N ..."], weight: Float[ndarray, " N"] | None = None
) -> float:
    """F1 of class 1 of two; of more classes or labels, the unweighted mean. Arguments as for `auc`.

    The prediction is the most probable class; for a single probability, or several labels, at least 1/2.

    Example:
      >>> round(f1(np.array([0.1, 0.6, 0.35, 0.8]), np.array([0, 0, 1, 1])), 3)
      0.5
    """
    scores, positive, told, weight = _columns(probability, label, weight)
    if np.isnan(scores).any():
        return float("nan")
    hits, whole = weight @ (told & positive), weight @ told + weight @ positive  # [K]
    return float(np.mean(np.divide(2 * hits, whole, out=np.zeros_like(whole), where=whole > 0)))


def _over_classes(statistic: Callable[[roc.Curve], float], probability: Any, label: Any, weight: Any) -> float:
    scores, positive, _, weight = _columns(probability, label, weight)
    if np.isnan(scores).any():
        return float("nan")
    values = [statistic(roc.Scores(s, p).curve(weight)) for s, p in zip(scores.T, positive.T, strict=True) if p.any()]
    values = [value for value in values if np.isfinite(value)]
    return float(np.mean(values)) if values else float("nan")


def _columns(probability: Any, label: Any, weight: Any) -> tuple[ndarray, ndarray, ndarray, ndarray]:
    """Scores, positives and predictions of each class that counts, [N, K] each, and weights [N], none of them 0."""
    probability, label = np.asarray(probability), np.asarray(label)
    weight = np.ones(len(label)) if weight is None else np.asarray(weight, np.float64)
    scores = probability[:, None] if probability.ndim == 1 else probability
    scores = np.where(np.isnan(scores).any(axis=1, keepdims=True), np.nan, scores)  # of all classes, or of none
    told, classes = scores >= 0.5, np.arange(scores.shape[1])
    if label.ndim == 1 and len(classes) > 1:
        told = np.argmax(scores, axis=1)[:, None] == classes
    if label.ndim == 1 and len(classes) == 2:
        scores, told, classes = scores[:, 1:], told[:, 1:], classes[1:]
    if len(classes) == 1:
        classes = np.ones(1)
    positive = label[:, None] == classes if label.ndim == 1 else label > 0
    if positive.shape != scores.shape or len(weight) != len(label):
        raise UserError(
            f"probabilities are {list(probability.shape)}, labels {list(label.shape)}, weights {list(weight.shape)}; "
            "expected [N, K] (or [N] for one), [N] or [N, K], and [N]"
        )
    kept = weight > 0
    return scores[kept], positive[kept], told[kept], weight[kept]
