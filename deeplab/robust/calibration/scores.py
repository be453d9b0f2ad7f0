"""Proper scores of probabilities: the Brier score with its parts, and the negative log-likelihood.

N examples, K classes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from deeplab.core import ranges
from deeplab.robust.inputs import bins_of, labels_of, of_label, probabilities_of


def brier(probabilities: Float[ndarray, "N K"], label: Int[ndarray, " N"]) -> float:
    """mean_n sum_k (p_nk - [y_n = k])^2, between 0 and 2. For two classes it is twice the score of the positive one.

    Raises:
      UserError: a row of the probabilities does not sum to one, or a label is no class.

    Source: Brier 1950, https://doi.org/10.1175/1520-0493(1950)078%3C0001:VOFEIT%3E2.0.CO;2.

    Example:
      >>> brier(np.array([[0.5, 0.5], [1.0, 0.0]]), np.array([0, 0]))
      0.25
    """
    p = probabilities_of(probabilities)
    right = np.eye(p.shape[1])[labels_of(label, p.shape[1], len(p))]
    return float(np.mean(np.sum((p - right) ** 2, axis=1)))


class BrierParts(NamedTuple):
    """brier = reliability - resolution + uncertainty + within.

    Attributes:
      brier: Brier score.
      reliability: Squared distance of the frequencies of bins from their mean probabilities; 0 where calibrated.
      resolution: Variance of the frequencies over the bins; large where the predictions tell classes apart.
      uncertainty: Variance of the labels, which no prediction changes.
      within: What the probabilities and labels of one bin vary; 0 where a bin has one probability.

    Example:
      >>> parts = BrierParts(brier=0.2, reliability=0.01, resolution=0.06, uncertainty=0.25, within=0.0)
      >>> round(parts.reliability - parts.resolution + parts.uncertainty + parts.within, 6)
      0.2
    """

    brier: float
    reliability: float
    resolution: float
    uncertainty: float
    within: float


@ranges.checked(num_bins=ranges.COUNT)
def brier_parts(probabilities: Float[ndarray, "N K"], label: Int[ndarray, " N"], num_bins: int = 15) -> BrierParts:
    """The Brier score and its parts over bins of equal width of each class's probability, summed over the classes.

    Raises:
      UserError: a row of the probabilities does not sum to one, or a label is no class.

    Source: Murphy 1973, https://doi.org/10.1175/1520-0450(1973)012%3C0595:ANVPOT%3E2.0.CO;2; the part within bins,
    Stephenson, Coelho and Jolliffe 2008, https://doi.org/10.1175/2007WAF2006116.1.

    Example:
      >>> parts = brier_parts(np.array([[0.5, 0.5], [0.5, 0.5], [1.0, 0.0]]), np.array([0, 1, 0]))
      >>> [round(x, 3) for x in parts]
      [0.333, 0.0, 0.111, 0.444, 0.0]
    """
    p = probabilities_of(probabilities)
    y = labels_of(label, p.shape[1], len(p))
    parts = np.zeros(4)
    for k in range(p.shape[1]):
        q, right = p[:, k], (y == k).astype(np.float64)
        member = bins_of(q, num_bins)
        count = np.bincount(member, minlength=num_bins)
        mean, frequency = (
            (np.bincount(member, x, num_bins) / np.maximum(count, 1))[member] for x in (q, right)
        )  # of the bin of each example
        apart = (q - mean) ** 2 - 2 * (q - mean) * (right - frequency)
        base = right.mean()
        squares = (mean - frequency) ** 2, (frequency - base) ** 2, np.full(len(p), base * (1 - base)), apart
        parts += [x.mean() for x in squares]
    return BrierParts(brier(p, y), *map(float, parts))


def negative_log_likelihood(probabilities: Float[ndarray, "N K"], label: Int[ndarray, " N"]) -> float:
    """-mean_n log p_n,y(n), in nats; a probability of 0 counts as the smallest positive float64.

    Raises:
      UserError: a row of the probabilities does not sum to one, or a label is no class.

    Source: Good 1952, https://doi.org/10.1111/j.2517-6161.1952.tb00104.x.

    Example:
      >>> round(negative_log_likelihood(np.array([[0.5, 0.5], [1.0, 0.0]]), np.array([1, 0])), 4)
      0.3466
    """
    p = probabilities_of(probabilities)
    chosen = of_label(p, labels_of(label, p.shape[1], len(p)))
    return float(-np.mean(np.log(np.maximum(chosen, np.finfo(np.float64).tiny))))
