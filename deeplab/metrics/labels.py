"""F1 of several labels an example, as a metric that merges by addition."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class F1:
    """F1 = 2 hits / (actual + predicted) over labels: "micro" of the summed counts, "macro" the mean over labels.

    The F1 of a label that is neither present nor predicted is 0.

    Attributes:
      hits: Summed weights of the examples where a label is present and predicted, [K].
      actual: Summed weights of the examples where it is present, [K].
      predicted: Summed weights of the examples where it is predicted, [K].
      average: How labels are averaged.

    Example:
      >>> label, prediction = jnp.array([[1, 0], [1, 1]]), jnp.array([[1, 1], [1, 0]])
      >>> round(F1.of(label, prediction, "micro").compute(), 3), F1.of(label, prediction, "macro").compute()
      (0.667, 0.5)
    """

    hits: Any
    actual: Any
    predicted: Any
    average: Literal["micro", "macro"] = dataclasses.field(metadata={"static": True})

    @classmethod
    def of(
        cls,
        label: Shaped[Array, "B K"],
        prediction: Shaped[Array, "B K"],
        average: Literal["micro", "macro"],
        weight: Float[Array, " B"] | None = None,
    ) -> F1:
        """Counts of a batch. Examples of weight 0 are ignored."""
        weight = jnp.ones(len(label)) if weight is None else weight
        label, prediction = label > 0, prediction > 0
        hits, actual, predicted = (
            jnp.sum(jnp.where(each, weight[:, None], 0), axis=0) for each in (label & prediction, label, prediction)
        )
        return cls(hits, actual, predicted, average)

    def __add__(self, other: F1) -> F1:
        return jax.tree.map(lambda a, b: a + b, self, other)

    def compute(self) -> float:
        """The value."""
        sums = (np.asarray(x, np.float64) for x in (self.hits, self.actual, self.predicted))
        hits, actual, predicted = (x.sum(keepdims=True) if self.average == "micro" else x for x in sums)
        whole = actual + predicted
        return float(np.mean(np.divide(2 * hits, whole, out=np.zeros_like(whole), where=whole != 0)))
