"""MeanFlow: the mean velocity between two times, with which one step is a sample."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from deeplab.core import ranges
from deeplab.core.blocks import Block
from deeplab.core.jax_compat import plain_operations
from deeplab.generate import images
from deeplab.generate.gallery import shown
from deeplab.generate.paths.processes import flow
from deeplab.generate.paths.schedules import even
from deeplab.generate.record import Generative, decoding, keys_of, like, normals
from deeplab.metrics.base import Mean, Metrics
from deeplab.tasks.contract.apply import Apply
from deeplab.tasks.contract.outputs import one_array
from deeplab.tasks.contract.task import Batch, Labels, Loss, Task, Trained


@dataclasses.dataclass(frozen=True)
@ranges.checked(apart=ranges.FRACTION, power=ranges.NATURAL, steps=ranges.COUNT, num_classes=ranges.COUNT)
class MeanFlow(Task):
    """The model learns u(x_t, r, t), the mean of the velocity of x_t's path between the times r <= t.

    u = v - (t - r) du/dt, where v = e - x_0 and du/dt is the derivative along (v, 0, 1), computed forward with u; the
    right side is taken as it is. The loss of an example is the mean square d of what is left, divided by
    (d + 0.001)^power as a constant; the metric `error` is d. A sample is x_0 = x_1 - u(x_1, 0, 1).

    Images are in [0, 1]; the model is called with the noisy image, scaled to [-1, 1], the times (t, t - r) [B, 2], and
    the class if any. It is differentiated by the time, too, whose waves should be slow (`tempo` of the networks, such
    as 4).

    Args:
      shape: (H, W, C) of an image.
      apart: Share of the examples whose r is not t.
      power: Exponent of the weight; may be a tracer.
      mean: Mean of the logit of the times.
      spread: Standard deviation of that logit; 1.6 with a mean of 0 has more times near 1, where samples begin.
      num_classes: Number of classes K that the model is told, always: samples have them in turn where none
        is asked for; no class when None.
      steps: Number of steps of a sample.

    Example:
      >>> MeanFlow((8, 8, 1)).steps  # evaluations of the network for a sample
      1

    Source: Geng et al. 2025, "Mean flows for one-step generative modeling", https://arxiv.org/abs/2505.13447.
    """

    shape: Sequence[int]
    apart: float | jax.Array = 0.25
    power: float | jax.Array = 1.0
    mean: float | jax.Array = -0.4
    spread: float | jax.Array = 1.0
    num_classes: int | None = None
    steps: int = 1

    def inputs(self, batch: Batch) -> tuple[Any, ...]:
        """The image with little noise, its times (t, 0), and its class, as there is none that is not told."""
        noisy, time = images.with_little_noise(self, flow(), batch)
        times = jnp.stack([time, jnp.zeros_like(time)], axis=-1)
        return noisy, times, *((batch["label"],) if self.num_classes else ())

    def labels(self, apply: Apply, batch: Batch) -> Mapping[str, Labels]:
        return images.class_labels(self.num_classes)

    def loss(self, apply: Apply, batch: Batch, key: jax.Array) -> Loss:
        at, of = (keys_of(jax.random.fold_in(key, i), batch["id"]) for i in range(2))
        image = images.centered(images.checked(self, apply, batch["image"]))
        t, r = jax.vmap(self._times)(at)
        noise = normals(of, image.shape[1:], image.dtype)
        velocity = noise - image
        classes = (batch["label"],) if self.num_classes else ()

        @plain_operations()
        def mean_velocity(x: jax.Array, t: jax.Array) -> tuple[jax.Array, Any]:
            found, variables = apply(x, jnp.stack([t, t - r], axis=-1), *classes, train=True, key=key)
            return one_array(found, *image.shape), variables

        noisy = (1 - like(t, image)) * image + like(t, image) * noise
        along = velocity, jnp.ones_like(t)
        found, slope, variables = jax.jvp(mean_velocity, (noisy, t), along, has_aux=True)
        target = jax.lax.stop_gradient(velocity - like(t - r, image) * slope)
        error = jnp.mean((found - target) ** 2, axis=(1, 2, 3))
        loss = error / jax.lax.stop_gradient(error + 1e-3) ** self.power
        return Loss(Mean.of(loss, batch["weight"]), {"error": Mean.of(error, batch["weight"])}, variables)

    def _times(self, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        pair, both = jax.random.split(key)
        times = jax.nn.sigmoid(self.mean + self.spread * jax.random.normal(pair, (2,)))
        t, r = jnp.max(times), jnp.min(times)
        return t, jnp.where(jax.random.bernoulli(both, self.apart), r, t)

    def metrics(self, apply: Apply, batch: Batch, key: jax.Array) -> Metrics:
        """`error`, which is also `loss`: the weighted loss says little, as its value hardly depends on the error."""
        error = self.loss(apply.evaluating(), batch, key).metrics["error"]
        return {"loss": error, "error": error}

    def generative(self, apply: Apply) -> Generative:
        """Samples by `steps` evaluations of the model; there is no density."""

        def decode(start: jax.Array, condition: Any = None) -> jax.Array:
            count = len(start)
            if condition is None and self.num_classes is not None:
                condition = jnp.arange(count) % self.num_classes
            classes = images.told(condition, count, self.num_classes)

            def step(x: jax.Array, pair: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
                t, r = pair
                times = jnp.broadcast_to(jnp.stack([t, t - r])[None], (count, 2))
                return (x - (t - r) * apply(x, times, *classes)[0]).astype(x.dtype), None

            times = even(self.steps)
            return images.displayed(jax.lax.scan(step, start, (times[:-1], times[1:]))[0])

        return decoding(decode, self.shape)

    def artifacts(self, trained: Trained) -> Mapping[str, Sequence[Block]]:
        """Drawn images, of each class in turn if there are classes."""
        return {"samples": shown(self.generative(trained.apply(24)), trained, 24, self.num_classes)}
