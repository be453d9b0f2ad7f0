"""Regression: a number, or several, for each example."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from deeplab.core.blocks import Block, regression
from deeplab.core.errors import UserError
from deeplab.metrics.base import Mean, Metrics, defined
from deeplab.metrics.regression import R2
from deeplab.tasks.contract.apply import Apply
from deeplab.tasks.contract.task import Batch, Loss, Task, Trained
from deeplab.tasks.errors import Error, SquaredError
from deeplab.tasks.rating import RootMean


@dataclasses.dataclass(frozen=True)
class Regression(Task):
    """A number y, `batch["target"]` [B, ...], from a model whose outputs are [B, ..., Q]: Q for each target.

    The loss is of the standardized target, (y - mean) / std, so that a learning rate does not depend on its unit.
    Predictions and the metrics `rmse`, `mae` and `r2` are in the unit of the target. A model of shape [B, ...] is
    accepted where Q is 1; any other shape is refused, and nothing broadcasts.

    Args:
      error: Loss, such as `SquaredError()`, `AbsoluteError()`, `Huber(delta)`, `Gaussian()` or `Quantiles(levels)` of
        `deeplab.tasks.errors`; its `outputs` is Q.
      scale: Mean and standard deviation of the training targets, such as `data.scale` of a table.
      fields: Names of the batch's fields that the model reads.

    Example:
      >>> batch = {"numbers": jnp.array([[0.0], [1.0]]), "target": jnp.array([10.0, 14.0]), "weight": jnp.ones(2)}
      >>> task = Regression(scale=(10.0, 4.0), fields=("numbers",))
      >>> task.loss(lambda x, **_: (x, {}), batch, None).loss.compute()  # 0 is the mean, and 1 a deviation more
      0.0
    """

    headline: ClassVar[tuple[str, ...]] = ("rmse", "r2")
    error: Error = dataclasses.field(default_factory=SquaredError)
    scale: tuple[float, float] = (0.0, 1.0)
    fields: tuple[str, ...] = ("numbers", "categories")

    @property
    def outputs(self) -> int:
        """Number Q of model outputs for each target."""
        return self.error.outputs

    def loss(self, apply: Apply, batch: Batch, key: jax.Array) -> Loss:
        outputs, variables = apply(*self.inputs(batch), train=True, key=key)
        metrics = self._metrics(outputs, batch)
        return Loss(metrics.pop("loss"), metrics, variables)

    def metrics(self, apply: Apply, batch: Batch, key: jax.Array) -> Metrics:
        """`loss`, `rmse`, `mae` and `r2`; with quantiles also `coverage`, the share between the outermost two."""
        return self._metrics(apply(*self.inputs(batch))[0], batch)

    def predict(self, apply: Apply, batch: Batch, key: jax.Array) -> dict[str, jax.Array]:
        """`target`, `prediction` and `loss`; `std` of a Gaussian, or `quantiles` with one more axis Q."""
        outputs, target = self._matched(apply(*self.inputs(batch))[0], batch["target"])
        (mean, std), spread = self.scale, self.error.spread(outputs)
        moved = {name: value * std + (0 if name == "std" else mean) for name, value in spread.items()}
        losses = _per_example(self.error.losses(outputs, target))
        return {"target": batch["target"], "prediction": self._point(outputs), "loss": losses, **moved}

    def artifacts(self, trained: Trained) -> Mapping[str, Sequence[Block]]:
        """Predictions against targets, and residuals against predictions."""
        return {"regression": regression(trained.predictions, trained.split)}

    def score(self, outputs: jax.Array, batch: Batch, target: Any = None) -> jax.Array:
        """Prediction of each example, [B]; of several targets their mean, or those of the numbers `target`."""
        point = self._point(self._matched(outputs, batch["target"])[0])
        point = point if point.ndim > 1 else point[:, None]  # the number 0 is its only one
        return _per_example(point if target is None else jnp.take(point, jnp.atleast_1d(target), axis=-1))

    def _metrics(self, outputs: jax.Array, batch: Batch) -> Metrics:
        weight, y = batch["weight"], batch["target"]
        outputs, target = self._matched(outputs, y)
        point = self._point(outputs)
        squared = Mean.of(_per_example(jnp.square(point - y)), weight)
        told = {
            "loss": Mean.of(_per_example(self.error.losses(outputs, target)), weight),
            "rmse": RootMean(squared.total, squared.count),
            "mae": Mean.of(_per_example(jnp.abs(point - y)), weight),
            "r2": R2.of(point, y, weight, self.scale[0]),
        }
        if (quantiles := self.error.spread(outputs).get("quantiles")) is not None:
            inside = (quantiles[..., 0] <= target) & (target <= quantiles[..., -1])
            told["coverage"] = Mean.of(_per_example(defined(inside.astype(jnp.float32), quantiles)), weight)
        return told

    def _point(self, outputs: Float[Array, "B ... Q"]) -> Float[Array, "B ..."]:
        mean, std = self.scale
        return self.error.point(outputs) * std + mean

    def _matched(self, outputs: jax.Array, target: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Outputs [B, ..., Q] and standardized targets [B, ...].

        Raises:
          UserError: the shapes are others.
        """
        Q, (mean, std) = self.outputs, self.scale
        if outputs.shape == target.shape and Q == 1:
            outputs = outputs[..., None]
        if outputs.shape != (*target.shape, Q):
            raise UserError(
                f"the model's outputs are {list(outputs.shape)} for targets {list(target.shape)}, expected "
                f"{[*target.shape, Q]}: {Q} for each target by {type(self.error).__name__}"
            )
        return outputs, (target - mean) / std


def _per_example(values: Float[Array, "B ..."]) -> Float[Array, " B"]:
    return jnp.mean(values, axis=tuple(range(1, values.ndim)))
