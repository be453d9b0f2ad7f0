"""Group DRO: the loss of the worst group rather than of the average example."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from deeplab.core import ranges
from deeplab.core.errors import UserError
from deeplab.metrics.base import Metrics
from deeplab.robust.training.wrapper import Wrapper, innermost
from deeplab.tasks.contract.apply import Apply
from deeplab.tasks.contract.task import Batch, Labels, Loss
from deeplab.tasks.unlabeled.pairs import TwoViews, of_batch


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Worst:
    """The mean of the worst group, of those that have a member.

    Attributes:
      totals: Weighted sum of each group, [G].
      counts: Sum of the weights of each group, [G].
      which: "min" or "max", whichever is worse.

    Example:
      >>> Worst(jnp.array([1.0, 3.0, 0.0]), jnp.array([2.0, 4.0, 0.0]), "min").compute()
      0.5
    """

    totals: Any
    counts: Any
    which: Literal["min", "max"] = dataclasses.field(default="max", metadata={"static": True})

    def __add__(self, other: Worst) -> Worst:
        return dataclasses.replace(self, totals=self.totals + other.totals, counts=self.counts + other.counts)

    def compute(self) -> float:
        """The mean of the worst group, or NaN if none has a member."""
        totals, counts = np.asarray(self.totals, np.float64), np.asarray(self.counts, np.float64)
        means = totals[counts > 0] / counts[counts > 0]
        return float(getattr(np, self.which)(means)) if len(means) else float("nan")


_WORSE: dict[str, Literal["min", "max"]] = {"loss": "max", "accuracy": "min"}


@dataclasses.dataclass(frozen=True)
@ranges.checked(num_groups=ranges.COUNT, rate=ranges.NATURAL)
class GroupDRO(Wrapper):
    """sum_g q_g loss_g of the groups g in a batch, with weights q that grow where the loss is large.

    q_g <- q_g exp(rate loss_g) / sum, over all steps: the state of the task. Metrics have "worst_loss" and
    "worst_accuracy", those of the worst group, beside the inner task's. With microbatches each makes a step of q.

    Args:
      num_groups: Number of groups G.
      group: Name of the batch's field that holds the number of each example's group, [B].
      rate: Step of the weights, 0.01 in the paper; may be a tracer.

    Raises:
      UserError: When the loss is computed: the batch holds no such field, or the task compares examples with one
        another, and so has no loss of a group.

    Example:
      >>> from deeplab.tasks import Classification
      >>> GroupDRO(Classification(), num_groups=4, group="background").headline
      ('accuracy',)

    Source: Sagawa et al. 2020, https://arxiv.org/abs/1911.08731, algorithm 1.
    """

    num_groups: int
    group: str = "group"
    rate: float | jax.Array = 0.01

    def labels(self, apply: Apply, batch: Batch) -> Mapping[str, Labels]:
        own = {self.group: Labels(self.num_groups, "num_groups of GroupDRO")} if self.group in batch else {}
        return {**self.inner.labels(apply, batch), **own}

    def init_state(self, apply: Apply, batch: Batch, key: jax.Array) -> Any:
        q = jnp.full(self.num_groups, 1 / self.num_groups, jnp.float32)
        return {"weights": q, "inner": self.inner.init_state(apply, batch, key)}

    def after_step(self, state: Any, params: Any) -> Any:
        return state | {"inner": self.inner.after_step(state["inner"], params)}

    def loss(self, apply: Apply, batch: Batch, key: jax.Array) -> Loss:
        state, model = apply.task_state, self.within(apply)
        losses = self._by_group(batch, lambda batch: self.inner.loss(model, batch, key).loss)
        out = self.inner.loss(model, batch, key)
        means = losses.total / jnp.where(losses.count == 0, 1, losses.count)
        grown = jax.lax.stop_gradient(jnp.log(state["weights"]) + self.rate * means)
        q = jax.nn.softmax(grown)
        total = of_batch(jnp.sum(q * means), batch["weight"])
        inner = state["inner"] if out.state is None else out.state
        return out._replace(loss=total, state={"weights": q, "inner": inner})

    def metrics(self, apply: Apply, batch: Batch, key: jax.Array) -> Metrics:
        model = self.within(apply)
        found = super().metrics(apply, batch, key)
        told = [name for name in _WORSE if name in found]
        by_group = self._by_group(batch, lambda b: {name: self.inner.metrics(model, b, key)[name] for name in told})
        worst = {f"worst_{name}": Worst(by_group[name].total, by_group[name].count, _WORSE[name]) for name in told}
        return found | worst

    def within(self, apply: Apply) -> Apply:
        return apply.rebound(task_state=apply.task_state["inner"])

    def _by_group(self, batch: Batch, function: Any) -> Any:
        """What a function gives for each group alone, [G, ...].

        Only the weights differ from group to group, so that all groups share one pass of the model.
        """
        if isinstance(task := innermost(self.inner), TwoViews):
            raise UserError(
                f"{type(task).__name__} compares the examples of a batch with one another, and has no loss of a group; "
                "GroupDRO needs a task with a loss of each example"
            )
        if self.group not in batch:
            raise UserError(
                f"GroupDRO reads the group of each example from {self.group!r}, and the batch holds {sorted(batch)}; "
                "add the field to the data, or name another by group="
            )
        member = (batch[self.group][None, :] == jnp.arange(self.num_groups)[:, None]).astype(batch["weight"].dtype)
        return jax.vmap(lambda weight: function(batch | {"weight": weight}))(member * batch["weight"][None])
