"""Ranking: the next item of a user's sequence."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from deeplab.core import ranges
from deeplab.metrics import ranks
from deeplab.metrics.base import Mean, Metrics
from deeplab.tasks.contract.apply import Apply
from deeplab.tasks.contract.task import Batch, Labels, Loss, Task
from deeplab.tasks.objectives import Objective


@dataclasses.dataclass(frozen=True)
@ranges.checked(cutoff=ranges.COUNT, num_sampled=ranges.COUNT)
class Ranking(Task):
    """Trains with an objective, and evaluates the rank of the next item in a list.

    The list holds all items that the user has not seen. Much of the literature reports only ranks in a sampled list,
    so these are computed as well: `num_sampled` unseen items, drawn uniformly, the same for an example in every
    evaluation. The two can order models differently (Krichene and Rendle 2020,
    https://doi.org/10.1145/3394486.3403226).

    Batches come from `data.features.interactions.next_items`. A model is called with the fields that it reads and
    with sets of candidates, and returns the scores [B, P, C] of each set ([B, 1, C] where they do not depend on the
    position). In an evaluation `loss` is the cross-entropy over the list, for every objective. A sequence that no item
    follows has no weight, and none in `auc` where nothing but the target is in the list.

    Args:
      objective: Objective, from `deeplab.tasks.objectives`.
      fields: Names of the fields that the model reads.
      cutoff: K of HR@K and NDCG@K, and the length of the list that `predict` returns; a list of fewer items is whole.
      num_sampled: Number of items beside the target in the sampled list; all, where there are fewer.

    Example:
      >>> from deeplab.tasks import Softmax
      >>> Ranking(Softmax(), cutoff=20).fields
      ('history', 'positions')
    """

    objective: Objective
    fields: tuple[str, ...] = ("history", "positions")
    cutoff: int = 10
    num_sampled: int = 100

    def inputs(self, batch: Batch) -> tuple[Any, ...]:
        """Arguments of the model: the batch's `fields`, and all items as candidates."""
        return (*super().inputs(batch), jnp.arange(batch["seen"].shape[-1]))

    def loss(self, apply: Apply, batch: Batch, key: jax.Array) -> Loss:
        draw_key, dropout_key = jax.random.split(key)
        items = self.objective.negatives(batch, draw_key)
        candidates = batch["targets"][..., None], items
        (own, other), variables = apply(*super().inputs(batch), *candidates, train=True, key=dropout_key)
        losses = self.objective.losses(own[..., 0], other, items, batch)
        return Loss(Mean.of(losses, batch["weight"][:, None] * (batch["targets"] > 0)), {}, variables)

    def metrics(self, apply: Apply, batch: Batch, key: jax.Array) -> Metrics:
        scores, target, offered = self._list(apply, batch)
        place = ranks.rank(scores, target, offered)
        short = ranks.rank(scores, target, self._sampled(batch, offered))
        k = self.cutoff
        values = {
            "loss": _cross_entropy(scores, target, offered),
            f"hr@{k}": ranks.hit_rate(place, k),
            f"ndcg@{k}": ranks.ndcg(place, k),
            "mrr": ranks.reciprocal(place),
            "auc": ranks.auc(scores, target, offered),
            f"hr@{k} sampled": ranks.hit_rate(short, k),
            f"ndcg@{k} sampled": ranks.ndcg(short, k),
        }
        weight = batch["weight"] * (target > 0)
        alone = jnp.sum(offered, axis=-1) - jnp.take_along_axis(offered, target[:, None], axis=-1)[:, 0] == 0
        means = {name: Mean.of(value, weight) for name, value in values.items()}
        return means | {"auc": Mean.of(values["auc"], jnp.where(alone, 0, weight))}

    def predict(self, apply: Apply, batch: Batch, key: jax.Array) -> dict[str, jax.Array]:
        """The best items `top` [B, K], and `rank`, `loss` and `num_known` (number of seen items), [B] each.

        `top` ends with item 0, which is padding, where fewer than K items are offered.
        """
        scores, target, offered = self._list(apply, batch)
        return {
            "rank": ranks.rank(scores, target, offered),
            "top": best(scores, offered, self.cutoff),
            "num_known": jnp.sum(batch["seen"], axis=-1) - 1,  # item 0 is always among them
            "loss": _cross_entropy(scores, target, offered),
        }

    def labels(self, apply: Apply, batch: Batch) -> Mapping[str, Labels]:
        items = getattr(apply.module, "num_items", None)
        if items is None:
            return {}
        return {"targets": Labels(items, "num_items of the model", needed=batch["seen"].shape[-1])}

    def score(self, outputs: Any, batch: Batch, target: Any = None) -> jax.Array:
        """Score of the next item, or of the items `target`, [B] or a number."""
        (scores,) = outputs
        last = scores[:, -1]
        target = batch["targets"][:, -1] if target is None else jnp.broadcast_to(jnp.asarray(target), (len(last),))
        return jnp.take_along_axis(last, target[:, None], axis=-1)[:, 0]

    def _list(self, apply: Apply, batch: Batch) -> tuple[Float[Array, "B V"], Array, Bool[Array, "B V"]]:
        """The scores of all items at the last position, the target, and which items are offered."""
        (scores,), _ = apply(*self.inputs(batch))
        return scores[:, -1], batch["targets"][:, -1], ~batch["seen"]

    def _sampled(self, batch: Batch, offered: Bool[Array, "B V"]) -> Bool[Array, "B V"]:
        """Mask of `num_sampled` candidates other than the target, drawn without replacement by the example's id."""
        keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(jax.random.key(0), batch["id"])
        order = jax.vmap(lambda key: jax.random.uniform(key, offered.shape[1:]))(keys)
        other = offered & (jnp.arange(offered.shape[1])[None] != batch["targets"][:, -1:])
        order = jnp.where(other, order, -1.0)
        least = jax.lax.top_k(order, min(self.num_sampled, order.shape[1]))[0][:, -1:]
        return other & (order >= least)


def best(scores: Float[Array, "B V"], offered: Bool[Array, "B V"], count: int) -> Int[Array, "B K"]:
    """The offered items of the highest scores, the highest first; then item 0, which is padding.

    Example:
      >>> best(jnp.array([[9.0, 0.1, 0.3, 0.2]]), jnp.array([[False, True, True, False]]), count=3).tolist()
      [[2, 1, 0]]
    """
    _, top = jax.lax.top_k(jnp.where(offered, scores, -jnp.inf), min(count, scores.shape[-1]))
    return jnp.where(jnp.take_along_axis(offered, top, axis=-1), top, 0)


def _cross_entropy(scores: Array, target: Array, offered: Array) -> Float[Array, " B"]:
    listed = offered | (jnp.arange(scores.shape[-1])[None] == target[:, None])
    own = jnp.take_along_axis(scores, target[:, None], axis=-1)[:, 0]
    return jax.nn.logsumexp(jnp.where(listed, scores, -jnp.inf), axis=-1) - own
