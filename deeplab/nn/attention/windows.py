"""Attention within windows of a map, which may be shifted.

Liu et al. 2021, "Swin transformer: hierarchical vision transformer using shifted windows",
https://arxiv.org/abs/2103.14030.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from deeplab.core import ranges
from deeplab.core.precision import widened
from deeplab.nn.attention.self_attention import join_heads, split_heads
from deeplab.nn.transformer import INIT

Window = tuple[int, int]
"""Height and width, in places of the map."""


def windows(x: Any, window: Window) -> Any:
    """The n windows of a map whose sides they divide, row by row, of N places each: [B, H, W, C] -> [B, n, N, C].

    Example:
      >>> windows(jnp.arange(8).reshape(1, 2, 4, 1), (2, 2))[0, :, :, 0].tolist()
      [[0, 1, 4, 5], [2, 3, 6, 7]]
    """
    (B, H, W, C), (h, w) = x.shape, window
    cut = x.reshape(B, H // h, h, W // w, w, C).transpose(0, 1, 3, 2, 4, 5)
    return cut.reshape(B, -1, h * w, C)  # B (I h) (J w) C -> B (I J) (h w) C


def joined(x: Float[Array, "B n N C"], window: Window, size: tuple[int, int]) -> Float[Array, "B H W C"]:
    """The map of this size whose windows these are: the inverse of `windows`.

    Example:
      >>> x = jnp.arange(8).reshape(1, 2, 4, 1)
      >>> joined(windows(x, (2, 2)), (2, 2), (2, 4))[0, :, :, 0].tolist()
      [[0, 1, 2, 3], [4, 5, 6, 7]]
    """
    (h, w), (H, W), C = window, size, x.shape[-1]
    return x.reshape(-1, H // h, W // w, h, w, C).transpose(0, 1, 3, 2, 4, 5).reshape(-1, H, W, C)


def relative(window: Window) -> np.ndarray:
    """The number of the offset from each place of a window to each other, [N, N], of (2 h - 1) (2 w - 1) offsets.

    Example:
      >>> relative((1, 2)).tolist()
      [[1, 0], [2, 1]]
    """
    places = np.stack(np.meshgrid(*map(np.arange, window), indexing="ij"), axis=-1).reshape(-1, 2)
    rows, columns = np.moveaxis(places[:, None] - places[None] + np.array(window) - 1, -1, 0)
    return rows * (2 * window[1] - 1) + columns


def together(size: tuple[int, int], window: Window, shift: tuple[int, int]) -> np.ndarray:
    """Whether two places of a window were near before a map was rolled by this shift, [n, N, N].

    What comes from the other edge of the map is a region of its own, which attends to itself alone.

    Example:
      >>> together((1, 4), (1, 2), (0, 1))[:, 0].tolist()
      [[True, True], [True, False]]
    """
    rows, columns = (np.where(np.arange(S) < S - s, 0, 1) for S, s in zip(size, shift, strict=True))
    regions: Any = windows((2 * rows[:, None] + columns)[None, ..., None], window)[0, ..., 0]  # n N
    return regions[:, :, None] == regions[:, None]


@ranges.checked(num_heads=ranges.COUNT, window=ranges.COUNT)
class WindowAttention(nn.Module):
    """Self-attention within each window of a map, with a learned bias for each offset.

    A map that windows do not fill has zeros after its ends. A side that one window covers is not shifted.

    Args:
      num_heads: H.
      window: Height and width of a window.
      shifted: Whether windows begin half a window later, and those at the edges hold what is at both.
      use_bias: Whether queries, keys and values have biases.

    Example:
      >>> layer = WindowAttention(num_heads=2, window=(4, 4), shifted=True)
      >>> layer.init_with_output(jax.random.key(0), jnp.ones((1, 9, 6, 8)))[0].shape
      (1, 9, 6, 8)
    """

    num_heads: int
    window: Window
    shifted: bool = False
    use_bias: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B H W C"]:
        (_, H, W, C), (h, w) = x.shape, self.window
        shift = (h // 2 if self.shifted and h < H else 0, w // 2 if self.shifted and w < W else 0)
        x = jnp.pad(x, ((0, 0), (0, -H % h), (0, -W % w), (0, 0)))
        size = (x.shape[1], x.shape[2])
        cut = windows(jnp.roll(x, (-shift[0], -shift[1]), axis=(1, 2)), self.window)  # B n N C
        out = nn.Dense(C, kernel_init=INIT, name="out")(self._attended(cut, size, shift))
        return jnp.roll(joined(out, self.window, size), shift, axis=(1, 2))[:, :H, :W]

    def _attended(
        self, x: Float[Array, "B n N C"], size: tuple[int, int], shift: tuple[int, int]
    ) -> Float[Array, "B n N C"]:
        B, n, N, C = x.shape
        query, key, value = (self._heads(name, x) for name in ("query", "key", "value"))
        scores = widened(jnp.einsum("bhtd,bhsd->bhts", query * query.shape[-1] ** -0.5, key))
        offsets = (2 * self.window[0] - 1) * (2 * self.window[1] - 1)
        table = self.param("offsets", INIT, (offsets, self.num_heads))
        scores = scores + table[relative(self.window)].transpose(2, 0, 1)[None].astype(scores.dtype)
        if any(shift):
            near = jnp.asarray(together(size, self.window, shift))[None, :, None]  # 1 n 1 N N
            apart = scores.reshape(B, n, self.num_heads, N, N)
            scores = jnp.where(near, apart, jnp.finfo(jnp.float32).min).reshape(scores.shape)
        weights = jax.nn.softmax(scores, axis=-1).astype(value.dtype)
        return join_heads(jnp.einsum("bhts,bhsd->bhtd", weights, value)).reshape(B, n, N, C)

    def _heads(self, name: str, x: Float[Array, "B n N C"]) -> Float[Array, "Bn H N d"]:
        B, n, N, C = x.shape
        y = nn.Dense(C, self.use_bias, kernel_init=INIT, name=name)(x)
        return split_heads(y.reshape(B * n, N, C), self.num_heads, 1)[0]
