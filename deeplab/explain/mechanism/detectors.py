"""Heads that are known by what they attend to."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def repeated_tokens(key: Array, vocab_size: int, length: int, batch: int = 8) -> Int[Array, "B 2N"]:
    """Random tokens, then the same ones again: only what came before tells the second half.

    Args:
      key: Random key.
      vocab_size: V.
      length: N, tokens of one half.
      batch: B.

    Example:
      >>> tokens = repeated_tokens(jax.random.key(0), vocab_size=50, length=4, batch=2)
      >>> tokens.shape, bool((tokens[:, :4] == tokens[:, 4:]).all())
      ((2, 8), True)
    """
    half = jax.random.randint(key, (batch, length), 0, vocab_size)
    return jnp.concatenate([half, half], axis=1)


def head_scores(weights: Float[Array, "L B H T T"]) -> dict[str, Float[Array, "L H"]]:
    """The share of its attention that each head gives, on repeated tokens, to the place that its kind looks at.

    "previous": the token before. "duplicate": in the second half, the same token in the first one. "induction": in the
    second half, the token after that, which is the one that comes next.

    Args:
      weights: Attention of all layers to `repeated_tokens`, from `dl.explain.attention`.

    Example:
      >>> looks_back = jnp.eye(8, k=-1)[None, None, None]  # one head
      >>> {kind: scores.tolist() for kind, scores in head_scores(looks_back).items()}
      {'previous': [[1.0]], 'duplicate': [[0.0]], 'induction': [[0.0]]}

    Source: Olsson et al. 2022, https://arxiv.org/abs/2209.11895.
    """
    half = weights.shape[-1] // 2

    def back(distance: int, start: int) -> Float[Array, "L H"]:
        rows = jnp.arange(start, weights.shape[-1])
        return weights[..., rows, rows - distance].mean(axis=(1, 3))

    return {"previous": back(1, 1), "duplicate": back(half, half), "induction": back(half - 1, half)}
