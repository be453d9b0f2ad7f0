"""Interactions of the fields of a click model: vectors [B, T, D], that of the numbers first, to features [B, K]."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from deeplab.core import ranges

_INIT = nn.initializers.glorot_normal()


@ranges.checked(features=ranges.COUNT)
class ReluLayers(nn.Module):
    """relu(W_i x + b_i), one layer after another, of each example's numbers or flattened vectors.

    Args:
      features: Widths of the layers; the input itself when empty.

    Example:
      >>> import jax
      >>> shapes = jax.eval_shape(ReluLayers((8, 2)).init, jax.random.key(0), jnp.ones((3, 4, 5)))
      >>> {name: layer["kernel"].shape for name, layer in shapes["params"].items()}
      {'hidden1': (20, 8), 'hidden2': (8, 2)}
    """

    features: Sequence[int]

    @nn.compact
    def __call__(self, x: Float[Array, "B ..."]) -> Float[Array, "B K"]:
        x = x.reshape(len(x), -1)
        for i, width in enumerate(self.features, start=1):
            x = nn.relu(nn.Dense(width, kernel_init=_INIT, name=f"hidden{i}")(x))
        return x


class Dot(nn.Module):
    """The first vector, and the dot product of each pair of two different vectors.

    Example:
      >>> import jax
      >>> vectors = jnp.array([[[1.0, 0.0], [2.0, 3.0], [4.0, 5.0]]])
      >>> Dot().apply({}, vectors).tolist()
      [[1.0, 0.0, 2.0, 4.0, 23.0]]

    Source: Naumov et al. 2019, https://arxiv.org/abs/1906.00091, section 2.1.2 and figure 1.
    """

    @nn.compact
    def __call__(self, vectors: Float[Array, "B T D"]) -> Float[Array, "B K"]:
        products = jnp.einsum("btd,bsd->bts", vectors, vectors)
        t, s = np.tril_indices(vectors.shape[1], -1)
        return jnp.concatenate([vectors[:, 0], products[:, t, s]], axis=-1)


@ranges.checked(num_layers=ranges.COUNT)
class Cross(nn.Module):
    """x_{i+1} = x_0 * (W_i x_i + b_i) + x_i, of all vectors side by side, [B, T*D].

    Args:
      num_layers: Number of layers, which is the highest degree of the products of fields less one.

    Example:
      >>> import jax
      >>> Cross(2).init_with_output(jax.random.key(0), jnp.ones((3, 4, 5)))[0].shape
      (3, 20)

    Source: Wang et al. 2021, "DCN V2", https://arxiv.org/abs/2008.13535, equation 1.
    """

    num_layers: int

    @nn.compact
    def __call__(self, vectors: Float[Array, "B T D"]) -> Float[Array, "B K"]:
        x = vectors.reshape(len(vectors), -1)
        dense = [nn.Dense(x.shape[-1], kernel_init=_INIT, name=f"cross{i}") for i in range(1, self.num_layers + 1)]
        return _crossed(x, dense)


@ranges.checked(num_layers=ranges.COUNT, rank=ranges.COUNT)
class LowRankCross(nn.Module):
    """`Cross` with W_i = U_i V_i^T of rank r: 2 r numbers in place of T D for each of the T D inputs.

    Args:
      num_layers: Number of layers.
      rank: r.

    Example:
      >>> import jax
      >>> LowRankCross(2, rank=3).init_with_output(jax.random.key(0), jnp.ones((3, 4, 5)))[0].shape
      (3, 20)

    Source: Wang et al. 2021, equation 2.
    """

    num_layers: int
    rank: int

    @nn.compact
    def __call__(self, vectors: Float[Array, "B T D"]) -> Float[Array, "B K"]:
        x = vectors.reshape(len(vectors), -1)

        def layer(i: int) -> Callable[[Float[Array, "B K"]], Float[Array, "B K"]]:
            down = nn.Dense(self.rank, use_bias=False, kernel_init=_INIT, name=f"down{i}")
            up = nn.Dense(x.shape[-1], kernel_init=_INIT, name=f"up{i}")
            return lambda x: up(down(x))

        return _crossed(x, [layer(i) for i in range(1, self.num_layers + 1)])


class Beside(nn.Module):
    """What several blocks make of the same vectors: with `Cross` and `ReluLayers`, DCN V2's parallel form.

    Args:
      branches: Blocks from [B, T, D] to [B, K].

    Example:
      >>> import jax
      >>> both = Beside((Cross(2), ReluLayers((7,))))
      >>> both.init_with_output(jax.random.key(0), jnp.ones((3, 4, 5)))[0].shape
      (3, 27)

    Source: Wang et al. 2021, figure 1b.
    """

    branches: Sequence[nn.Module]

    @nn.compact
    def __call__(self, vectors: Float[Array, "B T D"]) -> Float[Array, "B K"]:
        return jnp.concatenate([branch(vectors) for branch in self.branches], axis=-1)


def _crossed(
    first: Float[Array, "B K"], layers: Sequence[Callable[[Float[Array, "B K"]], Float[Array, "B K"]]]
) -> Float[Array, "B K"]:
    x = first
    for layer in layers:
        x = first * layer(x) + x
    return x
