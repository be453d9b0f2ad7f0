"""Losses of retrieval: the next item against negative items.

An objective draws negatives and compares the scores. Batches come from `data.features.interactions.next_items`:
`targets` [B, P], `seen` [B, V] and `count` [B, V], the frequency of each item in training.
"""

from __future__ import annotations

import dataclasses
from typing import Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from deeplab.core import ranges
from deeplab.tasks.contract.task import Batch

_NEVER = -1e9  # as a logit


class Objective(Protocol):
    """Training objective of a retrieval model."""

    def negatives(self, batch: Batch, key: jax.Array) -> Int[Array, " C"] | Int[Array, "B C"]:
        """Negative items, the same for all examples or drawn for each example by its `id`."""
        ...

    def losses(
        self,
        own: Float[Array, "B P"],
        other: Float[Array, "B Q C"],
        items: Array,
        batch: Batch,
    ) -> Float[Array, "B P"]:
        """Loss of each position from the scores of its target and of the negatives `items`.

        Q is P, or 1 if scores do not depend on the position.
        """
        ...


@dataclasses.dataclass(frozen=True)
class Softmax:
    """Cross-entropy over all items except item 0, which is padding: -s_i + log sum_j exp(s_j).

    Example:
      >>> own, other = jnp.array([[0.0]]), jnp.zeros((1, 1, 4))  # [B, P], [B, Q, C]: all items score alike
      >>> round(Softmax().losses(own, other, jnp.arange(1, 5), {}).item(), 4)  # log 4
      1.3863
    """

    def negatives(self, batch: Batch, key: jax.Array) -> Int[Array, " C"]:
        return jnp.arange(1, batch["seen"].shape[-1])

    def losses(self, own: Array, other: Array, items: Array, batch: Batch) -> Array:
        return jax.nn.logsumexp(other, axis=-1) - own


@dataclasses.dataclass(frozen=True)
@ranges.checked(num_negatives=ranges.COUNT, power=ranges.NATURAL)
class SampledSoftmax:
    """Cross-entropy over the target and N items that are drawn from a proposal q.

    -s_i + log(exp(s_i) + sum over drawn j != i of exp(s_j) / (N q_j)): the expectation of the sum is that of the full
    softmax, for any q. With q_j ~ (1 + count_j)^power, power 0 is uniform and power 1 the frequency of the items.

    Args:
      num_negatives: Number N of items drawn with repetition, shared by the positions of an example.
      power: Exponent of the counts; may be a tracer.

    Example:
      >>> batch = {"id": jnp.arange(2), "count": jnp.ones((2, 9), int)}
      >>> SampledSoftmax(num_negatives=3).negatives(batch, jax.random.key(0)).shape  # [B, C]
      (2, 3)

    Source: Bengio and Senecal 2008, https://doi.org/10.1109/TNN.2007.912312.
    """

    num_negatives: int = 128
    power: float = 0.0

    def negatives(self, batch: Batch, key: jax.Array) -> Int[Array, "B C"]:
        return draw(jnp.exp(self._log_proposal(batch)), batch["id"], self.num_negatives, key)

    def losses(self, own: Array, other: Array, items: Array, batch: Batch) -> Array:
        corrected = other - (jnp.log(self.num_negatives) + self._log_proposal(batch)[items])[:, None]
        corrected = jnp.where(items[:, None] == batch["targets"][..., None], _NEVER, corrected)  # [B, P, C]
        return jnp.logaddexp(own, jax.nn.logsumexp(corrected, axis=-1)) - own

    def _log_proposal(self, batch: Batch) -> Float[Array, " V"]:
        weight = self.power * jnp.log1p(batch["count"][0].astype(jnp.float32))
        return jax.nn.log_softmax(weight.at[0].set(-jnp.inf))  # item 0 is padding


@dataclasses.dataclass(frozen=True)
class InBatchSoftmax:
    """Cross-entropy over the targets of the whole batch (in-batch negatives).

    Popular items are often targets of other examples, so that plain cross-entropy would lower their scores. With q_j
    the item's share of all targets: -(s_i - log q_i) + log sum_j exp(s_j - log q_j), over i and other targets j != i.

    Args:
      correction: Strength of the correction by log q, 1 for full and 0 for none; may be a tracer.

    Example:
      >>> InBatchSoftmax().negatives({"targets": jnp.array([[3], [7]])}, jax.random.key(0)).tolist()
      [3, 7]

    Source: Yi et al. 2019, https://doi.org/10.1145/3298689.3346996, equations 3 to 5.
    """

    correction: float = 1.0

    def negatives(self, batch: Batch, key: jax.Array) -> Int[Array, " C"]:
        return batch["targets"].reshape(-1)

    def losses(self, own: Array, other: Array, items: Array, batch: Batch) -> Array:
        count, targets = batch["count"][0].astype(jnp.float32), batch["targets"]
        log_share = self.correction * jnp.log(jnp.maximum(count, 1.0) / jnp.maximum(jnp.sum(count), 1.0))
        real = (batch["weight"][:, None] > 0) & (targets > 0)
        usable = real.reshape(-1)[None, None] & (items[None, None] != targets[..., None])
        others = jnp.where(usable, other - log_share[items][None, None], _NEVER)  # [B, P, B*P]
        own = own - log_share[targets]
        return jnp.logaddexp(own, jax.nn.logsumexp(others, axis=-1)) - own


@dataclasses.dataclass(frozen=True)
@ranges.checked(num_negatives=ranges.COUNT, ratio=ranges.POSITIVE)
class BinaryCrossEntropy:
    """-log sigmoid(s_i) - n mean_j log sigmoid(-s_j), over items j that the user has not seen.

    Args:
      num_negatives: Number of items drawn uniformly for each example; items that the user has seen are ignored.
      ratio: Number n of negatives per positive; may be a tracer.

    Example:
      >>> batch = {"id": jnp.arange(2), "seen": jnp.zeros((2, 9), bool)}
      >>> BinaryCrossEntropy(num_negatives=3).negatives(batch, jax.random.key(0)).shape  # [B, C]
      (2, 3)

    Source: He et al. 2017, https://arxiv.org/abs/1708.05031, section 3.1.1.
    """

    num_negatives: int = 128
    ratio: float = 4.0

    def negatives(self, batch: Batch, key: jax.Array) -> Int[Array, "B C"]:
        possible = (jnp.arange(batch["seen"].shape[-1]) > 0).astype(jnp.float32)
        return draw(possible, batch["id"], self.num_negatives, key)

    def losses(self, own: Array, other: Array, items: Array, batch: Batch) -> Array:
        seen = jnp.take_along_axis(batch["seen"], items, axis=1)[:, None]
        unseen = ~seen & (items[:, None] != batch["targets"][..., None])  # [B, P, C]
        mean = jnp.sum(jnp.where(unseen, jax.nn.softplus(other), 0), axis=-1) / jnp.maximum(jnp.sum(unseen, axis=-1), 1)
        return jax.nn.softplus(-own) + self.ratio * mean


def draw(proposal: Float[Array, " V"], ids: Int[Array, " B"], count: int, key: jax.Array) -> Int[Array, "B C"]:
    """Draws items with these relative probabilities, with replacement, for each example by `fold_in(key, id)`.

    Example:
      >>> draw(jnp.array([0.0, 1.0, 0.0]), jnp.array([5, 9]), 2, jax.random.key(0)).tolist()
      [[1, 1], [1, 1]]
    """
    keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, ids)
    cumulative = jnp.cumsum(proposal)
    # 1 - u is in (0, 1]: the first item whose cumulative probability reaches it has a probability above 0.
    levels = 1 - jax.vmap(lambda key: jax.random.uniform(key, (count,)))(keys)
    return jnp.searchsorted(cumulative, levels * cumulative[-1], side="left")
