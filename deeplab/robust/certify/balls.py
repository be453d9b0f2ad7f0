"""Balls of inputs around examples: all that is at most a radius away in each entry."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from deeplab.core import ranges
from deeplab.core.abstract.interval_values import Interval
from deeplab.core.errors import UserError
from deeplab.robust.inputs import refuse_wide

Limits = tuple[float, float] | None
"""Least and greatest value of an input, such as (0, 1) of images before their normalization; None without any."""


@ranges.checked(radius=ranges.NATURAL)
def ball(x: Any, radius: float | jax.Array, limits: Limits = (0.0, 1.0)) -> Interval:
    """The least and the greatest entries of inputs within a radius (l-infinity) of x, and within their limits.

    Under a trace, where values are not looked at, an x outside of the limits widens them: x is in its own ball.

    Args:
      x: Inputs, an array.
      radius: Radius in units of the input, 0 or more; may be a tracer.
      limits: Least and greatest value of an input; None without any.

    Raises:
      UserError: The radius is negative or larger than the limits are apart, or an input is outside of them.

    Example:
      >>> [end.tolist() for end in ball(jnp.array([0.0, 0.5]), 0.125)]
      [[0.0, 0.375], [0.125, 0.625]]
    """
    if limits is None:
        return Interval(x - radius, x + radius)
    low, high = limits
    if not isinstance(x, Tracer):
        least, greatest = (end(np.asarray(x), initial=low) for end in (np.min, np.max))
        if least < low or greatest > high:
            raise UserError(
                f"the inputs have values from {least:g} to {greatest:g}, expected {low:g} to {high:g}, before their "
                "normalization; scale them, and the radius, or give limits=None"
            )
    refuse_wide(radius, low, high)
    return Interval(jnp.maximum(x - radius, jnp.minimum(low, x)), jnp.minimum(x + radius, jnp.maximum(high, x)))
