"""What every generative model is to its users: a way to draw, and a density where there is one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from deeplab.core.errors import UserError
from deeplab.tasks.contract.apply import Apply


class Sample(Protocol):
    """Draws `count` examples [count, *shape]; the first n of them do not depend on `count`.

    Args:
      key: Key of all randomness.
      count: Number of examples.
      condition: What they are to be, such as classes [count]; None where nothing is asked for.
    """

    def __call__(self, key: jax.Array, count: int, condition: Any = None) -> jax.Array: ...


class Decode(Protocol):
    """What becomes of standard normal numbers [B, *start]: an example each, as `condition` asks."""

    def __call__(self, start: jax.Array, condition: Any = None) -> jax.Array: ...


class Inpaint(Protocol):
    """Examples that are `known` where `mask` is 1, and drawn elsewhere.

    Args:
      key: Key of all randomness.
      known: Examples [B, *shape], of which the values under a mask of 0 are not read.
      mask: 1 where they are known and 0 elsewhere, of a shape that broadcasts to theirs.
      condition: What they are to be, as in a sample.
    """

    def __call__(self, key: jax.Array, known: jax.Array, mask: jax.Array, condition: Any = None) -> jax.Array: ...


class Generative(NamedTuple):
    """A generative model.

    Attributes:
      sample: Draws examples, in the units of the data.
      log_prob: Function of examples [B, *shape] and a key to log-densities [B], in nats, or a bound or an estimate of
        them, as the task says; None where there is none.
      decode: Function from standard normal numbers to examples, by which it draws; None where it draws otherwise.
      start: Shape of these numbers of an example; empty where there are none.
      inpaint: Completes examples; None where it cannot.

    Example:
      >>> shift = Generative(sample=lambda key, count, **_: jax.random.normal(key, (count, 2)) + 3.0)
      >>> shift.sample(jax.random.key(0), 5).shape
      (5, 2)
    """

    sample: Sample
    log_prob: Callable[[jax.Array, jax.Array], jax.Array] | None = None
    decode: Decode | None = None
    start: tuple[int, ...] = ()
    inpaint: Inpaint | None = None


def decoding(decode: Decode, start: Sequence[int], **rest: Any) -> Generative:
    """A model that draws by `decode`, from numbers of the shape `start`; `rest` are further fields of the record."""

    def sample(key: jax.Array, count: int, condition: Any = None) -> jax.Array:
        return decode(normals(keys_of(key, jnp.arange(count)), start), condition)

    return Generative(sample, decode=decode, start=tuple(start), **rest)


def interpolated(
    model: Generative, key: jax.Array, count: int, steps: int = 8, condition: Any = None
) -> Float[Array, "N S ..."]:
    """Examples on ways from one draw to another, [N, S, ...]: (1 - t) z + t w, of unit variance, decoded.

    z and w are the starts of two draws; what is between them is a standard normal start, too.

    Args:
      model: Model with `decode`.
      key: Key of the draws.
      count: Number N of ways.
      steps: Number S of examples on each, with its two ends.
      condition: Condition of each way [count], if any.

    Raises:
      UserError: The model draws otherwise than from normal numbers.

    Example (a model that draws its start):
      >>> way = interpolated(decoding(lambda z, condition=None: z, (2,)), jax.random.key(0), count=3, steps=5)
      >>> way.shape
      (3, 5, 2)
    """
    if model.decode is None:
        raise UserError("the model draws value by value, from no numbers between which there is a way; give another")
    first, last = (normals(keys_of(jax.random.fold_in(key, i), jnp.arange(count)), model.start) for i in range(2))
    t = jnp.linspace(0, 1, steps).reshape(1, -1, *[1] * len(model.start))
    between = ((1 - t) * first[:, None] + t * last[:, None]) / jnp.sqrt((1 - t) ** 2 + t**2)
    asked = None if condition is None else jnp.repeat(jnp.asarray(condition), steps, axis=0)
    found = model.decode(between.reshape(count * steps, *model.start), asked)
    return found.reshape(count, steps, *found.shape[1:])


def refuse_condition(condition: Any, task: Any) -> None:
    """Refuses a condition that a sample would not meet.

    Raises:
      UserError: There is one.
    """
    if condition is not None:
        raise UserError(
            f"a sample is asked to meet a condition, and {type(task).__name__} has learned of none; leave it out, or "
            "train a task that takes num_classes=, such as FlowMatching"
        )


def refuse_normalized(apply: Apply, task: Any) -> None:
    """Refuses data that normalize what the model reads: its input is of the task's own making.

    Raises:
      UserError: They do.
    """
    if getattr(apply, "normalize", None) is not None:
        raise UserError(
            f"the data normalize the model's first input, and {type(task).__name__} reckons in units of the data as "
            "they are; give normalize=None, as in dl.data.Images(..., normalize=None)"
        )


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
