"""The features of an example that a map ranks, and what stands in their place when they are removed.

A map has the shape of the input, or 1 in place of axes whose entries are removed together: [B, H, W, 1] for pixels with
their channels, [B, T, 1] for tokens with their embedding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from deeplab.core.errors import UserError
from deeplab.explain.attribution import ByExample, Target, scored

Method = Callable[[Callable[..., Any], Any, Any, Sequence[Any]], Any]
"""A method of explanation, (f, x, target, args) -> values in the shape of x."""


def grouped(values: Float[Array, "B ..."], together: Sequence[int] = ()) -> Float[Array, "B ..."]:
    """A map of the sums over axes whose entries are removed together, which keep the size 1.

    Example:
      >>> grouped(jnp.ones((2, 8, 8, 3)), (-1,)).shape
      (2, 8, 8, 1)
    """
    return jnp.sum(values, axis=tuple(together), keepdims=True) if together else values


def check_map(values: Any, x: Any) -> int:
    """The number of features of each example.

    Raises:
      UserError: the map does not broadcast to the input.
    """
    shape, whole = jnp.shape(values), jnp.shape(x)
    if len(shape) != len(whole) or any(a not in (1, b) for a, b in zip(shape, whole, strict=True)) or not whole:
        raise UserError(
            f"the map has the shape {shape} and the input {whole}; expected the input's, with 1 in place of axes whose "
            "entries are removed together"
        )
    return math.prod(shape[1:])


def ranks(values: Float[Array, "B ..."]) -> Int[Array, "B ..."]:
    """The place of each feature in the order of its value, 0 for the largest; of equal ones the first comes first."""
    flat = values.reshape(len(values), -1)
    order = jnp.argsort(-flat, axis=1, stable=True)
    return jnp.argsort(order, axis=1).reshape(values.shape)


def replaced(x: Array, removed: Bool[Array, "B ..."], baseline: Any) -> Array:
    """The input with the baseline's entries in place of the features that are removed."""
    return jnp.where(removed, jnp.broadcast_to(jnp.asarray(baseline, x.dtype), x.shape), x)


def is_class(f: Callable[..., Any], x: Array, target: Target, args: Sequence[Any] = ()) -> bool:
    """Whether the target is the number of one of several outputs, which has a probability."""
    if target is None or callable(target) or isinstance(target, ByExample):
        return False
    return getattr(jax.eval_shape(f, x, *args), "shape", (0, 1))[-1] > 1


def difference(
    f: Callable[..., Any], x: Array, target: Target, baseline: Any, args: Sequence[Any] = ()
) -> Float[Array, " B"]:
    """The score of the inputs minus that of the baseline."""
    score, given = scored(f, target, args)
    return score(x, *given) - score(replaced(x, jnp.ones(x.shape, bool), baseline), *given)


def measured(
    f: Callable[..., Any], x: Array, target: Target, baseline: Any, args: Sequence[Any] = (), unit: Array | None = None
) -> tuple[Callable[..., Float[Array, " B"]], tuple[Any, ...]]:
    """The score by which faithfulness is told, about 0 at the baseline and about 1 at the input.

    Args:
      f: Function `f(x, *args)` to the outputs.
      x: Inputs [B, ...].
      target: What is explained; see `deeplab.explain.attribution`.
      baseline: Input that stands for the absence of a signal.
      args: Further inputs of f.
      unit: Unit of the score minus its value at the baseline; None for the probability of a class.
    """
    if unit is None:
        return scored(lambda *inputs: jax.nn.softmax(f(*inputs)), target, args)
    score, given = scored(f, target, args)
    start = score(replaced(x, jnp.ones(x.shape, bool), baseline), *given)
    return lambda x, start, *inputs: (score(x, *inputs) - start) / unit, (start, *given)
