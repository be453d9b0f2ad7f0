"""Normalizing flows: invertible layers whose Jacobian has a determinant that is a product.

RealNVP: Dinh et al. 2017, https://arxiv.org/abs/1605.08803; the masked autoregressive flow: Papamakarios et al. 2017,
https://arxiv.org/abs/1705.07057, on the masked network of Germain et al. 2015, https://arxiv.org/abs/1502.03509.

A layer is called with (x, inverse) and gives what x becomes and the logarithm of its Jacobian's determinant, [B].
"""

from __future__ import annotations

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from deeplab.core import ranges
from deeplab.models.generative.autoencoder import Perceptron
from deeplab.models.generative.autoregressive import Autoregressive, Changed, log_scale, total_of
from deeplab.models.generative.conditioning import NEARLY_ZERO


class Coupling(nn.Module):
    """y = x where the mask is 1, else x exp(s) + t, where (s, t) is the net's of what the mask keeps.

    Args:
      net: Module from [B, *S, C] to [B, *S, 2 C].
      channels: Whether the mask keeps the first half of the channels; it is a checkerboard otherwise, which of a vector
        is every other number.
      odd: Whether it keeps the others instead.

    Example:
      >>> layer, x = Coupling(Perceptron(4, (8,), nn.gelu)), jnp.array([[1.0, 2.0]])
      >>> (y, _), variables = layer.init_with_output(jax.random.key(0), x)
      >>> (y == x).tolist(), jnp.round(layer.apply(variables, y, inverse=True)[0], 3).tolist()
      ([[True, False]], [[1.0, 2.0]])
    """

    net: nn.Module
    channels: bool = False
    odd: bool = False

    def __call__(self, x: Float[Array, "B ..."], inverse: bool = False) -> Changed:
        kept = jnp.asarray(_mask(x.shape[1:], self.channels) != self.odd, x.dtype)[None]
        raw = self.net(x * kept).reshape(*x.shape[:-1], 2 * x.shape[-1])
        scale, shift = jnp.split(raw, 2, axis=-1)
        scale, shift = log_scale(scale) * (1 - kept), shift * (1 - kept)
        y = (x - shift) * jnp.exp(-scale) if inverse else x * jnp.exp(scale) + shift
        return y.astype(x.dtype), total_of(-scale if inverse else scale)


def _mask(shape: Sequence[int], channels: bool) -> np.ndarray:
    places = np.indices(shape)
    return places[-1] < shape[-1] / 2 if channels else places[: max(len(shape) - 1, 1)].sum(axis=0) % 2 == 0


class Squeezed(nn.Module):
    """Squares of 2 x 2 pixels as channels.

    Example:
      >>> Squeezed().apply({}, jnp.arange(8.0).reshape(1, 2, 4, 1))[0].tolist()
      [[[[0.0, 1.0, 4.0, 5.0], [2.0, 3.0, 6.0, 7.0]]]]
    """

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"], inverse: bool = False) -> Changed:
        B, H, W, C = x.shape
        if inverse:
            y = x.reshape(B, H, W, 2, 2, C // 4).transpose(0, 1, 3, 2, 4, 5).reshape(B, 2 * H, 2 * W, C // 4)
        else:
            y = x.reshape(B, H // 2, 2, W // 2, 2, C).transpose(0, 1, 3, 2, 4, 5).reshape(B, H // 2, W // 2, 4 * C)
        return y, jnp.zeros(B, x.dtype)


class Reversed(nn.Module):
    """The last axis backwards.

    Example:
      >>> Reversed().apply({}, jnp.array([[1.0, 2.0, 3.0]]))[0].tolist()
      [[3.0, 2.0, 1.0]]
    """

    @nn.compact
    def __call__(self, x: Float[Array, "B ... D"], inverse: bool = False) -> Changed:
        del inverse
        return x[..., ::-1], jnp.zeros(len(x), x.dtype)


class Flattened(nn.Module):
    """Examples as vectors.

    Args:
      shape: Shape of an example.

    Example:
      >>> layer, images = Flattened((2, 3)), jnp.ones((4, 2, 3))
      >>> layer.apply({}, images)[0].shape, layer.apply({}, jnp.ones((4, 6)), inverse=True)[0].shape
      ((4, 6), (4, 2, 3))
    """

    shape: tuple[int, ...]

    @nn.compact
    def __call__(self, x: Float[Array, "B ..."], inverse: bool = False) -> Changed:
        return x.reshape(len(x), *(self.shape if inverse else (-1,))), jnp.zeros(len(x), x.dtype)


@ranges.checked(width=ranges.COUNT, blocks=ranges.COUNT)
class Conditioner(nn.Module):
    """Residual convolutions, [B, H, W, C] -> [B, H, W, 2 C].

    Args:
      width: Number of channels.
      blocks: Number of residual blocks.

    Example:
      >>> images = jnp.ones((1, 4, 6, 3))
      >>> jax.eval_shape(Conditioner(width=8, blocks=1).init_with_output, jax.random.key(0), images)[0].shape
      (1, 4, 6, 6)
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

    Example:
      >>> model, x = real_nvp(2, num_layers=2, width=8), jnp.array([[1.0, 2.0]])
      >>> (z, _), variables = model.init_with_output(jax.random.key(0), x)
      >>> jnp.round(model.apply(variables, z, method="invert"), 3).tolist()
      [[1.0, 2.0]]
    """
    nets = (Perceptron(2 * size, (width, width), nn.gelu) for _ in range(num_layers))
    return Flow(tuple(Coupling(net, odd=bool(i % 2)) for i, net in enumerate(nets)))


def maf(num_layers: int = 4, width: int = 64) -> Flow:
    """Autoregressive layers of vectors, each in the reverse order of the one before.

    Args:
      num_layers: Number of layers.
      width: Number of units of the two hidden layers of each.

    Example:
      >>> [type(layer).__name__ for layer in maf(num_layers=2).layers]
      ['Autoregressive', 'Reversed', 'Autoregressive', 'Reversed']
    """
    pairs = ((Autoregressive(width), Reversed()) for _ in range(num_layers))
    return Flow(tuple(layer for pair in pairs for layer in pair))


def image_real_nvp(num_layers: int = 4, width: int = 32, blocks: int = 2) -> Flow:
    """Couplings of images of even sides: checkerboards at full size, then halves of the channels of squares.

    Args:
      num_layers: Number of couplings at each of the two sizes.
      width: Number of channels of the convolutions of each.
      blocks: Number of residual blocks of each.

    Example:
      >>> model = image_real_nvp(num_layers=2, width=8, blocks=1)
      >>> jax.eval_shape(model.init_with_output, jax.random.key(0), jnp.ones((2, 8, 6, 1)))[0][0].shape
      (2, 4, 3, 4)
    """
    fine = (Coupling(Conditioner(width, blocks), odd=bool(i % 2)) for i in range(num_layers))
    coarse = (Coupling(Conditioner(width, blocks), True, bool(i % 2)) for i in range(num_layers))
    return Flow((*fine, Squeezed(), *coarse))
