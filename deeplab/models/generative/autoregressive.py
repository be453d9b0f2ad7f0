"""The layer of a masked autoregressive flow, on a network that reads each input's predecessors alone.

Papamakarios et al. 2017, https://arxiv.org/abs/1705.07057; the masks: Germain et al. 2015,
https://arxiv.org/abs/1502.03509. Like all layers of flows it is called with (x, inverse) and gives what x becomes and
the logarithm of its Jacobian's determinant, [B].
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from deeplab.core import ranges
from deeplab.models.generative.conditioning import NEARLY_ZERO

Changed = tuple[jax.Array, Float[Array, " B"]]

_LIMIT = 2.0  # of the logarithm of a scale: e^2 a layer


def log_scale(raw: jax.Array) -> jax.Array:
    """Between -2 and 2, so that an untrained layer cannot overflow; in float32 or wider, as sums of many are wanted."""
    return _LIMIT * jnp.tanh(raw.astype(jnp.promote_types(raw.dtype, jnp.float32)) / _LIMIT)


def total_of(x: jax.Array) -> Float[Array, " B"]:
    """The sum over all axes of each example."""
    return jnp.sum(x.reshape(len(x), -1), axis=-1)


class MaskedDense(nn.Module):
    """A linear layer, some of whose weights are 0.

    Args:
      mask: Degrees of the inputs and of the outputs; an output reads the inputs of no higher degree.
      strict: Whether it reads those of lower degree only.

    Example:
      >>> ones, x = {"params": {"kernel": jnp.ones((2, 2)), "bias": jnp.zeros(2)}}, jnp.array([[3.0, 5.0]])
      >>> degrees = (1, 2), (1, 2)
      >>> MaskedDense(degrees).apply(ones, x).tolist(), MaskedDense(degrees, strict=True).apply(ones, x).tolist()
      ([[3.0, 8.0]], [[0.0, 3.0]])
    """

    mask: tuple[tuple[int, ...], tuple[int, ...]]
    strict: bool = False
    kernel_init: nn.initializers.Initializer = nn.linear.default_kernel_init

    @nn.compact
    def __call__(self, x: Float[Array, "B N"]) -> Float[Array, "B M"]:
        into, out = (np.array(degrees) for degrees in self.mask)
        reads = out[None] - self.strict >= into[:, None]
        kernel = self.param("kernel", self.kernel_init, reads.shape)
        bias: Any = self.param("bias", nn.initializers.zeros, (len(out),))
        return x @ (kernel * jnp.asarray(reads, kernel.dtype)) + bias[None]


@ranges.checked(width=ranges.COUNT)
class Autoregressive(nn.Module):
    """z_i = (x_i - m_i) exp(-s_i), where m_i and s_i are of x_1, ..., x_(i-1): one call; its inverse takes D calls.

    Args:
      width: Number of units of the two hidden layers.

    Example:
      >>> layer, x = Autoregressive(width=8), jnp.array([1.0, 2.0, 3.0])
      >>> variables = layer.init(jax.random.key(0), x[None])
      >>> jacobian = jax.jacobian(lambda x: layer.apply(variables, x[None])[0][0])(x)
      >>> bool((jnp.triu(jacobian, 1) == 0).all()), bool((jnp.tril(jacobian) != 0).sum() == 6)
      (True, True)
    """

    width: int

    @nn.compact
    def _moments(self, x: Float[Array, "B D"]) -> tuple[jax.Array, jax.Array]:
        D = x.shape[-1]
        given, hidden = tuple(range(1, D + 1)), tuple(i % max(D - 1, 1) + 1 for i in range(self.width))
        h = nn.gelu(MaskedDense((given, hidden), name="hidden1")(x))
        h = nn.gelu(MaskedDense((hidden, hidden), name="hidden2")(h))
        out = MaskedDense((hidden, given * 2), True, NEARLY_ZERO, name="out")(h)
        mean, raw = jnp.split(out, 2, axis=-1)
        return mean, log_scale(raw)

    def __call__(self, x: Float[Array, "B D"], inverse: bool = False) -> Changed:
        if not inverse:
            mean, scale = self._moments(x)
            return ((x - mean) * jnp.exp(-scale)).astype(x.dtype), -total_of(scale)
        y = jnp.zeros_like(x)
        for _ in range(x.shape[-1]):  # after i of them, the first i numbers are right
            mean, scale = self._moments(y)
            y = (x * jnp.exp(scale) + mean).astype(x.dtype)
        return y, total_of(scale)
