"""How a score depends on a part of its inputs, over a whole set of examples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from deeplab.core.errors import UserError
from deeplab.explain.attribution import Attribution, Target, check_examples, checked, drawn, scored
from deeplab.explain.chunks import mapped
from deeplab.explain.perturbation.groups import Groups, labelled


def permutation_importance(
    f: Callable[..., Any],
    x: Any,
    target: Target = None,
    args: Sequence[Any] = (),
    *,
    key: jax.Array | None = None,
    draws: int = 8,
    groups: Groups = None,
    chunk: int | None = None,
) -> Attribution:
    """How far the mean score of a set falls when a group of entries is exchanged among its examples.

    Args:
      f: Function `f(x, *args)` from inputs [B, ...] to outputs.
      x: Inputs of the set, a pytree of arrays with a leading axis of examples; of any type.
      target: What is explained; such as minus the loss of each example, of which the labels are in f's outputs.
      args: Further inputs of f with a leading axis of examples, which stay.
      key: Key of the exchanges.
      draws: Number of exchanges of each group.
      groups: Labels of the entries that move together; each by itself when None.
      chunk: Number of exchanges at a time; by the size of what f computes when None.

    Returns:
      Values [M] of M groups, with their standard error over the examples.

    Raises:
      UserError: there is no key, or a single example, the groups do not fit the inputs, or the result is not finite.

    Example:
      >>> f, x = lambda x: x[:, 0] * x[:, 1], jnp.array([[1.0, 1.0, 5.0], [-1.0, -1.0, 3.0]])
      >>> float(permutation_importance(f, x, key=jax.random.key(0)).values[2])  # f does not read it
      0.0

    Source: Breiman 2001, https://doi.org/10.1023/A:1010933404324; Fisher, Rudin and Dominici 2019,
    https://arxiv.org/abs/1801.01489
    """
    score, args = scored(f, target, args)
    labels, count = labelled(groups, x)
    examples = _several(x, "permutation_importance exchanges entries among examples")
    orders = jax.vmap(lambda key: jax.random.permutation(key, examples))(drawn(key, draws))

    def fallen(row: tuple[jax.Array, jax.Array]) -> jax.Array:
        moved = jax.tree.map(lambda label, leaf: jnp.where(label == row[0], leaf[row[1]], leaf), labels, x)
        return score(moved, *args)

    rows = jnp.repeat(jnp.arange(count), draws), jnp.tile(orders, (count, 1))
    falls = score(x, *args)[None] - mapped(fallen, rows, chunk).reshape(count, draws, examples).mean(axis=1)
    return checked(Attribution(falls.mean(axis=1), error=falls.std(axis=1, ddof=1) / jnp.sqrt(examples)))


def individual_expectation(
    f: Callable[..., Any],
    x: Any,
    values: Float[Array, " G"],
    target: Target = None,
    args: Sequence[Any] = (),
    *,
    group: int,
    groups: Groups = None,
    chunk: int | None = None,
) -> Float[Array, "B G"]:
    """The score of each example with a group of entries at each of some values: its ICE curve.

    Args:
      f: Function `f(x, *args)` from inputs [B, ...] to outputs.
      x: Inputs, a pytree of arrays with a leading axis of examples.
      values: Values that the entries of the group take, one after the other.
      target: What is explained; see `deeplab.explain.attribution`.
      args: Further inputs of f with a leading axis of examples, which stay.
      group: Number of the group; of the column of a table where there are no groups.
      groups: Labels of the entries that move together; each by itself when None.
      chunk: Number of values at a time; by the size of what f computes when None.

    Raises:
      UserError: there is no such group, or the groups do not fit the inputs.

    Example:
      >>> f, x = lambda x: x[:, 0] * x[:, 1], jnp.array([[1.0, 2.0], [1.0, 3.0]])
      >>> individual_expectation(f, x, jnp.array([0.0, 5.0]), group=0).tolist()
      [[0.0, 10.0], [0.0, 15.0]]

    Source: Goldstein et al. 2015, https://arxiv.org/abs/1309.6392
    """
    score, args = scored(f, target, args)
    labels, count = labelled(groups, x)
    if not 0 <= group < count:
        raise UserError(f"group={group} is none of the groups 0 to {count - 1}; nothing would move")

    def at(value: jax.Array) -> jax.Array:
        moved = jax.tree.map(lambda label, leaf: jnp.where(label == group, value.astype(leaf.dtype), leaf), labels, x)
        return score(moved, *args)

    return mapped(at, values, chunk).T


def partial_dependence(
    f: Callable[..., Any],
    x: Any,
    values: Float[Array, " G"],
    target: Target = None,
    args: Sequence[Any] = (),
    *,
    group: int,
    groups: Groups = None,
    chunk: int | None = None,
) -> tuple[Float[Array, " G"], Float[Array, " G"]]:
    """The mean score of a set with a group of entries at each of some values, and its standard error.

    Args:
      f: Function `f(x, *args)` from inputs [B, ...] to outputs.
      x: Inputs of the set, a pytree of arrays with a leading axis of examples.
      values: Values that the entries of the group take, one after the other.
      target: What is explained; see `deeplab.explain.attribution`.
      args: Further inputs of f with a leading axis of examples, which stay.
      group: Number of the group; of the column of a table where there are no groups.
      groups: Labels of the entries that move together; each by itself when None.
      chunk: Number of values at a time; by the size of what f computes when None.

    Raises:
      UserError: there is a single example, of which `individual_expectation` is the curve; or no such group.

    Example:
      >>> f, x = lambda x: x[:, 0] * x[:, 1], jnp.array([[1.0, 2.0], [1.0, 3.0]])
      >>> partial_dependence(f, x, jnp.array([0.0, 5.0]), group=0)[0].tolist()
      [0.0, 12.5]

    Source: Friedman 2001, https://doi.org/10.1214/aos/1013203451
    """
    _several(x, "the error of partial_dependence is over examples")
    curves = individual_expectation(f, x, values, target, args, group=group, groups=groups, chunk=chunk)
    return curves.mean(axis=0), curves.std(axis=0, ddof=1) / jnp.sqrt(len(curves))


def _several(x: Any, why: str) -> int:
    """The number of examples, more than one."""
    if (examples := check_examples(x)) < 2:
        raise UserError(f"{why}, and x has one; give two or more")
    return examples
