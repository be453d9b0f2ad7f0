"""The shape of a map: where it lies beside a mask, and how few features hold it."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

_SMALLEST = 1e-12


@functools.partial(jax.jit, static_argnames="top")
def localization(values: Float[Array, "B ..."], mask: Bool[Array, "B ..."], top: int = 10) -> dict[str, Array]:
    """How well the size of a map tells a mask of what is there to be seen, each [B] in [0, 1]; 1 is best.

    Args:
      values: Map.
      mask: Features that belong to the object, in the shape of the map.
      top: Number of features of `top`.

    Returns:
      pointing: Whether the largest feature is in the mask; mass: share of the map in the mask; rank: share of the mask
      among as many of the largest features as it has; auc: area under the ROC curve, ties by half; top: share of the
      mask among the `top` largest features. NaN where the mask is empty or everything.

    Example:
      >>> found = localization(jnp.array([[3.0, 1.0, 0.0]]), jnp.array([[True, False, False]]), top=1)
      >>> {name: round(float(value[0]), 2) for name, value in found.items()}
      {'auc': 1.0, 'mass': 0.75, 'pointing': 1.0, 'rank': 1.0, 'top': 1.0}
    """
    a = jnp.abs(values).reshape(len(values), -1)
    inside = jnp.broadcast_to(mask, values.shape).reshape(a.shape)
    size = inside.sum(axis=1)
    order = jnp.argsort(-a, axis=1, stable=True)
    ranked = jnp.take_along_axis(inside, order, axis=1)
    place = jnp.arange(a.shape[1])[None]

    def auc(a: Array, inside: Array) -> Array:
        ordered = jnp.sort(a)
        below, upto = (jnp.searchsorted(ordered, a, side=side) for side in ("left", "right"))
        middle = (below + upto + 1) / 2  # the mean rank of equal values, from 1
        count = inside.sum()
        return (jnp.sum(jnp.where(inside, middle, 0)) - count * (count + 1) / 2) / (count * (len(a) - count))

    told = {
        "pointing": ranked[:, 0].astype(a.dtype),
        "mass": jnp.sum(jnp.where(inside, a, 0), axis=1) / jnp.maximum(a.sum(axis=1), _SMALLEST),
        "rank": jnp.sum(ranked & (place < size[:, None]), axis=1) / size,
        "auc": jax.vmap(auc)(a, inside),
        "top": jnp.mean(ranked[:, :top].astype(a.dtype), axis=1),
    }
    defined = (size > 0) & (size < a.shape[1])
    return {name: jnp.where(defined, value, jnp.nan) for name, value in told.items()}


def gini(values: Float[Array, "B ..."]) -> Float[Array, " B"]:
    """Gini's index of the sizes of a map's features, [B]: 0 where all are equal, near 1 where one holds all.

    Example:
      >>> [round(float(v), 3) for v in gini(jnp.array([[1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 1.0]]))]
      [0.0, 0.75]

    Source: Chalasani et al. 2020, https://arxiv.org/abs/1810.06583.
    """
    a = jnp.sort(jnp.abs(values).reshape(len(values), -1), axis=1)
    n = a.shape[1]
    weights = 2 * jnp.arange(1, n + 1) - n - 1
    return jnp.sum(weights[None] * a, axis=1) / jnp.maximum(n * jnp.sum(a, axis=1), _SMALLEST)


def entropy(values: Float[Array, "B ..."]) -> Float[Array, " B"]:
    """Entropy in nats of the shares that features have of a map's size, [B]; low is simple.

    Example:
      >>> [round(float(v), 4) for v in entropy(jnp.ones((1, 4)))]  # log 4
      [1.3863]

    Source: Bhatt et al. 2020, https://arxiv.org/abs/2005.00631 (complexity).
    """
    a = jnp.abs(values).reshape(len(values), -1)
    share = a / jnp.maximum(jnp.sum(a, axis=1, keepdims=True), _SMALLEST)
    return jnp.sum(jax.scipy.special.entr(share), axis=1)


def effective_complexity(values: Float[Array, "B ..."], threshold: float = 1e-5) -> Float[Array, " B"]:
    """Number of features whose size is above a threshold, [B].

    Example:
      >>> effective_complexity(jnp.array([[3.0, 0.0, -1.0]])).tolist()
      [2]

    Source: Nguyen and Martinez 2020, https://arxiv.org/abs/2007.07584.
    """
    return jnp.sum(jnp.abs(values).reshape(len(values), -1) > threshold, axis=1)
