"""What an explanation is, and what it explains: a score of each example."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from deeplab.core.errors import UserError

Score = Callable[[Any], Float[Array, " B"]]
"""From the outputs of a model to one number for each example."""

Target = Score | int | Int[Array, " B"] | None
"""What is explained: an output by its number, one for each example, a `Score`; None where the model gives scores."""


class Attribution(NamedTuple):
    """How much each entry of the input adds to the score.

    Attributes:
      values: Pytree in the shapes of the input.
      gap: For each example, how far the sum of its values is from the difference that they explain, [B]; None where a
        method claims nothing.
    """

    values: Any
    gap: Float[Array, " B"] | None


def scored(f: Callable[..., Any], target: Target = None) -> Callable[..., Float[Array, " B"]]:
    """A function from inputs to the score of each example.

    Args:
      f: Function from inputs with a leading axis of examples to outputs.
      target: What is explained.

    Raises:
      UserError: the outputs are no logits [B, K] for a target that is a number, a number is out of range, or a score is
        not one number for each example.

    Example:
      >>> scored(lambda x: x * 2, target=1)(jnp.array([[1.0, 3.0]])).tolist()
      [6.0]
    """

    def score(*inputs: Any) -> jax.Array:
        out = f(*inputs)
        if callable(target):
            out = target(out)
        elif target is not None:
            out = _picked(out, target)
        examples = jnp.shape(jax.tree.leaves(inputs)[0])[0]
        if jnp.shape(out) != (examples,):
            raise UserError(
                f"the score has the shape {jnp.shape(out)}, expected one number for each of the {examples} examples; "
                "give target= a class, or a function from the outputs to one number for each example"
            )
        return out

    return score


def _picked(logits: Any, target: Any) -> jax.Array:
    if jnp.ndim(logits) != 2:
        raise UserError(
            f"the outputs have the shape {jnp.shape(logits)}, and target={target} picks one of logits [B, K]; give a "
            "function from the outputs to one number for each example"
        )
    K = logits.shape[1]
    if isinstance(target, int):
        if not -K <= target < K:
            raise UserError(f"target={target} is out of range: the model has {K} outputs, 0 to {K - 1}")
        return logits[:, target]
    return jnp.take_along_axis(logits, jnp.asarray(target)[:, None], axis=1)[:, 0]
