"""Layers of experts, each token with its own few of them; none is dropped."""

from __future__ import annotations

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from deeplab.core import ranges
from deeplab.nn.transformer import INIT


def swiglu(gate: jax.Array, up: jax.Array) -> jax.Array:
    """silu(gate) * up."""
    return nn.silu(gate) * up


def clamped_swiglu(gate: jax.Array, up: jax.Array) -> jax.Array:
    """gate sigmoid(1.702 gate) * (up + 1), where the gate is at most 7 and up within -7 and 7.

    Source: OpenAI 2025, gpt-oss, https://arxiv.org/abs/2508.10925.
    """
    gate, up = jnp.minimum(gate, 7.0), jnp.clip(up, -7.0, 7.0)
    return gate * nn.sigmoid(1.702 * gate) * (up + 1)


@ranges.checked(num_experts=ranges.COUNT, hidden=ranges.COUNT)
class Experts(nn.Module):
    """E gated feed-forward layers of which each token asks k: sum_j w_j expert_j(x).

    The tokens are sorted by expert, so that each of the three products is one of ragged blocks: the work is that of k
    experts for each token, whoever they are.

    Args:
      num_experts: E.
      hidden: Number of hidden units of each.
      combine: Function of gate and up.
      use_bias: Whether the three products have biases.
      out_init: Initializer of the kernel that leads back to the residual stream.

    Example:
      >>> chosen, weights = jnp.array([[1, 0], [2, 1]]), jnp.ones((2, 2)) / 2
      >>> layer = Experts(num_experts=4, hidden=16)
      >>> layer.init_with_output(jax.random.key(0), jnp.ones((2, 8)), weights, chosen)[0].shape
      (2, 8)
    """

    num_experts: int
    hidden: int
    combine: Callable[[jax.Array, jax.Array], jax.Array] = swiglu
    use_bias: bool = False
    out_init: nn.initializers.Initializer = INIT

    @nn.compact
    def __call__(
        self, x: Float[Array, "N D"], weights: Float[Array, "N k"], chosen: Int[Array, "N k"]
    ) -> Float[Array, "N D"]:
        k = chosen.shape[1]
        expert = chosen.reshape(-1)  # N k -> (N k)
        order = jnp.argsort(expert)
        expert, token = expert[order], order // k
        sizes = jnp.zeros(self.num_experts, jnp.int32).at[expert].add(1)

        def product(name: str, y: jax.Array, width: int, init: nn.initializers.Initializer) -> jax.Array:
            kernel = self.param(f"{name}_kernel", init, (self.num_experts, y.shape[-1], width))
            y = jax.lax.ragged_dot(y, kernel.astype(y.dtype), sizes)
            if self.use_bias:
                bias = self.param(f"{name}_bias", nn.initializers.zeros, (self.num_experts, width))
                y = y + bias[expert].astype(y.dtype)
            return y

        read = x[token]
        hidden = self.combine(product("gate", read, self.hidden, INIT), product("up", read, self.hidden, INIT))
        out = product("down", hidden, x.shape[-1], self.out_init) * weights.reshape(-1)[order][:, None].astype(x.dtype)
        return jnp.zeros_like(x).at[token].add(out)


class Mixture(nn.Module):
    """The experts that a router chooses, and what all tokens share.

    Args:
      router: Module from tokens to weights and experts; see `deeplab.nn.experts.routers`.
      experts: Module called as `Experts` is.
      shared: Feed-forward layer of all tokens, which is added, if any.

    Example:
      >>> from deeplab.nn.experts.routers import SoftmaxRouter
      >>> layer = Mixture(SoftmaxRouter(num_experts=4, top_k=2), Experts(num_experts=4, hidden=16))
      >>> layer.init_with_output(jax.random.key(0), jnp.ones((1, 3, 8)))[0].shape
      (1, 3, 8)
    """

    router: nn.Module
    experts: nn.Module
    shared: nn.Module | None = None

    def __call__(self, x: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
        rows = x.reshape(-1, x.shape[-1])  # B T D -> (B T) D
        out = self.experts(rows, *self.router(rows)).reshape(x.shape)
        return out if self.shared is None else out + self.shared(x)


class Weighed(nn.Module):
    """sigmoid(x w) * layer(x): a shared expert that each token may ask less.

    Args:
      layer: Feed-forward layer.

    Source: Qwen Team 2024, Qwen1.5-MoE, https://qwenlm.github.io/blog/qwen-moe/.
    """

    layer: nn.Module

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
        weight = nn.Dense(1, use_bias=False, kernel_init=INIT, name="weight")(x)
        return nn.sigmoid(weight) * self.layer(x)
