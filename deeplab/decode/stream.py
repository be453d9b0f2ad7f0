"""Tokens and text as they come: for a reader who does not wait for the end."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from deeplab.core import ranges
from deeplab.core.errors import UserError
from deeplab.decode.generate import SETTINGS
from deeplab.decode.logits import Draw, seen
from deeplab.decode.protocol import cached, check_tokens, has_cache, plain, read

_CUT = (
    "\N{REPLACEMENT CHARACTER}"  # what a tokenizer writes for the first bytes of a character whose others are to come
)


def tokens(
    model: Any,
    variables: Mapping[str, Any],
    prompt: Sequence[int],
    num_tokens: int,
    key: jax.Array,
    **settings: Any,
) -> Iterator[int]:
    """The tokens that `generate` draws for one prompt, each as soon as it is drawn: `batch` with one row.

    Example:
      >>> from deeplab.models.text.decoders.gpt import GPT, VARIANTS
      >>> model = GPT(vocab_size=65, **VARIANTS["test"])
      >>> variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 1), jnp.int32))
      >>> len(list(tokens(model, variables, [1, 2, 3], 5, jax.random.key(1))))
      5
    """
    return (int(drawn[0]) for drawn in batch(model, variables, [prompt], num_tokens, key, **settings))


@ranges.checked(**SETTINGS, room=ranges.COUNT)
def batch(
    model: Any,
    variables: Mapping[str, Any],
    prompts: Sequence[Sequence[int]],
    num_tokens: int,
    key: jax.Array,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    repetition_penalty: float | None = None,
    room: int = 256,
) -> Iterator[Int[np.ndarray, " B"]]:
    """The tokens that `generate` draws for each prompt, those of a step as soon as they are drawn.

    A reader that has enough, such as `texts`, asks for no more, and no more are drawn.

    Args:
      model: Linen module with the methods of `deeplab.decode.protocol`.
      variables: Its variables, {"params": ...}.
      prompts: At least one token each, of any lengths.
      num_tokens: Largest number of tokens; fewer where the model's context ends for the longest prompt.
      key: Key of the draws.
      temperature: Divisor of the logits; 0 takes the most likely token.
      top_k: Number of most likely tokens to draw from.
      top_p: Probability that the tokens to draw from have together.
      min_p: Smallest probability of a token divided by that of the most likely one.
      repetition_penalty: Factor by which tokens that the text holds become less likely.
      room: The cache's length is a multiple of it, so that prompts of several lengths share a program.

    Raises:
      UserError: The model has no cache, there is no prompt, or one fills its context or has a token that the model does
        not know.

    Example:
      >>> from deeplab.models.text.decoders.gpt import GPT, VARIANTS
      >>> model = GPT(vocab_size=65, **VARIANTS["test"])
      >>> variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 1), jnp.int32))
      >>> [len(drawn) for drawn in batch(model, variables, [[1, 2, 3], [4]], 3, jax.random.key(1))]
      [2, 2, 2]
    """
    sizes = np.array([len(prompt) for prompt in prompts], np.int32)
    if not len(sizes):
        raise UserError("no prompts were given, expected one at least")
    if any(isinstance(prompt, str) for prompt in prompts):
        raise UserError("a prompt is a text, expected its tokens, such as tokenizer.encode(text).ids")
    context = getattr(model, "context", None) or int(sizes.max()) + num_tokens
    if not has_cache(model):
        raise UserError(f"{type(model).__name__} has no cache (methods start and step); use dl.decode.generate")
    for size in (sizes.min(), sizes.max()):
        if not 0 < size < context:
            raise UserError(f"the prompt has {size:,} tokens, expected 1 to {context - 1:,} in this model's context")
    for prompt in prompts:
        check_tokens(model, variables, np.asarray(prompt)[None])
    longest, recurrent = int(sizes.max()), getattr(model, "recurrent", False)
    num_tokens = min(num_tokens, context + 1 - longest)
    settings = {"temperature": temperature, "top_p": top_p, "min_p": min_p, "repetition_penalty": repetition_penalty}
    draw = Draw(key, None, **settings)
    length = min(context, -(-(longest + num_tokens - 1) // room) * room)
    width = longest if recurrent else min(length, -(-longest // room) * room)
    padded = np.zeros((len(sizes), width), np.int32)  # which a state would read, and keys after the prompt are not
    for row, prompt in zip(padded, prompts, strict=True):
        row[: len(prompt)] = prompt
    one_by_one = recurrent and bool((sizes < longest).any())
    token, cache, seen = _begin(model, length, top_k, one_by_one, variables, padded, sizes, draw)
    yield np.asarray(token)
    for n in range(1, num_tokens):
        token, cache, seen = _next(model, top_k, variables, token, cache, seen, sizes + n - 1, np.int32(n), draw)
        yield np.asarray(token)


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _begin(
    model: Any,
    length: int,
    top_k: int | None,
    one_by_one: bool,
    variables: Any,
    prompts: Int[Array, "B T"],
    sizes: Int[Array, " B"],
    draw: Draw,
) -> tuple[jax.Array, Any, Any]:
    """The first tokens, the cache, and the set of tokens that each text holds, where that counts."""
    decoder = cached(plain(model, variables), len(prompts), length=length)
    logits, cache = read(decoder, prompts, sizes, one_by_one=one_by_one)
    held = None if draw.repetition_penalty is None else seen(prompts, sizes, logits.shape[-1])
    return draw._replace(top_k=top_k)(logits, held, 0), cache, held


@functools.partial(jax.jit, static_argnums=(0, 1), donate_argnums=4)
def _next(
    model: Any, top_k: int | None, variables: Any, token: jax.Array, cache: Any, held: Any, at: Any, n: Any, draw: Draw
) -> tuple[jax.Array, Any, Any]:
    """The tokens after those that stand at some positions."""
    held = None if held is None else held.at[jnp.arange(len(token)), token].set(True)
    at = at if len(token) > 1 else at[0]  # one index is one contiguous update of the cache
    logits, cache = model.apply(variables, token[:, None], cache, at, None, method="step")
    return draw._replace(top_k=top_k)(logits[:, -1], held, n), cache, held


def text(
    read: Iterable[int],
    decode: Callable[[list[int]], str],
    *,
    stop: str | Sequence[str] = (),
    end: int | Sequence[int] = (),
) -> Iterator[str]:
    """The text of tokens, in pieces: up to a stop string or an end token, neither of which is written.

    What could be the beginning of a stop string, or of a character, waits for the next token.

    Args:
      read: Tokens.
      decode: Function from all tokens so far to their text, such as `tokenizer.decode`.
      stop: String after which nothing is read, or several.
      end: Token after which nothing is read, or several.

    Example:
      >>> list(text([0, 1, 2, 3], lambda ids: "".join("ab!c"[i] for i in ids), stop=["!c"]))
      ['a', 'b']
    """
    (stop, end), found, written = _several(stop, end), [], 0
    for token in read:
        if token in end:
            break
        found.append(token)
        so_far = decode(found)
        if (at := _stop(so_far, stop)) is not None:
            if at > written:
                yield so_far[written:at]
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


def texts(
    read: Iterable[Int[np.ndarray, " B"]],
    decode: Callable[[list[int]], str],
    *,
    stop: str | Sequence[str] = (),
    end: int | Sequence[int] = (),
) -> list[str]:
    """The text of each row of a batch: up to its first stop string or end token, neither of which is written.

    Each row stops by itself, and nothing is read once all have stopped. A stop string may begin within one token and
    end within another.

    Args:
      read: Tokens of all rows, step by step, such as `batch`.
      decode: Function from all tokens of a row to their text, such as `tokenizer.decode`.
      stop: String after which a row writes nothing, or several.
      end: Token after which a row writes nothing, or several.

    Example:
      >>> steps = [[0, 1], [1, 4], [2, 0], [3, 0]]
      >>> texts(np.array(steps), lambda ids: "".join("ab!c."[i] for i in ids), stop=["!c"], end=[4])
      ['ab', 'b']
    """
    stop, end = _several(stop, end)
    found: list[list[int]] = []
    whole: dict[int, str] = {}
    for drawn in read:
        found = found or [[] for _ in drawn]
        for row, token in enumerate(np.asarray(drawn).tolist()):
            if row in whole:
                continue
            if token in end:
                whole[row] = decode(found[row])
                continue
            found[row].append(token)
            if stop and (at := _stop(so_far := decode(found[row]), stop)) is not None:
                whole[row] = so_far[:at]
        if len(whole) == len(found):
            break
    return [whole[row] if row in whole else decode(ids) for row, ids in enumerate(found)]


def _several(stop: str | Sequence[str], end: int | Sequence[int]) -> tuple[Sequence[str], Sequence[int]]:
    """Stop strings and end tokens, of which one may be given alone: the letters of a string are not meant."""
    stop = (stop,) if isinstance(stop, str) else stop
    if "" in stop:
        raise UserError("a stop string is empty, which every text holds; leave it out")
    return stop, (int(end),) if isinstance(end, int | np.integer) else end


def _stop(written: str, stop: Sequence[str]) -> int | None:
    """Where the first of the stop strings begins; None where there is none."""
    return min((at for word in stop if (at := written.find(word)) >= 0), default=None)
