"""Few-shot curves: what a linear probe reads when it sees few labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from deeplab.core import ranges
from deeplab.representation.knn import rows_of
from deeplab.representation.linear import Examples, Fit, linear_probe


class FewShot(NamedTuple):
    """Accuracies of linear probes by the number of labels that they saw.

    Attributes:
      counts: Numbers of labels.
      mean: Mean accuracy over the draws.
      deviation: Standard deviation over the draws; 0 where all labels were seen.

    Example:
      >>> FewShot(counts=(1, 10), mean=(0.4, 0.7), deviation=(0.05, 0.02)).mean[-1]
      0.7
    """

    counts: tuple[int, ...]
    mean: tuple[float, ...]
    deviation: tuple[float, ...]


@ranges.checked(shares=ranges.Range(above=0, at_most=1), draws=ranges.COUNT)
def few_shot(
    train: Examples,
    test: Examples,
    shares: Sequence[float] = (0.01, 0.1, 1.0),
    draws: int = 3,
    fit: Fit | None = None,
    seed: int = 0,
) -> FewShot:
    """Trains linear probes on shares of the labels, drawn anew `draws` times.

    Args:
      train: Features [N, ...] and classes [N] to learn from.
      test: Features and classes to classify.
      shares: Shares of the training examples, of each class alike, and at least one example of each.
      draws: Number of draws of each share; one where it is all of them.
      fit: Way to fit the classifier; see `linear_probe`.
      seed: Seed of the draws.

    Example:
      >>> x, y = np.random.default_rng(0).normal(size=(400, 3)), np.arange(400) % 2
      >>> x[:, 0] += 4 * y
      >>> found = few_shot((x[:200], y[:200]), (x[200:], y[200:]), (0.02, 1.0))
      >>> found.counts, found.mean[1] > 0.95
      ((4, 200), True)
    """
    (x, y), rng = (rows_of(*train), np.asarray(train[1])), np.random.default_rng(seed)
    counts, means, deviations = [], [], []
    for share in shares:
        chosen = [_some(y, share, rng) for _ in range(draws if share < 1 else 1)]
        found = [linear_probe((x[rows], y[rows]), test, fit, seed).accuracy for rows in chosen]
        counts.append(len(chosen[0]))
        means.append(float(np.mean(found)))
        deviations.append(float(np.std(found, ddof=1)) if len(found) > 1 else 0.0)
    return FewShot(tuple(counts), tuple(means), tuple(deviations))


def _some(labels: Int[ndarray, " N"], share: float, rng: np.random.Generator) -> Int[ndarray, " M"]:
    """Examples of each class, drawn."""
    of_class = [rng.permutation(np.flatnonzero(labels == k)) for k in np.unique(labels)]
    return np.sort(np.concatenate([rows[: max(1, round(share * len(rows)))] for rows in of_class]))
