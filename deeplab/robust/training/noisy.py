"""Training with Gaussian noise, as randomized smoothing needs it."""

from __future__ import annotations

import dataclasses

import jax

from deeplab.core import ranges
from deeplab.robust.training.wrapper import Wrapper, attack_key, moved_field
from deeplab.tasks.contract.apply import Apply
from deeplab.tasks.contract.task import Batch, Loss
from deeplab.tasks.unlabeled.pairs import by_example


@dataclasses.dataclass(frozen=True)
@ranges.checked(deviation=ranges.POSITIVE)
class Noise(Wrapper):
    """Training under Gaussian noise, for randomized smoothing by the same; evaluations are without it.

    The noise is drawn for each example by its `id`, and not clipped: the certificate of smoothing is of the noise
    itself.

    Args:
      deviation: Standard deviation of the noise, in units of the input before its normalization; may be a tracer.

    Example:
      >>> import deeplab as dl
      >>> task = dl.robust.training.Noise(dl.tasks.Classification(), deviation=0.25)

    Source: Cohen, Rosenfeld and Kolter 2019, https://arxiv.org/abs/1902.02918.
    """

    deviation: float | jax.Array = 0.25

    def loss(self, apply: Apply, batch: Batch, key: jax.Array) -> Loss:
        name = moved_field(self.inner, batch, "Noise")
        x = batch[name]
        noise = jax.vmap(lambda k: jax.random.normal(k, x.shape[1:], x.dtype))(by_example(attack_key(key), batch))
        return self.inner.loss(apply, batch | {name: x + self.deviation * noise}, key)
