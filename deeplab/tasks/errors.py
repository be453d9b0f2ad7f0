"""Losses of predicted numbers: what a model's Q outputs for each target mean, and how far they are off."""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from deeplab.core import ranges
from deeplab.core.errors import UserError
from deeplab.tasks.forecast import in_order, pinball


class Error(Protocol):
    """Loss of a number, from the Q outputs of the model for it.

    Example:
      >>> from deeplab.tasks import Regression
      >>> class Relative:
      ...     outputs = 1
      ...
      ...     def losses(self, outputs, target):
      ...         return jnp.abs(outputs[..., 0] / target - 1)
      ...
      ...     def point(self, outputs):
      ...         return outputs[..., 0]
      ...
      ...     def spread(self, outputs):
      ...         return {}
      >>> task = Regression(Relative())
      >>> task.outputs, task.error.losses(jnp.array([[3.0], [5.0]]), jnp.array([2.0, 4.0])).tolist()
      (1, [0.5, 0.25])
    """

    @property
    def outputs(self) -> int:
        """Number Q of outputs for each target."""
        ...

    def losses(self, outputs: Float[Array, "... Q"], target: Float[Array, ...]) -> Float[Array, ...]:
        """Loss of each target."""
        ...

    def point(self, outputs: Float[Array, "... Q"]) -> Float[Array, ...]:
        """The predicted number."""
        ...

    def spread(self, outputs: Float[Array, "... Q"]) -> dict[str, Float[Array, ...]]:
        """What else is predicted: quantiles around the point, or the standard deviation `std`."""
        ...


@dataclasses.dataclass(frozen=True)
class _OfPoint:
    """A loss of one output, the point itself."""

    @property
    def outputs(self) -> int:
        return 1

    def point(self, outputs: Float[Array, "... 1"]) -> Float[Array, ...]:
        return outputs[..., 0]

    def spread(self, outputs: Float[Array, "... 1"]) -> dict[str, Float[Array, ...]]:
        return {}


@dataclasses.dataclass(frozen=True)
class SquaredError(_OfPoint):
    """(y - f)^2: f learns the mean.

    Example:
      >>> SquaredError().losses(jnp.array([[1.0], [3.0]]), jnp.array([2.0, 5.0])).tolist()
      [1.0, 4.0]
    """

    def losses(self, outputs: Float[Array, "... 1"], target: Float[Array, ...]) -> Float[Array, ...]:
        return jnp.square(target - outputs[..., 0])


@dataclasses.dataclass(frozen=True)
class AbsoluteError(_OfPoint):
    """|y - f|: f learns the median.

    Example:
      >>> AbsoluteError().losses(jnp.array([[1.0], [3.0]]), jnp.array([2.0, 5.0])).tolist()
      [1.0, 2.0]
    """

    def losses(self, outputs: Float[Array, "... 1"], target: Float[Array, ...]) -> Float[Array, ...]:
        return jnp.abs(target - outputs[..., 0])


@dataclasses.dataclass(frozen=True)
@ranges.checked(delta=ranges.POSITIVE)
class Huber(_OfPoint):
    """e^2 / 2 where |e| <= delta, else delta (|e| - delta / 2), with e = y - f: outliers pull less.

    Args:
      delta: Error, in standard deviations of the target, from which on the loss is linear; may be a tracer.

    Source: Huber 1964, https://doi.org/10.1214/aoms/1177703732.

    Example:
      >>> Huber(1.0).losses(jnp.array([[0.0], [0.0]]), jnp.array([0.5, 3.0])).tolist()
      [0.125, 2.5]
    """

    delta: float | jax.Array = 1.0

    def losses(self, outputs: Float[Array, "... 1"], target: Float[Array, ...]) -> Float[Array, ...]:
        size = jnp.abs(target - outputs[..., 0])
        near = jnp.minimum(size, self.delta)
        return near * (size - near / 2)


@dataclasses.dataclass(frozen=True)
class Gaussian:
    """-log N(y; m, exp(s)) = (log 2 pi + s + (y - m)^2 exp(-s)) / 2, with the outputs m and s, the log of the variance.

    Source: Nix and Weigend 1994, https://doi.org/10.1109/ICNN.1994.374138.

    Example:
      >>> round(Gaussian().losses(jnp.array([1.0, 0.0]), jnp.array(1.0)).item(), 4)  # log(2 pi) / 2
      0.9189
    """

    @property
    def outputs(self) -> int:
        return 2

    def losses(self, outputs: Float[Array, "... 2"], target: Float[Array, ...]) -> Float[Array, ...]:
        mean, log_variance = outputs[..., 0], outputs[..., 1]
        return (math.log(2 * math.pi) + log_variance + jnp.square(target - mean) * jnp.exp(-log_variance)) / 2

    def point(self, outputs: Float[Array, "... 2"]) -> Float[Array, ...]:
        return outputs[..., 0]

    def spread(self, outputs: Float[Array, "... 2"]) -> dict[str, Float[Array, ...]]:
        return {"std": jnp.exp(outputs[..., 1] / 2)}


@dataclasses.dataclass(frozen=True)
class Quantiles:
    """The mean over levels q of max(q e, (q - 1) e), e = y - f_q: f_q learns the q-quantile; see `pinball`.

    The point is the quantile nearest to the median. Predictions are sorted, so that no two quantiles cross.

    Args:
      levels: Increasing levels q in (0, 1).

    Raises:
      UserError: there are no levels, or they do not increase between 0 and 1.

    Example:
      >>> Quantiles((0.1, 0.5, 0.9)).point(jnp.array([1.0, 4.0, 2.0])).item()  # sorted: the second of 1, 2, 4
      2.0
    """

    levels: tuple[float, ...] = (0.05, 0.5, 0.95)

    def __post_init__(self) -> None:
        bounds = (0.0, *self.levels, 1.0)
        if not self.levels or any(a >= b for a, b in itertools.pairwise(bounds)):
            raise UserError(f"levels are {self.levels}, expected increasing numbers above 0 and below 1")

    @property
    def outputs(self) -> int:
        return len(self.levels)

    def losses(self, outputs: Float[Array, "... Q"], target: Float[Array, ...]) -> Float[Array, ...]:
        return pinball(outputs, target, self.levels)

    def point(self, outputs: Float[Array, "... Q"]) -> Float[Array, ...]:
        middle = min(range(self.outputs), key=lambda i: abs(self.levels[i] - 0.5))
        return in_order(outputs)[..., middle]

    def spread(self, outputs: Float[Array, "... Q"]) -> dict[str, Float[Array, ...]]:
        return {"quantiles": in_order(outputs)}
