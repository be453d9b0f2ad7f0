"""Explanations that hold in a ball: which features certainly add to a score, or take from it, for all inputs of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from deeplab.core import ranges
from deeplab.core.abstract.intervals import bounds
from deeplab.core.errors import UserError
from deeplab.core.precision import exact
from deeplab.explain.attribution import Target, count_of, slope
from deeplab.explain.relevance import one_by_one
from deeplab.robust.certify.balls import Limits, ball
from deeplab.robust.certify.linear import linear_bounds

Method = Literal["interval", "linear"]


class Signs(NamedTuple):
    """An attribution, and what is proved of it.

    Attributes:
      values: Attribution at the example itself, [B, ...].
      lower: Least attribution of any input of the ball, [B, ...].
      upper: Greatest attribution, [B, ...].
      sign: 1 or -1 where the attribution has this sign in the whole ball, else 0, [B, ...].

    Example:
      >>> values, sign = jnp.array([[0.3, 0.1]]), jnp.array([[1.0, 0.0]])
      >>> signs = Signs(values, values - 0.2, values + 0.2, sign)
      >>> bool((signs.lower > 0)[0, 0] == (signs.sign == 1)[0, 0])
      True
    """

    values: Float[Array, "B ..."]
    lower: Float[Array, "B ..."]
    upper: Float[Array, "B ..."]
    sign: Float[Array, "B ..."]

    def share(self, top: int = 10) -> Float[Array, " B"]:
        """The share of each example's largest attributions whose sign is certain.

        Args:
          top: Number of features, by the size of their attribution at the example itself.

        Raises:
          UserError: It is no number of features.
        """
        size, flat = count_of("top", top), self.values.reshape(len(self.values), -1)
        if size > flat.shape[1]:
            raise UserError(f"top={top} features of {flat.shape[1]} were asked for; give as many or fewer")
        places = jax.lax.top_k(jnp.abs(flat), size)[1]
        return jnp.mean(jnp.abs(jnp.take_along_axis(self.sign.reshape(flat.shape), places, axis=1)), axis=1)


@exact
@ranges.checked(method=ranges.OneOf(Method))
def certified_signs(
    f: Callable[..., Any],
    x: Float[Array, "B ..."],
    radius: float | jax.Array,
    target: Target = None,
    args: Sequence[Any] = (),
    *,
    times_input: bool = True,
    method: Method = "linear",
    limits: Limits = (0.0, 1.0),
) -> Signs:
    """The signs of input times gradient, or of the gradient, that no input of a ball around each example changes.

    The program of the gradient is bounded as any other: where a ReLU may be active or not, its derivative is 0 or 1.
    A feature that is 0 somewhere in the ball has no certain sign times its gradient.

    Args:
      f: Function `f(x, *args)` from inputs [B, ...] to outputs; its examples are explained one by one.
      x: Inputs, an array.
      radius: Radius in units of the input (l-infinity).
      target: What is explained; see `deeplab.explain.attribution`.
      args: Further inputs of f with a leading axis of examples, which are what they are.
      times_input: Whether the gradient is multiplied by the input.
      method: "interval", or "linear", which is tighter and takes a pass back for each unit.
      limits: Least and greatest value of an input; None without any.

    Raises:
      UserError: The radius is negative, or an input is outside of its limits.
      NotImplementedError: A primitive of the gradient has no bounds.

    Example (a unit that is active in the whole ball, and one that may not be):
      >>> f = lambda x: jax.nn.relu(x @ jnp.array([[1.0, 1.0], [2.0, -2.0]])) @ jnp.array([1.0, -2.0])
      >>> certified_signs(f, jnp.array([[0.5, 0.25]]), 0.125, method="interval").sign.tolist()
      [[0.0, 1.0]]
    """
    ball(x, radius, limits)  # what is wrong with it is not seen under the trace below
    kind = {"interval": bounds, "linear": linear_bounds}[method]

    def explain(score: Callable[..., jax.Array], x: Any, args: Sequence[Any]) -> Any:
        def of(x: jax.Array) -> jax.Array:
            gradient = slope(score, args)(x)
            return x * gradient if times_input else gradient

        return of(x), kind(of, *ball(x, radius, limits))

    values, (lower, upper) = one_by_one(f, x, target, args, explain)
    return Signs(values, lower, upper, (lower > 0).astype(x.dtype) - (upper < 0).astype(x.dtype))
