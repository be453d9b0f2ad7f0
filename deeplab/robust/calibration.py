"""Calibration errors and temperature scaling, on the host, of all predictions of a split.

Guo, Pleiss, Sun and Weinberger 2017, "On calibration of modern neural networks", https://arxiv.org/abs/1706.04599.
N examples, K classes, M bins.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray


class Reliability(NamedTuple):
    """Reliability diagram: nonempty bins of equal width over confidence.

    Attributes:
      count: Number of examples.
      confidence: Mean confidence.
      accuracy: Fraction of correct predictions.
    """

    count: Int[ndarray, " M"]
    confidence: Float[ndarray, " M"]
    accuracy: Float[ndarray, " M"]


def reliability(confidence: Float[ndarray, " N"], correct: Bool[ndarray, " N"], num_bins: int = 15) -> Reliability:
    """Reliability diagram over the bins (m / M, (m + 1) / M], m = 0, ..., M - 1, without empty bins.

    Where a confidence is NaN, so is all of the one bin that is returned.

    Example:
      >>> bins = reliability(np.array([0.55, 0.85, 0.95]), np.array([False, True, True]), num_bins=5)
      >>> bins.count.tolist(), bins.confidence.round(2).tolist(), bins.accuracy.tolist()
      ([1, 2], [0.55, 0.9], [0.0, 1.0])
    """
    if np.isnan(confidence).any():
        return Reliability(np.array([len(confidence)]), *np.full((2, 1), np.nan))
    bins = np.clip(np.ceil(confidence * num_bins).astype(int) - 1, 0, num_bins - 1)
    count = np.bincount(bins, minlength=num_bins)
    sums = [np.bincount(bins, weights=x, minlength=num_bins)[count > 0] for x in (confidence, correct)]
    count = count[count > 0]
    return Reliability(count, sums[0] / count, sums[1] / count)


def expected_calibration_error(
    confidence: Float[ndarray, " N"], correct: Bool[ndarray, " N"], num_bins: int = 15
) -> float:
    """ECE = sum_m n_m / N |accuracy_m - confidence_m| (equation 3 of the paper).

    It is biased upward for small N, because the sampling error of each bin adds to it. NaN without examples, or where a
    confidence is NaN.

    Example:
      >>> round(expected_calibration_error(np.array([0.6, 0.8]), np.array([True, True]), num_bins=5), 2)
      0.3
    """
    if not len(confidence):
        return float("nan")
    bins = reliability(confidence, correct, num_bins)
    return float(np.sum(bins.count * np.abs(bins.accuracy - bins.confidence)) / np.sum(bins.count))


def temperature(logits: Float[ndarray, "N K"], label: Int[ndarray, " N"]) -> float:
    """The temperature T in [0.01, 100] that maximizes the likelihood of softmax(logits / T).

    It changes the confidence, and not the order of the classes. The negative log-likelihood,
    mean_n (log sum_k exp(b z_nk) - b z_ny), is convex in b = 1 / T, so that a line search finds its minimum. If all
    predictions are correct the optimum is T = 0, and the result is near 0.01. NaN without examples, or with NaN logits.

    Example:
      >>> logits = np.array([[2.0, 0.0], [2.0, 0.0], [2.0, 0.0], [0.0, 2.0]])
      >>> round(temperature(logits, np.array([0, 0, 0, 0])), 2)  # 1 / T = log(3 / 1) / 2
      1.82
    """
    from scipy.optimize import minimize_scalar  # takes half a second to import

    if not len(label) or np.isnan(logits).any():
        return float("nan")
    z = np.asarray(logits, np.float64)
    z = z - np.take_along_axis(z, np.asarray(label, np.int64)[:, None], axis=1)  # the label's logit is 0
    highest = z.max(axis=1)

    def loss(log_b: float) -> float:
        b = np.exp(log_b)
        return float(np.mean(b * highest + np.log(np.sum(np.exp(b * (z - highest[:, None])), axis=1))))

    found = minimize_scalar(loss, bounds=(-np.log(100), np.log(100)), method="bounded", options={"xatol": 1e-7})
    return float(np.exp(-found.x))


def cross_fitted(
    logits: Float[ndarray, "N K"],
    label: Int[ndarray, " N"],
    group: Int[ndarray, " N"] | None = None,
    folds: int = 5,
) -> Float[ndarray, "N K"]:
    """Logits / T by cross-fitting: the T of each example is fitted on the other folds.

    Args:
      logits: Logits of a held-out split.
      label: Labels of the split.
      group: Group of each example, such as its patient, which is within one fold. None means that each example is a
        group.
      folds: Number of folds, to which groups are assigned in turn, in the order of their first examples.

    Returns:
      The scaled logits. With a single group they are unchanged.
    """
    _, first, member = np.unique(
        np.arange(len(label)) if group is None else group, return_index=True, return_inverse=True
    )
    rank = np.argsort(np.argsort(first))[member]  # 0 for the group that comes first
    fold = rank % folds
    scaled = np.asarray(logits, np.float64).copy()
    for k in range(folds):
        inside = fold == k
        if inside.any() and not inside.all():
            scaled[inside] /= temperature(logits[~inside], label[~inside])
    return scaled


def summary(
    logits: Float[ndarray, "N K"], label: Int[ndarray, " N"], group: Int[ndarray, " N"] | None = None
) -> dict[str, float]:
    """`ece` of the logits, `ece_scaled` after cross-fitted temperature scaling, and `temperature` of the whole split.

    Confidence is the largest probability; a prediction is correct if its class is the label.
    """

    def error(z: np.ndarray) -> float:
        p = softmax(z)
        return expected_calibration_error(p.max(axis=1), p.argmax(axis=1) == label)

    scaled = cross_fitted(logits, label, group)
    return {"ece": error(logits), "ece_scaled": error(scaled), "temperature": temperature(logits, label)}


def softmax(logits: Float[ndarray, "N K"]) -> Float[ndarray, "N K"]:
    """Softmax over the last axis, in float64.

    Example:
      >>> softmax(np.zeros((1, 2))).tolist()
      [[0.5, 0.5]]
    """
    z = np.asarray(logits, np.float64)
    z = np.exp(z - z.max(axis=1, keepdims=True))
    return z / z.sum(axis=1, keepdims=True)
