"""Times and classes as one vector, which the networks of diffusion models are steered by."""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from deeplab.core import ranges
from deeplab.nn.transformer import sinusoids

NEARLY_ZERO = nn.initializers.normal(1e-3)
"""Initializer of layers that are to begin as nothing, and yet pass a gradient in the first step."""


@ranges.checked(width=ranges.COUNT, num_classes=ranges.COUNT, tempo=ranges.POSITIVE)
class Condition(nn.Module):
    """silu(W2 silu(W1 [waves of each time])) + the class's vector.

    Args:
      width: D, an even number.
      num_classes: Number of classes K; none when None. Class K stands for "not told".
      tempo: Radians of the fastest wave per unit of time. What differentiates by the time, as MeanFlow does, needs few.

    Example:
      >>> import jax
      >>> layer = Condition(8, num_classes=3)
      >>> layer.init_with_output(jax.random.key(0), jnp.array([0.1, 0.9]), jnp.array([2, 3]))[0].shape
      (2, 8)
    """

    width: int
    num_classes: int | None = None
    tempo: float = 1000.0

    @nn.compact
    def __call__(self, time: Float[Array, "B ..."], label: Int[Array, " B"] | None = None) -> Float[Array, "B D"]:
        """The vector of each example.

        Args:
          time: A time, or several, of each example, of a range of about 1.
          label: Classes.
        """
        waves = sinusoids(self.tempo * time.reshape(len(time), -1), self.width).reshape(len(time), -1)
        x = nn.Dense(self.width, name="time1")(waves.astype(time.dtype))
        x = nn.Dense(self.width, name="time2")(nn.silu(x))
        if self.num_classes is not None:
            classes = nn.Embed(self.num_classes + 1, self.width, name="classes")
            x = x + classes(jnp.full(len(x), self.num_classes) if label is None else label)
        return nn.silu(x)
