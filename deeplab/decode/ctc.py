"""Transcripts from the outputs of connectionist temporal classification: the best path, and prefix beam search.

Shapes are fixed, for `vmap` and `jit`. Token 0 is the blank: a path has one token for each frame, and is read by
joining equal neighbors and dropping blanks. The beam search is a state and a step for one frame, `start` and `step`, so
that frames can be searched as they arrive.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from deeplab.core import ranges

_NEVER = -jnp.inf


def best_path(
    log_probs: Float[Array, "T K"], frames: Int[Array, ""], most: int
) -> tuple[Int[Array, " L"], Int[Array, ""]]:
    """The transcript of the most likely path: greedy decoding.

    Args:
      log_probs: Log probabilities of the tokens in each frame; logits serve as well.
      frames: Number of frames that count, of T.
      most: L, length of the longest transcript; a longer one is cut.

    Returns:
      Tokens [L], 0 beyond the end, and their number.

    Example:
      >>> path = jax.nn.one_hot(jnp.array([1, 1, 0, 1, 2, 2]), 3)
      >>> [x.tolist() for x in best_path(path, jnp.int32(6), most=4)]
      [[1, 1, 2, 0], 3]
    """
    path = jnp.argmax(log_probs, axis=-1)
    before = jnp.concatenate([jnp.zeros(1, path.dtype), path[:-1]])
    kept = (path != 0) & (path != before) & (jnp.arange(path.shape[0]) < frames)
    position = jnp.where(kept, jnp.cumsum(kept) - 1, most)
    tokens = jnp.zeros(most, jnp.int32).at[position].set(path.astype(jnp.int32), mode="drop")
    return tokens, jnp.minimum(kept.sum(), most)


class Prefixes(NamedTuple):
    """The W prefixes of a transcript that a search keeps after some frames.

    Attributes:
      tokens: Prefixes, 0 beyond their ends.
      lengths: Number of tokens of each.
      blank: Log probability of the paths that end in a blank.
      token: Log probability of the paths that end in the prefix's last token.

    Example:
      >>> found = step(start(beam=2, most=3), jnp.log(jnp.array([0.25, 0.75])))
      >>> found.tokens.tolist(), [round(float(p), 2) for p in jnp.exp(found.token)]
      ([[1, 0, 0], [0, 0, 0]], [0.75, 0.0])
    """

    tokens: Int[Array, "W L"]
    lengths: Int[Array, " W"]
    blank: Float[Array, " W"]
    token: Float[Array, " W"]


@ranges.checked(beam=ranges.COUNT)
def beam_search(
    log_probs: Float[Array, "T K"], frames: Int[Array, ""], most: int, beam: int = 8
) -> tuple[Int[Array, "W L"], Int[Array, " W"], Float[Array, " W"]]:
    """The most likely transcripts, each with the probability of all its paths: prefix beam search.

    With room for every prefix, the result is exact.

    Args:
      log_probs: Log probabilities of the tokens in each frame.
      frames: Number of frames that count, of T.
      most: L, length of the longest transcript.
      beam: W, number of prefixes that are kept.

    Returns:
      Tokens [W, L], their numbers [W], and log probabilities [W], the most likely first; -inf where there are fewer
      than W.

    Example:
      >>> log_probs = jnp.log(jnp.array([[0.6, 0.4], [0.6, 0.4]]))  # no path is likelier than two blanks
      >>> tokens, lengths, total = beam_search(log_probs, jnp.int32(2), most=2, beam=2)
      >>> tokens.tolist(), [round(float(p), 2) for p in jnp.exp(total)]
      ([[1, 0], [0, 0]], [0.64, 0.36])

    Source: Graves and Jaitly 2014, https://proceedings.mlr.press/v32/graves14.html; Hannun et al. 2014,
      https://arxiv.org/abs/1408.2873, without a language model.
    """

    def one_frame(state: Prefixes, item: tuple[jax.Array, jax.Array]) -> tuple[Prefixes, None]:
        number, y = item
        return jax.tree.map(lambda a, b: jnp.where(number < frames, a, b), step(state, y), state), None

    found, _ = jax.lax.scan(one_frame, start(beam, most), (jnp.arange(log_probs.shape[0]), log_probs))
    total = jnp.logaddexp(found.blank, found.token)
    order = jnp.argsort(-total)
    return found.tokens[order], found.lengths[order], total[order]


def start(beam: int, most: int) -> Prefixes:
    """The empty prefix, before the first frame.

    Example:
      >>> jnp.exp(start(beam=3, most=2).blank).tolist()  # of probability 1; no other prefix is possible
      [1.0, 0.0, 0.0]
    """
    first = jnp.arange(beam) == 0
    return Prefixes(
        tokens=jnp.zeros((beam, most), jnp.int32),
        lengths=jnp.zeros(beam, jnp.int32),
        blank=jnp.where(first, 0.0, _NEVER),
        token=jnp.full(beam, _NEVER),
    )


def step(state: Prefixes, y: Float[Array, " K"]) -> Prefixes:
    """One frame: the most likely W of the prefixes and their W (K - 1) continuations.

    A prefix l has the probabilities of its paths that end in a blank, b, and in its last token, n. In a frame of token
    probabilities y it stays itself, b' = (b + n) y(0), n' = n y(last), or grows by a token c, n'(l c) = b y(c), and
    (b + n) y(c) if c is not its last token. Prefixes that become equal are joined.

    Args:
      state: Prefixes before the frame.
      y: Log probabilities of the tokens in the frame.

    Example:
      >>> state = step(start(beam=4, most=2), jnp.log(jnp.array([0.5, 0.5])))
      >>> state = step(state, jnp.log(jnp.array([0.5, 0.5])))
      >>> state.tokens[0].tolist(), [round(float(jnp.exp(p[0])), 2) for p in (state.blank, state.token)]  # 1-; -1, 11
      ([1, 0], [0.25, 0.5])
    """
    tokens, lengths, blank, token = state
    beam, most = tokens.shape
    position = jnp.arange(most)
    last = jnp.where(lengths > 0, tokens[jnp.arange(beam), jnp.maximum(lengths - 1, 0)], 0)  # [W]
    total = jnp.logaddexp(blank, token)
    grown = jnp.where(jnp.arange(y.shape[0])[None] == last[:, None], blank[:, None], total[:, None]) + y[None]  # [W, K]
    grown = jnp.where((jnp.arange(y.shape[0]) == 0)[None] | (lengths == most)[:, None], _NEVER, grown)

    # joins[i, j]: prefix i, grown by the last token of prefix j, is prefix j.
    parents = jnp.where(position[None] < lengths[:, None] - 1, tokens, 0)
    joins = (parents[None] == tokens[:, None]).all(axis=-1) & (lengths[None] == lengths[:, None] + 1)
    joining = jnp.where(joins, grown[:, last], _NEVER)  # [W, W]
    stayed = total + y[0], jnp.logaddexp(token + y[last], jax.nn.logsumexp(joining, axis=0))
    joined = (joins[:, :, None] & (last[None, :, None] == jnp.arange(y.shape[0])[None, None])).any(axis=1)
    grown = jnp.where(joined, _NEVER, grown).reshape(-1)  # [W K]

    score, chosen = jax.lax.top_k(jnp.concatenate([jnp.logaddexp(*stayed), grown]), beam)
    grows = chosen >= beam
    parent = jnp.where(grows, (chosen - beam) // y.shape[0], chosen)
    added = jnp.where(grows, (chosen - beam) % y.shape[0], 0)
    here = grows[:, None] & (position[None] == lengths[parent][:, None])
    return Prefixes(
        tokens=jnp.where(here, added[:, None], tokens[parent]),
        lengths=lengths[parent] + grows,
        blank=jnp.where(grows, _NEVER, stayed[0][parent]),
        token=jnp.where(grows, score, stayed[1][parent]),
    )
