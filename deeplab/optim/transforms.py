"""Gradient transformations: clipping, updates at every k-th step, and optimizer state in bfloat16."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from deeplab.core import ranges
from deeplab.optim.schedules import Scalar


@ranges.checked(max_norm=ranges.POSITIVE)
def clip(max_norm: Scalar) -> optax.GradientTransformation:
    """Scales the gradient so that its global norm is at most `max_norm`.

    g <- g * max_norm / max(max_norm, |g|). This is one product per leaf, in the leaf's dtype.
    `optax.clip_by_global_norm` selects, divides and multiplies, and rejects bfloat16 leaves when the norm is traced.

    Args:
      max_norm: Largest global norm.

    Example:
      >>> update, _ = clip(1.0).update({"w": jnp.array([3.0, 4.0])}, optax.EmptyState())
      >>> [round(float(x), 2) for x in update["w"]]
      [0.6, 0.8]

    Source: Pascanu, Mikolov and Bengio 2013, https://arxiv.org/abs/1211.5063.
    """

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        factor = max_norm / jnp.maximum(max_norm, optax.tree.norm(updates))
        return jax.tree.map(lambda g: g * factor.astype(g.dtype), updates), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


@ranges.checked(k=ranges.COUNT)
def every(k: int, optimizer: optax.GradientTransformation) -> optax.GradientTransformationExtraArgs:
    """Updates at every k-th step only: steps k - 1, 2k - 1, ... (counted from 0).

    At the other steps the updates are zero and the optimizer's state is unchanged; their gradients are discarded. Use
    `optax.MultiSteps` to accumulate them instead. Schedules within count updates, not steps. In `groups` it gives the
    k-to-1 updates of adversarial training.

    Args:
      k: Number of steps per update.
      optimizer: Optimizer whose updates are applied.

    Example:
      >>> tx, step_sizes = every(2, optax.sgd(1.0)), []
      >>> state = tx.init(jnp.zeros(()))
      >>> for _ in range(4):
      ...     update, state = tx.update(jnp.ones(()), state)
      ...     step_sizes.append(float(update))
      >>> step_sizes
      [0.0, -1.0, 0.0, -1.0]
    """

    def is_due(step: Any, **_: Any) -> jax.Array:
        return (step + 1) % k == 0

    return optax.conditionally_mask(optimizer, is_due)


class Bfloat16State(NamedTuple):
    """State of `with_bfloat16_state`.

    Attributes:
      count: Number of updates, int32 scalar.
      inner: The optimizer's state, with its float32 arrays in bfloat16.

    Example:
      >>> import optax
      >>> state = with_bfloat16_state(optax.sgd(0.1, momentum=0.9)).init({"w": jnp.ones(2)})
      >>> str(jax.tree.leaves(state.inner)[0].dtype)
      'bfloat16'
    """

    count: jax.Array
    inner: Any


def with_bfloat16_state(optimizer: optax.GradientTransformation) -> optax.GradientTransformationExtraArgs:
    """Keeps the optimizer's state in bfloat16, which halves its memory.

    Each update is computed in float32; the new state is then rounded up or down at random, with probabilities that
    keep its mean. Rounded to nearest, a moving average with decay 0.999 would not change at all, because its changes
    are smaller than the spacing of bfloat16. The random bits are a function of the number of updates. Scalars are not
    rounded.

    Args:
      optimizer: Optimizer whose state is rounded.

    Example:
      >>> tx = with_bfloat16_state(optax.adam(1e-3))
      >>> state = tx.init({"w": jnp.zeros(3)})
      >>> state.inner[0].nu["w"].dtype.name, state.inner[0].count.dtype.name
      ('bfloat16', 'int32')

    Source: Gupta et al. 2015, https://arxiv.org/abs/1502.02551.
    """
    optimizer = optax.with_extra_args_support(optimizer)

    def init(params: Any) -> Bfloat16State:
        return Bfloat16State(jnp.zeros((), jnp.int32), _rounded(optimizer.init(params), jax.random.key(0)))

    def update(updates: Any, state: Any, params: Any = None, **extra_args: Any) -> tuple[Any, Bfloat16State]:
        count, like = state.count + 1, jax.eval_shape(optimizer.init, updates if params is None else params)
        wide = jax.tree.map(lambda x, s: x.astype(s.dtype), state.inner, like)
        updates, inner = optimizer.update(updates, wide, params, **extra_args)
        return updates, Bfloat16State(count, _rounded(inner, jax.random.fold_in(jax.random.key(0), count)))

    return optax.GradientTransformationExtraArgs(init, update)


def _rounded(tree: Any, key: jax.Array) -> Any:
    """The float32 arrays in bfloat16, each entry rounded at random to one of its two neighbors."""
    leaves, structure = jax.tree.flatten(tree)

    def one(i: int, x: jax.Array) -> jax.Array:
        if x.dtype != jnp.float32 or x.ndim == 0:
            return x
        bits = jax.lax.bitcast_convert_type(x, jnp.uint32)  # bfloat16 is the upper half of float32
        noise = jax.random.bits(jax.random.fold_in(key, i), x.shape, jnp.uint16).astype(jnp.uint32)
        upper = ((bits + noise) >> 16).astype(jnp.uint16)
        return jax.lax.bitcast_convert_type(upper, jnp.bfloat16)

    return jax.tree.unflatten(structure, [one(i, x) for i, x in enumerate(leaves)])
