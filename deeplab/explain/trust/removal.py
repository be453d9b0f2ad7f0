"""ROAR: what is left to learn when the features that a map ranks highest are removed, and the model is trained anew."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from deeplab.core.errors import UserError
from deeplab.explain.chunks import mapped
from deeplab.explain.trust.features import check_map, ranks, replaced


def without_top(
    x: Float[Array, "B ..."], values: Float[Array, "B ..."], fraction: Any, baseline: Any = 0.0
) -> Float[Array, "B ..."]:
    """The inputs without the features that a map ranks highest.

    Args:
      x: Inputs.
      values: Map, in the shape of the inputs or with 1 in place of axes whose entries are removed together.
      fraction: Share of the features of each example; may be a tracer, such as an experiment's argument in a sweep.
      baseline: What stands in place of a feature that is removed; or a function `(x, removed)` to the inputs without
        them, such as `imputed`.

    Raises:
      UserError: the map does not fit.

    Example:
      >>> without_top(jnp.ones((1, 4)), jnp.array([[0.1, 3.0, 2.0, -5.0]]), 0.5).tolist()
      [[1.0, 0.0, 0.0, 1.0]]
    """
    count = jnp.round(jnp.asarray(fraction) * check_map(values, x)).astype(jnp.int32)
    removed = ranks(values) < count
    fill: Any = baseline if callable(baseline) else lambda x, removed: replaced(x, removed, baseline)
    return fill(x, removed)


class Retrained(NamedTuple):
    """What trainings without features gave.

    Attributes:
      fractions: Shares of the features that were removed, [F].
      each: Outcome of each training, [F, S].
      mean: Mean over the seeds, [F].
      low, high: Interval of the mean, Student's over the seeds, [F].
    """

    fractions: Array
    each: Float[Array, "F S"]
    mean: Float[Array, " F"]
    low: Float[Array, " F"]
    high: Float[Array, " F"]


def roar(
    outcome: Callable[[Array, Array, Array], Array],
    train: Float[Array, "N ..."],
    test: Float[Array, "T ..."],
    values: tuple[Float[Array, "N ..."], Float[Array, "T ..."]],
    *,
    key: Array,
    fractions: Sequence[float] = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9),
    seeds: int = 5,
    baseline: Any = None,
    level: float = 0.95,
    chunk: int | None = None,
) -> Retrained:
    """Remove and retrain: the outcome of trainings on inputs without the features that a map ranks highest.

    A faithful map makes it fall faster than a random one. Because the model is trained anew, what falls is what there
    is to know, not a model's surprise at holes; but where features tell the same thing, the others still tell it. All
    fractions and seeds are members of one program, with the same seeds at each fraction.

    The places of the holes may tell the class, of maps that were made for it: then training finds it out, and the
    outcome rises. Look at small fractions, and beside a control; `baseline=imputed` hides holes in part.

    Args:
      outcome: Function `(train, test, key)` to a number: it trains a model from the key on inputs of the training
        examples, and measures it on those of the test examples.
      train: Inputs of the training examples.
      test: Inputs of the test examples.
      values: Maps of the training and of the test examples.
      key: Key of the trainings.
      fractions: Shares of the features that are removed.
      seeds: Number of trainings at each, two at least.
      baseline: What stands in place of a feature that is removed, as in `without_top`; its mean over the training
        examples when None.
      level: Probability of the interval.
      chunk: Number of trainings at once; by their size when None. On a CPU, 1 is faster for convolutions.

    Raises:
      UserError: a map does not fit, or there is one seed.

    Example:
      >>> x = jax.random.normal(jax.random.key(0), (20, 2))
      >>> def outcome(train, test, key):  # minus the error of the best linear model of the first feature
      ...     slope = (train[:, 0] * x[:, 0]).sum() / (train[:, 0] ** 2).sum()
      ...     return -jnp.mean((test[:, 0] * slope - x[:, 0]) ** 2)
      >>> key, values = jax.random.key(1), jnp.broadcast_to(jnp.array([[1.0, 0.0]]), x.shape)
      >>> found = roar(outcome, x, x, (values, values), key=key, fractions=(0.0, 0.5), seeds=2)
      >>> bool(found.mean[1] < found.mean[0] - 0.5)  # without the feature that the map ranks first
      True

    Source: Hooker et al. 2019, https://arxiv.org/abs/1806.10758.
    """
    baseline = jnp.mean(train, axis=0, keepdims=True) if baseline is None else baseline
    if not fractions or min(fractions) < 0 or max(fractions) > 1:
        raise UserError(f"fractions={tuple(fractions)} are no shares of the features; give numbers from 0 to 1")
    keys, shares = seeded(key, seeds), jnp.asarray(fractions)

    def member(row: tuple[Array, Array]) -> Array:
        left, seen = (without_top(x, v, row[0], baseline) for x, v in zip((train, test), values, strict=True))
        return jnp.asarray(outcome(left, seen, row[1]))

    each = mapped(member, (jnp.repeat(shares, seeds), jnp.tile(keys, len(shares))), chunk).reshape(len(shares), seeds)
    error = each.std(axis=1, ddof=1) / seeds**0.5 * _quantile(seeds - 1, level)
    return Retrained(shares, each, each.mean(axis=1), each.mean(axis=1) - error, each.mean(axis=1) + error)


def seeded(key: Array, seeds: int) -> Array:
    """A key for each training.

    Raises:
      UserError: there are fewer than the two trainings that tell how far they differ.
    """
    if seeds < 2:
        raise UserError(f"seeds={seeds} is too few to tell how far trainings differ; give 2 or more")
    return jax.random.split(key, seeds)


def _quantile(freedom: int, level: float) -> Array:
    """The t within which Student's distribution has this probability, by bisection."""

    def halve(_: Any, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        middle = (ends[0] + ends[1]) / 2  # of freedom / (freedom + t^2)
        outside = jax.scipy.special.betainc(freedom / 2, 0.5, middle)
        below = outside < 1 - level
        return jnp.where(below, middle, ends[0]), jnp.where(below, ends[1], middle)

    low, high = jax.lax.fori_loop(0, 60, halve, (jnp.asarray(0.0), jnp.asarray(1.0)))
    share = (low + high) / 2
    return jnp.sqrt(freedom / share - freedom)
