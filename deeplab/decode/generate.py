"""Sampling from a causal language model, one token after another."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


class Decoder(Protocol):
    """A Linen module from tokens [B, T] to logits [B, T, V] that caches keys and values when given a `position`."""

    @property
    def context(self) -> int: ...

    def apply(self, variables: Any, *args: Any, **kwargs: Any) -> Any: ...


@functools.partial(jax.jit, static_argnames=("model", "num_tokens", "top_k"))
def generate(
    model: Decoder,
    variables: Mapping[str, Any],
    prompt: Int[Array, "B T"],
    num_tokens: int,
    key: jax.Array,
    *,
    temperature: float | jax.Array = 1.0,
    top_k: int | None = None,
) -> Int[Array, "B N"]:
    """`num_tokens` tokens that continue each prompt.

    Each is drawn from softmax(logits / temperature) over the `top_k` likeliest; at temperature 0 it is the likeliest.
    Up to the model's context, keys and values are cached; beyond it the window of the last `context` tokens slides,
    and is read anew for every token, because its positions are learnt from its start.

    Args:
      model: a decoder such as `GPT`.
      variables: its collections: {"params": ...}.
      prompt: at least one token each; of a longer one than the context, the end is read.
      num_tokens: N.
      key: of the draws; the one at place n of row b depends on (key, n, b) alone.
      temperature: at least 0; may be a tracer.
      top_k: all tokens when None.

    Example:
      >>> from deeplab.models.text.decoders.gpt import GPT, VARIANTS
      >>> model = GPT(vocab_size=65, **VARIANTS["test"])
      >>> variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 1), jnp.int32))
      >>> generate(model, variables, jnp.array([[1, 2, 3]]), 20, jax.random.key(1)).shape
      (1, 20)
    """
    length, context = prompt.shape[1], model.context
    draw = functools.partial(_draw, key=key, temperature=temperature, top_k=top_k)
    num_cached = max(0, min(num_tokens, context + 1 - length))  # the last token drawn is never read
    drawn = _cached(model, variables, prompt, num_cached, draw) if num_cached else prompt[:, :0]
    if num_cached == num_tokens:
        return drawn

    def slide(window: jax.Array, place: jax.Array) -> tuple[jax.Array, jax.Array]:
        token = draw(model.apply(variables, window)[:, -1], place)
        return jnp.concatenate([window[:, 1:], token[:, None]], axis=1), token

    window = jnp.concatenate([prompt, drawn], axis=1)[:, -context:]
    _, tokens = jax.lax.scan(slide, window, jnp.arange(num_cached, num_tokens))
    return jnp.concatenate([drawn, tokens.T], axis=1)  # N B -> B N


def _cached(model: Decoder, variables: Any, prompt: jax.Array, num_tokens: int, draw: Any) -> Int[Array, "B N"]:
    """Reads the prompt at once, then each token as it is drawn."""

    def read(tokens: jax.Array, cache: Any, position: Any) -> tuple[jax.Array, Any]:
        logits, cache = model.apply({**variables, **cache}, tokens, position=position, mutable=["cache"])
        return logits[:, -1], cache

    def step(carry: tuple[jax.Array, Any], place: jax.Array) -> tuple[tuple[jax.Array, Any], jax.Array]:
        token, cache = carry
        logits, cache = read(token[:, None], cache, prompt.shape[1] + place - 1)
        token = draw(logits, place)
        return (token, cache), token

    logits, cache = read(prompt, {}, 0)
    first = draw(logits, jnp.int32(0))
    _, rest = jax.lax.scan(step, (first, cache), jnp.arange(1, num_tokens))
    return jnp.concatenate([first[:, None], rest.T], axis=1)


def _draw(
    logits: Float[Array, "B V"], place: jax.Array, *, key: jax.Array, temperature: Any, top_k: int | None
) -> Int[Array, " B"]:
    logits = logits.astype(jnp.float32)
    if top_k is not None and top_k < logits.shape[-1]:
        least = jax.lax.top_k(logits, top_k)[0][:, -1:]  # [B, 1]
        logits = jnp.where(logits < least, -jnp.inf, logits)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.fold_in(key, place), jnp.arange(len(logits)))
    warm = jax.vmap(jax.random.categorical)(keys, logits / jnp.where(temperature > 0, temperature, 1.0))
    return jnp.where(temperature > 0, warm, jnp.argmax(logits, axis=-1)).astype(jnp.int32)
