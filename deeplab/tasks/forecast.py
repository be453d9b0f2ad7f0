"""Forecasting of time series: points and quantiles."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Real

from deeplab.core import ranges
from deeplab.core.errors import UserError
from deeplab.metrics.base import Mean, Metrics, defined
from deeplab.tasks.contract.apply import Apply
from deeplab.tasks.contract.outputs import one_array
from deeplab.tasks.contract.task import Batch, Loss, Task


def pinball(
    outputs: Float[Array, "... Q"], target: Float[Array, ...], quantiles: tuple[float, ...]
) -> Float[Array, ...]:
    """Quantile loss: the mean over quantiles q of max(q e, (q - 1) e), e = y - f_q (Koenker and Bassett 1978).

    Source: https://doi.org/10.2307/1913643. At q = 1/2 it is half the absolute error.

    Example:
      >>> pinball(jnp.array([0.0, 4.0]), jnp.array(2.0), (0.25, 0.75)).item()
      0.5
    """
    error = target[..., None] - outputs
    q = jnp.asarray(quantiles, error.dtype).reshape((1,) * target.ndim + (-1,))  # of integer targets, too
    return jnp.mean(jnp.maximum(q * error, (q - 1) * error), axis=-1)


def in_order(outputs: Float[Array, "... Q"]) -> Float[Array, "... Q"]:
    """Quantiles in their order; all are NaN where one is, which would be sorted last and shift the others.

    Example:
      >>> in_order(jnp.array([[2.0, 1.0], [jnp.nan, 1.0]])).tolist()
      [[1.0, 2.0], [nan, nan]]
    """
    undefined = jnp.isnan(outputs).any(axis=-1, keepdims=True)
    return jnp.where(undefined, jnp.nan, jnp.sort(outputs, axis=-1))


@dataclasses.dataclass(frozen=True)
@ranges.checked(quantiles=ranges.Range(above=0, below=1))
class Forecasting(Task):
    """Forecasts the next H values of C channels from a `history`, by squared error or quantile loss.

    A batch holds `history` [B, L, C] and `target` [B, H, C], and optionally `mask` [B, H, C], which is 0 where a target
    is missing; the model returns [B, H, C, Q], with Q = 1 without quantiles. Every metric is a mean over the values of
    all windows that are not missing. MSE and MAE are those of the point forecast: the
    output itself, or the quantile nearest to the median. Evaluations sort quantiles that cross, which never increases
    the loss (Chernozhukov et al. 2010, https://doi.org/10.3982/ECTA7880).

    Args:
      quantiles: Increasing levels in (0, 1) for the pinball loss; squared error when empty.
      fields: Names of the batch's fields that the model reads.

    Raises:
      UserError: The levels do not increase, or are not between 0 and 1.

    Example:
      >>> Forecasting().outputs, Forecasting(quantiles=(0.1, 0.5, 0.9)).outputs
      (1, 3)
    """

    quantiles: tuple[float, ...] = ()
    fields: tuple[str, ...] = ("history",)

    def __post_init__(self) -> None:
        levels = (0.0, *self.quantiles, 1.0)
        if any(a >= b for a, b in itertools.pairwise(levels)):
            raise UserError(f"quantiles are {self.quantiles}, expected increasing levels above 0 and below 1")

    @property
    def outputs(self) -> int:
        """Number Q of model outputs for each value."""
        return max(1, len(self.quantiles))

    def loss(self, apply: Apply, batch: Batch, key: jax.Array) -> Loss:
        outputs, variables = apply(*self.inputs(batch), train=True, key=key)
        outputs = one_array(outputs, *batch["target"].shape, self.outputs)
        target = _target(batch)
        metrics = {"mae": _mean(jnp.abs(self._point(outputs) - target), batch)}
        return Loss(_mean(self._losses(outputs, target), batch), metrics, variables)

    def metrics(self, apply: Apply, batch: Batch, key: jax.Array) -> Metrics:
        """`loss`, `mse`, `mae`; with quantiles also `coverage`, the fraction of values between the outermost two."""
        outputs, target = self._outputs(apply, batch), _target(batch)
        errors = self._point(outputs) - target
        values = {"loss": self._losses(outputs, target), "mse": jnp.square(errors), "mae": jnp.abs(errors)}
        if self.quantiles:
            inside = (outputs[..., 0] <= target) & (target <= outputs[..., -1])
            values["coverage"] = defined(inside.astype(jnp.float32), outputs)
        return {name: _mean(value, batch) for name, value in values.items()}

    def predict(self, apply: Apply, batch: Batch, key: jax.Array) -> dict[str, jax.Array]:
        """`forecast` [B, H, C], `loss` [B], and with quantiles `quantiles` [B, H, C, Q].

        `loss` is NaN where all targets are missing.
        """
        outputs = self._outputs(apply, batch)
        loss = _per_example(self._losses(outputs, _target(batch)), batch.get("mask"))
        told = {"forecast": self._point(outputs), "loss": loss}
        return told | ({"quantiles": outputs} if self.quantiles else {})

    def score(self, outputs: jax.Array, batch: Batch, target: Any = None) -> jax.Array:
        """Mean of each example's point forecast, or of its channels `target`, [B]."""
        point = self._point(outputs)
        return _per_example(point if target is None else jnp.take(point, jnp.atleast_1d(target), axis=-1))

    def _outputs(self, apply: Apply, batch: Batch) -> Float[Array, "B H C Q"]:
        outputs = one_array(apply(*self.inputs(batch))[0], *batch["target"].shape, self.outputs)
        return in_order(outputs)

    def _point(self, outputs: Float[Array, "B H C Q"]) -> Float[Array, "B H C"]:
        middle = min(range(self.outputs), key=lambda i: abs(self.quantiles[i] - 0.5)) if self.quantiles else 0
        return outputs[..., middle]

    def _losses(self, outputs: Float[Array, "B H C Q"], target: Float[Array, "B H C"]) -> Float[Array, "B H C"]:
        if self.quantiles:
            return pinball(outputs, target, self.quantiles)
        return jnp.square(outputs[..., 0] - target)


def _target(batch: Batch) -> Float[Array, "B H C"]:
    """The target, 0 where it is missing: a NaN there would reach the gradient."""
    return jnp.where(batch["mask"] != 0, batch["target"], 0) if "mask" in batch else batch["target"]


def _mean(values: Float[Array, "B H C"], batch: Batch) -> Mean:
    """Mean over the values of all windows that are not missing."""
    if "mask" not in batch:
        return Mean.of(_per_example(values), batch["weight"])
    mask = batch["mask"].astype(values.dtype)
    sums = (Mean.of(_per_example(x), batch["weight"]).total for x in (jnp.where(mask != 0, values * mask, 0), mask))
    return Mean(*sums)


def _per_example(values: Float[Array, "B H C"], mask: Real[Array, "B H C"] | None = None) -> Float[Array, " B"]:
    if mask is None:
        return jnp.mean(values, axis=(1, 2))
    return jnp.sum(jnp.where(mask != 0, values * mask, 0), axis=(1, 2)) / jnp.sum(mask, axis=(1, 2))
