"""From the outputs of connectionist temporal classification to transcripts: the best path, and prefix beam search.

Fixed shapes, for `vmap` and `jit`. Token 0 is the blank: a path of tokens, one a frame, is read by joining equal
neighbours and dropping blanks.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

_NEVER = -jnp.inf


def best_path(
    log_probs: Float[Array, "T K"], frames: Int[Array, ""], most: int
) -> tuple[Int[Array, " L"], Int[Array, ""]]:
    """The transcript of the likeliest path: greedy decoding.

    Args:
      log_probs: of the tokens, in each frame; logits do as well.
      frames: how many of the T count.
      most: L, the longest transcript; a longer one is cut.

    Returns:
      Tokens [L], 0 where there are none, and their number.

    Example:
      >>> path = jax.nn.one_hot(jnp.array([1, 1, 0, 1, 2, 2]), 3)
      >>> [x.tolist() for x in best_path(path, jnp.int32(6), most=4)]
      [[1, 1, 2, 0], 3]
    """
    path = jnp.argmax(log_probs, axis=-1)
    before = jnp.concatenate([jnp.zeros(1, path.dtype), path[:-1]])
    kept = (path != 0) & (path != before) & (jnp.arange(path.shape[0]) < frames)
    place = jnp.where(kept, jnp.cumsum(kept) - 1, most)
    tokens = jnp.zeros(most, jnp.int32).at[place].set(path.astype(jnp.int32), mode="drop")
    return tokens, jnp.minimum(kept.sum(), most)


def beam_search(
    log_probs: Float[Array, "T K"], frames: Int[Array, ""], most: int, beam: int = 8
) -> tuple[Int[Array, "W L"], Int[Array, " W"], Float[Array, " W"]]:
    """The likeliest transcripts, each with the probability of all its paths: prefix beam search.

    A prefix l has the probabilities of its paths that end in a blank, b, and in its last token, n. In a frame of token
    probabilities y it stays itself, b' = (b + n) y(0), n' = n y(last), or grows by a token c, n'(l c) = b y(c), and
    (b + n) y(c) if c is not its last token. Prefixes that became equal are one; the `beam` likeliest go on.
    With room for every prefix, what comes out is exact.

    Args:
      log_probs: of the tokens, in each frame.
      frames: how many of the T count.
      most: L, the longest transcript.
      beam: W, prefixes that are kept.

    Returns:
      Tokens [W, L], their numbers [W], and log probabilities [W], the likeliest first; -inf where there are no more.

    Source: Graves and Jaitly 2014, https://proceedings.mlr.press/v32/graves14.html; Hannun et al. 2014,
      https://arxiv.org/abs/1408.2873, without a language model.
    """
    first = jnp.arange(beam) == 0
    tokens = jnp.zeros((beam, most), jnp.int32)
    start = (tokens, jnp.zeros(beam, jnp.int32), jnp.where(first, 0.0, _NEVER), jnp.full(beam, _NEVER))

    def frame(state: Any, item: Any) -> tuple[Any, None]:
        number, y = item
        new = _advance(state, y)
        return jax.tree.map(lambda a, b: jnp.where(number < frames, a, b), new, state), None

    (tokens, lengths, blank, token), _ = jax.lax.scan(frame, start, (jnp.arange(log_probs.shape[0]), log_probs))
    total = jnp.logaddexp(blank, token)
    order = jnp.argsort(-total)
    return tokens[order], lengths[order], total[order]


def _advance(state: Any, y: Float[Array, " K"]) -> Any:
    """One frame: W prefixes to the likeliest W among themselves and their W (K - 1) continuations."""
    tokens, lengths, blank, token = state
    beam, most = tokens.shape
    place = jnp.arange(most)
    last = jnp.where(lengths > 0, tokens[jnp.arange(beam), jnp.maximum(lengths - 1, 0)], 0)  # [W]
    total = jnp.logaddexp(blank, token)
    grown = jnp.where(jnp.arange(y.shape[0])[None] == last[:, None], blank[:, None], total[:, None]) + y[None]  # [W, K]
    grown = jnp.where((jnp.arange(y.shape[0]) == 0)[None] | (lengths == most)[:, None], _NEVER, grown)

    # joins[i, j]: prefix i, grown by the last token of prefix j, is prefix j.
    parents = jnp.where(place[None] < lengths[:, None] - 1, tokens, 0)
    joins = (parents[None] == tokens[:, None]).all(axis=-1) & (lengths[None] == lengths[:, None] + 1)
    joining = jnp.where(joins, grown[:, last], _NEVER)  # [W, W]
    stayed = total + y[0], jnp.logaddexp(token + y[last], jax.nn.logsumexp(joining, axis=0))
    joined = (joins[:, :, None] & (last[None, :, None] == jnp.arange(y.shape[0])[None, None])).any(axis=1)
    grown = jnp.where(joined, _NEVER, grown).reshape(-1)  # [W K]

    score, chosen = jax.lax.top_k(jnp.concatenate([jnp.logaddexp(*stayed), grown]), beam)
    grows = chosen >= beam
    parent = jnp.where(grows, (chosen - beam) // y.shape[0], chosen)
    added = jnp.where(grows, (chosen - beam) % y.shape[0], 0)
    here = grows[:, None] & (place[None] == lengths[parent][:, None])
    return (
        jnp.where(here, added[:, None], tokens[parent]),
        lengths[parent] + grows,
        jnp.where(grows, _NEVER, stayed[0][parent]),
        jnp.where(grows, score, stayed[1][parent]),
    )
