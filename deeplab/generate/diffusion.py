"""Denoising diffusion as a task: DDPM, "v" and EDM by the process that it is given."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from deeplab.core import ranges
from deeplab.core.blocks import Block
from deeplab.core.errors import UserError
from deeplab.generate import images
from deeplab.generate.gallery import shown
from deeplab.generate.paths.inpainting import inpainted
from deeplab.generate.paths.likelihoods import log_likelihood, normal_log_prob
from deeplab.generate.paths.processes import Field, Process, noise_prediction, velocity_of
from deeplab.generate.paths.samplers import Step, ddim, ddpm, edm_heun, heun_step, integrate
from deeplab.generate.paths.schedules import exploding
from deeplab.generate.record import Generative, keys_of, normals
from deeplab.metrics.base import Mean
from deeplab.tasks.contract.apply import Apply
from deeplab.tasks.contract.outputs import one_array
from deeplab.tasks.contract.pixels import DRAWN_BEYOND, in_units
from deeplab.tasks.contract.task import Batch, Labels, Loss, Task, Trained

Sampler = Callable[[Process, Field, jax.Array, int, jax.Array], jax.Array]
"""`(process, denoise, start [B, ...], steps, key) -> samples`."""


DDPM = noise_prediction()
"""The process of Ho et al. 2020."""


def deterministic(process: Process, denoise: Field, start: jax.Array, steps: int, key: jax.Array) -> jax.Array:
    """`ddim`.

    Example:
      >>> from deeplab.generate import noise_prediction
      >>> mean = lambda x, t: jnp.full_like(x, 3.0)  # of data that are all 3
      >>> values = deterministic(noise_prediction(), mean, jnp.ones((1, 2)), 4, jax.random.key(0))[0]
      >>> [round(float(v), 3) for v in values]
      [3.0, 3.0]
    """
    del key
    return ddim(denoise, process.schedule, start, process.grid(steps))


def ancestral(process: Process, denoise: Field, start: jax.Array, steps: int, key: jax.Array) -> jax.Array:
    """`ddpm`.

    Example:
      >>> from deeplab.generate import noise_prediction
      >>> mean = lambda x, t: jnp.full_like(x, 3.0)  # of data that are all 3
      >>> [round(float(v), 3) for v in ancestral(noise_prediction(), mean, jnp.ones((1, 2)), 4, jax.random.key(0))[0]]
      [3.0, 3.0]
    """
    return ddpm(denoise, process.schedule, start, process.grid(steps), key)


def second_order(process: Process, denoise: Field, start: jax.Array, steps: int, key: jax.Array) -> jax.Array:
    """`edm_heun` without added noise, for processes whose time is the noise level; 2 steps - 1 evaluations.

    Raises:
      UserError: The process has another schedule.

    Example:
      >>> from deeplab.generate import edm
      >>> mean = lambda x, t: jnp.full_like(x, 3.0)  # of data that are all 3
      >>> [round(float(v), 3) for v in second_order(edm(), mean, jnp.ones((1, 2)), 4, jax.random.key(0))[0]]
      [3.0, 3.0]
    """
    del key
    if process.schedule is not exploding:
        raise UserError("second_order is for processes whose time is the noise level, such as edm(); give along()")
    return edm_heun(denoise, start, process.grid(steps))


@dataclasses.dataclass(frozen=True)
@ranges.checked(untold=ranges.FRACTION, steps=ranges.COUNT, num_classes=ranges.COUNT, exact=ranges.NATURAL)
class Diffusion(Task):
    """A network that predicts what a `Process` asks for of an image at a random time; images are in [0, 1].

    The loss of an example is the mean square of the network's error, at a time and with noise of the example's own key.
    The model is called with the noisy image, scaled to [-1, 1], the label of its time [B], and with its class if there
    are classes.

    Args:
      shape: (H, W, C) of an image.
      process: Schedule, prediction and times; such as `noise_prediction()`, `v_prediction()` or `edm()`.
      num_classes: Number of classes K that the model is told; none when None.
      untold: Probability that a training example's class is not told, for guidance; may be a tracer.
      sampler: How samples are drawn.
      steps: Number of steps of a sample.
      guidance: Scale of classifier-free guidance where classes are asked for.
      clip: Largest absolute value of the denoised image in sampling.
      exact: Largest number of pixels whose likelihood is computed with the exact divergence; of larger images it is
        measured in one random direction.
      likelihood_steps: Number of steps of a likelihood, of four evaluations each.

    Example:
      >>> from deeplab.generate import v_prediction
      >>> Diffusion((8, 8, 1), v_prediction(), num_classes=10, guidance=2.0).steps
      50

    Source: Ho et al. 2020, https://arxiv.org/abs/2006.11239.
    """

    shape: Sequence[int]
    process: Process = DDPM
    num_classes: int | None = None
    untold: float | jax.Array = 0.1
    sampler: Sampler = deterministic
    steps: int = 50
    guidance: float | jax.Array = 1.0
    clip: float | None = 1.0
    exact: int = 64
    likelihood_steps: int = 100

    def inputs(self, batch: Batch) -> tuple[Any, ...]:
        """The image with little noise, its time, and the class "not told", so that a probe reads no class off it."""
        noisy, time = images.with_little_noise(self, self.process, batch)
        return noisy, time, *images.told(None, len(noisy), self.num_classes)

    def labels(self, apply: Apply, batch: Batch) -> Mapping[str, Labels]:
        return images.class_labels(self.num_classes)

    def loss(self, apply: Apply, batch: Batch, key: jax.Array) -> Loss:
        at, of, silent = (keys_of(jax.random.fold_in(key, i), batch["id"]) for i in range(3))
        image = images.centered(images.checked(self, apply, batch["image"]))
        time = jax.vmap(self.process.draw)(at)
        noisy = self.process.noised(image, normals(of, image.shape[1:], image.dtype), time)
        frame = self.process.frame(time)
        classes = images.classes_told(batch, silent, self.num_classes, self.untold)
        scaled = frame.scale[:, None, None, None] * noisy
        found, variables = apply(scaled, frame.label, *classes, train=True, key=key)
        target = self.process.target(image, noisy, time)
        error = jnp.mean((one_array(found, *image.shape) - target) ** 2, axis=(1, 2, 3))
        return Loss(Mean.of(error, batch["weight"]), {}, variables)

    def generative(self, apply: Apply) -> Generative:
        """Samples by `sampler`, and log-densities of images by the probability-flow ODE, of the unconditional model.

        Inpainting takes each of the `steps` ten times; see `paths.inpainting`.
        """
        process, shape = self.process, tuple(self.shape)
        most = jnp.inf if self.clip is None else self.clip

        def bounded(count: int, condition: Any) -> Field:
            denoise = images.with_guidance(process.denoiser, apply, count, condition, self.num_classes, self.guidance)
            return lambda x, t: jnp.clip(denoise(x, t), -most, most)

        def decode(start: jax.Array, condition: Any = None, key: jax.Array | None = None) -> jax.Array:
            _, deviation = process.schedule(process.grid(self.steps)[0])
            field, key = bounded(len(start), condition), jax.random.key(0) if key is None else key
            return images.displayed(self.sampler(process, field, deviation * start, self.steps, key))

        def sample(key: jax.Array, count: int, condition: Any = None) -> jax.Array:
            first, later = jax.random.split(key)
            return decode(normals(keys_of(first, jnp.arange(count)), shape), condition, later)

        def inpaint(key: jax.Array, known: jax.Array, mask: jax.Array, condition: Any = None) -> jax.Array:
            field, times = bounded(len(known), condition), process.grid(self.steps)
            found = inpainted(field, process.schedule, images.masked(self, known, mask), mask, times, key)
            return images.displayed(found)

        def log_prob(x: jax.Array, key: jax.Array) -> jax.Array:
            x = in_units(x, type(self).__name__, shape, DRAWN_BEYOND)
            denoise = process.denoiser(images.network(apply, *images.told(None, len(x), self.num_classes)))
            times = process.fine(self.likelihood_steps)[:-1][::-1]
            _, most = process.schedule(times[-1])
            return ode_log_prob(velocity_of(denoise, process.schedule), x, times, most, key, self.exact)

        return Generative(sample, log_prob, decode, shape, inpaint)

    def artifacts(self, trained: Trained) -> Mapping[str, Sequence[Block]]:
        """Drawn images, of each class in turn if there are classes."""
        return {"samples": shown(self.generative(trained.apply(24)), trained, 24, self.num_classes)}


def ode_log_prob(
    velocity: Field, x: jax.Array, times: jax.Array, deviation: Any, key: jax.Array, exact: int
) -> jax.Array:
    """Log-density [B] of images in [0, 1], in nats, by a velocity of images in [-1, 1].

    Args:
      velocity: Velocity.
      x: Images.
      times: Rising times.
      deviation: Standard deviation of the noise at the last of them.
      key: Key of the random directions.
      exact: Largest number of pixels for which all directions are measured.
    """
    size = x[0].size
    probes = None if size <= exact else 1
    change = size * jnp.log(2.0)  # of the units
    prior = lambda last: normal_log_prob(last, deviation)  # noqa: E731
    return log_likelihood(velocity, images.centered(x), times, prior, key, probes) + change


def along(step: Step = heun_step) -> Sampler:
    """Samples by the probability-flow ODE; its last step is one of D, as the ODE ends where there is no noise.

    Args:
      step: Step of the method, such as `heun_step`.

    Example:
      >>> from deeplab.generate import euler_step, flow
      >>> sampler = along(euler_step)
      >>> values = sampler(flow(), lambda x, t: jnp.full_like(x, 3.0), jnp.ones((1, 2)), 4, jax.random.key(0))[0]
      >>> [round(float(v), 3) for v in values]
      [3.0, 3.0]
    """

    def sample(process: Process, denoise: Field, start: jax.Array, steps: int, key: jax.Array) -> jax.Array:
        del key
        times = process.grid(steps)
        return denoise(integrate(velocity_of(denoise, process.schedule), start, times[:-1], step), times[-2])

    return sample
