"""The protocol of decoding: a step from tokens to the logits of the next ones, and a cache.

A model may have two methods for it, with axis B first in every leaf of cache and memory:

- `start(*inputs, length) -> (cache, memory)`: an empty cache for `length` tokens. A decoder takes `batch_size` as its
  input, and has no memory (None). An encoder-decoder takes what its encoder reads; its memory is what the steps need
  of it, and does not change.
- `step(tokens, cache, cache_index, memory) -> (logits, cache)`: reads tokens [N, T] that stand at the positions from
  `cache_index` on (a number, or one for each row), and gives the logits [N, T, V] of the token after each.

A language model without them is decoded by `windowed`, which applies it to all tokens again for every step.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Int

from deeplab.core.errors import UserError

Apply = Callable[..., tuple[Any, Any]]
"""A model with its parameters bound: `outputs, variables = apply(*inputs, method="step")`, as tasks are given it."""

Step = Callable[[Int[Array, "N T"], Any, Any], tuple[Float[Array, "N T V"], Any]]
"""`(tokens, cache, cache_index) -> (logits, cache)`."""


class Decoder(NamedTuple):
    """What `generate` and `beam_search` read and write tokens with.

    Attributes:
      step: Function from tokens, a cache and the position of the first of the tokens to logits and the new cache.
      cache: Cache before the first token; every leaf has the batch axis first.

    Example:
      >>> count = Decoder(lambda tokens, cache, cache_index: (jnp.eye(4)[(tokens + 1) % 4], cache), jnp.zeros((1, 1)))
      >>> logits, cache = count.step(jnp.array([[0, 3]]), count.cache, 0)
      >>> jnp.argmax(logits, axis=-1).tolist()
      [[1, 0]]
    """

    step: Step
    cache: Any


def plain(model: Any, variables: Mapping[str, Any]) -> Apply:
    """A Linen module as an `Apply`, in the dtype of its variables; an experiment's own also sets its precision.

    Example:
      >>> import flax.linen as nn
      >>> apply = plain(nn.Dense(2), {"params": {"kernel": jnp.ones((3, 2)), "bias": jnp.zeros(2)}})
      >>> apply(jnp.ones(3))[0].tolist()
      [3.0, 3.0]
    """

    def apply(*inputs: Any, method: str | None = None) -> tuple[Any, Any]:
        return model.apply(variables, *inputs, method=method), variables

    return apply


def has_cache(model: Any) -> bool:
    """Whether a model has the methods `start` and `step`.

    Example:
      >>> from deeplab.models.text.decoders.gpt import GPT, VARIANTS
      >>> has_cache(GPT(vocab_size=65, **VARIANTS["test"])), has_cache(lambda tokens: tokens)
      (True, False)
    """
    return hasattr(model, "start") and hasattr(model, "step")


def check_tokens(
    model: Any, variables: Any, tokens: Any, lengths: Any = None, source: tuple[Any, ...] | None = None
) -> None:
    """Checks that a model knows the tokens of prompts: it would read a number beyond its table as the last row.

    Args:
      model: Model; its shapes are computed, no numbers.
      variables: Its variables.
      tokens: Prompts [B, T]; those of a tracer pass.
      lengths: Number of tokens of each prompt; all of them when None.
      source: What an encoder-decoder's `start` reads besides the length.

    Raises:
      UserError: A token is negative, or not below the number of logits.

    Example:
      >>> from deeplab.models.text.decoders.gpt import GPT, VARIANTS
      >>> model, prompt = GPT(vocab_size=65, **VARIANTS["test"]), jnp.array([[2, 65]])
      >>> check_tokens(model, model.init(jax.random.key(0), prompt), prompt)
      Traceback (most recent call last):
      deeplab.core.errors.UserError: a prompt has token 65, and the model knows 0 to 64; is the tokenizer the model's?
    """
    if isinstance(tokens, Tracer) or isinstance(lengths, Tracer):
        return
    rows = np.asarray(tokens)
    size = _logits.eval_shape(model, variables, rows[:, :1], source).shape[-1]
    real = True if lengths is None else np.arange(rows.shape[1])[None] < np.asarray(lengths)[:, None]
    if wrong := sorted({int(token) for token in rows[((rows < 0) | (rows >= size)) & real]}):
        raise UserError(
            f"a prompt has {'tokens' if len(wrong) > 1 else 'token'} {', '.join(map(str, wrong[:5]))}, and the model "
            f"knows 0 to {size - 1}; is the tokenizer the model's?"
        )


@functools.partial(jax.jit, static_argnums=0)
def _logits(model: Any, variables: Any, tokens: jax.Array, source: tuple[Any, ...] | None) -> jax.Array:
    """Logits after one token of each prompt."""
    apply = plain(model, variables)
    if not has_cache(model):
        return apply(tokens)[0]
    decoder = cached(apply, *((len(tokens),) if source is None else source), length=1)
    return decoder.step(tokens, decoder.cache, 0)[0]


def cached(apply: Apply, *inputs: Any, length: int, sequences: int = 1) -> Decoder:
    """The decoder of a model that has a cache.

    Args:
      apply: Model with its parameters bound.
      *inputs: Inputs of the model's `start`: the batch size for a decoder, the source for an encoder-decoder.
      length: Largest number of tokens of a sequence.
      sequences: Number of sequences that the step reads for each example, as in a beam search.

    Example:
      >>> from deeplab.models.text.decoders.gpt import GPT, VARIANTS
      >>> model = GPT(vocab_size=65, **VARIANTS["test"])
      >>> variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 1), jnp.int32))
      >>> decoder = cached(plain(model, variables), 2, length=16)
      >>> logits, cache = decoder.step(jnp.ones((2, 3), jnp.int32), decoder.cache, 0)
      >>> logits.shape
      (2, 3, 65)
    """
    (cache, memory), _ = apply(*inputs, length, method="start")
    memory = repeat(memory, sequences)

    def step(tokens: jax.Array, cache: Any, cache_index: Any) -> tuple[jax.Array, Any]:
        return apply(tokens, cache, cache_index, memory, method="step")[0]

    return Decoder(step, cache)


def windowed(apply: Apply, batch_size: int, *, length: int, context: int | None = None) -> Decoder:
    """The decoder of a model without a cache: its cache is the text, of which a window is read again for each step.

    The model reads tokens [B, T] and gives logits [B, T, V], each of which depends on the tokens up to its own alone.
    The window holds the last `context` tokens, so that the text may be longer than the model's context.

    Args:
      apply: Model with its parameters bound.
      batch_size: B.
      length: Largest number of tokens of a sequence.
      context: Largest number of tokens that the model reads; all of them when None.

    Example:
      >>> table = jnp.eye(5)  # each token is followed by itself
      >>> decoder = windowed(lambda tokens: (table[tokens], {}), 1, length=4)
      >>> logits, text = decoder.step(jnp.array([[3, 2]]), decoder.cache, 0)
      >>> text.tolist(), jnp.argmax(logits, axis=-1).tolist()
      ([[3, 2, 0, 0]], [[3, 2]])
    """
    width = min(context or length, length)

    def step(tokens: jax.Array, text: jax.Array, cache_index: Any) -> tuple[jax.Array, jax.Array]:
        N, T = tokens.shape
        index = jnp.broadcast_to(jnp.asarray(cache_index), (N,))
        text = jax.vmap(lambda row, new, at: jax.lax.dynamic_update_slice_in_dim(row, new, at, axis=0))(
            text, tokens, index
        )
        start = jnp.clip(index + T - width, 0, length - width)
        logits, _ = apply(cut(text, start, width))
        return cut(logits, index - start, T), text

    return Decoder(step, jnp.zeros((batch_size, length), jnp.int32))


def repeat(tree: Any, times: int) -> Any:
    """Each example's arrays, [B, ...], once for each of its sequences: [B W, ...].

    Example:
      >>> repeat(jnp.array([[1, 2], [3, 4]]), 2).tolist()
      [[1, 2], [1, 2], [3, 4], [3, 4]]
    """
    return tree if times == 1 else jax.tree.map(lambda x: jnp.repeat(x, times, axis=0), tree)


def cut(x: Float[Array, "B T ..."], start: Int[Array, " B"], size: int) -> Float[Array, "B S ..."]:
    """`size` positions of each example from its own start on.

    Example:
      >>> cut(jnp.array([[1, 2, 3], [4, 5, 6]]), jnp.array([0, 1]), 2).tolist()
      [[1, 2], [5, 6]]
    """
    return jax.vmap(lambda row, at: jax.lax.dynamic_slice_in_dim(row, at, size))(x, start)


def read(
    decoder: Decoder, prompt: Int[Array, "B T"], lengths: Int[Array, " B"] | None, *, one_by_one: bool = False
) -> tuple[Float[Array, "B V"], Any]:
    """The logits after the last token of each prompt, and the cache then.

    Args:
      decoder: Decoder whose cache is empty.
      prompt: Tokens to read.
      lengths: Number of tokens of each prompt; all of them when None.
      one_by_one: Whether a cache must not read what comes after the end of a shorter prompt.

    Example:
      >>> decoder = windowed(lambda tokens: (jnp.eye(5)[tokens], {}), 2, length=2)  # each token is followed by itself
      >>> logits, text = read(decoder, jnp.array([[3, 2], [4, 0]]), jnp.array([2, 1]))
      >>> jnp.argmax(logits, axis=-1).tolist()
      [2, 4]
    """
    if one_by_one:
        return _read_each(decoder, prompt, lengths)
    logits, cache = decoder.step(prompt, decoder.cache, 0)
    return logits[:, -1] if lengths is None else cut(logits, lengths - 1, 1)[:, 0], cache


def _read_each(decoder: Decoder, prompt: Int[Array, "B T"], lengths: Any) -> tuple[Float[Array, "B V"], Any]:
    """The logits after the last token of each prompt, and the cache then."""
    first, cache = decoder.step(prompt[:, :1], decoder.cache, 0)

    def step(carry: tuple[Any, ...], t: jax.Array) -> tuple[tuple[Any, ...], None]:
        logits, new = decoder.step(jax.lax.dynamic_slice_in_dim(prompt, t, 1, axis=1), carry[1], t)

        def chosen(new: jax.Array, old: jax.Array) -> jax.Array:
            return jnp.where((t < lengths).reshape(-1, *[1] * (new.ndim - 1)), new, old)

        return jax.tree.map(chosen, (logits[:, 0], new), carry), None

    return jax.lax.scan(step, (first[:, 0], cache), jnp.arange(1, prompt.shape[1]))[0]
