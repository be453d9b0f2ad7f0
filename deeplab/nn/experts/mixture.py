"""Layers of experts, each token with its own few of them; none is dropped."""

from __future__ import annotations

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Int

from deeplab.core import ranges
from deeplab.core.jax_compat import varying
from deeplab.nn.layout import divides_experts
from deeplab.nn.transformer import INIT


def swiglu(gate: jax.Array, up: jax.Array) -> jax.Array:
    """silu(gate) * up.

    Example:
      >>> round(float(swiglu(jnp.array(20.0), jnp.array(3.0))), 2)  # silu(20) is 20, nearly
      60.0
    """
    return nn.silu(gate) * up


def clamped_swiglu(gate: jax.Array, up: jax.Array) -> jax.Array:
    """gate sigmoid(1.702 gate) * (up + 1), where the gate is at most 7 and up within -7 and 7.

    Example:
      >>> round(float(clamped_swiglu(jnp.array(20.0), jnp.array(30.0))), 2)  # 7 times 7 + 1
      56.0

    Source: OpenAI 2025, gpt-oss, https://arxiv.org/abs/2508.10925.
    """
    gate, up = jnp.minimum(gate, 7.0), jnp.clip(up, -7.0, 7.0)
    return gate * nn.sigmoid(1.702 * gate) * (up + 1)


@ranges.checked(num_experts=ranges.COUNT, hidden=ranges.COUNT)
class Experts(nn.Module):
    """E gated feed-forward layers of which each token asks k: sum_j w_j expert_j(x).

    The tokens are sorted by expert, so that each of the three products is one of ragged blocks: the work is that of k
    experts for each token, whoever they are. Where the mesh has an axis `expert`, each of its devices holds some of the
    experts, reads the tokens of all of them and adds up its own experts' answers; no token is dropped there, either.

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
        E, D, F = self.num_experts, x.shape[-1], self.hidden
        layers = {"gate": (D, F, INIT), "up": (D, F, INIT), "down": (F, D, self.out_init)}
        params = {}
        for name, (inputs, outputs, init) in layers.items():
            params[f"{name}_kernel"] = self.param(f"{name}_kernel", init, (E, inputs, outputs))
            if self.use_bias:
                params[f"{name}_bias"] = self.param(f"{name}_bias", nn.initializers.zeros, (E, outputs))

        def own(x: jax.Array, weights: jax.Array, chosen: jax.Array, params: dict[str, jax.Array]) -> jax.Array:
            x, weights = (varying(a, "expert") for a in (x, weights))
            first = jax.lax.axis_index("expert") * len(params["gate_kernel"])
            return jax.lax.psum(asked(x, weights, chosen, params, self.combine, first), "expert")

        if not divides_experts(E):
            return asked(x, weights, chosen, params, self.combine)
        specs = P(), P(), P(), P("expert")
        return jax.shard_map(own, in_specs=specs, out_specs=P(), axis_names={"expert"})(x, weights, chosen, params)


def asked(
    x: Float[Array, "N D"],
    weights: Float[Array, "N k"],
    chosen: Int[Array, "N k"],
    params: dict[str, jax.Array],
    combine: Callable[[jax.Array, jax.Array], jax.Array],
    first: int | jax.Array = 0,
) -> Float[Array, "N D"]:
    """What the experts from number `first` on add to each token.

    Args:
      x: Tokens.
      weights: Weights of the experts that each token asks.
      chosen: Their numbers.
      params: Kernels, and biases if there are any, of these experts alone.
      combine: Function of gate and up.
      first: Number of the first of these experts.

    Example:
      >>> params = {f"{name}_kernel": jnp.ones((2, 1, 1)) for name in ("gate", "up", "down")}  # of experts 4 and 5
      >>> x, weights, chosen = jnp.ones((2, 1)), jnp.array([[0.25, 0.75], [0.5, 0.5]]), jnp.array([[4, 1], [0, 7]])
      >>> asked(x, weights, chosen, params, lambda gate, up: gate + up, first=4).tolist()
      [[0.5], [0.0]]
    """
    k, size = chosen.shape[1], len(params["gate_kernel"])
    expert = chosen.reshape(-1) - first  # N k -> (N k)
    expert = jnp.where((expert >= 0) & (expert < size), expert, size)  # those of other devices come last
    order = jnp.argsort(expert)
    expert, token = expert[order], order // k
    sizes = jnp.bincount(expert, length=size + 1)[:-1].astype(jnp.int32)
    answered = (expert < size)[:, None]

    def product(name: str, y: jax.Array) -> jax.Array:
        y = jax.lax.ragged_dot(y, params[f"{name}_kernel"].astype(y.dtype), sizes)
        bias = params.get(f"{name}_bias")
        return y if bias is None else y + bias.at[expert].get(mode="fill", fill_value=0).astype(y.dtype)

    read = x[token]
    out = product("down", combine(product("gate", read), product("up", read)))
    out = jnp.where(answered, out * weights.reshape(-1)[order][:, None].astype(x.dtype), 0)
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

    Example:
      >>> from deeplab.nn.norm import Identity
      >>> params = {"weight": {"kernel": jnp.zeros((1, 1))}}  # sigmoid(0) is one half
      >>> Weighed(Identity()).apply({"params": params}, jnp.array([[[4.0]]])).tolist()
      [[[2.0]]]

    Source: Qwen Team 2024, Qwen1.5-MoE, https://qwenlm.github.io/blog/qwen-moe/.
    """

    layer: nn.Module

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
        weight = nn.Dense(1, use_bias=False, kernel_init=INIT, name="weight")(x)
        return nn.sigmoid(weight) * self.layer(x)
