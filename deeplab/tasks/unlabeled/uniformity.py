"""Uniformity: how evenly embeddings cover the sphere, by the pairs of a sample of a whole split."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from deeplab.tasks.contract.task import Batch
from deeplab.tasks.unlabeled.objectives import unit

_SEEN = 512  # examples: 130,000 pairs


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Uniformity:
    """log of the mean over pairs of exp(-2 |z_i - z_j|^2), for z of length 1: 0 after a collapse, about -4 at best.

    The pairs are those of a sample of the split, whichever batches it comes in: the examples of the lowest numbers that
    are drawn by `id`.

    Attributes:
      order: Numbers of the sampled examples, [K], ascending; infinite where there is none.
      z: Their embeddings, [K, D].

    Source: Wang and Isola 2020, https://arxiv.org/abs/2005.10242, section 4.1.
    """

    order: Any
    z: Any

    @classmethod
    def of(cls, z: Float[Array, "B D"], batch: Batch) -> Uniformity:
        """Of the embeddings of a batch; examples of weight 0 are ignored."""
        keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(0), batch["id"])
        order = jnp.where(batch["weight"] != 0, jax.vmap(jax.random.uniform)(keys), jnp.inf)
        missing = max(0, _SEEN - len(order))
        order, z = jnp.pad(order, (0, missing), constant_values=jnp.inf), jnp.pad(unit(z), ((0, missing), (0, 0)))
        first = jnp.argsort(order)[:_SEEN]
        return cls(order[first], z[first])

    def __add__(self, other: Uniformity) -> Uniformity:
        order, z = np.concatenate([self.order, other.order], -1), np.concatenate([self.z, other.z], -2)
        first = np.argsort(order, axis=-1, kind="stable")[..., :_SEEN]  # of each member, where there are some
        return Uniformity(np.take_along_axis(order, first, -1), np.take_along_axis(z, first[..., None], -2))

    def compute(self) -> float:
        """The uniformity; NaN where there are no two examples."""
        z = np.asarray(self.z, np.float64)[np.isfinite(self.order)]
        if len(z) < 2:
            return float("nan")
        i, j = np.triu_indices(len(z), 1)
        squares = np.sum(z**2, axis=-1)
        apart = np.clip(squares[i] + squares[j] - 2 * (z @ z.T)[i, j], 0, None)
        return float(np.log(np.mean(np.exp(-2 * apart))))
