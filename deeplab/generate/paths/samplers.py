"""Samplers: scans from noise to data, over a function of (x, t) that may be a network or a formula.

`times` fall, and end at 0. The noise of an example is that of its place in the batch alone, so that the first examples
of a large batch are those of a small one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from deeplab.generate.paths.processes import Field
from deeplab.generate.paths.schedules import Schedule
from deeplab.generate.record import keys_of, normals

Step = Callable[[Any, Any, jax.Array, jax.Array], Any]
"""`(field, x, t, next time) -> x` there."""


def ddim(denoise: Field, schedule: Schedule, x: Float[Array, "B ..."], times: Float[Array, " N"]) -> jax.Array:
    """The deterministic sampler of Song et al. 2021, https://arxiv.org/abs/2010.02502.

    Args:
      denoise: D(x, t).
      schedule: Amounts of data and noise.
      x: Standard normal numbers, times s(times[0]).
      times: Falling times; the last is 0.

    Example (all data are 3):
      >>> from deeplab.generate import even, linear
      >>> ddim(lambda x, t: jnp.full_like(x, 3.0), linear, jnp.ones((2, 1)), even(5)).tolist()
      [[3.0], [3.0]]
    """
    return _backward(denoise, schedule, x, times, 0.0, None)


def ddpm(
    denoise: Field, schedule: Schedule, x: Float[Array, "B ..."], times: Float[Array, " N"], key: jax.Array,
    eta: float = 1.0,
) -> jax.Array:  # fmt: skip
    """The ancestral sampler: x_s from its law given x_t and x_0 = D(x_t, t).

    Its noise has the variance (s_s / s_t)^2 (s_t^2 - (a_t / a_s)^2 s_s^2), the smaller of the two that Ho et al. 2020,
    https://arxiv.org/abs/2006.11239, section 3.2, compare.

    Args:
      denoise: D(x, t).
      schedule: Amounts of data and noise.
      x: Standard normal numbers, times s(times[0]).
      times: Falling times; the last is 0.
      key: Key of the noise.
      eta: Factor of the noise's standard deviation; with 0 it is `ddim`.

    Example:
      >>> from deeplab.generate import even, linear
      >>> ddpm(lambda x, t: jnp.full_like(x, 3.0), linear, jnp.ones((2, 1)), even(5), jax.random.key(0)).tolist()
      [[3.0], [3.0]]
    """
    return _backward(denoise, schedule, x, times, eta, key)


def _backward(
    denoise: Field, schedule: Schedule, x: jax.Array, times: jax.Array, eta: float, key: jax.Array | None
) -> jax.Array:
    def step(x: jax.Array, pair: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        noise = None if key is None else fresh(key, pair[2], x)
        return reverse_step(denoise, schedule, x, pair[0], pair[1], noise, eta).astype(x.dtype), None

    return jax.lax.scan(step, x, (times[:-1], times[1:], jnp.arange(len(times) - 1)))[0]


def reverse_step(
    denoise: Field, schedule: Schedule, x: Float[Array, "B ..."], t: jax.Array, s: jax.Array, fresh: jax.Array | None,
    eta: float = 1.0,
) -> jax.Array:  # fmt: skip
    """The step of `ddpm` from time t to s with standard normal numbers like x; without them, that of `ddim`."""
    (a, now), (b, then) = schedule(t), schedule(s)
    mean = denoise(x, t)
    noise = (x - a * mean) / now
    if fresh is None:
        return b * mean + then * noise
    deviation = eta * then / now * jnp.sqrt(jnp.maximum(now**2 - (a / b * then) ** 2, 0))
    x = b * mean + jnp.sqrt(jnp.maximum(then**2 - deviation**2, 0)) * noise
    return x + deviation * fresh


def fresh(key: jax.Array, number: jax.Array, x: jax.Array) -> jax.Array:
    """Standard normal numbers of x's shape for a step's number; those of a row do not depend on the other rows."""
    return normals(keys_of(jax.random.fold_in(key, number), jnp.arange(len(x))), x.shape[1:], x.dtype)


def edm_heun(
    denoise: Field,
    x: Float[Array, "B ..."],
    levels: Float[Array, " N"],
    key: jax.Array | None = None,
    churn: float = 0.0,
    least: float = 0.0,
    most: float = float("inf"),
    inflation: float = 1.0,
) -> jax.Array:
    """Algorithm 2 of Karras et al. 2022, https://arxiv.org/abs/2206.00364, with 2 N - 3 evaluations of D.

    Args:
      denoise: D(x, level).
      x: Standard normal numbers, times levels[0].
      levels: Falling noise levels; the last is 0.
      key: Key of the noise that is added; none is when None.
      churn: S_churn, the amount of noise that all steps add together.
      least: S_min, the smallest level where noise is added.
      most: S_max, the largest one.
      inflation: S_noise, the standard deviation of what is added.

    Example:
      >>> edm_heun(lambda x, level: jnp.full_like(x, 3.0), jnp.ones((2, 1)), jnp.array([2.0, 1.0, 0.0])).tolist()
      [[3.0], [3.0]]
    """
    most_at_once = 2**0.5 - 1

    def raised(x: jax.Array, level: jax.Array, number: Any) -> tuple[jax.Array, jax.Array]:
        if key is None:
            return x, level
        share = jnp.minimum(churn / (len(levels) - 1), most_at_once)
        share = jnp.where((level >= least) & (level <= most), share, 0.0)
        # sqrt(higher^2 - level^2), which a fused subtraction may turn into the root of less than 0.
        deviation = level * jnp.sqrt(share * (2 + share))
        return x + deviation * inflation * fresh(key, number, x), level * (1 + share)

    def step(x: jax.Array, pair: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        higher, level = raised(x, pair[0], pair[2])
        return heun_step(lambda x, s: (x - denoise(x, s)) / s, higher, level, pair[1]).astype(x.dtype), None

    number = jnp.arange(len(levels) - 2)
    x, _ = jax.lax.scan(step, x, (levels[:-2], levels[1:-1], number))
    return denoise(*raised(x, levels[-2], len(levels) - 2))  # Euler's step to 0 is D itself


def euler_step(velocity: Any, x: Any, t: jax.Array, s: jax.Array) -> Any:
    """Euler's step from time t to s; x may be a tree.

    Example:
      >>> float(euler_step(lambda x, t: x, jnp.ones(()), jnp.array(0.0), jnp.array(0.5)))
      1.5
    """
    return jax.tree.map(lambda x, v: x + (s - t) * v, x, velocity(x, t))


def heun_step(velocity: Any, x: Any, t: jax.Array, s: jax.Array) -> Any:
    """Heun's step: with the mean of the velocities at both ends, of an error of third order.

    Example:
      >>> float(heun_step(lambda x, t: x, jnp.ones(()), jnp.array(0.0), jnp.array(0.5)))
      1.625
    """
    first = velocity(x, t)
    second = velocity(jax.tree.map(lambda x, v: x + (s - t) * v, x, first), s)
    return jax.tree.map(lambda x, v, w: x + (s - t) * (v + w) / 2, x, first, second)


def runge_kutta_step(velocity: Any, x: Any, t: jax.Array, s: jax.Array) -> Any:
    """The classical step of Runge and Kutta, with four velocities, of an error of fifth order.

    Example:
      >>> end = runge_kutta_step(lambda x, t: x, jnp.ones(()), jnp.array(0.0), jnp.array(0.5))
      >>> round(float(end), 4)  # exp(0.5) = 1.6487
      1.6484
    """
    step = s - t

    def moved(slope: Any, part: float) -> Any:
        return jax.tree.map(lambda x, v: x + part * step * v, x, slope)

    first = velocity(x, t)
    second = velocity(moved(first, 0.5), t + step / 2)
    third = velocity(moved(second, 0.5), t + step / 2)
    fourth = velocity(moved(third, 1.0), s)
    return jax.tree.map(
        lambda x, a, b, c, d: x + step * (a + 2 * b + 2 * c + d) / 6, x, first, second, third, fourth
    )  # fmt: skip


def integrate(velocity: Any, x: Any, times: Float[Array, " N"], step: Step = euler_step) -> Any:
    """The solution of dx/dt = velocity(x, t) at the last of some times.

    Args:
      velocity: Function of a tree and a time, to a tree alike.
      x: Its value at times[0].
      times: Times, rising or falling.
      step: Step from one to the next.

    Example:
      >>> times = jnp.linspace(0.0, 1.0, 5)
      >>> [round(float(integrate(lambda x, t: x, jnp.ones(()), times, step)), 3)
      ...     for step in (euler_step, heun_step, runge_kutta_step)]
      [2.441, 2.695, 2.718]
    """

    def body(x: Any, pair: tuple[jax.Array, jax.Array]) -> tuple[Any, None]:
        return jax.tree.map(lambda new, old: new.astype(old.dtype), step(velocity, x, *pair), x), None

    return jax.lax.scan(body, x, (times[:-1], times[1:]))[0]


def guided(conditional: Field, unconditional: Field, scale: float | jax.Array) -> Field:
    """Classifier-free guidance: u + scale (c - u), of denoisers or of velocities.

    Args:
      conditional: c, which knows the condition.
      unconditional: u, which does not.
      scale: Guidance; 1 is the conditional model, 0 the unconditional one.

    Example:
      >>> told = guided(lambda x, t: 2.0 * x, lambda x, t: 1.0 * x, scale=3.0)
      >>> float(told(jnp.ones(()), jnp.zeros(())))
      4.0

    Source: Ho and Salimans 2022, https://arxiv.org/abs/2207.12598, where w = scale - 1.
    """

    def field(x: jax.Array, t: jax.Array) -> jax.Array:
        without = unconditional(x, t)
        return without + scale * (conditional(x, t) - without)

    return field
