"""Training with Gaussian noise, as randomized smoothing needs it."""

from __future__ import annotations

import dataclasses

import jax

from deeplab.core import ranges
from deeplab.robust.training.wrapper import Wrapper, attack_key, moved_field
from deeplab.tasks.base import Apply, Batch, Loss
from deeplab.tasks.unlabeled.pairs import by_example


@dataclasses.dataclass(frozen=True)
@ranges.checked(std=ranges.NATURAL)
class GaussianNoise(Wrapper):
    """The loss at x + std N(0, 1), drawn for each example by its `id`; evaluations are of x.

    The noise is not clipped, for the certificate of smoothing is of the noise itself.

    Args:
      std: Standard deviation, in the units of what the model's normalization reads: [0, 1] of images; may be a tracer.

    Source: Cohen et al. 2019, https://arxiv.org/abs/1902.02918.
    """

    std: float | jax.Array

    def loss(self, apply: Apply, batch: Batch, key: jax.Array) -> Loss:
        name = moved_field(self.inner, batch, "GaussianNoise")
        x = batch[name]
        noise = jax.vmap(lambda k: jax.random.normal(k, x.shape[1:], x.dtype))(by_example(attack_key(key), batch))
        return self.inner.loss(apply, batch | {name: x + self.std * noise}, key)
