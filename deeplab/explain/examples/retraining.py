"""Influence by retraining: which examples each member of a population learns from, and how well scores predict it."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from deeplab.core.errors import UserError


def random_subset(number: Any, size: int, fraction: float = 0.5) -> Bool[Array, " size"]:
    """Which of the training examples are in a random subset; all of them where the number is below 0.

    A number that an experiment takes as a float may be a tracer, so that a sweep over it is retraining on subsets, as
    one program: a member multiplies the weight of each training example by this mask.

    Args:
      number: Number of the subset, below 2^24; it is the key of the draw.
      size: Number of training examples.
      fraction: Fraction of them in the subset.

    Example:
      >>> int(random_subset(3, 11).sum()), int(random_subset(-1, 11).sum())
      (5, 11)
    """
    number = jnp.asarray(number).astype(jnp.int32)
    order = jax.random.permutation(jax.random.fold_in(jax.random.key(0), jnp.maximum(number, 0)), size)
    return (number < 0) | (order < int(fraction * size))


def all_but(number: Any, size: int) -> Bool[Array, " size"]:
    """All training examples but one; all of them where the number is below 0.

    Example:
      >>> all_but(1, 3).tolist()
      [True, False, True]
    """
    return jnp.arange(size) != jnp.asarray(number).astype(jnp.int32)


class Agreement(NamedTuple):
    """How well scores predict retraining.

    Attributes:
      each: Rank correlation over the subsets, for each test example, [T].
      mean: Their mean, the linear datamodeling score.
      low, high: Its interval, from resampled subsets and test examples.
    """

    each: Array
    mean: Array
    low: Array
    high: Array


def lds(
    scores: Float[Array, "T N"],
    masks: Bool[Array, "S N"],
    outputs: Float[Array, "S T"],
    *,
    key: jax.Array,
    resamples: int = 1000,
    level: float = 0.95,
) -> Agreement:
    """The linear datamodeling score: rank correlation of the summed scores of a subset with what training on it gives.

    Its interval is the bootstrap's percentiles, over subsets and test examples both; ranks are those of all subsets. A
    resample in which all ranks are equal, such as one of a single subset, has no correlation, and counts nowhere.

    Args:
      scores: Score of each training example for each test example.
      masks: Examples that each subset holds.
      outputs: Output of the model trained on each subset, for each test example; one that is larger for a better
        prediction, such as minus the loss.
      key: Key of the bootstrap.
      resamples: Number of bootstrap samples.
      level: Probability of the interval.

    Raises:
      UserError: the shapes disagree.

    Example:
      >>> scores, masks = jnp.array([[1.0, 2.0, 4.0]]), ~jnp.eye(3, dtype=bool)
      >>> float(lds(scores, masks, masks @ scores.T, key=jax.random.key(0), resamples=4).mean)
      1.0

    Source: Park et al. 2023, https://arxiv.org/abs/2303.14186 (definition 2.4).
    """
    (T, N), (S, _) = scores.shape, masks.shape
    if masks.shape != (S, N) or outputs.shape != (S, T):
        raise UserError(
            f"scores [T, N] are {[T, N]}, masks [S, N] {list(masks.shape)}, outputs [S, T] {list(outputs.shape)}; "
            "expected the same T, N and S in all"
        )
    predicted = masks.astype(scores.dtype) @ scores.T  # [S, T]
    x, y = (jax.scipy.stats.rankdata(values, axis=0) / S - 0.5 for values in (predicted, outputs))

    def correlations(weight: Array) -> Array:
        """Of the ranks, with the number of times that each subset is there, [S] -> [T]."""
        mean = lambda values: weight @ values / S  # noqa: E731
        there = (weight > 0)[:, None]
        differ = lambda values: jnp.ptp(jnp.where(there, values, values[jnp.argmax(weight)][None]), axis=0) > 0  # noqa: E731
        a, b = mean(x), mean(y)
        found = (mean(x * y) - a * b) / jnp.sqrt((mean(x * x) - a * a) * (mean(y * y) - b * b))
        return jnp.where(differ(x) & differ(y), found, jnp.nan)

    def resampled(key: jax.Array) -> Array:
        of_subsets, of_tests = jax.random.split(key)
        weight = jnp.bincount(jax.random.randint(of_subsets, (S,), 0, S), length=S)
        return jnp.nanmean(correlations(weight.astype(x.dtype))[jax.random.randint(of_tests, (T,), 0, T)])

    each = correlations(jnp.ones(S, x.dtype))
    means = jax.lax.map(resampled, jax.random.split(key, resamples))
    means = jnp.where(jnp.isnan(each.mean()), jnp.nan, means)
    low, high = jnp.nanquantile(means, jnp.array([(1 - level) / 2, (1 + level) / 2]))
    return Agreement(each, each.mean(), low, high)
