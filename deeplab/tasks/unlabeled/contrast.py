"""Contrast: views of one example are alike, and those of others apart."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from deeplab.core import ranges
from deeplab.core.errors import UserError
from deeplab.metrics.base import Mean, Metrics
from deeplab.tasks.contract.apply import Apply
from deeplab.tasks.contract.outputs import described
from deeplab.tasks.contract.task import Batch, Loss, Task
from deeplab.tasks.unlabeled import collapse, objectives
from deeplab.tasks.unlabeled.pairs import Side, TwoViews


@dataclasses.dataclass(frozen=True)
@ranges.checked(temperature=ranges.POSITIVE)
class SimCLR(TwoViews):
    """An example's two views are more alike than views of any two examples of the batch; see `objectives.nt_xent`.

    Args:
      temperature: Number by which cosines are divided; may be a tracer.

    Example:
      >>> import deeplab as dl
      >>> SimCLR(dl.data.augment.flip(), dl.models.MLP(64, features=(256,)), temperature=0.2).temperature
      0.2

    Source: Chen et al. 2020, https://arxiv.org/abs/2002.05709.
    """

    temperature: float = 0.5

    def compare(
        self, apply: Apply, batch: Batch, key: jax.Array, views: Sequence[jax.Array], sides: Sequence[Side]
    ) -> tuple[Mean, dict[str, Any]]:
        losses = objectives.nt_xent(sides[0].z, sides[1].z, batch["weight"], self.temperature)
        return Mean.of(losses, batch["weight"]), {}


@dataclasses.dataclass(frozen=True)
@ranges.checked(temperature=ranges.POSITIVE)
class SupervisedContrast(TwoViews):
    """Views of a class are alike, and those of other classes apart; see `objectives.supervised_contrast`.

    Args:
      temperature: Number by which cosines are divided; may be a tracer.

    Example:
      >>> import deeplab as dl
      >>> SupervisedContrast(dl.data.augment.flip(), dl.models.MLP(64), temperature=0.07).temperature
      0.07

    Source: Khosla et al. 2020, https://arxiv.org/abs/2004.11362.
    """

    temperature: float = 0.1

    def compare(
        self, apply: Apply, batch: Batch, key: jax.Array, views: Sequence[jax.Array], sides: Sequence[Side]
    ) -> tuple[Mean, dict[str, Any]]:
        weight = batch["weight"]
        losses = objectives.supervised_contrast(sides[0].z, sides[1].z, batch["label"], weight, self.temperature)
        return Mean.of(losses, weight), {}


@dataclasses.dataclass(frozen=True)
@ranges.checked(scale=ranges.POSITIVE)
class SigmoidPairs(Task):
    """Whether two sides belong to one example, for each pair of the batch by itself (SigLIP).

    The model reads both sides and returns their embeddings, ([B, D], [B, D]): two towers of an image and its caption,
    or one network twice. Scale and bias are learned. Metrics of an evaluation: `loss`; `matched`, whether an example's
    own other side is the nearest of the batch; and those of `deeplab.tasks.unlabeled.collapse.measures`.

    Args:
      fields: Names of the batch's fields that the model reads.
      scale: First factor of the cosines.
      bias: First bias; negative, because most pairs do not match.

    Example:
      >>> SigmoidPairs(fields=("image", "sentence")).scale
      10.0

    Source: Zhai et al. 2023, https://arxiv.org/abs/2303.15343.
    """

    headline: ClassVar[tuple[str, ...]] = ("loss", "matched")

    fields: tuple[str, ...] = ("image", "text")
    scale: float = 10.0
    bias: float = -10.0

    def init_params(self, apply: Apply, batch: Batch, key: jax.Array) -> dict[str, Any]:
        return {"log_scale": jnp.full((), math.log(self.scale)), "bias": jnp.full((), self.bias)}

    def loss(self, apply: Apply, batch: Batch, key: jax.Array) -> Loss:
        (a, b), variables = self._sides(apply(*self.inputs(batch), train=True, key=key))
        own, weight = apply.task_params, batch["weight"]
        losses = objectives.sigmoid_pairs(a, b, weight, jnp.exp(own["log_scale"]), own["bias"])
        return Loss(Mean.of(losses, weight), {}, variables)

    def metrics(self, apply: Apply, batch: Batch, key: jax.Array) -> Metrics:
        (a, b), _ = self._sides(apply(*self.inputs(batch)))
        weight = batch["weight"]
        cosines = objectives.unit(a) @ objectives.unit(b).T
        nearest = jnp.argmax(jnp.where((weight != 0)[None], cosines, -2), axis=-1)
        matched = (nearest == jnp.arange(len(a))).astype(jnp.float32)
        loss = self.loss(apply.evaluating(), batch, key).loss
        return {"loss": loss, "matched": Mean.of(matched, weight), **collapse.measures(a, b, batch)}

    def warnings(self, metrics: Mapping[str, float]) -> Sequence[str]:
        return collapse.warnings(metrics)

    def predict(self, apply: Apply, batch: Batch, key: jax.Array) -> dict[str, jax.Array]:
        """`features` [B, D] and `other` [B, D], the embeddings of the two sides."""
        (a, b), _ = self._sides(apply(*self.inputs(batch)))
        return {"features": a, "other": b}

    def _sides(self, called: tuple[Any, Any]) -> tuple[tuple[jax.Array, jax.Array], Any]:
        outputs, variables = called
        if not isinstance(outputs, tuple | list) or len(outputs) != 2:
            raise UserError(f"the model returns {described(outputs)}, expected two arrays [B, D], one for each side")
        return (outputs[0], outputs[1]), variables
