"""The models of `architectures` in bare Linen, as its own layers and examples suggest them."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp


class Transformer(nn.Module):
    """Layers that are normed before, with Linen's attention.

    Args:
      layers: Number of layers.
      heads: Number of heads.
      causal: Whether a token reads those before it only.
    """

    layers: int
    heads: int
    causal: bool

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        width = x.shape[-1]
        mask = nn.make_causal_mask(x[..., 0]) if self.causal else None
        for _ in range(self.layers):
            y = nn.LayerNorm(1e-5)(x)
            x = x + nn.MultiHeadDotProductAttention(self.heads)(y, y, mask=mask)
            y = nn.Dense(4 * width)(nn.LayerNorm(1e-5)(x))
            x = x + nn.Dense(width)(nn.gelu(y))
        return nn.LayerNorm(1e-5)(x)


class GPT(nn.Module):
    classes: int
    context: int = 256
    layers: int = 6
    heads: int = 6
    width: int = 384

    @nn.compact
    def __call__(self, tokens: jax.Array) -> jax.Array:
        embed = nn.Embed(self.classes, self.width)
        places = nn.Embed(self.context, self.width)(jnp.arange(tokens.shape[1]))
        return embed.attend(Transformer(self.layers, self.heads, causal=True)(embed(tokens) + places[None]))


class ViT(nn.Module):
    classes: int
    layers: int = 12
    heads: int = 3
    width: int = 192

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.Conv(self.width, (16, 16), (16, 16))(x).reshape(len(x), -1, self.width)
        first = self.param("first", nn.initializers.zeros, (1, 1, self.width))
        x = jnp.concatenate([jnp.broadcast_to(first, (len(x), 1, self.width)), x], axis=1)
        x = x + self.param("places", nn.initializers.normal(0.02), (1, *x.shape[1:]))
        return nn.Dense(self.classes)(Transformer(self.layers, self.heads, causal=False)(x)[:, 0])


class ResNet(nn.Module):
    """ResNet-18."""

    classes: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        def norm(x: jax.Array) -> jax.Array:
            return nn.BatchNorm(use_running_average=False, momentum=0.9)(x)

        def conv(x: jax.Array, width: int, stride: int = 1, size: int = 3) -> jax.Array:
            return norm(nn.Conv(width, (size, size), (stride, stride), use_bias=False)(x))

        x = nn.relu(norm(nn.Conv(64, (7, 7), (2, 2), use_bias=False)(x)))
        x = nn.max_pool(x, (3, 3), (2, 2), "SAME")
        for width in (64, 128, 256, 512):
            for block in range(2):
                stride = 2 if width > 64 and block == 0 else 1
                y = conv(nn.relu(conv(x, width, stride)), width)
                x = nn.relu(y + (conv(x, width, stride, 1) if x.shape != y.shape else x))
        return nn.Dense(self.classes)(x.mean(axis=(1, 2)))


class ConvNeXt(nn.Module):
    """ConvNeXt "atto"."""

    classes: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for stage, (depth, width) in enumerate(zip((2, 2, 6, 2), (40, 80, 160, 320), strict=True)):
            if stage:
                x = nn.Conv(width, (2, 2), (2, 2))(nn.LayerNorm(1e-6)(x))
            else:
                x = nn.LayerNorm(1e-6)(nn.Conv(width, (4, 4), (4, 4))(x))
            for block in range(depth):
                y = nn.LayerNorm(1e-6)(nn.Conv(width, (7, 7), feature_group_count=width)(x))
                y = nn.Dense(width)(nn.gelu(nn.Dense(4 * width)(y), approximate=False))
                factor = self.param(f"factor{stage}_{block}", nn.initializers.constant(1e-6), (width,))
                x = x + y * factor[None, None, None]
        return nn.Dense(self.classes)(nn.LayerNorm(1e-6)(x.mean(axis=(1, 2))))


class Mamba(nn.Module):
    """Mamba with `jax.lax.associative_scan` over time."""

    classes: int
    layers: int = 4
    width: int = 256
    state: int = 16

    @nn.compact
    def __call__(self, tokens: jax.Array) -> jax.Array:
        embed = nn.Embed(self.classes, self.width)
        x = embed(tokens)
        for layer in range(self.layers):
            x = x + self._mixed(nn.RMSNorm(1e-5)(x), layer)
        return embed.attend(nn.RMSNorm(1e-5)(x))

    def _mixed(self, x: jax.Array, layer: int) -> jax.Array:
        inner, rank, N = 2 * self.width, self.width // 16, self.state
        x, gate = jnp.split(nn.Dense(2 * inner, use_bias=False)(x), 2, axis=-1)
        x = nn.silu(nn.Conv(inner, (4,), padding="CAUSAL", feature_group_count=inner)(x))
        rate, read, written = jnp.split(nn.Dense(rank + 2 * N, use_bias=False)(x), (rank, rank + N), axis=-1)
        rate = nn.softplus(nn.Dense(inner)(rate))
        decay = self.param(f"decay{layer}", _counted, (inner, N))
        factor = jnp.exp(-rate[..., None] * jnp.exp(decay)[None, None])  # B T I N
        added = (rate * x)[..., None] * read[:, :, None]

        def after(left: Any, right: Any) -> Any:
            return left[0] * right[0], left[1] * right[0] + right[1]

        _, states = jax.lax.associative_scan(after, (factor, added), axis=1)
        skip = self.param(f"skip{layer}", nn.initializers.ones, (inner,))
        y = jnp.einsum("btin,btn->bti", states, written) + x * skip[None, None]
        return nn.Dense(self.width, use_bias=False)(y * nn.silu(gate))


def _counted(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    del key
    return jnp.broadcast_to(jnp.log(jnp.arange(1.0, shape[-1] + 1)), shape)
