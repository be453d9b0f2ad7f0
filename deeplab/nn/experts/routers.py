"""Routers: which k of E experts each token asks, and with what weight.

All have the same interface: tokens [N, D] to weights [N, k] and numbers of experts [N, k].
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from deeplab.core import ranges
from deeplab.core.precision import widened
from deeplab.nn.transformer import INIT

Choice = tuple[Float[Array, "N k"], Int[Array, "N k"]]


def _logits(x: jax.Array, num_experts: int, use_bias: bool = False) -> Float[Array, "N E"]:
    """In float32 at least, as the choice between two experts that are nearly equal is not continuous."""
    x = widened(x)
    return nn.Dense(num_experts, use_bias=use_bias, kernel_init=INIT, dtype=x.dtype, name="gate")(x)


@ranges.checked(num_experts=ranges.COUNT, top_k=ranges.COUNT)
class SoftmaxRouter(nn.Module):
    """The k largest of softmax(x W).

    Args:
      num_experts: E.
      top_k: k.
      normalize: Whether the k weights are made to add up to 1.

    Example:
      >>> x, params = jnp.log(jnp.array([[0.1, 0.6, 0.1, 0.2]])), {"gate": {"kernel": jnp.eye(4)}}
      >>> weights, chosen = SoftmaxRouter(num_experts=4, top_k=2).apply({"params": params}, x)
      >>> chosen.tolist(), [round(float(weight), 2) for weight in weights[0]]
      ([[1, 3]], [0.75, 0.25])

    Source: Shazeer et al. 2017, https://arxiv.org/abs/1701.06538; Jiang et al. 2024, https://arxiv.org/abs/2401.04088.
    """

    num_experts: int
    top_k: int
    normalize: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "N D"]) -> Choice:
        probabilities = jax.nn.softmax(_logits(x, self.num_experts), axis=-1)
        weights, chosen = jax.lax.top_k(probabilities, self.top_k)
        if self.normalize:
            weights = weights / weights.sum(axis=-1, keepdims=True)
        return weights, chosen


@ranges.checked(num_experts=ranges.COUNT, top_k=ranges.COUNT)
class ChosenSoftmaxRouter(nn.Module):
    """softmax of the k largest of x W + b alone.

    Args:
      num_experts: E.
      top_k: k.

    Example:
      >>> bias = jnp.log(jnp.array([1.0, 6.0, 1.0, 2.0]))
      >>> params, router = {"gate": {"kernel": jnp.eye(4), "bias": bias}}, ChosenSoftmaxRouter(num_experts=4, top_k=2)
      >>> weights, chosen = router.apply({"params": params}, jnp.zeros((1, 4)))
      >>> chosen.tolist(), [round(float(weight), 2) for weight in weights[0]]
      ([[1, 3]], [0.75, 0.25])

    Source: OpenAI 2025, gpt-oss, https://arxiv.org/abs/2508.10925.
    """

    num_experts: int
    top_k: int

    @nn.compact
    def __call__(self, x: Float[Array, "N D"]) -> Choice:
        logits, chosen = jax.lax.top_k(_logits(x, self.num_experts, use_bias=True), self.top_k)
        return jax.nn.softmax(logits, axis=-1), chosen


@ranges.checked(num_experts=ranges.COUNT, top_k=ranges.COUNT, num_groups=ranges.COUNT)
class GroupedSigmoidRouter(nn.Module):
    """Experts in groups: the k best of the groups whose two best are the best, by sigmoid(x W) + b; weights without b.

    The bias b balances the experts' load and is no part of the loss: its gradient is zero.

    Args:
      num_experts: E.
      top_k: k.
      num_groups: Number of groups, which divides E.
      top_groups: Number of groups that are asked.
      normalize: Whether the k weights are made to add up to 1.
      scale: Factor of the weights.

    Example:
      >>> x = jax.scipy.special.logit(jnp.array([[0.9, 0.1, 0.6, 0.7]]))
      >>> params = {"gate": {"kernel": jnp.eye(4)}, "balance": jnp.zeros(4)}
      >>> router = GroupedSigmoidRouter(num_experts=4, top_k=1, num_groups=2)
      >>> router.apply({"params": params}, x)[1].tolist()  # 0.9 + 0.1 is less than 0.6 + 0.7
      [[3]]

    Source: DeepSeek-AI 2024, DeepSeek-V3, https://arxiv.org/abs/2412.19437, section 2.1.2.
    """

    num_experts: int
    top_k: int
    num_groups: int = 1
    top_groups: int = 1
    normalize: bool = True
    scale: float = 1.0

    @nn.compact
    def __call__(self, x: Float[Array, "N D"]) -> Choice:
        N, E, G = len(x), self.num_experts, self.num_groups
        scores = jax.nn.sigmoid(_logits(x, E))
        bias = self.param("balance", nn.initializers.zeros, (E,))
        wanted = jax.lax.stop_gradient(scores) + jax.lax.stop_gradient(bias)[None]
        best = jax.lax.top_k(wanted.reshape(N, G, E // G), 2)[0].sum(axis=-1)  # N (G e) -> N G
        groups = jax.lax.top_k(best, self.top_groups)[1]
        asked = jax.nn.one_hot(groups, G).sum(axis=1) > 0  # [N, G]
        wanted = jnp.where(jnp.repeat(asked, E // G, axis=1), wanted, -jnp.inf)
        chosen = jax.lax.top_k(wanted, self.top_k)[1]
        weights = jnp.take_along_axis(scores, chosen, axis=1)
        if self.normalize:
            weights = weights / (weights.sum(axis=-1, keepdims=True) + 1e-20)
        return weights * self.scale, chosen
