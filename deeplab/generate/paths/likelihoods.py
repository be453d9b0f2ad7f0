"""Log-likelihoods by the change of variables along an ODE.

Chen et al. 2018, https://arxiv.org/abs/1806.07366; Hutchinson's estimate of the divergence: Grathwohl et al. 2019,
https://arxiv.org/abs/1810.01367.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from deeplab.core import precision, ranges
from deeplab.core.errors import UserError
from deeplab.core.jax_compat import plain_operations
from deeplab.generate.paths.processes import Field
from deeplab.generate.paths.samplers import integrate, runge_kutta_step
from deeplab.generate.record import keys_of


def normal_log_prob(x: Float[Array, "B ..."], deviation: float | jax.Array = 1.0) -> Float[Array, " B"]:
    """Log-density of independent normal numbers of mean 0, in nats.

    Example:
      >>> round(float(normal_log_prob(jnp.zeros((1, 2)))[0]), 4)
      -1.8379
    """
    flat = x.reshape(len(x), -1) / deviation
    return -0.5 * jnp.sum(flat**2, axis=-1) - flat.shape[1] * (0.5 * jnp.log(2 * jnp.pi) + jnp.log(deviation))


def divergence(
    velocity: Field, x: Float[Array, "B ..."], t: jax.Array, probes: Float[Array, "N B ..."] | None = None
) -> tuple[jax.Array, Float[Array, " B"]]:
    """A velocity and its divergence: the trace of each example's Jacobian.

    Args:
      velocity: Function that treats each example by itself.
      x: Examples, of D numbers each.
      t: Time.
      probes: Random signs z, of which the mean of z^T J z is taken; all D directions, exactly, when None.

    Example:
      >>> value, trace = divergence(lambda x, t: t * x**2, jnp.array([[1.0, 2.0]]), jnp.array(3.0))
      >>> value.tolist(), trace.tolist()
      ([[3.0, 12.0]], [18.0])
    """
    exact = probes is None
    size = x[0].size
    along = jnp.eye(size, dtype=x.dtype).reshape(size, 1, *x.shape[1:]) if exact else probes
    value, slope = jax.linearize(lambda x: plain_operations()(velocity)(x, t), x)
    products = jax.vmap(lambda z: z * slope(jnp.broadcast_to(z, x.shape)))(along)  # [N, B, ...]
    each = jnp.sum(products.reshape(*products.shape[:2], -1), axis=-1)
    return value, jnp.sum(each, axis=0) if exact else jnp.mean(each, axis=0)


@precision.exact
@ranges.checked(probes=ranges.COUNT)
def log_likelihood(
    velocity: Field,
    x: Float[Array, "B ..."],
    times: Float[Array, " N"],
    prior: Callable[[jax.Array], jax.Array],
    key: jax.Array | None = None,
    probes: int | None = None,
) -> Float[Array, " B"]:
    """log p(x) = log prior(x_1) + the integral of the velocity's divergence along the way there, in nats.

    Args:
      velocity: Velocity of the ODE.
      x: Examples at times[0].
      times: Rising times.
      prior: Log-density at the last of them.
      key: Key of the probes.
      probes: Number of random directions in which the divergence is measured, the same at all times; exact when None,
        with D products for D numbers.

    Raises:
      UserError: Probes are asked for without a key.

    Example:
      >>> from deeplab.generate import even
      >>> prior = lambda x: -jnp.sum(x**2, axis=1)
      >>> still = lambda x, t: jnp.zeros_like(x)  # then nothing moves, and the density is the prior's
      >>> log_likelihood(still, jnp.ones((1, 2)), jnp.linspace(0.0, 1.0, 3), prior).tolist()
      [-2.0]
    """
    signs = None
    if probes is not None and key is None:
        raise UserError(
            f"probes={probes} random directions need a key; give key=, or probes=None for the exact divergence"
        )
    if probes is not None and key is not None:
        keys = keys_of(key, jnp.arange(len(x)))
        signs = jax.vmap(lambda k: jax.random.rademacher(k, (probes, *x.shape[1:]), x.dtype), out_axes=1)(keys)

    def both(state: tuple[jax.Array, jax.Array], t: jax.Array) -> tuple[jax.Array, jax.Array]:
        return divergence(velocity, state[0], t, signs)

    last, change = integrate(both, (x, jnp.zeros(len(x), x.dtype)), times, runge_kutta_step)
    return prior(last) + change
