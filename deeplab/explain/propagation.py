"""Methods that replace the rules of the backward pass, by interpreting the program."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from deeplab.core.interpret import interpret, traced
from deeplab.core.precision import exact
from deeplab.explain.attribution import Attribution, Target, baseline_of, check_examples, checked, scored
from deeplab.explain.compiler.pairs import Pair, bounded
from deeplab.explain.compiler.secant import RESCALE


@exact
def deeplift(
    f: Callable[..., Any], x: Any, baseline: Any, target: Target = None, args: Sequence[Any] = ()
) -> Attribution:
    """What each entry of the input adds to the difference of the score from its value at a baseline.

    values = (x - baseline) * m, where the multipliers m follow from the program of `f`: each of its equations hands on
    the whole difference of its outputs, so that the values add up to score(x) - score(baseline) whatever the model is.
    A choice that differs from the baseline's goes to the numbers that made it. About as dear as five evaluations.

    Args:
      f: Function `f(x, *args)` from inputs [B, ...] to outputs; its examples are explained one by one.
      x: Inputs, a pytree of floating-point arrays with a leading axis of examples.
      baseline: Inputs that stand for the absence of a signal, of the same structure; arrays that broadcast will do.
      target: What is explained; see `deeplab.explain.attribution`.
      args: Further inputs of f with a leading axis of examples, which are not explained.

    Raises:
      UserError: an input is not floating-point, the baseline does not fit it, or the result is not finite.
      NotImplementedError: a loop of unknown length depends on the input.

    Example:
      >>> found = deeplift(lambda x: jax.nn.relu(x[:, 0] - x[:, 1]), jnp.array([[3.0, 1.0]]), 0.0)
      >>> found.values.tolist(), found.gap.tolist()
      ([[3.0, -1.0]], [0.0])

    Source: Shrikumar, Greenside and Kundaje 2017, https://arxiv.org/abs/1704.02685 (rescale rule).
    """
    score, args = scored(f, target, args)
    check_examples(x, *args)
    base, axis = _shared(baseline, x)

    def of_one(x: Any, base: Any, args: Any) -> tuple[Any, jax.Array]:
        x, base, args = jax.tree.map(lambda leaf: leaf[None], (x, base, args))
        program, _ = traced(score, x, *args)
        leaves, bases = jax.tree.leaves(x), jax.tree.leaves(base)

        def moved(moves: list[jax.Array]) -> tuple[jax.Array, jax.Array]:
            values = [*map(Pair, leaves, bases, moves), *map(bounded, jax.tree.leaves(args))]
            (out,) = interpret(program, values, RESCALE)
            return (out.move[0], out.at[0] - out.base[0]) if isinstance(out, Pair) else (jnp.zeros(()), jnp.zeros(()))

        moves = [a - b for a, b in zip(leaves, bases, strict=True)]
        whole, pull, difference = jax.vjp(moved, moves, has_aux=True)
        (multipliers,) = pull(jnp.ones_like(whole))
        values = [m * move for m, move in zip(multipliers, moves, strict=True)]
        gap = sum(jnp.sum(value) for value in values) - difference
        return jax.tree.unflatten(jax.tree.structure(x), [value[0] for value in values]), gap

    return checked(Attribution(*jax.vmap(of_one, (0, axis, 0))(x, base, args)))


def _shared(baseline: Any, x: Any) -> tuple[Any, int | None]:
    """One baseline for all examples and None, or that of each and their axis, 0.

    What is the same for all is evaluated once; if it is a constant, XLA does so while it compiles, and for hundreds of
    copies that takes minutes.
    """
    base = baseline_of(baseline, x)
    given = jax.tree.leaves(baseline)
    leaves = jax.tree.leaves(x)
    given = given if len(given) == len(leaves) else given * len(leaves)
    if all(jnp.ndim(a) < jnp.ndim(b) or len(a) == 1 for a, b in zip(given, leaves, strict=True)):
        return jax.tree.map(lambda leaf: leaf[0], base), None
    return base, 0
