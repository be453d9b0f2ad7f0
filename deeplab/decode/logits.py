"""Transformations of next-token logits [B, V] before a token is drawn: each from logits to logits."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def scale(logits: Float[Array, "B V"], temperature: float | jax.Array) -> Float[Array, "B V"]:
    """logits / temperature, unchanged at temperature 0, where the most likely token is taken anyway."""
    return logits / jnp.where(temperature > 0, temperature, 1.0)


def top_k(logits: Float[Array, "B V"], k: int) -> Float[Array, "B V"]:
    """Only the `k` most likely tokens, and those as likely as the last of them.

    Example:
      >>> top_k(jnp.array([[1.0, 3.0, 2.0]]), 2).tolist()
      [[-inf, 3.0, 2.0]]

    Source: Fan et al. 2018, https://arxiv.org/abs/1805.04833.
    """
    if k >= logits.shape[-1]:
        return logits
    return _at_least(logits, jax.lax.top_k(logits, k)[0][:, -1:])


def top_p(logits: Float[Array, "B V"], p: float | jax.Array) -> Float[Array, "B V"]:
    """Only the most likely tokens whose probabilities add up to `p`: the fewest that do, at least one.

    Example:
      >>> jnp.exp(top_p(jnp.log(jnp.array([[0.5, 0.3, 0.2]])), 0.7)).round(1).tolist()
      [[0.5, 0.30000001192092896, 0.0]]

    Source: Holtzman et al. 2020, https://arxiv.org/abs/1904.09751.
    """
    descending = -jnp.sort(-logits, axis=-1)
    probabilities = jax.nn.softmax(descending, axis=-1)
    before = jnp.cumsum(probabilities, axis=-1) - probabilities
    kept = (before < p).at[:, 0].set(True)
    return _at_least(logits, jnp.min(jnp.where(kept, descending, jnp.inf), axis=-1, keepdims=True))


def min_p(logits: Float[Array, "B V"], p: float | jax.Array) -> Float[Array, "B V"]:
    """Only the tokens at least `p` times as likely as the most likely one.

    Example:
      >>> min_p(jnp.log(jnp.array([[0.5, 0.3, 0.2]])), 0.5)[0, 2].item()
      -inf

    Source: Nguyen et al. 2024, https://arxiv.org/abs/2407.01082.
    """
    return _at_least(logits, jnp.max(logits, axis=-1, keepdims=True) + jnp.log(p))


def penalize(logits: Float[Array, "B V"], seen: Bool[Array, "B V"], penalty: float | jax.Array) -> Float[Array, "B V"]:
    """The logits of tokens seen before made smaller: divided by `penalty` where positive, else multiplied by it.

    Example:
      >>> penalize(jnp.array([[2.0, -1.0, 1.0]]), jnp.array([[True, True, False]]), 2.0).tolist()
      [[1.0, -2.0, 1.0]]

    Source: Keskar et al. 2019, https://arxiv.org/abs/1909.05858, section 4.1; with the sign taken into account, as in
      Hugging Face's transformers.
    """
    return jnp.where(seen, jnp.where(logits > 0, logits / penalty, logits * penalty), logits)


def _at_least(logits: jax.Array, least: jax.Array) -> jax.Array:
    return jnp.where(logits < least, -jnp.inf, logits)
