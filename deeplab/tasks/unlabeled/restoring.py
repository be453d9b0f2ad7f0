"""What tasks share that hide a part of an example and restore it: a decoder, thrown away in the end, and metrics."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from deeplab.metrics.base import Mean, Metrics
from deeplab.tasks.contract.apply import Apply
from deeplab.tasks.contract.task import Batch, Loss, Task
from deeplab.tasks.unlabeled import collapse


class Hidden(NamedTuple):
    """A batch of which a part is hidden.

    Attributes:
      inputs: Arguments of the model.
      decoded: Further arguments of the decoder, after the states.
      where: What is hidden, in the task's own form.
    """

    inputs: tuple[Any, ...]
    decoded: tuple[Any, ...] = ()
    where: Any = None


@dataclasses.dataclass(frozen=True)
class Restoring(Task):
    """Base of tasks that restore what they hide, drawn for each example by its `id`.

    The model is the encoder, and all that is kept. Metrics of an evaluation: `loss`, and of the features of whole
    examples `effective_rank`, `std`, `std_least` and `uniformity`; see `deeplab.tasks.unlabeled.collapse`.

    Args:
      decoder: Module from what the encoder gives to what is restored; without batch norms.

    Example:
      >>> from deeplab.tasks.unlabeled import Autoencoder
      >>> issubclass(Autoencoder, Restoring)
      True
    """

    headline: ClassVar[tuple[str, ...]] = ("loss", "effective_rank", "std")

    decoder: nn.Module

    @abc.abstractmethod
    def hide(self, batch: Batch, key: jax.Array) -> Hidden:
        """The batch without what the decoder restores."""

    @abc.abstractmethod
    def errors(self, restored: jax.Array, batch: Batch, where: Any) -> jax.Array:
        """Error of each example, [B]."""

    def features(self, states: Any) -> jax.Array:
        """One vector for each example, [B, F], of what the encoder gives: the mean over all axes but two."""
        x = getattr(states, "states", states)  # of an `Encoded`
        return x.reshape(len(x), -1, x.shape[-1]).mean(axis=1)

    def init_params(self, apply: Apply, batch: Batch, key: jax.Array) -> dict[str, Any]:
        hidden = self.hide(batch, key)
        states, _ = apply(*hidden.inputs)
        return {"decoder": self.decoder.init(key, states, *hidden.decoded)["params"]}

    def restored(self, apply: Apply, batch: Batch, key: jax.Array) -> tuple[jax.Array, Any, Any]:
        """What the decoder makes of what is left, the model's collections, and what was hidden."""
        hide_key, key = jax.random.split(key)
        hidden = self.hide(batch, hide_key)
        states, variables = apply(*hidden.inputs, train=True, key=key)
        out, _ = apply.of(self.decoder, apply.task_params["decoder"])(states, *hidden.decoded, train=True, key=key)
        return out, variables, hidden.where

    def loss(self, apply: Apply, batch: Batch, key: jax.Array) -> Loss:
        out, variables, where = self.restored(apply, batch, key)
        return Loss(Mean.of(self.errors(out, batch, where), batch["weight"]), {}, variables)

    def metrics(self, apply: Apply, batch: Batch, key: jax.Array) -> Metrics:
        z = self.features(apply(*self.inputs(batch))[0])
        return {
            "loss": self.loss(apply.evaluating(), batch, key).loss,
            **collapse.measures(z, None, batch, centered=True),
        }

    def warnings(self, metrics: Mapping[str, float]) -> Sequence[str]:
        return collapse.warnings(metrics, collapse.LEAST_STD_BESIDE_AN_OFFSET)

    def predict(self, apply: Apply, batch: Batch, key: jax.Array) -> dict[str, jax.Array]:
        """`features` [B, F] of whole examples, and `loss` [B]."""
        out, _, where = self.restored(apply.evaluating(), batch, key)
        return {
            "features": self.features(apply(*self.inputs(batch))[0]),
            "loss": jnp.asarray(self.errors(out, batch, where)),
        }
