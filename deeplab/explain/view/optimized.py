"""Pictures that excite a unit most, found by gradient ascent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from deeplab.core.errors import UserError
from deeplab.explain.attribution import Target, scored

_COLORS = np.array([[0.26, 0.09, 0.02], [0.27, 0.00, -0.05], [0.27, -0.09, 0.03]])
"""A square root of the covariance of red, green and blue over the images of ImageNet, of Olah et al. 2017."""


def visualize(
    f: Callable[..., Any],
    shape: Sequence[int],
    target: Target = None,
    *,
    key: jax.Array,
    steps: int = 256,
    learning_rate: float = 0.05,
    jitter: float = 1.0,
    degrees: float = 5.0,
    zoom: float = 0.05,
    args: Sequence[Any] = (),
) -> Float[Array, "N H W C"]:
    """Pictures in [0, 1] that raise a score most: what a class, a unit or a channel of any tap looks for.

    Adam climbs in the Fourier coefficients, each scaled by 1 / frequency as those of photographs are, and of colors
    without their correlation; else the picture is noise that no photograph has. Each step sees the picture moved at
    random, so that what is found does not hang on single pixels. A unit that is silent at the start has no slope: take
    what its ReLU reads.

    Args:
      f: Function `f(x, *args)` of pictures; of a tap, the first function of `split`.
      shape: Shape of the pictures, [N, H, W, C]; they differ by where they start, and by their targets.
      target: Score of each picture: an output, one for each picture, or a function such as `targets.channel(3)`.
      key: Key of the starts and of the moves.
      steps: Number of steps.
      learning_rate: Learning rate of Adam.
      jitter: Largest shift, in pixels.
      degrees: Largest rotation.
      zoom: Largest logarithm of the scale.
      args: Further inputs of f.

    Raises:
      UserError: the shape is none of pictures.

    Example:
      >>> found = visualize(lambda x: x[:, 2, 2, 0] - x[:, 5, 5, 0], (1, 8, 8, 1), key=jax.random.key(0), steps=32)
      >>> bool(found[0, 2, 2, 0] > 0.9), bool(found[0, 5, 5, 0] < 0.1)
      (True, True)

    Source: Olah, Mordvintsev and Schubert 2017, https://distill.pub/2017/feature-visualization.
    """
    if len(shape) != 4 or min(shape) < 1:
        raise UserError(
            f"pictures of the shape {tuple(shape)} were asked for, expected [N, H, W, C]; give N = 1 for one"
        )
    score, args = scored(f, target, args)
    starts, moves = jax.random.split(key)
    N, H, W, C = shape
    adam = optax.adam(learning_rate)
    first = 0.01 * jax.random.normal(starts, (2, N, H, W // 2 + 1, C))

    def loss(spectrum: Array, key: Array) -> Array:
        move = lambda k, picture: _moved(picture, k, jitter, degrees, zoom)  # noqa: E731
        return -jnp.sum(score(jax.vmap(move)(jax.random.split(key, N), _pictures(spectrum, H, W)), *args))

    def step(carry: Any, key: Array) -> tuple[Any, None]:
        updates, moments = adam.update(jax.grad(loss)(carry[0], key), carry[1])
        return (optax.apply_updates(carry[0], updates), moments), None

    found = jax.lax.scan(step, (first, adam.init(first)), jax.random.split(moves, steps))[0][0]
    return _pictures(found, H, W)


def _pictures(spectrum: Float[Array, "2 N H F C"], H: int, W: int) -> Float[Array, "N H W C"]:
    frequency = jnp.hypot(jnp.fft.fftfreq(H)[:, None], jnp.fft.rfftfreq(W)[None])
    scale = 1 / jnp.maximum(frequency, 1 / max(H, W)) / 4  # a step of a coefficient changes the picture little
    waves = jax.lax.complex(*spectrum) * scale[None, :, :, None]
    free = jnp.fft.irfft2(waves, s=(H, W), axes=(1, 2), norm="ortho")
    if free.shape[-1] == 3:
        free = free @ jnp.asarray(_COLORS / np.linalg.norm(_COLORS, axis=0).max(), free.dtype).T
    return jax.nn.sigmoid(free)


def _moved(picture: Float[Array, "H W C"], key: Array, jitter: float, degrees: float, zoom: float) -> Array:
    """A picture that is turned, scaled and shifted at random, by one resampling; mirrored at its borders."""
    turn, size, *shift = jax.random.uniform(key, (4,), minval=-1.0)
    angle, factor = jnp.deg2rad(degrees) * turn, jnp.exp(zoom * size)
    H, W, _ = picture.shape
    y, x = jnp.mgrid[:H, :W].astype(picture.dtype) - jnp.array([(H - 1) / 2, (W - 1) / 2])[:, None, None]
    row = factor * (jnp.cos(angle) * y - jnp.sin(angle) * x) + (H - 1) / 2 + jitter * shift[0]
    column = factor * (jnp.sin(angle) * y + jnp.cos(angle) * x) + (W - 1) / 2 + jitter * shift[1]
    sample = lambda plane: jax.scipy.ndimage.map_coordinates(plane, [row, column], 1, "mirror")  # noqa: E731
    return jnp.moveaxis(jax.vmap(sample)(jnp.moveaxis(picture, -1, 0)), 0, -1)
