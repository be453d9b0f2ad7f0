"""What the tokens of a text add to a score: any method, at the embedding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from deeplab.core.errors import UserError
from deeplab.explain import chunks
from deeplab.explain.attribution import Attribution, Target
from deeplab.explain.taps import split, taps
from deeplab.explain.targets import logprob, position

Method = Callable[..., Any]
"""`method(f, x, target=, args=)`, with `baseline=` where it has one, to an `Attribution` or an array like x."""


def embedding_tap(f: Callable[..., Any], tokens: Int[Array, "B T"], *args: Any) -> str:
    """Name of the tap at which tokens have become vectors [B, T, D], that of their positions left out.

    Args:
      f: Function `f(tokens, *args)` that calls Linen modules.
      tokens: Tokens.
      *args: Further inputs of f.

    Raises:
      UserError: no tap has this shape.

    Example:
      >>> from deeplab.models import GPT
      >>> model, tokens = GPT(vocab_size=9, num_layers=1, num_heads=2, width=8, context=4), jnp.array([[1, 2, 3]])
      >>> variables = model.init(jax.random.key(0), tokens)
      >>> embedding_tap(lambda x: model.apply(variables, x), tokens)
      'token_embedding'
    """
    every = taps(f, tokens, *args)
    fitting = [
        name for name, tap in every.items()
        if tap.ndim == 3 and tap.shape[:2] == tokens.shape and jnp.issubdtype(tap.dtype, jnp.floating)
    ]  # fmt: skip
    if not fitting:
        raise UserError(
            f"no tap has the shape [B, T, D] of embedded tokens {tokens.shape}; give at= one of {list(every)}"
        )
    parents = [name for name in fitting if fitting[0].startswith(name + "/")]  # positions within an embedding
    return parents[0] if parents else fitting[0]


def by_token(
    method: Method, f: Callable[..., Any], tokens: Int[Array, "B T"], baseline: Any = None, target: Target = None,
    args: Sequence[Any] = (), *, at: str | None = None, mask: Bool[Array, "B T"] | None = None, **options: Any,
) -> Attribution:  # fmt: skip
    """What each token adds to the score: the sums, over their components, of an attribution of the embeddings.

    Args:
      method: Method, such as `dl.explain.deeplift`.
      f: Function `f(tokens, *args)` that calls Linen modules.
      tokens: Tokens.
      baseline: Token of padding or of a mask, whose embedding stands for the absence of a token; several tokens [N],
        the mean of whose embeddings does; embeddings; 0.0 for none. Left out for a method without a baseline.
      target: What is explained.
      args: Further inputs of f with a leading axis of examples.
      at: Name of the tap of embedded tokens; `embedding_tap` when None.
      mask: True where a token is no padding; padding gets 0.
      options: Further arguments of the method.

    Returns:
      Values [B, T], and what else the method tells.

    Raises:
      UserError: the embedding is not found.

    Example:
      >>> from deeplab.explain import input_x_gradient
      >>> from deeplab.explain.taps import mark
      >>> table = jnp.array([[0.0], [1.0], [5.0]])
      >>> score = lambda tokens: mark(table[tokens], "embedded").sum(axis=(1, 2))
      >>> by_token(input_x_gradient, score, jnp.array([[2, 0, 1]])).values.tolist()
      [[5.0, 0.0, 1.0]]
    """
    upto, rest = split(f, at or embedding_tap(f, tokens, *args))
    embedded = upto(tokens, *args)
    if baseline is not None:
        options["baseline"] = _embedded(baseline, upto, tokens, args)
    found = method(rest, embedded, target=target, args=(tokens, *args), **options)
    found = found if isinstance(found, Attribution) else Attribution(found)
    values = found.values.sum(axis=-1)
    return found._replace(values=values if mask is None else jnp.where(mask, values, 0), error=None)


def by_step(
    method: Method, f: Callable[..., Any], tokens: Int[Array, "B T"], start: int = 1, baseline: Any = None,
    args: Sequence[Any] = (), *, labels: Int[Array, "B N"] | None = None, chunk: int = 8, **options: Any,
) -> Float[Array, "B G T"]:  # fmt: skip
    """For each generated token, what the tokens before it add to its log-probability.

    The text is read once as a whole, as in training; all steps are one program, `chunk` of them at a time.

    Args:
      method: As of `by_token`.
      f: Function `f(tokens, *args)` to logits [B, N, V], where those at t tell the token after t.
      tokens: Prompt and generated text.
      start: Number of tokens of the prompt; those from there on are explained.
      baseline: As of `by_token`.
      args: Further inputs of f with a leading axis of examples.
      labels: The token that each position of the logits should tell, where f explains another text than it writes, such
        as the source of a translation; then all of them are explained.
      chunk: Number of steps at a time.
      options: Further arguments of `by_token`.

    Returns:
      One row for each explained token; zero from that token on.

    Raises:
      UserError: there is no token from `start` on, or before it.

    Example:
      >>> from deeplab.explain import input_x_gradient
      >>> from deeplab.explain.taps import mark
      >>> model = lambda tokens: jnp.cumsum(mark(jnp.eye(3)[tokens], "embedded"), axis=1)  # counts the tokens so far
      >>> steps = by_step(input_x_gradient, model, jnp.array([[0, 1, 1, 2]]), start=2)
      >>> jnp.sign(steps[0]).tolist()  # the first 1 speaks for the second one; both of them against the 2
      [[-1.0, 1.0, 0.0, 0.0], [-1.0, -1.0, -1.0, 0.0]]
    """
    if labels is None and not 0 < start < tokens.shape[1]:
        raise UserError(f"start={start} leaves nothing to explain in texts of {tokens.shape[1]} tokens")
    first, words = (start - 1, tokens[:, start:]) if labels is None else (0, labels)

    def step(which: tuple[Array, Array]) -> Array:
        t, word = which
        return by_token(method, f, tokens, baseline, position(t, logprob(word)), args, **options).values

    steps = jnp.arange(first, first + words.shape[1])
    return jnp.moveaxis(jax.lax.map(step, (steps, words.T), batch_size=min(chunk, len(steps))), 0, 1)


def _embedded(baseline: Any, upto: Callable[..., Array], tokens: Array, args: Sequence[Any]) -> Array:
    """The baseline as embeddings: integers are tokens."""
    if not jnp.issubdtype(jnp.result_type(baseline), jnp.integer):
        return jnp.asarray(baseline)
    chosen = jnp.atleast_1d(jnp.asarray(baseline))
    return chunks.total(lambda token: upto(jnp.full_like(tokens, token), *args), chosen) / len(chosen)
