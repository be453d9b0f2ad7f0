"""Dropout whose mask belongs to the example, not to its position in the batch.

`nn.Dropout` draws one mask for a batch: another batch size, or another split into microbatches, gives an example
another mask. Within `by_example` every `nn.Dropout` of a model, whoever wrote it, draws from
`fold_in(key, id)`, and its rate may be a tracer, so that rates can be swept under `vmap`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp


def by_example(ids: jax.Array) -> AbstractContextManager[Any]:
    """A context in which `nn.Dropout` is keyed by example.

    Args:
      ids: Example numbers, [B]. A layer whose input has another leading axis (such as time) keeps the single draw of
        `nn.Dropout`.

    Example:
      >>> with by_example(jnp.arange(4)):
      ...     layer = nn.Dropout(0.5, deterministic=False)
      ...     out = layer.apply({}, jnp.ones((4, 8)), rngs={"dropout": jax.random.key(0)})
    """

    def intercept(call: Callable, args: tuple, kwargs: dict, context: nn.module.InterceptorContext) -> Any:
        layer = context.module
        if not isinstance(layer, nn.Dropout) or context.method_name != "__call__":
            return call(*args, **kwargs)
        x, deterministic, key = _arguments(layer, *args, **kwargs)
        if deterministic or (isinstance(layer.rate, (int, float)) and layer.rate == 0):
            return x
        return _dropout(
            x, layer.rate, layer.broadcast_dims, layer.make_rng(layer.rng_collection) if key is None else key, ids
        )

    return nn.intercept_methods(intercept)


def _arguments(layer: nn.Dropout, inputs: jax.Array, deterministic: bool | None = None, rng: Any = None) -> tuple:
    return inputs, nn.merge_param("deterministic", layer.deterministic, deterministic), rng


def _dropout(x: jax.Array, rate: Any, broadcast_dims: Any, key: jax.Array, ids: jax.Array) -> jax.Array:
    """Inverted dropout (Srivastava et al. 2014): keeps with probability 1 - rate, and divides by it."""
    shape = tuple(1 if axis in broadcast_dims else size for axis, size in enumerate(x.shape))
    if x.ndim and x.shape[0] == ids.shape[0]:
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, ids)
        uniform = jax.vmap(lambda k: jax.random.uniform(k, shape[1:]))(keys)
    else:
        uniform = jax.random.uniform(key, shape)
    keep = 1.0 - rate
    # The inner `where` keeps the gradient finite at rate 1, where nothing is kept.
    scaled = x / jnp.where(keep > 0, keep, 1.0).astype(x.dtype)
    return jnp.where(uniform < keep, scaled, jnp.zeros_like(x))
