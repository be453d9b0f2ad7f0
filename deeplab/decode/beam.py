"""Beam search: the most likely sequences that a model writes, one token after another."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from deeplab.core import ranges
from deeplab.decode.protocol import Decoder, Step, repeat


@ranges.checked(beam=ranges.COUNT, length=ranges.COUNT, length_penalty=ranges.NATURAL, cache_index=ranges.NATURAL)
def beam_search(
    decoder: Decoder,
    *,
    beam: int,
    length: int,
    begin: int | Int[Array, " B"],
    end: int,
    length_penalty: float | jax.Array = 0.0,
    cache_index: int = 0,
) -> tuple[Int[Array, "B W T"], Float[Array, "B W"], Float[Array, "B W"]]:
    """The best sequences found for each of B examples, the best first.

    A sequence Y ends with `end`, or after `length` tokens. Its score is log P(Y) / ((5 + |Y|) / 6)^a, where |Y| counts
    its tokens, `end` among them, and a is the length penalty: 0 prefers short ones. Of all continuations by one token
    the W with the best scores are kept; a sequence that has ended stays as it is, and is kept while its score is among
    them. So a beam of 1 is greedy decoding, and one with room for every sequence is exact.

    The search is over when no unfinished sequence can become the best: log P only falls, and the divisor is largest at
    the full length.

    Args:
      decoder: Step, and the cache that it starts with; each example's is repeated for its W sequences, [B W, ...].
      beam: W.
      length: T, of the longest sequence.
      begin: Token before the first, for all examples or for each: the last one of a prompt that the cache holds.
      end: Token after the last, which counts.
      length_penalty: Exponent a of the length; may be a tracer.
      cache_index: Position of the token before the first: the number of tokens that the cache holds.

    Returns:
      Tokens [B, W, T], 0 after the end; their scores, -inf where there are fewer than W; and log P.

    Example:
      >>> table = jnp.log(jnp.array([[0.1, 0.0, 0.6, 0.3], [0.0, 0.0, 0.2, 0.8], [0.9, 0.1, 0, 0], [0.1, 0.9, 0, 0]]))
      >>> decoder = Decoder(lambda tokens, cache, cache_index: (table[tokens], cache), jnp.zeros((1, 1)))
      >>> tokens, scores, log_probs = beam_search(decoder, beam=2, length=3, begin=1, end=2)
      >>> tokens[0].tolist(), [round(float(p), 2) for p in jnp.exp(log_probs[0])]
      ([[3, 1, 3], [2, 0, 0]], [0.58, 0.2])

    Source: Wu et al. 2016, https://arxiv.org/abs/1609.08144, section 7, without the coverage penalty.
    """
    B, W = len(jax.tree.leaves(decoder.cache)[0]), beam
    first = jnp.broadcast_to(jnp.asarray(begin, jnp.int32), (B,))[:, None]
    search = _Search(decoder.step, first, end, length, length_penalty, cache_index)
    start = _Beams(
        position=jnp.int32(0),
        tokens=jnp.zeros((B, W, length), jnp.int32),
        log_probs=jnp.broadcast_to(jnp.where(jnp.arange(W) == 0, 0.0, -jnp.inf)[None], (B, W)),  # one at the start
        counts=jnp.zeros((B, W), jnp.float32),
        ended=jnp.zeros((B, W), bool),
        cache=repeat(decoder.cache, W),
    )
    found = jax.lax.while_loop(search.can_improve, search.extend, start)
    scores = search.score(found.log_probs, found.counts)
    order = jnp.argsort(-scores, axis=1)
    tokens = jnp.take_along_axis(found.tokens, order[..., None], axis=1)
    return tokens, jnp.take_along_axis(scores, order, axis=1), jnp.take_along_axis(found.log_probs, order, axis=1)


class _Beams(NamedTuple):
    """The W sequences of each of B examples, all at the same position.

    Attributes:
      position: Number of tokens written, 0 after the end included.
      tokens: Sequences, 0 after their end.
      log_probs: Log probability of each, -inf where there are fewer than W.
      counts: Number of tokens of each, `end` among them.
      ended: Whether a sequence has ended.
      cache: Cache of the decoder, [B W, ...].
    """

    position: Int[Array, ""]
    tokens: Int[Array, "B W T"]
    log_probs: Float[Array, "B W"]
    counts: Float[Array, "B W"]
    ended: Bool[Array, "B W"]
    cache: Any


class _Search(NamedTuple):
    """What a search does not change; see `beam_search`."""

    step: Step
    first: Int[Array, "B 1"]
    end: int
    length: int
    length_penalty: float | jax.Array
    cache_index: int

    def score(self, log_probs: jax.Array, count: jax.Array) -> jax.Array:
        return log_probs / ((5.0 + count) / 6.0) ** self.length_penalty

    def can_improve(self, beams: _Beams) -> Bool[Array, ""]:
        """Whether a sequence that has not ended can still become the best one of its example."""
        reachable = self.score(beams.log_probs, jnp.float32(self.length))
        reachable = jnp.max(jnp.where(beams.ended, -jnp.inf, reachable), axis=1)
        score = self.score(beams.log_probs, beams.counts)
        best = jnp.max(jnp.where(beams.ended, score, -jnp.inf), axis=1)
        return (beams.position < self.length) & jnp.any(reachable > best)

    def extend(self, beams: _Beams) -> _Beams:
        """The best W of all continuations by one token."""
        position, tokens, log_probs, counts, ended, cache = beams
        B, W = ended.shape
        last = jnp.where(position > 0, tokens[:, :, position - 1], self.first)  # [B, W]
        logits, cache = self.step(last.reshape(-1, 1), cache, self.cache_index + position)  # [B W, 1, V]
        log_softmax = jax.nn.log_softmax(logits[:, 0].astype(jnp.float32))
        top, token = jax.lax.top_k(log_softmax, min(W, logits.shape[-1]))  # [B W, K]
        K = top.shape[-1]
        stays = (jnp.arange(K) == 0)[None, None]
        grown = jnp.where(ended[..., None], jnp.where(stays, 0.0, -jnp.inf), top.reshape(B, W, K))
        total = log_probs[..., None] + grown  # [B, W, K]
        score = self.score(total, (counts + jnp.where(ended, 0.0, 1.0))[..., None])
        chosen = jax.lax.top_k(score.reshape(B, W * K), W)[1]  # [B, W]
        parent, rank = chosen // K, chosen % K
        rows = (jnp.arange(B)[:, None] * W + parent).reshape(-1)  # of N = (B W)
        ended = jnp.take_along_axis(ended, parent, axis=1)
        new = jnp.where(ended, 0, token[rows, rank.reshape(-1)].reshape(B, W)).astype(jnp.int32)
        return _Beams(
            position=position + 1,
            tokens=jnp.take_along_axis(tokens, parent[..., None], axis=1).at[:, :, position].set(new),
            log_probs=jnp.take_along_axis(total.reshape(B, W * K), chosen, axis=1),
            counts=jnp.take_along_axis(counts, parent, axis=1) + jnp.where(ended, 0.0, 1.0),
            ended=ended | (new == self.end),
            cache=jax.tree.map(lambda x: x[rows], cache),
        )
