"""Normalizing flows: invertible layers whose Jacobian has a determinant that is a product.

RealNVP: Dinh et al. 2017, https://arxiv.org/abs/1605.08803; the masked autoregressive flow: Papamakarios et al. 2017,
https://arxiv.org/abs/1705.07057, on the masked network of Germain et al. 2015, https://arxiv.org/abs/1502.03509.

A layer is called with (x, inverse) and gives what x becomes and the logarithm of its Jacobian's determinant, [B].
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from deeplab.core import ranges
from deeplab.models.generative.autoencoder import Perceptron
from deeplab.models.generative.conditioning import NEARLY_ZERO

Changed = tuple[jax.Array, Float[Array, " B"]]

_LIMIT = 2.0  # of the logarithm of a scale: e^2 a layer


def _log_scale(raw: jax.Array) -> jax.Array:
    """Between -2 and 2, so that an untrained layer cannot overflow."""
    return _LIMIT * jnp.tanh(raw / _LIMIT)


def _total(x: jax.Array) -> Float[Array, " B"]:
    return jnp.sum(x.reshape(len(x), -1), axis=-1)


class Coupling(nn.Module):
    """y = x where the mask is 1, else x exp(s) + t, where (s, t) is the net's of what the mask keeps.

    Args:
      net: Module from [B, *S, C] to [B, *S, 2 C].
      channels: Whether the mask keeps the first half of the channels; it is a checkerboard otherwise, which of a vector
        is every other number.
      odd: Whether it keeps the others instead.
    """

    net: nn.Module
    channels: bool = False
    odd: bool = False

    def __call__(self, x: Float[Array, "B ..."], inverse: bool = False) -> Changed:
        kept = jnp.asarray(_mask(x.shape[1:], self.channels) != self.odd, x.dtype)[None]
        raw = self.net(x * kept).reshape(*x.shape[:-1], 2 * x.shape[-1])
        scale, shift = jnp.split(raw, 2, axis=-1)
        scale, shift = _log_scale(scale) * (1 - kept), shift * (1 - kept)
        y = (x - shift) * jnp.exp(-scale) if inverse else x * jnp.exp(scale) + shift
        return y, _total(-scale if inverse else scale)


def _mask(shape: Sequence[int], channels: bool) -> np.ndarray:
    places = np.indices(shape)
    return places[-1] < shape[-1] / 2 if channels else places[: max(len(shape) - 1, 1)].sum(axis=0) % 2 == 0


class Squeezed(nn.Module):
    """Squares of 2 x 2 pixels as channels."""

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"], inverse: bool = False) -> Changed:
        B, H, W, C = x.shape
        if inverse:
            y = x.reshape(B, H, W, 2, 2, C // 4).transpose(0, 1, 3, 2, 4, 5).reshape(B, 2 * H, 2 * W, C // 4)
        else:
            y = x.reshape(B, H // 2, 2, W // 2, 2, C).transpose(0, 1, 3, 2, 4, 5).reshape(B, H // 2, W // 2, 4 * C)
        return y, jnp.zeros(B, x.dtype)


class Reversed(nn.Module):
    """The last axis backwards."""

    @nn.compact
    def __call__(self, x: Float[Array, "B ... D"], inverse: bool = False) -> Changed:
        del inverse
        return x[..., ::-1], jnp.zeros(len(x), x.dtype)


class Flattened(nn.Module):
    """Examples as vectors.

    Args:
      shape: Shape of an example.
    """

    shape: tuple[int, ...]

    @nn.compact
    def __call__(self, x: Float[Array, "B ..."], inverse: bool = False) -> Changed:
        return x.reshape(len(x), *(self.shape if inverse else (-1,))), jnp.zeros(len(x), x.dtype)


class MaskedDense(nn.Module):
    """A linear layer, some of whose weights are 0.

    Args:
      mask: Degrees of the inputs and of the outputs; an output reads the inputs of no higher degree.
      strict: Whether it reads those of lower degree only.
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
        return mean, _log_scale(raw)

    def __call__(self, x: Float[Array, "B D"], inverse: bool = False) -> Changed:
        if not inverse:
            mean, scale = self._moments(x)
            return (x - mean) * jnp.exp(-scale), -_total(scale)
        y = jnp.zeros_like(x)
        for _ in range(x.shape[-1]):  # after i of them, the first i numbers are right
            mean, scale = self._moments(y)
            y = x * jnp.exp(scale) + mean
        return y, _total(scale)


@ranges.checked(width=ranges.COUNT, blocks=ranges.COUNT)
class Conditioner(nn.Module):
    """Residual convolutions, [B, H, W, C] -> [B, H, W, 2 C].

    Args:
      width: Number of channels.
      blocks: Number of residual blocks.
    """

    width: int
    blocks: int

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B H W K"]:
        h = nn.Conv(self.width, (3, 3), name="conv0")(x)
        for i in range(1, 2 * self.blocks, 2):
            y = nn.Conv(self.width, (3, 3), name=f"conv{i}")(nn.gelu(h))
            h = h + nn.Conv(self.width, (1, 1), name=f"conv{i + 1}")(nn.gelu(y))
        return nn.Conv(2 * x.shape[-1], (3, 3), kernel_init=NEARLY_ZERO, name="out")(nn.gelu(h))


class Flow(nn.Module):
    """Layers one after another: data to (z, log-determinant), z to data by `invert`.

    Args:
      layers: Invertible layers.

    Example:
      >>> model = real_nvp(2, num_layers=2, width=8)
      >>> (z, log_det), _ = model.init_with_output(jax.random.key(0), jnp.ones((3, 2)))
      >>> z.shape, log_det.shape
      ((3, 2), (3,))
    """

    layers: tuple[nn.Module, ...]

    def __call__(self, x: Float[Array, "B ..."], train: bool = False) -> Changed:
        """z, of another shape where layers squeeze, and log |det dz/dx|."""
        del train
        total = jnp.zeros(len(x), x.dtype)
        for layer in self.layers:
            x, log_det = layer(x)
            total = total + log_det
        return x, total

    def invert(self, z: Float[Array, "B ..."], train: bool = False) -> jax.Array:
        """The x of a z."""
        del train
        for layer in reversed(self.layers):
            z, _ = layer(z, inverse=True)
        return z


def real_nvp(size: int, num_layers: int = 8, width: int = 64) -> Flow:
    """Couplings of vectors, which keep every other number in turn.

    Args:
      size: D.
      num_layers: Number of couplings.
      width: Number of units of the two hidden layers of each.
    """
    nets = (Perceptron(2 * size, (width, width), nn.gelu) for _ in range(num_layers))
    return Flow(tuple(Coupling(net, odd=bool(i % 2)) for i, net in enumerate(nets)))


def maf(num_layers: int = 4, width: int = 64) -> Flow:
    """Autoregressive layers of vectors, each in the reverse order of the one before.

    Args:
      num_layers: Number of layers.
      width: Number of units of the two hidden layers of each.
    """
    pairs = ((Autoregressive(width), Reversed()) for _ in range(num_layers))
    return Flow(tuple(layer for pair in pairs for layer in pair))


def image_real_nvp(num_layers: int = 4, width: int = 32, blocks: int = 2) -> Flow:
    """Couplings of images of even sides: checkerboards at full size, then halves of the channels of squares.

    Args:
      num_layers: Number of couplings at each of the two sizes.
      width: Number of channels of the convolutions of each.
      blocks: Number of residual blocks of each.
    """
    fine = (Coupling(Conditioner(width, blocks), odd=bool(i % 2)) for i in range(num_layers))
    coarse = (Coupling(Conditioner(width, blocks), True, bool(i % 2)) for i in range(num_layers))
    return Flow((*fine, Squeezed(), *coarse))
