"""Tokens and text as they come: for a reader who does not wait for the end."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from deeplab.core.errors import UserError
from deeplab.decode.generate import Draw
from deeplab.decode.protocol import cached, cut, has_cache, plain

_CUT = (
    "\N{REPLACEMENT CHARACTER}"  # what a tokenizer writes for the first bytes of a character whose others are to come
)


def tokens(
    model: Any,
    variables: Mapping[str, Any],
    prompt: Sequence[int],
    num_tokens: int,
    key: jax.Array,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    repetition_penalty: float | None = None,
    room: int = 256,
) -> Iterator[int]:
    """The tokens that `generate` draws for one prompt, each as soon as it is drawn.

    Args:
      model: Linen module with the methods of `deeplab.decode.protocol`.
      variables: Its variables, {"params": ...}.
      prompt: At least one token.
      num_tokens: Largest number of tokens; fewer where the model's context ends.
      key: Key of the draws.
      temperature: Divisor of the logits; 0 takes the most likely token.
      top_k: Number of most likely tokens to draw from.
      top_p: Probability that the tokens to draw from have together.
      min_p: Smallest probability of a token divided by that of the most likely one.
      repetition_penalty: Factor by which tokens that the text holds become less likely.
      room: The cache's length is a multiple of it, so that prompts of several lengths share a program.

    Raises:
      UserError: The model has no cache, or the prompt fills its context.

    Example:
      >>> from deeplab.models.text.decoders.gpt import GPT, VARIANTS
      >>> model = GPT(vocab_size=65, **VARIANTS["test"])
      >>> variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 1), jnp.int32))
      >>> len(list(tokens(model, variables, [1, 2, 3], 5, jax.random.key(1))))
      5
    """
    context = getattr(model, "context", None) or len(prompt) + num_tokens
    if not has_cache(model):
        raise UserError(f"{type(model).__name__} has no cache (methods start and step); use dl.decode.generate")
    if not 0 < len(prompt) < context:
        raise UserError(f"the prompt has {len(prompt):,} tokens, expected 1 to {context - 1:,} in this model's context")
    num_tokens = min(num_tokens, context + 1 - len(prompt))
    settings = {"temperature": temperature, "top_p": top_p, "min_p": min_p, "repetition_penalty": repetition_penalty}
    draw = Draw(key, top_k, **settings)
    length = min(context, -(-(len(prompt) + num_tokens - 1) // room) * room)
    width = len(prompt) if getattr(model, "recurrent", False) else min(length, -(-len(prompt) // room) * room)
    padded = np.zeros((1, width), np.int32)  # which a state would read, and keys after the prompt are not
    padded[0, : len(prompt)] = prompt
    token, cache, seen = _begin(
        model, length, top_k, variables, padded, jnp.array([len(prompt)]), draw._replace(top_k=None)
    )
    yield int(token[0])
    for n in range(1, num_tokens):
        at = np.int32(len(prompt) + n - 1)
        token, cache, seen = _next(
            model, top_k, variables, token, cache, seen, at, np.int32(n), draw._replace(top_k=None)
        )
        yield int(token[0])


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _begin(
    model: Any, length: int, top_k: int | None, variables: Any, prompt: Int[Array, "1 T"], size: jax.Array, draw: Draw
) -> tuple[jax.Array, Any, Any]:
    """The first token, the cache, and the set of tokens that the text holds, where that counts."""
    decoder = cached(plain(model, variables), 1, length=length)
    logits, cache = decoder.step(prompt, decoder.cache, 0)
    logits = cut(logits, size - 1, 1)[:, 0]
    seen = None
    if draw.repetition_penalty is not None:
        real = jnp.arange(prompt.shape[1]) < size
        seen = jnp.zeros((1, logits.shape[-1]), bool).at[0, prompt[0]].max(real)
    return draw._replace(top_k=top_k)(logits, seen, 0), cache, seen


@functools.partial(jax.jit, static_argnums=(0, 1), donate_argnums=4)
def _next(
    model: Any, top_k: int | None, variables: Any, token: jax.Array, cache: Any, seen: Any, at: Any, n: Any, draw: Draw
) -> tuple[jax.Array, Any, Any]:
    """The token after one that stands at a position."""
    seen = None if seen is None else seen.at[0, token[0]].set(True)
    logits, cache = model.apply(variables, token[:, None], cache, at[None], None, method="step")
    return draw._replace(top_k=top_k)(logits[:, -1], seen, n), cache, seen


def text(
    read: Iterable[int], decode: Callable[[list[int]], str], *, stop: Sequence[str] = (), end: Sequence[int] = ()
) -> Iterator[str]:
    """The text of tokens, in pieces: up to a stop string or an end token, neither of which is written.

    What could be the beginning of a stop string, or of a character, waits for the next token.

    Args:
      read: Tokens.
      decode: Function from all tokens so far to their text, such as `tokenizer.decode`.
      stop: Strings after which nothing is read.
      end: Tokens after which nothing is read.

    Example:
      >>> list(text([0, 1, 2, 3], lambda ids: "".join("ab!c"[i] for i in ids), stop=["!c"]))
      ['a', 'b']
    """
    found, written = [], 0
    for token in read:
        if token in end:
            break
        found.append(token)
        so_far = decode(found)
        if places := [at for word in stop if (at := so_far.find(word)) >= 0]:
            if min(places) > written:
                yield so_far[written : min(places)]
            return
        safe = len(so_far.rstrip(_CUT)) if so_far.endswith(_CUT) else len(so_far)
        held = (k for word in stop for k in range(1, len(word)) if so_far[:safe].endswith(word[:k]))
        safe -= max(held, default=0)
        if safe > written:
            yield so_far[written:safe]
            written = safe
    rest = decode(found)[written:] if found else ""
    if rest:
        yield rest
