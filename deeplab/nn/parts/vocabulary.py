"""From tokens to the residual stream, and from it to logits."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from deeplab.core import ranges
from deeplab.nn.layout import rows
from deeplab.nn.transformer import INIT, sinusoids


@ranges.checked(width=ranges.COUNT)
class TokenEmbedding(nn.Module):
    """scale * table[token], and what stands at its position.

    Args:
      size: Number of tokens V.
      width: D.
      scale: Factor of the embeddings.
      positions: Module from positions to vectors that are added, such as `LearnedPositions`, if any.

    Example:
      >>> layer = TokenEmbedding(size=7, width=4, positions=LearnedPositions(size=16, width=4))
      >>> layer.init_with_output(jax.random.key(0), jnp.array([[3, 1]]), jnp.arange(2))[0].shape
      (1, 2, 4)
    """

    size: int
    width: int
    scale: float = 1.0
    positions: nn.Module | None = None

    def setup(self) -> None:
        self.embedding = self.param("embedding", INIT, (self.size, self.width))

    def __call__(self, tokens: Int[Array, "B T"], positions: Int[Array, "*B T"]) -> Float[Array, "B T D"]:
        x = self.embedding[tokens]
        x = x if self.scale == 1 else x * self.scale
        if self.positions is None:
            return x
        at = self.positions(positions)
        return x + (at if at.ndim == 3 else at[None])

    def attend(self, x: Float[Array, "B T D"]) -> Float[Array, "B T V"]:
        """Products with all embeddings."""
        return (rows(x) @ self.embedding.T).reshape(*x.shape[:-1], self.size)


@ranges.checked(width=ranges.COUNT)
class LearnedPositions(nn.Module):
    """A vector for each position, in a table whose first `offset` rows no position reads.

    Args:
      size: Number of positions; that of the first sequence when None.
      width: D.
      offset: Number of rows before that of position 0.

    Example:
      >>> layer = LearnedPositions(size=16, width=4, offset=2)
      >>> layer.init(jax.random.key(0), jnp.arange(3))["params"]["embedding"].shape
      (18, 4)
    """

    size: int | None
    width: int
    offset: int = 0

    @nn.compact
    def __call__(self, positions: Int[Array, "*B T"]) -> Float[Array, "*B T D"]:
        size = positions.shape[-1] if self.size is None else self.size
        return self.param("embedding", INIT, (size + self.offset, self.width))[positions + self.offset]


@ranges.checked(width=ranges.COUNT)
class Sinusoids(nn.Module):
    """Waves for positions, without parameters; see `deeplab.nn.transformer.sinusoids`.

    Args:
      width: D.

    Example:
      >>> [[round(float(value), 2) for value in row] for row in Sinusoids(2).apply({}, jnp.arange(2))]
      [[0.0, 1.0], [0.84, 0.54]]
    """

    width: int

    def __call__(self, positions: Int[Array, "*B T"]) -> Float[Array, "*B T D"]:
        return sinusoids(positions, self.width)


class Placed(nn.Module):
    """norm(token + position), where several modules share one table of tokens.

    Args:
      tokens: Embedding of the tokens, such as a `TokenEmbedding` without positions.
      positions: Module from positions to vectors that are added.
      norm: Norm of the sum, if any.

    Example:
      >>> layer = Placed(TokenEmbedding(size=7, width=4), Sinusoids(4))
      >>> x, variables = layer.init_with_output(jax.random.key(0), jnp.array([[3, 1]]), jnp.arange(2))
      >>> x.shape, [*variables["params"]]
      ((1, 2, 4), ['tokens'])
    """

    tokens: nn.Module
    positions: nn.Module
    norm: nn.Module | None = None

    def __call__(self, tokens: Int[Array, "B T"], positions: Int[Array, "*B T"]) -> Float[Array, "B T D"]:
        x, at = self.tokens(tokens, positions), self.positions(positions)
        x = x + (at if at.ndim == 3 else at[None]).astype(x.dtype)
        return x if self.norm is None else self.norm(x)


class Head(nn.Module):
    """Logits by a kernel of its own.

    Args:
      size: Number of tokens V.
      use_bias: Whether there is a bias.
      scale: Factor of the logits.
      soft_cap: c of c tanh(logits / c), if any.

    Example:
      >>> x, params = jnp.array([[[3.0, 4.0]]]), {"kernel": 100 * jnp.eye(2)}
      >>> [round(float(logit), 2) for logit in Head(2, soft_cap=30.0).apply({"params": params}, x, None).ravel()]
      [30.0, 30.0]
    """

    size: int
    use_bias: bool = False
    scale: float = 1.0
    soft_cap: float | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], embedding: TokenEmbedding) -> Float[Array, "B T V"]:
        del embedding
        kernel = self.param("kernel", INIT, (x.shape[-1], self.size))
        logits = x @ kernel
        if self.use_bias:
            logits = logits + self.param("bias", nn.initializers.zeros, (self.size,))[None, None]
        return _capped(logits, self.scale, self.soft_cap)


class TiedHead(nn.Module):
    """Logits by the token embedding.

    Args:
      scale: Factor of the logits.
      soft_cap: c of c tanh(logits / c), if any.
      use_bias: Whether there is a bias.

    Example:
      >>> embed = TokenEmbedding(3, 2).bind({"params": {"embedding": jnp.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])}})
      >>> TiedHead(scale=2.0).apply({}, jnp.array([[[3.0, 4.0]]]), embed).tolist()
      [[[6.0, 8.0, 14.0]]]
    """

    scale: float = 1.0
    soft_cap: float | None = None
    use_bias: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], embedding: TokenEmbedding) -> Float[Array, "B T V"]:
        logits = embedding.attend(x)
        if self.use_bias:
            logits = logits + self.param("bias", nn.initializers.zeros, (logits.shape[-1],))[None, None]
        return _capped(logits, self.scale, self.soft_cap)


def _capped(logits: jax.Array, scale: float, soft_cap: float | None) -> jax.Array:
    logits = logits if scale == 1 else logits * scale
    return logits if soft_cap is None else soft_cap * jnp.tanh(logits / soft_cap)
