"""How much of the data and of the noise there is at a time, and the times of samplers."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

Schedule = Callable[[jax.Array], tuple[jax.Array, jax.Array]]
"""From times to (a, s)."""


def linear(t: jax.Array) -> tuple[jax.Array, jax.Array]:
    """DDPM's noise that grows linearly, from 0.1 to 20 per unit of time, a^2 + s^2 = 1, t in [0, 1].

    Source: Ho et al. 2020, https://arxiv.org/abs/2006.11239; the continuous form: Song et al. 2021,
    https://arxiv.org/abs/2011.13456, appendix C.

    Example:
      >>> [round(float(x), 3) for x in linear(jnp.array(0.5))]
      [0.281, 0.96]
    """
    total = 0.1 * t + 9.95 * t**2
    return jnp.exp(-total / 2), jnp.sqrt(-jnp.expm1(-total))


def cosine(t: jax.Array) -> tuple[jax.Array, jax.Array]:
    """a = cos(u(t)) / cos(u(0)), u(t) = (0.008 + 0.99 t) / 1.008 pi / 2, a^2 + s^2 = 1, t in [0, 1].

    Nichol and Dhariwal 2021, https://arxiv.org/abs/2102.09672, section 3.2, have t in place of 0.99 t, where a ends as
    0, and bound the noise of a step; here a ends as 0.016.

    Example:
      >>> [round(float(x), 3) for x in cosine(jnp.array(0.5))]
      [0.708, 0.706]
    """
    first, more = jnp.pi / 2 * 0.008 / 1.008, jnp.pi / 2 * 0.99 * t / 1.008
    # 1 - a^2 as a product: it is no difference of nearly equal numbers where the noise is small.
    return jnp.cos(first + more) / jnp.cos(first), jnp.sqrt(jnp.sin(more) * jnp.sin(more + 2 * first)) / jnp.cos(first)


def exploding(t: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The time is the noise's standard deviation: a = 1, s = t (Karras et al. 2022).

    Example:
      >>> [float(x) for x in exploding(jnp.array(3.0))]
      [1.0, 3.0]
    """
    return jnp.ones_like(t), t


def straight(t: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The straight line: a = 1 - t, s = t, t in [0, 1] (Lipman et al. 2023, with the time reversed).

    Example:
      >>> [float(x) for x in straight(jnp.array(0.25))]
      [0.75, 0.25]
    """
    return 1 - t, t


def even(count: int) -> jax.Array:
    """Times 1, ..., 1 / count, 0.

    Example:
      >>> even(4).tolist()
      [1.0, 0.75, 0.5, 0.25, 0.0]
    """
    return jnp.linspace(1.0, 0.0, count + 1)


def squared(count: int) -> jax.Array:
    """Times (1, ..., 1 / count, 0)^2: the smaller, the denser, for likelihoods."""
    return even(count) ** 2


def karras(count: int, smallest: float = 0.002, largest: float = 80.0, rho: float = 7.0) -> jax.Array:
    """Noise levels from `largest` to `smallest`, `count` of them, and 0 (Karras et al. 2022, equation 5).

    Example:
      >>> [round(float(x), 3) for x in karras(3)]
      [80.0, 2.515, 0.002, 0.0]
    """
    high, low = largest ** (1 / rho), smallest ** (1 / rho)
    return jnp.append((high + jnp.linspace(0, 1, count) * (low - high)) ** rho, 0.0)
