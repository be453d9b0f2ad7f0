"""Sampling from a causal language model, one token after another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Int

from deeplab.core import ranges
from deeplab.core.errors import UserError
from deeplab.decode.logits import Draw, seen
from deeplab.decode.protocol import Apply, Decoder, cached, check_tokens, cut, has_cache, plain, read, windowed

SETTINGS = {
    "num_tokens": ranges.COUNT,
    "temperature": ranges.NATURAL,
    "top_k": ranges.COUNT,
    "top_p": ranges.FRACTION,
    "min_p": ranges.FRACTION,
    "repetition_penalty": ranges.POSITIVE,
}
"""The ranges of what says how tokens are drawn."""


@ranges.checked(**SETTINGS)
def generate(
    model: Any,
    apply: Apply | Mapping[str, Any],
    prompt: Int[Array, "B T"] | Int[np.ndarray, "B T"],
    num_tokens: int,
    key: jax.Array,
    *,
    source: tuple[Any, ...] | None = None,
    lengths: Int[Array, " B"] | None = None,
    temperature: float | jax.Array = 1.0,
    top_k: int | None = None,
    top_p: float | jax.Array | None = None,
    min_p: float | jax.Array | None = None,
    repetition_penalty: float | jax.Array | None = None,
) -> Int[Array, "B N"]:
    """Draws `num_tokens` tokens that continue each prompt.

    A token is drawn from softmax(logits / temperature) over those that `top_k`, `top_p` and `min_p` all keep; see
    `deeplab.decode.logits`. A model with the methods of `deeplab.decode.protocol` caches what it has read, up to its
    `context`. Beyond it, and for a model without these methods, the last `context` tokens are read again for every
    token; all of them where the model names no `context`.

    Args:
      model: Module from tokens [B, T] to logits [B, T, V], asked for its methods and its `context` alone.
      apply: Model with its parameters bound, such as a task is given (call `generate` under `jax.jit` then); or the
        variables of a Linen module, {"params": ...}, in whose dtype it computes.
      prompt: At least one token each; of a prompt longer than the context, the last `context` tokens are read.
      num_tokens: N.
      key: Key of the draws; token n of row b depends on (key, n, b) alone.
      source: What an encoder-decoder's `start` reads besides the length, such as the source and its mask; its prompts
        are the first tokens of targets.
      lengths: Number of tokens of each prompt, at least 1, where they differ; prompts are padded at the end.
      temperature: Divisor of the logits; 0 takes the most likely token. May be a tracer.
      top_k: Number of most likely tokens to draw from.
      top_p: Probability that the tokens to draw from have together; may be a tracer.
      min_p: Smallest probability of a token divided by that of the most likely one; may be a tracer.
      repetition_penalty: Factor by which tokens that the text holds become less likely; may be a tracer.

    Raises:
      UserError: The prompt is no tokens, or has one that the model does not know, lengths do not fit it, or a target is
        longer than the context of an encoder-decoder.

    Example:
      >>> from deeplab.models.text.decoders.gpt import GPT, VARIANTS
      >>> model = GPT(vocab_size=65, **VARIANTS["test"])
      >>> variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 1), jnp.int32))
      >>> generate(model, variables, jnp.array([[1, 2, 3]]), 20, jax.random.key(1)).shape
      (1, 20)
    """
    settings = {"temperature": temperature, "top_p": top_p, "min_p": min_p, "repetition_penalty": repetition_penalty}
    prompt, lengths = _checked(prompt, lengths)
    compute = _generate if callable(apply) else _generate_compiled
    if not callable(apply) and "params" not in apply:
        raise UserError(f'the variables hold {", ".join(apply)}, expected {{"params": ...}}')
    if not callable(apply):
        check_tokens(model, apply, prompt, lengths, source)
    return compute(model, apply, prompt, num_tokens, key, source, lengths, top_k, settings)


def _checked(prompt: Any, lengths: Any) -> tuple[Int[Array, "B T"], Int[Array, " B"] | None]:
    """Prompts and their lengths as arrays.

    Raises:
      UserError: They are no tokens [B, T], or the lengths are not 1 to T for each of B.
    """
    prompt = jnp.asarray(prompt)
    if prompt.ndim != 2 or not prompt.size or not jnp.issubdtype(prompt.dtype, jnp.integer):
        raise UserError(f"the prompt is {prompt.dtype} {list(prompt.shape)}, expected integers [B, T], 1 token or more")
    prompt = prompt.astype(jnp.int32)  # those of a vocabulary of bytes are uint8, and what is drawn is int32
    if lengths is None:
        return prompt, None
    lengths = jnp.asarray(lengths)
    if lengths.shape != prompt.shape[:1]:
        raise UserError(f"lengths are {list(lengths.shape)}, expected one for each of {len(prompt)} prompts")
    known = not isinstance(lengths, Tracer)
    if known and (wrong := sorted({int(n) for n in lengths if not 0 < n <= prompt.shape[1]})):
        raise UserError(f"lengths are {wrong}, expected 1 to {prompt.shape[1]}, the number of tokens that are given")
    return prompt, lengths


def _generate(
    model: Any,
    apply: Any,
    prompt: Int[Array, "B T"],
    num_tokens: int,
    key: jax.Array,
    source: tuple[Any, ...] | None,
    lengths: Int[Array, " B"] | None,
    top_k: int | None,
    settings: Mapping[str, Any],
) -> Int[Array, "B N"]:
    apply = apply if callable(apply) else plain(model, apply)
    draw = Draw(key, top_k, **settings)
    context = getattr(model, "context", None)
    if source is not None and context is not None and context + 1 < prompt.shape[1] + num_tokens:
        raise UserError(
            f"{num_tokens} tokens after {prompt.shape[1]} do not fit the context of {context}, beyond which an "
            f"encoder-decoder does not go; ask for {max(context + 1 - prompt.shape[1], 0)}"
        )
    if context is not None and prompt.shape[1] > context:
        prompt, lengths = _last(prompt, lengths, context)
    B, T = prompt.shape
    # The last token drawn is never read, so that a cache of `context` serves one token more.
    num_cached = num_tokens if context is None else min(num_tokens, context + 1 - T)
    if not has_cache(model) or (lengths is not None and num_cached < num_tokens):
        num_cached = 0  # prompts of several lengths reach the context at several tokens: one way for all of them
    drawn = prompt[:, :0]
    if num_cached:
        decoder = cached(apply, *((B,) if source is None else source), length=T + num_cached - 1)
        one_by_one = lengths is not None and getattr(model, "recurrent", False)
        drawn = _continue(decoder, prompt, lengths, num_cached, draw, one_by_one=one_by_one)
    if num_cached == num_tokens:
        return drawn
    text = jnp.concatenate([prompt, drawn], axis=1)
    window = text if context is None else text[:, -context:]
    decoder = windowed(apply, B, length=window.shape[1] + num_tokens - num_cached - 1, context=context)
    rest = _continue(decoder, window, lengths, num_tokens - num_cached, draw, drawn=num_cached, text=text)
    return jnp.concatenate([drawn, rest], axis=1)


_generate_compiled = jax.jit(_generate, static_argnames=("model", "num_tokens", "top_k"))


def _last(
    prompt: Int[Array, "B T"], lengths: Int[Array, " B"] | None, context: int
) -> tuple[Int[Array, "B C"], Int[Array, " B"] | None]:
    """The last `context` tokens of each prompt, and how many there are."""
    if lengths is None:
        return prompt[:, -context:], None
    return cut(prompt, jnp.maximum(lengths - context, 0), context), jnp.minimum(lengths, context)


def _continue(
    decoder: Decoder,
    prompt: Int[Array, "B T"],
    lengths: Int[Array, " B"] | None,
    num_tokens: int,
    draw: Draw,
    *,
    drawn: int = 0,
    text: Int[Array, "B L"] | None = None,
    one_by_one: bool = False,
) -> Int[Array, "B N"]:
    """Reads the prompts at once, then each token as it is drawn.

    Args:
      decoder: Decoder whose cache is empty.
      prompt: Tokens to read.
      lengths: Number of tokens of each prompt; all of them when None.
      num_tokens: N.
      draw: Draw of a token.
      drawn: Number of tokens drawn before.
      text: All tokens so far, where the prompt is but the last of them.
      one_by_one: Whether a cache must not read what comes after the end of a shorter prompt.
    """
    B, T = prompt.shape
    logits, cache = read(decoder, prompt, lengths, one_by_one=one_by_one)
    held = None
    if draw.repetition_penalty is not None:
        held = seen(prompt if text is None else text, lengths, logits.shape[-1])
    first = draw(logits, held, drawn)

    def step(carry: tuple[Any, ...], n: jax.Array) -> tuple[tuple[Any, ...], jax.Array]:
        token, cache, held = carry
        held = None if held is None else held.at[jnp.arange(B), token].set(True)
        logits, cache = decoder.step(token[:, None], cache, (T if lengths is None else lengths) + n - 1)
        token = draw(logits[:, -1], held, drawn + n)
        return (token, cache, held), token

    _, rest = jax.lax.scan(step, (first, cache, held), jnp.arange(1, num_tokens))
    return jnp.concatenate([first[:, None], rest.T], axis=1)  # N B -> B N
