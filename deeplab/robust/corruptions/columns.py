"""Corruptions of tables: columns that are missing or shifted, as when a device fails or is replaced."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from deeplab.core import ranges
from deeplab.robust.corruptions.filters import Corruption, refuse_integers


@ranges.checked(share=ranges.FRACTION)
def missing(share: float, value: Any = 0.0) -> Corruption:
    """Replaces each column of a row [D] by what stands for a missing one, with the probability `share`.

    Args:
      share: Probability that a column is missing.
      value: Number that stands for it, or one for each column: 0, the mean, of standardized columns.

    Raises:
      UserError: when it is called, the row is of integers, which hold no mean.

    Example:
      >>> missing(1.0)(jax.random.key(0), jnp.array([1.0, 2.0])).tolist()
      [0.0, 0.0]
    """

    def corrupt(key: jax.Array, x: jax.Array) -> jax.Array:
        refuse_integers(x, "row")
        return jnp.where(jax.random.uniform(key, x.shape) < share, jnp.asarray(value, x.dtype), x)

    return corrupt


@ranges.checked(by=ranges.NATURAL)
def shifted(by: float, scale: Any = 1.0) -> Corruption:
    """Adds u to each column of a row [D], u = by or -by times the column's scale, drawn for each row.

    Args:
      by: Shift, in units of the scale.
      scale: Standard deviation of the columns, a number or one for each; 1 of standardized columns.

    Raises:
      UserError: when it is called, the row is of integers.

    Example:
      >>> moved = shifted(0.5, scale=jnp.array([1.0, 10.0]))(jax.random.key(0), jnp.zeros(2))
      >>> jnp.abs(moved).tolist()
      [0.5, 5.0]
    """

    def corrupt(key: jax.Array, x: jax.Array) -> jax.Array:
        refuse_integers(x, "row")
        return x + by * jnp.asarray(scale, x.dtype) * jax.random.rademacher(key, x.shape, x.dtype)

    return corrupt


def tabular(value: Any = 0.0, scale: Any = 1.0) -> dict[str, tuple[Corruption, ...]]:
    """Both by name, each at severities 1 to 5: 5 to 50 % missing, and shifts by 0.1 to 2 scales (deeplab's own choice).

    Args:
      value: Number that stands for a missing column, or one for each.
      scale: Standard deviation of the columns, or one for each.

    Example:
      >>> {name: len(severities) for name, severities in tabular().items()}
      {'missing': 5, 'shifted': 5}
      >>> jnp.abs(tabular(scale=3.0)["shifted"][-1](jax.random.key(0), jnp.zeros(2))).tolist()  # by 2 scales
      [6.0, 6.0]
    """
    return {
        "missing": tuple(missing(share, value) for share in (0.05, 0.1, 0.2, 0.35, 0.5)),
        "shifted": tuple(shifted(by, scale) for by in (0.1, 0.25, 0.5, 1.0, 2.0)),
    }
