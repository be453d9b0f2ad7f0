"""Players of a game: the entries of an input that are there, or at their baseline, together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int

from deeplab.core.errors import UserError
from deeplab.explain.attribution import Attribution, Target, baseline_of, check_examples, checked, scored
from deeplab.explain.chunks import mapped

Groups = Any
"""Labels 0, 1, ... of the entries that move together, in the shape of an example, of the inputs, or one that broadcasts
to it; -1 for an entry that stays. None for each entry by itself."""


class Players(NamedTuple):
    """A game of each example: the score with some of its players, and the others at their baseline.

    Attributes:
      score: Function from a coalition, a flag for each player [M], to the score of each example [B].
      count: Number of players, M.
      shaped: Function from values of the players [B, M] to what is returned: in the shape of the inputs where each
        entry is a player, as they are otherwise.
    """

    score: Callable[[Bool[Array, " M"]], Float[Array, " B"]]
    count: int
    shaped: Callable[[Float[Array, "B M"]], Any]


def players(
    f: Callable[..., Any], x: Any, baseline: Any, target: Target, args: Sequence[Any], groups: Groups
) -> Players:
    """The game of a score, of which the players are groups of entries."""
    base = baseline_of(baseline, x, floating=False)
    score, given = scored(f, target, args)
    labels, count = labelled(groups, x)

    def of(coalition: jax.Array) -> jax.Array:
        there = jnp.append(coalition, True)  # the label -1
        return score(jax.tree.map(lambda label, a, b: jnp.where(there[label], a, b), labels, x, base), *given)

    return Players(of, count, (lambda values: spread(values, labels, x)) if groups is None else lambda values: values)


def labelled(groups: Groups, x: Any) -> tuple[Any, int]:
    """Labels of the entries, of as many axes as the inputs have, and the number of groups.

    Raises:
      UserError: the groups are traced, or do not fit the inputs, or there is none.
    """
    check_examples(x)
    leaves, tree = jax.tree.flatten(x)
    if groups is None:
        ends = np.cumsum([leaf[0].size for leaf in leaves])
        rows = [np.arange(end - a[0].size, end).reshape(1, *a.shape[1:]) for end, a in zip(ends, leaves, strict=True)]
        return jax.tree.unflatten(tree, rows), int(ends[-1])
    given = jax.tree.leaves(groups)
    if any(isinstance(labels, Tracer) for labels in given):
        raise UserError("the groups are traced, and their number must be known; give them as a constant of the program")
    if len(given) != len(leaves) or not all(np.issubdtype(np.asarray(g).dtype, np.integer) for g in given):
        raise UserError(f"there are {len(leaves)} input arrays; give groups= an array of integer labels for each")
    rows = [_fitting(np.asarray(labels), leaf.shape) for labels, leaf in zip(given, leaves, strict=True)]
    every = np.unique(np.concatenate([labels.reshape(-1) for labels in rows]))
    if not every.size or every[-1] < 0 or every[0] < -1:
        told = f"labels from {every[0]} to {every[-1]}" if every.size else "no label"
        raise UserError(f"groups= has {told}; number the groups from 0 (-1 stays), and give one at least")
    count = int(every[-1]) + 1
    if count > np.sum(every >= 0):
        raise UserError(f"groups= has labels up to {count - 1}, and not all below; number the groups from 0 (-1 stays)")
    return jax.tree.unflatten(tree, rows), count


def spread(values: Float[Array, "B M"], groups: Groups, x: Any) -> Any:
    """The values of groups at each of their entries, in the shapes of the inputs; 0 where an entry is in no group.

    Args:
      values: A value for each group.
      groups: Labels of the entries.
      x: Inputs, a pytree of arrays [B, ...].

    Example:
      >>> spread(jnp.array([[5.0, 7.0]]), jnp.array([0, 1, 1]), jnp.zeros((1, 3))).tolist()
      [[5.0, 7.0, 7.0]]
    """
    labels, _ = labelled(groups, x)
    padded = jnp.pad(values, ((0, 0), (0, 1)))

    def one(label: np.ndarray, leaf: jax.Array) -> jax.Array:
        flat = jnp.broadcast_to(jnp.asarray(label), leaf.shape).reshape(len(leaf), -1)
        return jnp.take_along_axis(padded, flat % padded.shape[1], axis=1).reshape(leaf.shape)

    return jax.tree.map(one, labels, x)


def superpixels(shape: Sequence[int], size: Sequence[int]) -> Int[np.ndarray, ...]:
    """Labels of the tiles of a grid, such as squares of an image, patches of a spectrogram, or spans of tokens.

    Args:
      shape: Shape of an example without the axes that a tile holds whole, which follow.
      size: Number of entries of a tile along each axis.

    Returns:
      Labels in that shape, with an axis of 1 behind it: for the channels.

    Example:
      >>> superpixels((2, 4), (2, 2))[..., 0].tolist()
      [[0, 0, 1, 1], [0, 0, 1, 1]]
    """
    places = np.indices(tuple(shape)) // np.reshape(size, (-1, *[1] * len(shape)))
    counts = [-(-whole // part) for whole, part in zip(shape, size, strict=True)]
    return np.asarray(np.ravel_multi_index(tuple(places), counts))[..., None]


def ablation(
    f: Callable[..., Any],
    x: Any,
    baseline: Any,
    target: Target = None,
    args: Sequence[Any] = (),
    *,
    groups: Groups = None,
    chunk: int | None = None,
) -> Attribution:
    """How far the score falls when a group of entries goes to its baseline.

    Args:
      f: Function `f(x, *args)` from inputs [B, ...] to outputs.
      x: Inputs, a pytree of arrays with a leading axis of examples; of any type.
      baseline: Inputs that stand for the absence of a signal, of the same structure; arrays that broadcast will do.
      target: What is explained; see `deeplab.explain.attribution`.
      args: Further inputs of f with a leading axis of examples, which are not explained.
      groups: Labels of the entries that move together; each by itself when None.
      chunk: Number of groups at a time; by the size of what f computes when None.

    Returns:
      Values [B, M] of M groups; in the shapes of the inputs when there are none.

    Raises:
      UserError: the baseline or the groups do not fit the inputs, or the result is not finite.

    Example:
      >>> f = lambda x: x.sum(axis=1)
      >>> ablation(f, jnp.array([[1.0, 2.0, 4.0]]), 0.0, groups=jnp.array([0, 1, 1])).values.tolist()
      [[1.0, 6.0]]
    """
    game = players(f, x, baseline, target, args, groups)
    without = mapped(lambda i: game.score(jnp.arange(game.count) != i), jnp.arange(game.count), chunk)
    return checked(Attribution(game.shaped((game.score(jnp.ones(game.count, bool))[None] - without).T)))


def _fitting(labels: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    labels = labels if labels.ndim == len(shape) else labels.reshape(*[1] * (len(shape) - labels.ndim), *labels.shape)
    if len(shape) != labels.ndim or any(n not in (1, whole) for n, whole in zip(labels.shape, shape, strict=True)):
        raise UserError(f"the groups have the shape {labels.shape}, the inputs {shape}; give labels that broadcast")
    return labels
