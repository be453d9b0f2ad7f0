"""Shapley values: the score shared among players by what each adds, in the mean over all orders in which they come."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from deeplab.core.errors import UserError
from deeplab.explain.attribution import Attribution, Target, checked, count_of, drawn
from deeplab.explain.chunks import averaged, mapped
from deeplab.explain.perturbation.groups import Groups, Players, players
from deeplab.explain.perturbation.hierarchies import Hierarchy, coalitions, flat, levels


def shapley(
    f: Callable[..., Any],
    x: Any,
    baseline: Any,
    target: Target = None,
    args: Sequence[Any] = (),
    *,
    groups: Groups = None,
    hierarchy: Hierarchy | None = None,
    chunk: int | None = None,
) -> Attribution:
    """Exact Shapley values of up to 16 players; with a hierarchy, Owen values, of many more.

    values_i = sum over coalitions S without i of |S|! (M - |S| - 1)! / M! (v(S + i) - v(S)), where v(S) is the score
    with the players of S, and all others at their baseline. They add up to score(x) - score(baseline).

    Args:
      f: Function `f(x, *args)` from inputs [B, ...] to outputs.
      x: Inputs, a pytree of arrays with a leading axis of examples; of any type.
      baseline: Inputs that stand for the absence of a signal, of the same structure; arrays that broadcast will do.
      target: What is explained; see `deeplab.explain.attribution`.
      args: Further inputs of f with a leading axis of examples, which are not explained.
      groups: Labels of the entries that make a player; each by itself when None.
      hierarchy: Nested lists of players that come together, such as [[0, 1], [2, [3, 4]]]: one coalition of players, of
        unions in a union, and so on, whose orders are kept apart.
      chunk: Number of coalitions at a time; by the size of what f computes when None.

    Returns:
      Values [B, M] of M groups; in the shapes of the inputs when there are none.

    Raises:
      UserError: there are more than 2^16 coalitions, the baseline or the groups do not fit the inputs, the hierarchy
        has not each player once, or the result is not finite.

    Example:
      >>> shapley(lambda x: x[:, 0] * x[:, 1] + x[:, 2], jnp.array([[2.0, 3.0, 1.0]]), 0.0).values.tolist()
      [[3.0, 3.0, 1.0]]

    Source: Shapley 1953, https://doi.org/10.1515/9781400881970-018; Owen 1977,
    https://doi.org/10.1007/978-3-642-45494-3_7
    """
    game = players(f, x, baseline, target, args, groups)
    rows, shares = coalitions(flat(game.count) if hierarchy is None else hierarchy, game.count)
    worth = mapped(game.score, jnp.asarray(rows), chunk)
    values = jnp.stack(
        [jnp.tensordot(w, worth[a] - worth[b], 1, precision="highest") for w, a, b in map(_cast(worth), shares)]
    )
    return _complete(game, values.T)


def permutation_shapley(
    f: Callable[..., Any],
    x: Any,
    baseline: Any,
    target: Target = None,
    args: Sequence[Any] = (),
    *,
    key: jax.Array | None = None,
    draws: int = 32,
    groups: Groups = None,
    hierarchy: Hierarchy | None = None,
    chunk: int | None = None,
) -> Attribution:
    """Shapley values of any number of players, in the mean over orders that are drawn, each with its reverse.

    Every order shares the whole difference, so that the values always add up. Takes 2 (M + 1) evaluations of a draw.

    Args:
      f: Function `f(x, *args)` from inputs [B, ...] to outputs.
      x: Inputs, a pytree of arrays with a leading axis of examples; of any type.
      baseline: Inputs that stand for the absence of a signal, of the same structure; arrays that broadcast will do.
      target: What is explained; see `deeplab.explain.attribution`.
      args: Further inputs of f with a leading axis of examples, which are not explained.
      key: Key of the orders, which all examples share.
      draws: Number of pairs of an order and its reverse.
      groups: Labels of the entries that make a player; each by itself when None.
      hierarchy: Nested lists of players that come together, as of `shapley`.
      chunk: Number of evaluations at a time; by the size of what f computes when None.

    Returns:
      Values with their standard error: [B, M] of M groups; in the shapes of the inputs when there are none.

    Raises:
      UserError: there is no key, or see `shapley`.

    Example:
      >>> f, x = lambda x: x[:, 0] * x[:, 1] + x[:, 2], jnp.array([[2.0, 3.0, 1.0]])
      >>> [round(float(v), 3) for v in permutation_shapley(f, x, 0.0, key=jax.random.key(0), draws=2).values[0]]
      [3.0, 3.0, 1.0]

    Source: Mitchell et al. 2022, https://arxiv.org/abs/2104.12199 (antithetic orders)
    """
    game = players(f, x, baseline, target, args, groups)
    tree = levels(flat(game.count) if hierarchy is None else hierarchy, game.count)
    places = jnp.arange(game.count)

    def one(key: jax.Array) -> jax.Array:
        keys = jax.random.split(key, len(tree))
        ranks = [jax.random.uniform(k, (game.count,))[row] for k, row in zip(keys, tree, strict=True)]
        order = jnp.lexsort(ranks[::-1])
        position = jnp.zeros_like(order).at[order].set(places)
        along = jnp.stack([position, game.count - 1 - position])
        prefixes = along[:, None, :] < jnp.arange(game.count + 1)[None, :, None]
        worth = mapped(game.score, prefixes.reshape(-1, game.count), chunk).reshape(2, game.count + 1, -1)
        added = jnp.diff(worth, axis=1)
        return (added[0][along[0]] + added[1][along[1]]) / 2

    per_draw = None if chunk is None else max(1, count_of("chunk", chunk) // (2 * game.count + 2))
    values, error = averaged(one, drawn(key, draws), per_draw)
    return _complete(game, values.T, error.T)


def kernel_shap(
    f: Callable[..., Any],
    x: Any,
    baseline: Any,
    target: Target = None,
    args: Sequence[Any] = (),
    *,
    key: jax.Array | None = None,
    draws: int = 2048,
    groups: Groups = None,
    chunk: int | None = None,
) -> Attribution:
    """Shapley values by a linear fit to the scores of coalitions, which adds up to the whole difference.

    Coalitions are drawn by the Shapley kernel in pairs, one with its complement. Where all of them are no more than
    `draws`, they are taken with their weights instead: then the values are exact.

    Args:
      f: Function `f(x, *args)` from inputs [B, ...] to outputs.
      x: Inputs, a pytree of arrays with a leading axis of examples; of any type.
      baseline: Inputs that stand for the absence of a signal, of the same structure; arrays that broadcast will do.
      target: What is explained; see `deeplab.explain.attribution`.
      args: Further inputs of f with a leading axis of examples, which are not explained.
      key: Key of the coalitions, which all examples share; not needed where all of them are taken.
      draws: Largest number of coalitions.
      groups: Labels of the entries that make a player; each by itself when None.
      chunk: Number of coalitions at a time; by the size of what f computes when None.

    Returns:
      Values: [B, M] of M groups, in the shapes of the inputs when there are none; with the standard error where the
      coalitions were drawn.

    Raises:
      UserError: there is no key, the draws are too few for the players, or see `shapley`.

    Example:
      >>> values = kernel_shap(lambda x: x[:, 0] * x[:, 1] + x[:, 2], jnp.array([[2.0, 3.0, 1.0]]), 0.0).values[0]
      >>> [round(float(v), 3) for v in values]
      [3.0, 3.0, 1.0]

    Source: Lundberg and Lee 2017, https://arxiv.org/abs/1705.07874; Covert and Lee 2021,
    https://arxiv.org/abs/2012.01536 (pairs, and the error)
    """
    game = players(f, x, baseline, target, args, groups)
    if game.count == 1:  # there is no coalition between nobody and everybody
        return shapley(f, x, baseline, target, args, groups=groups, chunk=chunk)
    every = 2**game.count - 2 <= count_of("draws", draws)
    rows, weights = _proper(game.count) if every else _paired(key, draws, game.count)
    ends = mapped(game.score, jnp.asarray([[False] * game.count, [True] * game.count]), chunk)
    worth = mapped(game.score, rows, chunk) - ends[:1]
    difference, rows, M = ends[1] - ends[0], rows.astype(worth.dtype), game.count

    free = jnp.asarray(_free(M), worth.dtype)  # directions that keep the sum
    moved = jnp.matmul(rows, free, precision="highest")
    left = worth - rows.mean(axis=1)[:, None] * difference[None]
    normal = jnp.einsum("nk,n,nl->kl", moved, weights.astype(worth.dtype), moved, precision="highest")
    solved = jnp.linalg.solve(normal, moved.T * weights.astype(worth.dtype)[None])
    pull = jnp.matmul(free, solved, precision="highest")  # [M, N]; its columns add up to 0, or values do not complete
    values = difference[None] / M + jnp.matmul(pull, left, precision="highest")
    if every:
        return _complete(game, values.T)
    off = left - jnp.matmul(moved, jnp.matmul(free.T, values, precision="highest"), precision="highest")
    shares = jnp.einsum("mpn,pnb->mpb", pull.reshape(M, -1, 2), off.reshape(draws // 2, 2, -1), precision="highest")
    return _complete(game, values.T, jnp.sqrt(jnp.sum(shares**2, axis=1)).T)


def _complete(game: Players, values: Float[Array, "B M"], error: Float[Array, "B M"] | None = None) -> Attribution:
    whole, nothing = (game.score(jnp.full(game.count, there)) for there in (True, False))
    gap = values.sum(axis=1) - (whole - nothing)
    return checked(Attribution(game.shaped(values), gap, None if error is None else game.shaped(error)))


def _cast(worth: jax.Array) -> Callable[[Any], Any]:
    return lambda share: (jnp.asarray(share[0], worth.dtype), share[1], share[2])


def _proper(M: int) -> tuple[Bool[Array, "N M"], Float[Array, " N"]]:
    """All coalitions but the empty one and the whole, with their Shapley kernel."""
    rows = np.arange(1, 2**M - 1)[:, None] >> np.arange(M) & 1
    kernel = np.array([(M - 1) / (math.comb(M, s) * s * (M - s)) for s in range(1, M)])
    return jnp.asarray(rows, bool), jnp.asarray(kernel[rows.sum(axis=1) - 1])


def _paired(key: jax.Array | None, draws: int, M: int) -> tuple[Bool[Array, "N M"], Float[Array, " N"]]:
    """Coalitions drawn by the Shapley kernel, each followed by its complement, of equal weight."""
    if draws % 2 or draws < 4 * M:
        raise UserError(
            f"draws={draws} is too few, or odd, for {M} players in pairs; give an even number from {4 * M} on"
        )

    def one(key: jax.Array) -> jax.Array:
        size, which = jax.random.split(key)
        of_size = jnp.arange(1, M)
        count = 1 + jax.random.categorical(size, -jnp.log(of_size * (M - of_size)))
        return jax.random.permutation(which, M) < count

    rows = jax.vmap(one)(drawn(key, draws // 2))
    return jnp.stack([rows, ~rows], axis=1).reshape(draws, M), jnp.full(draws, 1 / draws)


def _free(M: int) -> np.ndarray:
    """An orthonormal basis [M, M - 1] of the values that add up to nothing."""
    return np.linalg.qr(np.concatenate([np.ones((M, 1)), np.eye(M)[:, 1:]], axis=1))[0][:, 1:]
