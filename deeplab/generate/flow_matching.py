"""Flow matching: the velocity along straight lines from noise to data."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from deeplab.core import ranges
from deeplab.core.blocks import Block
from deeplab.generate import images
from deeplab.generate.diffusion import ode_log_prob
from deeplab.generate.gallery import shown
from deeplab.generate.paths.couplings import coupled
from deeplab.generate.paths.inpainting import inpainted
from deeplab.generate.paths.processes import Field, flow
from deeplab.generate.paths.samplers import Step, euler_step, integrate
from deeplab.generate.paths.schedules import even, straight
from deeplab.generate.record import Generative, decoding, keys_of, like, normals
from deeplab.metrics.base import Mean
from deeplab.tasks.contract.apply import Apply
from deeplab.tasks.contract.outputs import one_array
from deeplab.tasks.contract.pixels import DRAWN_BEYOND, in_units
from deeplab.tasks.contract.task import Batch, Labels, Loss, Task, Trained


@dataclasses.dataclass(frozen=True)
@ranges.checked(untold=ranges.FRACTION, steps=ranges.COUNT, coupling=ranges.POSITIVE, num_classes=ranges.COUNT)
class FlowMatching(Task):
    """The model learns e - x_0 at x_t = (1 - t) x_0 + t e, t uniform in [0, 1]; samples follow it from t = 1 to 0.

    The path is that of optimal transport between one example and the noise; with `coupling`, examples and noises of a
    batch are paired by optimal transport, too. Pairs are those of a microbatch: accumulation makes them fewer. Images
    are in [0, 1]; the model is called with the noisy image, scaled to [-1, 1], its time [B], and its class if any.

    Args:
      shape: (H, W, C) of an image.
      coupling: Entropy of the plan that pairs a batch, in units of its mean cost, such as 0.05; independent when None.
      num_classes: Number of classes K that the model is told; none when None.
      untold: Probability that a training example's class is not told, for guidance; may be a tracer.
      step: Step of the solver.
      steps: Number of steps of a sample.
      guidance: Scale of classifier-free guidance where classes are asked for.
      exact: Largest number of pixels whose likelihood is computed with the exact divergence.
      likelihood_steps: Number of steps of a likelihood, of four evaluations each.

    Example:
      >>> FlowMatching((8, 8, 1), coupling=0.05).steps
      50

    Source: Lipman et al. 2023, https://arxiv.org/abs/2210.02747; coupling: Tong et al. 2024,
      https://arxiv.org/abs/2302.00482.
    """

    shape: Sequence[int]
    coupling: float | None = None
    num_classes: int | None = None
    untold: float | jax.Array = 0.1
    step: Step = euler_step
    steps: int = 50
    guidance: float | jax.Array = 1.0
    exact: int = 64
    likelihood_steps: int = 50

    def inputs(self, batch: Batch) -> tuple[Any, ...]:
        """The image with little noise, its time, and the class "not told", so that a probe reads no class off it."""
        noisy, time = images.with_little_noise(self, flow(), batch)
        return noisy, time, *images.told(None, len(noisy), self.num_classes)

    def labels(self, apply: Apply, batch: Batch) -> Mapping[str, Labels]:
        return images.class_labels(self.num_classes)

    def loss(self, apply: Apply, batch: Batch, key: jax.Array) -> Loss:
        at, of, silent, pairs = (keys_of(jax.random.fold_in(key, i), batch["id"]) for i in range(4))
        image = images.centered(images.checked(self, apply, batch["image"]))
        time, noise = jax.vmap(jax.random.uniform)(at), normals(of, image.shape[1:], image.dtype)
        if self.coupling is not None:
            noise = coupled(pairs, image, noise, batch["weight"], self.coupling)
        t = like(time, image)
        classes = images.classes_told(batch, silent, self.num_classes, self.untold)
        found, variables = apply((1 - t) * image + t * noise, time, *classes, train=True, key=key)
        error = jnp.mean((one_array(found, *image.shape) - (noise - image)) ** 2, axis=(1, 2, 3))
        return Loss(Mean.of(error, batch["weight"]), {}, variables)

    def generative(self, apply: Apply) -> Generative:
        """Samples by `steps` steps of the ODE, and log-densities of images, of the unconditional model.

        Inpainting takes each of the `steps` ten times; see `paths.inpainting`.
        """

        def velocity_of(count: int, condition: Any) -> Field:
            given = apply, count, condition, self.num_classes, self.guidance
            return images.with_guidance(lambda network: network, *given)

        def decode(start: jax.Array, condition: Any = None) -> jax.Array:
            velocity = velocity_of(len(start), condition)
            return images.displayed(integrate(velocity, start, even(self.steps), self.step))

        def inpaint(key: jax.Array, known: jax.Array, mask: jax.Array, condition: Any = None) -> jax.Array:
            velocity, times = velocity_of(len(known), condition), even(self.steps)
            denoise = lambda x, t: x - t * velocity(x, t)  # noqa: E731
            return images.displayed(inpainted(denoise, straight, images.masked(self, known, mask), mask, times, key))

        def log_prob(x: jax.Array, key: jax.Array) -> jax.Array:
            x = in_units(x, type(self).__name__, self.shape, DRAWN_BEYOND)
            velocity = images.network(apply, *images.told(None, len(x), self.num_classes))
            return ode_log_prob(velocity, x, even(self.likelihood_steps)[::-1], 1.0, key, self.exact)

        return decoding(decode, self.shape, log_prob=log_prob, inpaint=inpaint)

    def artifacts(self, trained: Trained) -> Mapping[str, Sequence[Block]]:
        """Drawn images, of each class in turn if there are classes."""
        return {"samples": shown(self.generative(trained.apply(24)), trained, 24, self.num_classes)}
