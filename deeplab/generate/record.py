"""What every generative model is to its users: a way to draw, and a density where there is one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from deeplab.core.blocks import Block, card, cards, picture, section
from deeplab.tasks.base import Trained


class Sample(Protocol):
    """Draws `count` examples [count, *shape]; the first n of them do not depend on `count`.

    Args:
      key: Key of all randomness.
      count: Number of examples.
      condition: What they are to be, such as classes [count]; None where nothing is asked for.
    """

    def __call__(self, key: jax.Array, count: int, condition: Any = None) -> jax.Array: ...


class Generative(NamedTuple):
    """A generative model.

    Attributes:
      sample: Draws examples, in the units of the data.
      log_prob: Function of examples [B, *shape] and a key to log-densities [B], in nats, or a bound or an estimate of
        them, as the task says; None where there is none.
    """

    sample: Sample
    log_prob: Callable[[jax.Array, jax.Array], jax.Array] | None = None


def keys_of(key: jax.Array, ids: jax.Array) -> jax.Array:
    """A key for each example, [B]: that of its number, whatever else is in the batch.

    Args:
      key: Key of the step.
      ids: Numbers of the examples, [B].
    """
    return jax.vmap(jax.random.fold_in, (None, 0))(key, ids)


def normals(keys: jax.Array, shape: Sequence[int], dtype: Any = None) -> jax.Array:
    """Standard normal numbers, [B, *shape].

    Args:
      keys: Key of each example, [B].
      shape: Shape of an example.
      dtype: Type of the numbers; float32, or float64 where that is on, when None.

    Example:
      >>> few, many = (normals(keys_of(jax.random.key(0), jnp.arange(n)), (3,)) for n in (2, 5))
      >>> few.shape, bool(jnp.all(few == many[:2]))
      ((2, 3), True)
    """
    kind = jnp.zeros(()).dtype if dtype is None else dtype
    return jax.vmap(lambda k: jax.random.normal(k, tuple(shape), kind))(keys)


def like(values: Any, x: jax.Array) -> jax.Array:
    """Numbers, one for all examples or one for each [B], in a shape that multiplies x [B, ...]."""
    values = jnp.asarray(values, x.dtype)
    return values.reshape(values.shape + (1,) * (x.ndim - values.ndim))


def shown(generative: Generative, trained: Trained, count: int = 24, condition: Any = None) -> list[Block]:
    """The section of a report with drawn images.

    Args:
      generative: Model of images [H, W, C] in [0, 1].
      trained: What `Task.artifacts` is given.
      count: Number of images.
      condition: Condition of each, if any.
    """
    images = jax.device_get(jax.jit(lambda key: generative.sample(key, count, condition))(trained.key))
    return [section("Samples", cards([card("", picture(image)) for image in images], compact=True))]
