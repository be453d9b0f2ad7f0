"""ODIN: the largest probability at an input that is moved to raise it."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from deeplab.core import ranges
from deeplab.core.errors import UserError
from deeplab.tasks.contract.outputs import one_array


@ranges.checked(temperature=ranges.POSITIVE, radius=ranges.NATURAL)
def odin(apply: Any, *inputs: Any, temperature: float = 1000.0, radius: float = 0.0014) -> Float[Array, " B"]:
    """-max_k softmax(z(x') / T)_k, with x' = x - radius sign(gradient of -log max_k softmax(z(x) / T)_k).

    A step in the direction of the model's own decision raises its probability more for examples like those of training.
    The first input is in the unit of the data, [0, 1] for images, before the normalization.

    Args:
      apply: Model with its parameters bound, whose outputs are logits [B, K], or a function from inputs to logits.
      *inputs: Arguments of the model, of which the first is moved.
      temperature: Temperature T.
      radius: Length of the step in each number of the input.

    Raises:
      UserError: the first input is of integers, which have no gradient, or the outputs are no logits [B, K].

    Source: Liang, Li and Srikant 2018, https://arxiv.org/abs/1706.02690.

    Example:
      >>> score = odin(lambda x: x @ jnp.array([[1.0, -1.0]]), jnp.array([[0.5]]), temperature=1.0, radius=0.0)
      >>> round(float(score[0]), 4)  # -1 / (1 + exp(-1))
      -0.7311
    """
    x, *others = inputs
    if not jnp.issubdtype(jnp.asarray(x).dtype, jnp.floating):
        kind = jnp.asarray(x).dtype
        raise UserError(f"odin moves its first input, which is {kind}; give images, waves or embeddings")

    def log_highest(x: Any) -> jax.Array:
        found = apply(x, *others)  # of a bound model also its variables
        logits = one_array(found[0] if isinstance(found, tuple) else found, len(x), "K")
        return jax.nn.log_softmax(logits / temperature).max(axis=-1)

    gradient = jax.grad(lambda x: -log_highest(x).sum())(x)
    return -jnp.exp(log_highest(x - radius * jnp.sign(gradient)))
