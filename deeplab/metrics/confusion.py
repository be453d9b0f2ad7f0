"""Confusion matrix as a metric that merges, and its statistics."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

Matrix = Float[np.ndarray, "K K"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Confusion:
    """Confusion matrix, and the statistic of it that `compute` returns.

    Exact over shards, microbatches and the last, padded batch, because counts add where ratios do not.

    Attributes:
      counts: Summed weights by label (rows) and prediction (columns), [K, K].
      statistic: Function of the matrix.

    Example:
      >>> label, prediction = jnp.array([0, 0, 1]), jnp.array([0, 1, 1])
      >>> half = Confusion.of(label, prediction, 2, macro_f1)
      >>> round((half + half).compute(), 3)
      0.667
    """

    counts: Any
    statistic: Callable[[Matrix], float] = dataclasses.field(metadata={"static": True})

    @classmethod
    def of(
        cls,
        label: Int[Array, " B"],
        prediction: Int[Array, " B"],
        num_classes: int,
        statistic: Callable[[Matrix], float],
        weight: Float[Array, " B"] | None = None,
    ) -> Confusion:
        """Matrix of a batch. Examples of weight 0 are ignored; one of weight NaN makes all counts NaN."""
        weight = jnp.ones(label.shape, jnp.float32) if weight is None else weight
        rows = jax.nn.one_hot(label, num_classes) * weight[:, None]  # [B, K]
        told = jax.nn.one_hot(prediction, num_classes)
        return cls(jnp.einsum("bk,bj->kj", rows, told, precision="highest"), statistic)  # weights may be any numbers

    def __add__(self, other: Confusion) -> Confusion:
        return Confusion(self.counts + other.counts, self.statistic)

    def compute(self) -> float:
        """The statistic of the counts."""
        return float(self.statistic(np.asarray(self.counts, np.float64)))


@dataclasses.dataclass(frozen=True)
class Sensitivity:
    """Sensitivity (recall, Se) of class k: the fraction of its examples that are predicted as k; 0 if there are none.

    Example:
      >>> Sensitivity(1)(np.array([[8.0, 2.0], [1.0, 3.0]]))
      0.75
    """

    k: int

    def __call__(self, counts: Matrix) -> float:
        return float(_ratio(counts[self.k, self.k], counts[self.k].sum()))


@dataclasses.dataclass(frozen=True)
class PredictiveValue:
    """Positive predictive value (precision, +P) of class k: the fraction of correct predictions; 0 if there are none.

    Example:
      >>> PredictiveValue(1)(np.array([[8.0, 2.0], [1.0, 3.0]]))
      0.6
    """

    k: int

    def __call__(self, counts: Matrix) -> float:
        return float(_ratio(counts[self.k, self.k], counts[:, self.k].sum()))


def macro_f1(counts: Matrix) -> float:
    """Unweighted mean over classes of F1 = 2 TP / (2 TP + FP + FN). The F1 of a class without any counts is 0.

    Example:
      >>> round(macro_f1(np.array([[8.0, 2.0], [1.0, 3.0]])), 4)
      0.7544
    """
    return float(np.mean(_ratio(2 * np.diag(counts), counts.sum(axis=0) + counts.sum(axis=1))))


def _ratio(part: Any, whole: Any) -> Any:
    return np.divide(part, whole, out=np.zeros_like(np.asarray(part, np.float64)), where=np.asarray(whole) != 0)
