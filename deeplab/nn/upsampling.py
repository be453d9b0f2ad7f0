"""Upsampling of images, and resizing of learned maps."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from deeplab.core import ranges


@ranges.checked(width=ranges.COUNT)
class Upsampling(nn.Module):
    """Transposed convolution with kernel 2 and stride 2, as a linear layer and a reshape.

    The 2 x 2 squares do not overlap. XLA's CPU compiler runs `nn.ConvTranspose` as a convolution over zeros.

    Args:
      width: Number of output channels D.

    Example:
      >>> import jax
      >>> jax.jit(Upsampling(8).init_with_output)(jax.random.key(0), jax.numpy.ones((2, 3, 5, 4)))[0].shape
      (2, 6, 10, 8)
    """

    width: int

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"]) -> Float[Array, "B 2*H 2*W D"]:
        return pixels_of(nn.Dense(4 * self.width, name="squares")(x), 2)


def squares_of(x: Float[Array, "B H W C"], side: int) -> Float[Array, "B H/side W/side side*side*C"]:
    """The pixels of each square of an image as the features of one place; `pixels_of` is the inverse.

    Example:
      >>> x = jnp.arange(16.0).reshape(1, 4, 4, 1)
      >>> squares_of(x, 2)[0, 0].tolist(), bool(jnp.all(pixels_of(squares_of(x, 2), 2) == x))
      ([[0.0, 1.0, 4.0, 5.0], [2.0, 3.0, 6.0, 7.0]], True)
    """
    B, H, W, C = x.shape
    x = x.reshape(B, H // side, side, W // side, side, C).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(B, H // side, W // side, side * side * C)


def pixels_of(x: Float[Array, "B H W D"], side: int) -> Float[Array, "B side*H side*W D/(side*side)"]:
    """The image whose squares are places with these features.

    Example:
      >>> pixels_of(jnp.array([[[[1, 2, 3, 4], [5, 6, 7, 8]]]]), 2)[0, :, :, 0].tolist()
      [[1, 2, 5, 6], [3, 4, 7, 8]]
    """
    B, H, W, D = x.shape
    x = x.reshape(B, H, W, side, side, D // side**2).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(B, H * side, W * side, D // side**2)


def bicubic(x: Float[Array, "H W C"], size: tuple[int, int], antialias: bool = False) -> Float[Array, "H2 W2 C"]:
    """A map at another size, by cubic convolution, as PyTorch does it: which is how learned positions are resized.

    A place reads the 4 x 4 nearest ones (with a = -0.75), those beyond an edge as those on it. With `antialias`, it
    reads as many as a smaller map needs (with a = -0.5), none beyond an edge.

    Args:
      x: Map.
      size: Height and width of the result.
      antialias: Whether places of a smaller map are means of several.

    Example:
      >>> [round(float(y), 2) for y in bicubic(jnp.arange(3.0).reshape(1, 3, 1), (1, 6))[0, :, 0]]
      [-0.11, 0.19, 0.67, 1.33, 1.81, 2.11]

    Source: Keys 1981, "Cubic convolution interpolation for digital image processing", equation 4 for a = -0.5.
    """
    if antialias:
        return jax.image.resize(x, (*size, x.shape[-1]), "cubic", antialias=True)
    rows, columns = (jnp.asarray(_cubic(*sides), x.dtype) for sides in zip(x.shape[:2], size, strict=True))
    return jnp.einsum("hwc,ih,jw->ijc", x, rows, columns)


def bilinear(x: Float[Array, "H W C"], size: tuple[int, int]) -> Float[Array, "H2 W2 C"]:
    """A map at another size, by straight lines between its places; those of a smaller map are means of several.

    Args:
      x: Map.
      size: Height and width of the result.

    Example:
      >>> bilinear(jnp.arange(3.0).reshape(1, 3, 1), (1, 6))[0, :, 0].tolist()
      [0.0, 0.25, 0.75, 1.25, 1.75, 2.0]
    """
    return jax.image.resize(x, (*size, x.shape[-1]), "linear", antialias=True)


def _cubic(given: int, wanted: int, a: float = -0.75) -> np.ndarray:
    """What each place of a side of the result takes of each place of the given one, [wanted, given]."""
    center = (np.arange(wanted) + 0.5) * given / wanted - 0.5
    nearest = np.floor(center).astype(int)[:, None] + np.arange(-1, 3)  # [wanted, 4]
    far = np.abs(center[:, None] - nearest)
    near = ((a + 2) * far - (a + 3)) * far**2 + 1
    weights = np.where(far <= 1, near, ((a * far - 5 * a) * far + 8 * a) * far - 4 * a)
    found = np.zeros((wanted, given))
    np.add.at(found, (np.arange(wanted)[:, None], np.clip(nearest, 0, given - 1)), weights)
    return found.astype(np.float32)
