"""What tasks of two views share: the views, the heads that are thrown away after training, and the collapse metrics."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from deeplab.metrics.base import Mean, Metrics
from deeplab.tasks.contract.apply import Apply
from deeplab.tasks.contract.outputs import one_array
from deeplab.tasks.contract.task import Batch, Loss, Task
from deeplab.tasks.unlabeled import collapse

View = Callable[[jax.Array, jax.Array], jax.Array]
"""`(key, x) -> x`, a random view of one example; of an image in [0, 1], see `deeplab.data.augment`."""


class Side(NamedTuple):
    """One view of a batch, as the network sees it.

    Attributes:
      z: Projections, [B, D].
      variables: Collections of the model after the call.
      heads: Collections of the heads after the call, by the head's name.
    """

    z: jax.Array
    variables: Any
    heads: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class TwoViews(Task):
    """Base of tasks that compare two random views of each example.

    The model is the encoder, examples to features [B, F], and all that is kept; heads belong to the task, and may have
    batch norms. Views are drawn for each example by its `id`, in training anew at each step, in evaluations always the
    same. Metrics of an evaluation: `loss`, and those of `deeplab.tasks.unlabeled.collapse.measures`.

    Args:
      view: Function that draws a view of an example, such as `dl.data.augment.warp(15.0, 0.1, 1.0)`.
      projector: Module from features to what is compared, such as `dl.models.MLP(64, features=(256,))`.
      fields: Name of the batch's field that is viewed, and that the model reads.

    Example:
      >>> from deeplab.tasks.unlabeled import SimCLR
      >>> issubclass(SimCLR, TwoViews)
      True
    """

    headline: ClassVar[tuple[str, ...]] = ("loss", "effective_rank", "std")
    lengths: ClassVar[bool] = False
    """Whether the loss depends on the lengths of the projections."""
    centered: ClassVar[bool] = False
    """Whether the loss leaves a common offset of the projections free."""

    view: View
    projector: nn.Module
    fields: tuple[str, ...] = dataclasses.field(default=("image",), kw_only=True)

    @abc.abstractmethod
    def compare(
        self, apply: Apply, batch: Batch, key: jax.Array, views: Sequence[jax.Array], sides: Sequence[Side]
    ) -> tuple[Mean, dict[str, Any]]:
        """The loss of two sides, and what changes in the state of the task."""

    def heads(self) -> Mapping[str, nn.Module]:
        """The heads by name; each reads what the one before it returns."""
        return {"projector": self.projector}

    def embedding(self, apply: Apply, z: jax.Array) -> jax.Array:
        """What a collapse makes the same for all examples: projections."""
        return z

    def loss(self, apply: Apply, batch: Batch, key: jax.Array) -> Loss:
        loss, state, sides = self._compared(apply, batch, key)
        return Loss(loss, {}, sides[1].variables, state)

    def metrics(self, apply: Apply, batch: Batch, key: jax.Array) -> Metrics:
        loss, _, (a, b) = self._compared(apply.evaluating(), batch, key)
        left, right = (self.embedding(apply, side.z) for side in (a, b))
        return {"loss": loss, **collapse.measures(left, right, batch, self.lengths, self.centered)}

    def warnings(self, metrics: Mapping[str, float]) -> Sequence[str]:
        beside_an_offset = self.centered and not self.lengths
        return collapse.warnings(metrics, *[collapse.LEAST_STD_BESIDE_AN_OFFSET] * beside_an_offset)

    def predict(self, apply: Apply, batch: Batch, key: jax.Array) -> dict[str, jax.Array]:
        """`features` [B, F], what the encoder gives."""
        return {"features": one_array(apply(*self.inputs(batch))[0], len(batch["id"]), "F")}

    def init_params(self, apply: Apply, batch: Batch, key: jax.Array) -> dict[str, Any]:
        return {name: variables.get("params", {}) for name, variables in self._initial(apply, batch, key).items()}

    def init_state(self, apply: Apply, batch: Batch, key: jax.Array) -> Any:
        made = self._initial(apply, batch, key)
        return {"heads": {name: {k: v for k, v in tree.items() if k != "params"} for name, tree in made.items()}}

    def side(self, apply: Apply, x: jax.Array, key: jax.Array, heads: dict[str, Any], teacher: Any = None) -> Side:
        """A view's projections.

        Args:
          apply: Model, and the heads' parameters.
          x: A view of each example, [B, ...].
          key: Key of all randomness in the model.
          heads: Collections of the heads.
          teacher: Parameters in place of those of `apply`: `model`, and `heads` by name.
        """
        params = None if teacher is None else teacher["model"]
        features, variables = apply(x, train=True, key=key, params=params)
        z, heads = self.head(apply, "projector", one_array(features, len(x), "F"), heads, teacher)
        return Side(z, variables, heads)

    def head(
        self, apply: Apply, name: str, x: jax.Array, heads: dict[str, Any], teacher: Any = None
    ) -> tuple[jax.Array, dict[str, Any]]:
        """What a head makes of x [B, F], and the collections of all heads after it."""
        params = (apply.task_params if teacher is None else teacher["heads"])[name]
        out, variables = apply.of(self.heads()[name], params, heads[name])(x, train=True)
        return out, {**heads, name: variables}

    def _compared(self, apply: Apply, batch: Batch, key: jax.Array) -> tuple[Mean, dict[str, Any], tuple[Side, Side]]:
        keys = jax.random.split(key, 4)
        views = [view_of(self.view, batch, k, *self.fields) for k in keys[:2]]
        a = self.side(apply, views[0], keys[2], apply.task_state["heads"])
        b = self.side(apply, views[1], keys[3], a.heads)
        loss, changed = self.compare(apply, batch, key, views, (a, b))
        return loss, {**apply.task_state, "heads": b.heads, **changed}, (a, b)

    def _initial(self, apply: Apply, batch: Batch, key: jax.Array) -> dict[str, Any]:
        x, made = one_array(apply(*self.inputs(batch))[0], len(batch["id"]), "F"), {}
        for number, (name, module) in enumerate(self.heads().items()):
            x, made[name] = module.init_with_output(jax.random.fold_in(key, number), x)
        return made


def view_of(view: View, batch: Batch, key: jax.Array, field: str = "image") -> jax.Array:
    """A random view of each example, drawn by its `id`."""
    return jax.vmap(view)(by_example(key, batch), batch[field])


def by_example(key: jax.Array, batch: Batch) -> jax.Array:
    """A key for each example, [B]."""
    return jax.vmap(jax.random.fold_in, (None, 0))(key, batch["id"])


def of_batch(value: jax.Array, weight: jax.Array) -> Mean:
    """A loss that only a batch has, as the mean of its examples."""
    count = jnp.sum(weight)
    return Mean(value * count, count)
