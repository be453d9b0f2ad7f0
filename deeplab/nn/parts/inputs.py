"""From the inputs of an encoder to its residual stream: tokens of text, patches of an image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from deeplab.core import ranges
from deeplab.nn.attention.cache import Reading
from deeplab.nn.attention.masking import segment_positions
from deeplab.nn.transformer import INIT


@ranges.checked(dropout=ranges.RATE)
class TextEmbedding(nn.Module):
    """norm(token + position + type), with the mask of padding.

    Args:
      tokens: Embedding of the tokens, with positions if it has any.
      types: Number of token types, such as the first and the second sentence of a pair; no embedding of them at 0.
      norm: Norm of the sum, if any.
      dropout: Probability of dropping a component in training; may be a tracer.
      padding: Token that stands for padding where no mask is given; none does when None.
      end: Token after whose first occurrence all is padding, where no mask is given, if any.
      skip_padding: Whether positions count the tokens that are no padding, wherever it stands.
      packed: Whether a mask may number several sequences of a row, each of which has its own positions.

    Example:
      >>> from deeplab.nn.parts.vocabulary import TokenEmbedding
      >>> layer = TextEmbedding(TokenEmbedding(size=7, width=4), types=2, padding=0)
      >>> x, reading = layer.init_with_output(jax.random.key(0), jnp.array([[3, 1, 0]]))[0]
      >>> x.shape, reading.segment_ids.tolist()
      ((1, 3, 4), [[1, 1, 0]])
    """

    tokens: nn.Module
    types: int = 0
    norm: nn.Module | None = None
    dropout: float = 0.0
    padding: int | None = None
    end: int | None = None
    skip_padding: bool = False
    packed: bool = False

    @nn.compact
    def __call__(
        self,
        tokens: Int[Array, "B T"],
        mask: Bool[Array, "B T"] | Int[Array, "B T"] | None = None,
        types: Int[Array, "B T"] | None = None,
        train: bool = False,
    ) -> tuple[Float[Array, "B T D"], Reading]:
        """The stream, and where its tokens stand.

        Args:
          tokens: Tokens.
          mask: True (or 1) where a token is no padding; those that are not `padding` when None.
          types: Type of each token; 0 when None.
          train: Whether to drop components.
        """
        if mask is None and self.padding is not None:
            mask = tokens != self.padding
        if mask is None and self.end is not None:
            ends = (tokens == self.end).astype(jnp.int32)
            mask = jnp.cumsum(ends, axis=1) - ends == 0
        segment_ids = None if mask is None else jnp.asarray(mask, jnp.int32)
        positions = jnp.arange(tokens.shape[1])
        if self.skip_padding and segment_ids is not None:
            positions = jnp.maximum(jnp.cumsum(segment_ids, axis=1) - 1, 0)
        elif self.packed and segment_ids is not None:
            positions = segment_positions(segment_ids)
        x = self.tokens(tokens, positions)
        if self.types:
            table = self.param("types", INIT, (self.types, x.shape[-1]))
            x = x + (table[:1][None] if types is None else table[types])
        x = x if self.norm is None else self.norm(x)
        x = nn.Dropout(self.dropout, deterministic=not train, name="dropout")(x)
        return x, Reading(positions, 0, segment_ids)

    def attend(self, x: Float[Array, "B T D"]) -> Float[Array, "B T V"]:
        """Products with the embeddings of all tokens."""
        tokens: Any = self.tokens
        return tokens.attend(x)


Resize = Callable[[Float[Array, "H W D"], tuple[int, int]], Float[Array, "H2 W2 D"]]


@ranges.checked(patch=ranges.COUNT, width=ranges.COUNT, dropout=ranges.RATE)
class PatchEmbedding(nn.Module):
    """Patches by a linear map, after special tokens, with a learned position for each.

    Args:
      patch: P, height and width of a patch in pixels.
      width: D.
      grid: Patches from top to bottom and from left to right that have learned positions; no positions when None.
      special: Names of the tokens before the patches, such as a class token, with positions of their own.
      registers: Number of tokens between those and the patches, without positions.
      masks: Whether there is a token that stands for a patch that is hidden.
      norm: Norm of the sum, if any.
      use_bias: Whether the linear map has a bias.
      dropout: Probability of dropping a component in training; may be a tracer.
      resize: Function from the positions of the grid, [h, w, D], and another grid to those of that one, such as
        `deeplab.nn.upsampling.bicubic`; images that do not fill the grid are an error when None.

    Raises:
      ValueError: An image whose height or width is no multiple of P, or that does not fill the grid.

    Example:
      >>> layer = PatchEmbedding(patch=4, width=8, grid=(2, 2))
      >>> layer.init_with_output(jax.random.key(0), jnp.ones((1, 8, 8, 3)))[0][0].shape
      (1, 5, 8)

    Source: Dosovitskiy et al. 2020, https://arxiv.org/abs/2010.11929; registers: Darcet et al. 2023,
      https://arxiv.org/abs/2309.16588.
    """

    patch: int
    width: int
    grid: tuple[int, int] | None
    special: tuple[str, ...] = ("class",)
    registers: int = 0
    masks: bool = False
    norm: nn.Module | None = None
    use_bias: bool = True
    dropout: float = 0.0
    resize: Resize | None = None

    @nn.compact
    def __call__(
        self,
        image: Float[Array, "B H W C"],
        hidden: Bool[Array, "B N"] | None = None,
        shown: Int[Array, "B M"] | None = None,
        train: bool = False,
    ) -> tuple[Float[Array, "B T D"], Reading]:
        """The stream, and the center of each patch, from -1 to 1 along both axes; 0 for tokens that are none.

        Args:
          image: Images.
          hidden: True where a patch is hidden, in a model that has masks; row by row.
          shown: Numbers of the patches that are read, the same number of each image; all when None.
          train: Whether to drop components.
        """
        P, D, C = self.patch, self.width, image.shape[-1]
        rows, columns = image.shape[1] // P, image.shape[2] // P
        free = self.grid is None or self.resize is not None
        if image.shape[1:3] != (rows * P, columns * P) or not (free or self.grid == (rows, columns)):
            size = "a multiple of" if free or self.grid is None else f"{self.grid[0]} x {self.grid[1]} times"
            raise ValueError(f"images are {image.shape[1]} x {image.shape[2]}, expected {size} the patch of {P} pixels")
        kernel = self.param("kernel", nn.initializers.lecun_normal(in_axis=(0, 1, 2)), (P, P, C, D))
        cut = image.reshape(-1, rows, P, columns, P, C).transpose(0, 1, 3, 2, 4, 5)  # B (h p) (w q) C -> B h w p q C
        x = cut.reshape(len(image), rows * columns, P * P * C) @ kernel.reshape(-1, D)
        if self.use_bias:
            x = x + self.param("bias", nn.initializers.zeros, (D,))[None, None]
        if self.masks:
            token: Any = self.param("mask", INIT, (D,))
            x = x if hidden is None else jnp.where(hidden[..., None], token[None, None], x)
        for name in reversed(self.special):
            x = self._joined(x, self.param(name, INIT, (D,))[None])
        if self.grid is not None:
            x = x + self._positions(self.grid, (rows, columns))[None]
        if self.registers:
            before, patches = x[:, : len(self.special)], x[:, len(self.special) :]
            registers: Any = self.param("registers", INIT, (self.registers, D))
            x = jnp.concatenate([before, self._joined(patches, registers)], axis=1)
        centers = self._centers(rows, columns)
        if shown is not None:
            before = jnp.arange(len(centers) - rows * columns)  # special tokens and registers
            read = jnp.pad(shown + len(before), ((0, 0), (len(before), 0))).at[:, : len(before)].set(before[None])
            x, centers = jnp.take_along_axis(x, read[..., None], axis=1), centers[read]
        x = x if self.norm is None else self.norm(x)
        x = nn.Dropout(self.dropout, deterministic=not train, name="dropout")(x)
        return x, Reading(centers)

    def _positions(self, grid: tuple[int, int], wanted: tuple[int, int]) -> Float[Array, "T D"]:
        """The learned positions, of the special tokens first."""
        table = self.param("positions", INIT, (len(self.special) + grid[0] * grid[1], self.width))
        if self.resize is None or wanted == grid:
            return table
        patches = self.resize(table[len(self.special) :].reshape(*grid, self.width), wanted)
        return jnp.concatenate([table[: len(self.special)], patches.reshape(-1, self.width)])

    def _centers(self, rows: int, columns: int) -> Float[Array, "T 2"]:
        axes = [(2 * jnp.arange(n) + 1) / n - 1 for n in (rows, columns)]
        centers = jnp.stack(jnp.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
        return jnp.pad(centers, ((len(self.special) + self.registers, 0), (0, 0)))

    def _joined(self, x: jax.Array, tokens: jax.Array) -> jax.Array:
        """Learned tokens [N, D] before those of each example."""
        return jnp.concatenate([jnp.broadcast_to(tokens[None], (len(x), *tokens.shape)), x], axis=1)
