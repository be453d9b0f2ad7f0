"""Transformations of next-token logits [B, V], each from logits to logits, and the draw of a token from them."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


def scale(logits: Float[Array, "B V"], temperature: float | jax.Array) -> Float[Array, "B V"]:
    """logits / temperature, unchanged at temperature 0, where the most likely token is taken anyway.

    Example:
      >>> logits = jnp.array([[1.0, 3.0]])
      >>> scale(logits, 0.5).tolist(), scale(logits, 0.0).tolist()
      ([[2.0, 6.0]], [[1.0, 3.0]])
    """
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


def seen(text: Int[Array, "B T"], lengths: Int[Array, " B"] | None, vocab_size: int) -> Bool[Array, "B V"]:
    """Which tokens each text holds.

    Example:
      >>> seen(jnp.array([[2, 0], [1, 0]]), jnp.array([2, 1]), vocab_size=3).tolist()
      [[True, False, True], [False, True, False]]
    """
    real = jnp.ones(text.shape, bool) if lengths is None else jnp.arange(text.shape[1])[None] < lengths[:, None]
    return jnp.zeros((len(text), vocab_size), bool).at[jnp.arange(len(text))[:, None], text].max(real)


class Draw(NamedTuple):
    """How the next token is drawn; see `deeplab.decode.generate.generate`.

    Example:
      >>> logits = jnp.log(jnp.array([[0.5, 0.3, 0.2]]))
      >>> greedy = Draw(jax.random.key(0), None, temperature=0.0, top_p=None, min_p=None, repetition_penalty=2.0)
      >>> [greedy(logits, held, 0).tolist() for held in (None, seen(jnp.array([[0]]), None, 3))]
      [[0], [1]]
    """

    key: jax.Array
    top_k: int | None
    temperature: Any
    top_p: Any
    min_p: Any
    repetition_penalty: Any

    def __call__(
        self, logits: Float[Array, "B V"], seen: Bool[Array, "B V"] | None, number: int | jax.Array
    ) -> Int[Array, " B"]:
        """The token of that number, from logits and the set of tokens that each text holds."""
        logits = logits.astype(jnp.float32)
        if seen is not None:
            logits = penalize(logits, seen, self.repetition_penalty)
        if self.top_k is not None:
            logits = top_k(logits, self.top_k)
        warm = scale(logits, self.temperature)
        if self.top_p is not None:
            warm = top_p(warm, self.top_p)
        if self.min_p is not None:
            warm = min_p(warm, self.min_p)
        keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.fold_in(self.key, number), jnp.arange(len(logits)))
        drawn = jax.vmap(jax.random.categorical)(keys, warm)
        return jnp.where(self.temperature > 0, drawn, jnp.argmax(logits, axis=-1)).astype(jnp.int32)
