"""Which noise goes with which example of a batch: pairs that lie near each other have straighter paths.

Tong et al. 2024, "Improving and generalizing flow-based generative models with minibatch optimal transport",
https://arxiv.org/abs/2302.00482; the plan: Cuturi 2013, https://arxiv.org/abs/1306.0895. A plan with entropy, and not
the exact assignment, since it is a few products on the device: the assignment is sequential, and would leave the step.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

_ABSENT = -1e9


def sinkhorn(
    cost: Float[Array, "N M"],
    rows: Float[Array, " N"],
    columns: Float[Array, " M"],
    regularization: float | jax.Array,
    iterations: int = 100,
) -> Float[Array, "N M"]:
    """Logarithm of the transport plan of least cost - regularization x entropy.

    Args:
      cost: Cost of each pair.
      rows: Logarithms of the rows' masses.
      columns: Logarithms of the columns' masses, of the same sum.
      regularization: Weight of the entropy, in units of the cost.
      iterations: Number of times that the rows and then the columns are scaled to their masses.

    Example:
      >>> plan = jnp.exp(sinkhorn(jnp.array([[0.0, 1.0], [1.0, 0.0]]), *[jnp.log(jnp.full(2, 0.5))] * 2, 0.2))
      >>> [[round(float(x), 3) for x in row] for row in plan]
      [[0.497, 0.003], [0.003, 0.497]]
    """
    kernel = -cost / regularization

    def scale(column: jax.Array, _: None) -> tuple[jax.Array, jax.Array]:
        row = rows - jax.nn.logsumexp(kernel + column[None], axis=1)
        column = columns - jax.nn.logsumexp(kernel + row[:, None], axis=0)
        return column, row

    column, of_rows = jax.lax.scan(scale, jnp.zeros_like(columns), length=iterations)
    return kernel + of_rows[-1][:, None] + column[None]


def coupled(
    keys: jax.Array,
    x: Float[Array, "B ..."],
    noise: Float[Array, "B ..."],
    weight: Float[Array, " B"],
    regularization: float | jax.Array = 0.05,
) -> Float[Array, "B ..."]:
    """The noise for each example: drawn from those of the batch, by the plan of least squared distance.

    Each has the same chance as before to be in the batch's, so that their law stays normal. Examples of weight 0, and
    their noise, have no part.

    Args:
      keys: Key of each example.
      x: Examples.
      noise: Noise of each example.
      weight: Weights of the examples.
      regularization: Weight of the entropy, in units of the mean cost.

    Example:
      >>> keys, x, noise = jax.random.split(jax.random.key(0), 2), jnp.array([[0.0], [9.0]]), jnp.array([[8.0], [1.0]])
      >>> coupled(keys, x, noise, jnp.ones(2), regularization=0.01).tolist()  # each gets the nearer one
      [[1.0], [8.0]]
    """
    flat, other = x.reshape(len(x), -1), noise.reshape(len(x), -1)
    cost = jnp.sum(flat**2, axis=1)[:, None] + jnp.sum(other**2, axis=1)[None] - 2 * flat @ other.T
    there = weight > 0
    both = there[:, None] & there[None]
    mean = jnp.sum(jnp.where(both, cost, 0)) / jnp.maximum(jnp.sum(both), 1)
    mass = jnp.where(there, -jnp.log(jnp.maximum(jnp.sum(there), 1)), _ABSENT)
    plan = jax.lax.stop_gradient(sinkhorn(cost, mass, mass, regularization * mean))
    chosen = jax.vmap(jax.random.categorical)(keys, plan)
    return noise[jnp.where(there, chosen, jnp.arange(len(x)))]
