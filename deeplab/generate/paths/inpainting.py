"""Samples of which a part is given."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from deeplab.core import ranges
from deeplab.generate.paths.processes import Field
from deeplab.generate.paths.samplers import fresh, reverse_step
from deeplab.generate.paths.schedules import Schedule


@ranges.checked(again=ranges.COUNT)
def inpainted(
    denoise: Field,
    schedule: Schedule,
    known: Float[Array, "B ..."],
    mask: jax.Array,
    times: Float[Array, " N"],
    key: jax.Array,
    again: int = 10,
) -> Float[Array, "B ..."]:
    """Samples that are `known` where the mask is 1: ancestral steps, in which the known places are noised data.

    Each step is taken `again` times, with noise added back in between, so that what is drawn and what is known come to
    agree. With 1 it is the plain replacement (Song et al. 2021), whose samples are too little like what is known.

    Args:
      denoise: D(x, t).
      schedule: Amounts of data and noise.
      known: Examples, of which the values under a mask of 0 are not read.
      mask: 1 where they are known and 0 elsewhere, of a shape that broadcasts to theirs.
      times: Falling times; the last is 0.
      key: Key of the noise.
      again: Number of times that each step is taken.

    Source: Lugmayr et al. 2022, "RePaint", https://arxiv.org/abs/2201.09865, algorithm 1.

    Example (all data are 3, and the first number is told to be 2):
      >>> from deeplab.generate import even, linear
      >>> told, mask = jnp.array([[2.0, 0.0]]), jnp.array([[1.0, 0.0]])
      >>> inpainted(lambda x, t: jnp.full_like(x, 3.0), linear, told, mask, even(5), jax.random.key(0)).tolist()
      [[2.0, 3.0]]
    """
    known = jnp.where(mask > 0, known, 0)

    def step(x: jax.Array, told: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        t, s, number = told
        (a, high), (b, low) = schedule(t), schedule(s)
        of_step, of_data, of_return = (fresh(key, 3 * number + i, x) for i in range(3))
        drawn = reverse_step(denoise, schedule, x, t, s, of_step)
        below = jnp.where(mask > 0, b * known + low * of_data, drawn)
        raised = a / b * below + jnp.sqrt(jnp.maximum(high**2 - (a / b * low) ** 2, 0)) * of_return
        return jnp.where((number + 1) % again == 0, below, raised).astype(x.dtype), None

    now, then = jnp.repeat(times[:-1], again), jnp.repeat(times[1:], again)
    a, deviation = schedule(times[0])
    noise = deviation * fresh(key, jnp.array(-1), known)
    start = noise + jnp.where(mask > 0, a * known, 0)
    return jax.lax.scan(step, start.astype(known.dtype), (now, then, jnp.arange((len(times) - 1) * again)))[0]
