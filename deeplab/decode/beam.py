"""Beam search: the likeliest sequences that a model writes, one token after another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

Step = Callable[[Int[Array, " N"], jax.Array, Any], tuple[Float[Array, "N V"], Any]]
"""`(token, position, cache) -> (logits, cache)`: what follows N tokens at one position; the cache has axis N first."""


def beam_search(
    step: Step,
    cache: Any,
    *,
    beam: int,
    length: int,
    begin: int,
    end: int,
    length_penalty: float | jax.Array = 0.0,
) -> tuple[Int[Array, "B W T"], Float[Array, "B W"], Float[Array, "B W"]]:
    """The best sequences found for each of B examples, the best first.

    A sequence Y ends with `end`, or after `length` tokens. Its score is log P(Y) / ((5 + |Y|) / 6)^a, where |Y| counts
    its tokens, `end` among them, and a is the length penalty: 0 prefers short ones. Of all continuations by one token
    the W with the best scores go on; a sequence that has ended stays as it is, and keeps its place while its score is
    among them. So a beam of 1 is greedy decoding, and one with room for every sequence is exact.

    The search is over when no sequence that goes on can become the best: log P only falls, and the divisor is largest
    at the full length.

    Args:
      step: gives the logits of the next token.
      cache: what `step` starts with, [B, ...] each; each example's is repeated for its W sequences, [B W, ...].
      beam: W.
      length: T, of the longest sequence.
      begin: the token before the first.
      end: the token after the last, which counts.
      length_penalty: a; may be a tracer.

    Returns:
      Tokens [B, W, T], 0 after the end; their scores, -inf where there are fewer than W; and log P.

    Example:
      >>> table = jnp.log(jnp.array([[0.1, 0.0, 0.6, 0.3], [0.0, 0.0, 0.2, 0.8], [0.9, 0.1, 0, 0], [0.1, 0.9, 0, 0]]))
      >>> step = lambda token, position, cache: (table[token], cache)
      >>> tokens, scores, log_probs = beam_search(step, jnp.zeros((1, 1)), beam=2, length=3, begin=1, end=2)
      >>> tokens[0].tolist(), [round(float(p), 2) for p in jnp.exp(log_probs[0])]
      ([[3, 1, 3], [2, 0, 0]], [0.58, 0.2])

    Source: Wu et al. 2016, https://arxiv.org/abs/1609.08144, section 7, without the coverage penalty.
    """
    B, W = len(jax.tree.leaves(cache)[0]), beam

    def penalty(count: jax.Array) -> jax.Array:
        return ((5.0 + count) / 6.0) ** length_penalty

    def going_on(state: Any) -> jax.Array:
        position, _, log_probs, counts, ended, _ = state
        score = log_probs / penalty(counts)
        reachable = jnp.max(jnp.where(ended, -jnp.inf, log_probs / penalty(jnp.float32(length))), axis=1)
        best = jnp.max(jnp.where(ended, score, -jnp.inf), axis=1)
        return (position < length) & jnp.any(reachable > best)

    def extend(state: Any) -> Any:
        position, tokens, log_probs, counts, ended, cache = state
        last = jnp.where(position > 0, tokens[:, :, position - 1], begin)  # [B, W]
        logits, cache = step(last.reshape(-1), position, cache)
        V = logits.shape[-1]
        top, token = jax.lax.top_k(jax.nn.log_softmax(logits.astype(jnp.float32)), min(W, V))  # [B W, K]
        K = top.shape[-1]
        stays = (jnp.arange(K) == 0)[None, None]
        grown = jnp.where(ended[..., None], jnp.where(stays, 0.0, -jnp.inf), top.reshape(B, W, K))
        total = log_probs[..., None] + grown  # [B, W, K]
        score = total / penalty(counts + jnp.where(ended, 0.0, 1.0))[..., None]
        chosen = jax.lax.top_k(score.reshape(B, W * K), W)[1]  # [B, W]
        parent, rank = chosen // K, chosen % K
        rows = (jnp.arange(B)[:, None] * W + parent).reshape(-1)  # of N = (B W)

        def of_parent(x: jax.Array) -> jax.Array:
            return jnp.take_along_axis(x, parent, axis=1)

        was = of_parent(ended)
        new = jnp.where(was, 0, token[rows, rank.reshape(-1)].reshape(B, W)).astype(jnp.int32)
        tokens = jnp.take_along_axis(tokens, parent[..., None], axis=1).at[:, :, position].set(new)
        log_probs = jnp.take_along_axis(total.reshape(B, W * K), chosen, axis=1)
        counts = of_parent(counts) + jnp.where(was, 0.0, 1.0)
        return position + 1, tokens, log_probs, counts, was | (new == end), jax.tree.map(lambda x: x[rows], cache)

    state = (
        jnp.int32(0),
        jnp.zeros((B, W, length), jnp.int32),
        jnp.broadcast_to(jnp.where(jnp.arange(W) == 0, 0.0, -jnp.inf)[None], (B, W)),  # one sequence to begin with
        jnp.zeros((B, W), jnp.float32),
        jnp.zeros((B, W), bool),
        repeat(cache, W),
    )
    _, tokens, log_probs, counts, _, _ = jax.lax.while_loop(going_on, extend, state)
    scores = log_probs / penalty(counts)
    order = jnp.argsort(-scores, axis=1)
    tokens = jnp.take_along_axis(tokens, order[..., None], axis=1)
    return tokens, jnp.take_along_axis(scores, order, axis=1), jnp.take_along_axis(log_probs, order, axis=1)


def repeat(tree: Any, times: int) -> Any:
    """Each example's arrays, [B, ...], for each of its sequences: [B W, ...]."""
    return jax.tree.map(lambda x: jnp.repeat(x, times, axis=0), tree)
