"""What an explanation is, and what it explains: a score of each example."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Int

from deeplab.core.errors import UserError

F = TypeVar("F", bound=tuple)
Score = Callable[[Any], Float[Array, " B"]]
"""From the outputs of a model to one number for each example."""


class ByExample(NamedTuple):
    """A score that depends on something of each example, such as the words that a model should say.

    Attributes:
      score: Function from the outputs and the data to one number for each example.
      data: Pytree of arrays with a leading axis of examples.
    """

    score: Callable[[Any, Any], Float[Array, " B"]]
    data: Any


Target = Score | ByExample | int | Int[Array, " B"] | None
"""What is explained: an output by its number, one for each example, a score; None where the model gives scores."""


class Attribution(NamedTuple):
    """How much each entry of the input adds to the score.

    Attributes:
      values: Pytree in the shapes of the input, or of its groups.
      gap: For each example, how far the sum of its values is from the difference that they explain, [B]; None where a
        method claims nothing.
      error: Standard error of each value, where it is a mean over draws; None where nothing is drawn.

    Example:
      >>> Attribution(jnp.array([[1.0, 2.0]]), gap=jnp.zeros(1)).values.sum().item()
      3.0
    """

    values: Any
    gap: Float[Array, " B"] | None = None
    error: Any = None


def scored(
    f: Callable[..., Any], target: Target = None, args: Sequence[Any] = ()
) -> tuple[Callable[..., Float[Array, " B"]], tuple[Any, ...]]:
    """A function from inputs to the score of each example, and its further arguments.

    Every method calls it as `score(x, *args)`; all of them have a leading axis of examples, so that examples can be
    repeated, chosen and explained one by one.

    Args:
      f: Function `f(x, *args)` to the outputs of the examples.
      target: What is explained.
      args: Further inputs of f, which are not explained.

    Raises:
      UserError: the outputs are no logits [B, K] for a target that is a number, a number is out of range, or a score is
        not one number for each example.

    Example:
      >>> score, args = scored(lambda x: x * 2, target=jnp.array([1]))
      >>> score(jnp.array([[1.0, 3.0]]), *args).tolist()
      [6.0]
    """
    if isinstance(target, ByExample):
        by_data = target.score  # the data is one more argument, whose rows follow those of the examples
        return scored(lambda *inputs: by_data(f(*inputs[:-1]), inputs[-1]), None, (*args, target.data))
    by_example = target is not None and not callable(target) and jnp.ndim(target) > 0
    given = (*args, jnp.asarray(target)) if by_example else tuple(args)
    limits = None if target is None or callable(target) else _numbers(target)

    def score(*inputs: Any) -> jax.Array:
        examples = check_examples(inputs[0], *inputs[len(inputs) - len(given) :])  # between them may be parameters
        out = f(*(inputs[:-1] if by_example else inputs))
        if callable(target):
            out = target(out)
        elif target is not None:
            out = picked(out, inputs[-1] if by_example else target, limits)
        if jnp.shape(out) != (examples,):
            raise UserError(
                f"the score has the shape {jnp.shape(out)}, expected one number for each of the {examples} examples; "
                "give target= a class, or a function from the outputs to one number for each example"
            )
        if not jnp.issubdtype(jnp.result_type(out), jnp.floating):
            raise UserError(f"the score is of {jnp.result_type(out)}, expected real numbers; convert what is counted")
        return out

    return score, given


def check_examples(*inputs: Any) -> int:
    """The number of examples of all inputs.

    Raises:
      UserError: an array has no axis of examples, or has another number of them than the first, or there is none.
    """
    shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(inputs)]
    if not shapes or any(not shape or shape[0] != shapes[0][0] for shape in shapes):
        told = ", ".join(map(str, shapes))
        raise UserError(f"x, args and targets have the shapes {told}; expected a leading axis of as many examples each")
    if not shapes[0][0]:
        raise UserError(f"there is nothing to explain: x has the shape {shapes[0]}, of no example; give one or more")
    return shapes[0][0]


def count_of(name: str, value: Any, least: int = 1) -> int:
    """A number of draws, points or evaluations.

    Raises:
      UserError: it is not a whole one, or too small.
    """
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < least:
        raise UserError(f"{name}={value!r} was given, expected a whole number, {least} or more")
    return int(value)


def _numbers(target: Any) -> np.ndarray | None:
    """The numbers of outputs, where they are known.

    Raises:
      UserError: they are no whole numbers, one for all examples or one for each.
    """
    kind = getattr(target, "dtype", None) or np.asarray(target).dtype
    if not jnp.issubdtype(kind, jnp.integer) or jnp.ndim(target) > 1:
        raise UserError(
            f"target={target!r} is no output: give the number of one, an array [B] of numbers, or a function from the "
            "outputs to one number for each example"
        )
    return None if isinstance(target, Tracer) else np.asarray(target).reshape(-1)


def baseline_of(baseline: Any, x: Any, floating: bool = True) -> Any:
    """A baseline in the shapes of the inputs; they have a direction towards it where `floating`.

    Raises:
      UserError: an input is not floating-point and has to be, or the baseline does not fit it.
    """

    def one(given: Any, leaf: Any) -> jax.Array:
        try:
            return jnp.broadcast_to(jnp.asarray(given, jnp.result_type(leaf)), jnp.shape(leaf))
        except ValueError:
            raise UserError(
                f"the baseline has the shape {jnp.shape(given)}, the input {jnp.shape(leaf)}; give one that broadcasts"
            ) from None

    if floating:
        check_floating(x)
    same = jax.tree.structure(baseline) == jax.tree.structure(x)
    return jax.tree.map(one, baseline, x) if same else jax.tree.map(lambda leaf: one(baseline, leaf), x)


def check_floating(x: Any) -> None:
    """Refuses inputs that are not floating-point, which have no direction.

    Raises:
      UserError: an input is not floating-point.
    """
    for leaf in jax.tree.leaves(x):
        if not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
            raise UserError(
                f"an input is of {jnp.result_type(leaf)}, which has no direction; explain the output of its embedding: "
                "upto, rest = dl.explain.split(f, NAME), with a name of dl.explain.taps(f, x)"
            )


def slope(score: Callable[..., jax.Array], args: Sequence[Any]) -> Callable[..., Any]:
    """The function from inputs to the derivative of each example's score by its input."""
    return jax.grad(lambda x, *more: score(x, *more, *args).sum())


def summed(values: Any) -> Float[Array, " B"]:
    """The sum of all values of each example."""
    leaves = jax.tree.leaves(values)
    return jnp.sum(jnp.stack([leaf.reshape(len(leaf), -1).sum(axis=1) for leaf in leaves]), axis=0)


def scaled(weights: Float[Array, " B"], leaf: Float[Array, "B ..."]) -> Float[Array, "B ..."]:
    """An array of which each example has a factor."""
    return weights.reshape(-1, *[1] * (leaf.ndim - 1)) * leaf


def drawn(key: jax.Array | None, draws: int) -> jax.Array:
    """A key for each draw; examples share the draws, so that none depends on its batch.

    Raises:
      UserError: there is no key, or the number is not one of at least the two draws that tell how far they differ.
    """
    if key is None:
        raise UserError("this method draws at random; give key=jax.random.key(0), or another number for other draws")
    return jax.random.split(key, count_of("draws", draws, 2))  # of one, the error of the mean is not known


def checked(found: F) -> F:
    """The attribution, if it is finite; not looked at under a trace.

    Raises:
      UserError: a value is not finite.
    """
    for leaf in jax.tree.leaves(found):
        if not isinstance(leaf, Tracer) and not bool(jnp.isfinite(leaf).all()):
            rows = jnp.flatnonzero(~jnp.isfinite(leaf.reshape(len(leaf), -1)).all(axis=1)).tolist()
            raise UserError(f"the explanation of example {rows[0]} is not finite; look at the score and its gradient")
    return found


def picked(logits: Any, target: Any, limits: np.ndarray | None) -> jax.Array:
    """One of the logits [B, K] of each example; the numbers are checked where they are known."""
    if jnp.ndim(logits) != 2:
        raise UserError(
            f"the outputs have the shape {jnp.shape(logits)}, and target={limits} picks one of logits [B, K]; give a "
            "function from the outputs to one number for each example"
        )
    K = logits.shape[1]
    if limits is not None and (wrong := limits[(limits < -K) | (limits >= K)]).size:
        raise UserError(f"target={wrong[0]} is out of range: the model has {K} outputs, 0 to {K - 1}")
    if jnp.ndim(target) == 0:
        return jnp.take(logits, target, axis=1, mode="fill")  # NaN where a traced number is out of range
    return jnp.take_along_axis(logits, target[:, None], axis=1, mode="fill")[:, 0]
