"""From data to noise: how much of each there is at a time, and what a network predicts on the way back.

x_t = a(t) x_0 + s(t) e, with the data x_0 at time 0 and standard normal noise e. All that diffusion models and flows
differ in is the schedule (a, s) and the frame, which makes of a network F the mean of x_0 that is left to x_t:

D(x, t) = skip(t) x + out(t) F(scale(t) x, label(t)).

The loss is that of F, the mean of |F - (x_0 - skip x_t) / out|^2: it is the noise's of Ho et al. 2020, the "v" of
Salimans and Ho 2022, Karras et al. 2022 with their weights, and the velocity's of a flow.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from deeplab.core.errors import UserError
from deeplab.generate.paths.schedules import Schedule, cosine, even, exploding, karras, linear, squared, straight
from deeplab.generate.record import like

Field = Callable[[jax.Array, jax.Array], jax.Array]
"""From (x [B, ...], a time, the same for all) to [B, ...]: a denoiser D, or a velocity dx/dt."""

Network = Callable[[jax.Array, jax.Array], jax.Array]
"""From (scaled x [B, ...], labels of the time) to what is predicted, [B, ...]."""


class Frame(NamedTuple):
    """What stands around a network at a time; see the module.

    Attributes:
      skip: Factor of x_t in D.
      out: Factor of the network's output in D.
      scale: Factor of what the network reads.
      label: Number that tells it the time.
    """

    skip: jax.Array
    out: jax.Array
    scale: jax.Array
    label: jax.Array


@dataclasses.dataclass(frozen=True)
class Process:
    """A schedule, what a network predicts, and which times matter.

    Args:
      schedule: Amounts of data and noise.
      frame: What stands around the network.
      draw: Function from a key to the time of a training example.
      grid: Function from a number n of steps to the times of sampling, [n + 1], falling, the last 0.
      fine: Likewise, the times of a likelihood.

    Example:
      >>> from deeplab.generate import flow
      >>> flow().noised(jnp.zeros((1, 2)), jnp.ones((1, 2)), jnp.array([0.25])).tolist()
      [[0.25, 0.25]]
    """

    schedule: Schedule
    frame: Callable[[jax.Array], Frame]
    draw: Callable[[jax.Array], jax.Array] = jax.random.uniform
    grid: Callable[[int], jax.Array] = even
    fine: Callable[[int], jax.Array] = squared

    def noised(self, x: jax.Array, noise: jax.Array, t: jax.Array) -> jax.Array:
        """x_t."""
        a, s = self.schedule(t)
        return like(a, x) * x + like(s, x) * noise

    def target(self, x: jax.Array, noisy: jax.Array, t: jax.Array) -> jax.Array:
        """What the network is to predict."""
        frame = self.frame(t)
        return (x - like(frame.skip, x) * noisy) / like(frame.out, x)

    def read(self, network: Network, noisy: jax.Array, t: jax.Array) -> jax.Array:
        """What the network predicts."""
        frame = self.frame(t)
        return network(like(frame.scale, noisy) * noisy, frame.label)

    def denoiser(self, network: Network, clip: float | None = None) -> Field:
        """D, the mean of the data that is left to x_t.

        Args:
          network: Network.
          clip: Largest absolute value of the data; not bounded when None.
        """

        def denoise(x: jax.Array, t: jax.Array) -> jax.Array:
            frame = self.frame(t)
            mean = like(frame.skip, x) * x + like(frame.out, x) * self.read(network, x, t)
            return mean if clip is None else jnp.clip(mean, -clip, clip)

        return denoise


def noise_prediction(schedule: Schedule = linear) -> Process:
    """The network predicts the noise (Ho et al. 2020).

    Raises:
      UserError: At time 1, where samples begin, the schedule leaves nothing of the data, or not yet noise.

    Example:
      >>> noise_prediction().noised(jnp.ones((1, 1)), jnp.zeros((1, 1)), jnp.array([0.0])).round(3).tolist()
      [[1.0]]
    """

    if schedule is not linear and schedule is not cosine:  # which are made with the module, where nothing is computed
        with jax.ensure_compile_time_eval():
            a, s = (float(x) for x in schedule(jnp.ones(())))
        if not 0 < a < s / 2:
            raise UserError(
                f"noise_prediction divides by a(1) and begins samples with the noise of s(1); the schedule has a(1) = "
                f"{a:.3g} and s(1) = {s:.3g}, expected a(1) above 0 and below s(1) / 2; give flow() for the straight "
                "line, and edm() for the time that is the noise level"
            )

    def frame(t: jax.Array) -> Frame:
        a, s = schedule(t)
        return Frame(1 / a, -s / a, jnp.ones_like(t), t)

    return Process(schedule, frame, draw=_inner)


def v_prediction(schedule: Schedule = cosine) -> Process:
    """The network predicts a e - s x_0 (Salimans and Ho 2022, https://arxiv.org/abs/2202.00512); a^2 + s^2 = 1.

    Raises:
      UserError: The schedule has another sum.

    Example:
      >>> [round(float(x), 3) for x in v_prediction().schedule(jnp.array(0.0))]
      [1.0, 0.0]
    """

    if schedule is not linear and schedule is not cosine:
        with jax.ensure_compile_time_eval():
            a, s = (float(x) for x in schedule(jnp.full((), 0.5)))
        if abs(a**2 + s**2 - 1) > 1e-3:
            raise UserError(
                f"v_prediction is for schedules of a^2 + s^2 = 1, and this one has {a**2 + s**2:.3g} at time 0.5; give "
                "flow() for the straight line, and edm() for the time that is the noise level"
            )

    def frame(t: jax.Array) -> Frame:
        a, s = schedule(t)
        return Frame(a, -s, jnp.ones_like(t), t)

    return Process(schedule, frame, draw=_inner)


def _inner(key: jax.Array) -> jax.Array:
    """Uniform times; none is so small that the noise is nothing."""
    return jax.random.uniform(key, minval=1e-3)


def edm(deviation: float = 0.5, mean: float = -1.2, spread: float = 1.2) -> Process:
    """The design of Karras et al. 2022, https://arxiv.org/abs/2206.00364, table 1.

    Args:
      deviation: Standard deviation of the data.
      mean: Mean of the logarithm of training's noise levels.
      spread: Standard deviation of that logarithm.

    Example:
      >>> [float(x) for x in edm().schedule(jnp.array(2.0))]  # the time is the noise level
      [1.0, 2.0]
    """

    def frame(t: jax.Array) -> Frame:
        whole = jnp.sqrt(t**2 + deviation**2)
        return Frame(deviation**2 / whole**2, t * deviation / whole, 1 / whole, jnp.log(t) / 4)

    def draw(key: jax.Array) -> jax.Array:
        return jnp.exp(mean + spread * jax.random.normal(key))

    return Process(exploding, frame, draw, karras, karras)


def flow() -> Process:
    """The network predicts the velocity e - x_0 of the straight line.

    Example:
      >>> [float(x) for x in flow().schedule(jnp.array(0.25))]
      [0.75, 0.25]
    """

    def frame(t: jax.Array) -> Frame:
        one = jnp.ones_like(t)
        return Frame(one, -t, one, t)

    return Process(straight, frame, draw=_inner)


def velocity_of(denoise: Field, schedule: Schedule) -> Field:
    """The velocity of the probability-flow ODE, a' D + s' (x - a D) / s, for t above 0.

    Example:
      >>> from deeplab.generate import straight
      >>> velocity = velocity_of(lambda x, t: jnp.zeros_like(x), straight)  # data that are all 0: the velocity is x / t
      >>> float(velocity(jnp.ones(1), jnp.array([0.5]))[0])
      2.0

    Source: Song et al. 2021, https://arxiv.org/abs/2011.13456, equation 13.
    """

    def velocity(x: jax.Array, t: jax.Array) -> jax.Array:
        (a, s), (da, ds) = jax.jvp(schedule, (t,), (jnp.ones_like(t),))
        mean = denoise(x, t)
        return like(da, x) * mean + like(ds / s, x) * (x - like(a, x) * mean)

    return velocity


def score_of(denoise: Field, schedule: Schedule) -> Field:
    """The gradient of the log-density of x_t: (a D - x) / s^2 (Tweedie's formula).

    Example:
      >>> from deeplab.generate import straight
      >>> score = score_of(lambda x, t: jnp.zeros_like(x), straight)  # data that are all 0: the score is -x / t^2
      >>> float(score(jnp.ones(1), jnp.array([0.5]))[0])
      -4.0
    """

    def score(x: jax.Array, t: jax.Array) -> jax.Array:
        a, s = schedule(t)
        return (like(a, x) * denoise(x, t) - x) / like(s**2, x)

    return score
