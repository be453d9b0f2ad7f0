"""Faithfulness: whether the score follows what a map says, when features are removed, kept or moved."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from deeplab.explain.attribution import Target, scored
from deeplab.explain.chunks import total
from deeplab.explain.trust.features import check_map, ranks, replaced

Function = Callable[..., Any]


class Curves(NamedTuple):
    """Areas under the score as features come and go, in the order of a map.

    Attributes:
      insertion: Mean score while the highest features are inserted into the baseline, [B]; high is good.
      deletion: Mean score while the highest features are replaced by the baseline's, [B]; low is good.
    """

    insertion: Float[Array, " B"]
    deletion: Float[Array, " B"]


def insertion_deletion(
    f: Function,
    x: Array,
    values: Array,
    target: Target = None,
    *,
    baseline: Any = 0.0,
    steps: int = 32,
    args: Sequence[Any] = (),
    chunk: int | None = None,
) -> Curves:
    """Areas under the score while the highest features of a map are inserted or deleted, by the trapezoid rule.

    Args:
      f: Function `f(x, *args)` to outputs; give probabilities for areas in [0, 1].
      x: Inputs [B, ...].
      values: Map, [B, ...]; see `deeplab.explain.trust.features`.
      target: Score that is followed; see `deeplab.explain.attribution`.
      baseline: Entries that stand in place of what is removed.
      steps: Number of steps from nothing to the whole input.
      args: Further inputs of f.
      chunk: Number of steps at once; by their size when None.

    Example:
      >>> x, f = jnp.array([[3.0, 1.0]]), lambda x: x.sum(axis=1)
      >>> [float(area[0]) for area in insertion_deletion(f, x, x, steps=2)]
      [2.5, 1.5]

    Source: Petsiuk, Das and Saenko 2018, https://arxiv.org/abs/1806.07421.
    """
    features = check_map(values, x)
    score, args = scored(f, target, args)
    place = ranks(values)
    counts = jnp.round(jnp.linspace(0, features, steps + 1)).astype(jnp.int32)
    widths = jnp.diff(counts / features)
    weights = (jnp.pad(widths, (1, 0)) + jnp.pad(widths, (0, 1))) / 2

    def area(row: tuple[Array, Array]) -> Curves:
        count, weight = row
        scores = (score(replaced(x, (place < count) == gone, baseline), *args) for gone in (False, True))
        return Curves(*(weight * each for each in scores))

    return total(area, (counts, weights), chunk)


def infidelity(
    f: Function,
    x: Array,
    values: Array,
    target: Target = None,
    *,
    key: Array,
    n: int = 64,
    moves: Callable[[Array, Array], Array] | None = None,
    normalize: bool = False,
    args: Sequence[Any] = (),
    chunk: int | None = None,
) -> Float[Array, " B"]:
    """Mean of (I . values - (f(x) - f(x - I)))^2 over moves I of the input, [B]; 0 is best.

    Args:
      f: Function `f(x, *args)` to outputs.
      x: Inputs [B, ...].
      values: Map in the shape of the inputs.
      target: Score that is followed.
      key: Key of the moves.
      n: Number of moves.
      moves: Function from a key and the inputs to moves; Gaussian ones of standard deviation 0.1, the same for all
        examples, when None.
      normalize: Whether the map is scaled first by the factor, one for each example, that makes the result least.
      args: Further inputs of f.
      chunk: Number of moves at once; by their size when None.

    Example:
      >>> f, x = lambda x: x @ jnp.array([3.0, -1.0]), jnp.ones((1, 2))
      >>> infidelity(f, x, jnp.array([[3.0, -1.0]]), key=jax.random.key(0), n=4).round(6).tolist()
      [0.0]

    Source: Yeh et al. 2019, https://arxiv.org/abs/1901.09392.
    """
    check_map(values, x)
    score, args = scored(f, target, args)
    at, draw = score(x, *args), moves or (lambda key, x: 0.1 * jax.random.normal(key, (1, *x.shape[1:]), x.dtype))

    def products(key: Array) -> tuple[Array, Array, Array]:
        move = draw(key, x)
        told = jnp.sum((move * values).reshape(len(x), -1), axis=1)
        true = at - score(x - move, *args)
        return told * told, told * true, true * true

    squares, cross, true = (part / n for part in total(products, jax.random.split(key, n), chunk))
    factor = jnp.where(squares > 0, cross / jnp.where(squares > 0, squares, 1), 1.0) if normalize else 1.0
    return factor**2 * squares - 2 * factor * cross + true


def max_sensitivity(
    method: Callable[[Array], Array], x: Array, *, key: Array, radius: float = 0.02, n: int = 10
) -> Float[Array, " B"]:
    """The largest change of a map, in units of its norm, by moves of the input within a box, [B]; 0 is best.

    Args:
      method: Function from inputs to their map.
      x: Inputs [B, ...].
      key: Key of the moves, which are the same for all examples.
      radius: Half of the width of the box.
      n: Number of moves.

    Example:
      >>> max_sensitivity(jnp.ones_like, jnp.ones((2, 3)), key=jax.random.key(0), n=2).tolist()  # the map never moves
      [0.0, 0.0]

    Source: Yeh et al. 2019, https://arxiv.org/abs/1901.09392.
    """
    at = method(x)

    def norm(values: Array) -> Array:
        return jnp.linalg.norm(values.reshape(len(x), -1), axis=1)

    def change(key: Array) -> Array:
        return norm(method(x + radius * jax.random.uniform(key, (1, *x.shape[1:]), x.dtype, -1, 1)) - at)

    return jnp.max(jax.lax.map(change, jax.random.split(key, n)), axis=0) / jnp.maximum(norm(at), 1e-12)


def sensitivity_n(
    f: Function,
    x: Array,
    values: Array,
    target: Target = None,
    *,
    key: Array,
    fractions: Sequence[float] = (0.05, 0.1, 0.3, 0.5),
    n: int = 100,
    baseline: Any = 0.0,
    args: Sequence[Any] = (),
    chunk: int | None = None,
) -> Float[Array, "B F"]:
    """Correlation between the sum of a random set of values and the fall of the score when its features are removed.

    Args:
      f: Function `f(x, *args)` to outputs.
      x: Inputs [B, ...].
      values: Map, [B, ...].
      target: Score that is followed.
      key: Key of the sets, which are the same for all examples.
      fractions: Sizes F of the sets, as shares of the features.
      n: Number of sets of each size.
      baseline: Entries that stand in place of what is removed.
      args: Further inputs of f.
      chunk: Number of sets at once; by their size when None.

    Returns:
      Pearson's r for each example and size, [B, F]; 1 is best, 0 where one of the two is constant.

    Example:
      >>> f, x = lambda x: x.sum(axis=1), jnp.array([[1.0, 2.0, 4.0, 8.0]])
      >>> sensitivity_n(f, x, x, key=jax.random.key(0), fractions=(0.5,), n=8).round(3).tolist()
      [[1.0]]

    Source: Ancona et al. 2018, https://arxiv.org/abs/1711.06104.
    """
    features = check_map(values, x)
    score, args = scored(f, target, args)
    at = score(x, *args)

    def of(count: Array, key: Array) -> Array:

        def moments(key: Array) -> tuple[Array, ...]:
            removed = ranks(jax.random.uniform(key, (1, *values.shape[1:]))) < count
            told = jnp.sum(jnp.where(removed, values, 0).reshape(len(x), -1), axis=1)
            told = told - jnp.sum(values.reshape(len(x), -1), axis=1) * count / features  # its mean over the sets
            fall = at - score(replaced(x, removed, baseline), *args)
            return told, fall, told * told, fall * fall, told * fall

        a, b, aa, bb, ab = (part / n for part in total(moments, jax.random.split(key, n), chunk))
        below = jnp.maximum(aa - a * a, 0) * jnp.maximum(bb - b * b, 0)
        return jnp.where(below > 0, (ab - a * b) / jnp.sqrt(jnp.where(below > 0, below, 1)), 0.0)

    counts = jnp.array([max(1, round(fraction * features)) for fraction in fractions])
    return jax.vmap(of, out_axes=1)(counts, jax.random.split(key, len(fractions)))  # one program for all sizes
