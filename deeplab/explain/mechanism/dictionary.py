"""Sparse autoencoders: the values of a tap as sums of a few directions out of many."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from deeplab.core.errors import UserError
from deeplab.explain.taps import Function, edited

Codes = Callable[[Float[Array, "*B F"]], Float[Array, "*B F"]]
"""From what an encoder gives to the strengths of features, most of them 0."""


def top_k(k: int) -> Codes:
    """The k largest of each row where they are positive (Gao et al. 2024, https://arxiv.org/abs/2406.04093).

    Example:
      >>> top_k(1)(jnp.array([[1.0, 3.0, -2.0]])).tolist()
      [[0.0, 3.0, 0.0]]
    """

    def codes(x: Float[Array, "*B F"]) -> Float[Array, "*B F"]:
        least = jax.lax.top_k(x, k)[0][..., -1:]
        return jnp.where(x >= least, nn.relu(x), 0)

    return codes


class SparseAutoencoder(nn.Module):
    """x = bias + sum of a few unit directions d_f, each as strong as its code.

    codes = codes(W (x - bias) + b). Without `codes`, those above a learned threshold of each feature: a JumpReLU, whose
    threshold learns by a kernel of width `bandwidth` around it.

    Args:
      width: F, number of features.
      codes: Function that makes codes sparse, such as `top_k(8)`; JumpReLU when None.
      bandwidth: Width of the kernel.

    Example:
      >>> layer = SparseAutoencoder(width=32, codes=top_k(2))
      >>> (codes, rebuilt), _ = layer.init_with_output(jax.random.key(0), jnp.ones((5, 8)))
      >>> codes.shape, rebuilt.shape
      ((5, 32), (5, 8))

    Source: Rajamanoharan et al. 2024, https://arxiv.org/abs/2407.14435, for JumpReLU.
    """

    width: int
    codes: Codes | None = None
    bandwidth: float = 0.2

    @nn.compact
    def __call__(self, x: Float[Array, "*B D"]) -> tuple[Float[Array, "*B F"], Float[Array, "*B D"]]:
        """The codes, and what they add up to."""
        D = x.shape[-1]
        directions: Any = self.param("directions", nn.initializers.normal(1.0), (self.width, D))
        directions = directions / jnp.linalg.norm(directions, axis=1, keepdims=True)
        kernel = self.param("kernel", lambda key: directions.T)
        bias: Any = self.param("bias", nn.initializers.zeros, (D,))
        lead = [None] * (x.ndim - 1)
        found = (x - bias[(*lead,)]) @ kernel + self.param("shift", nn.initializers.zeros, (self.width,))[(*lead,)]
        if self.codes is None:
            thresholds = jnp.exp(self.param("threshold", nn.initializers.constant(-3.0), (self.width,)))
            codes = _jump(nn.relu(found), jnp.broadcast_to(thresholds[(*lead,)], found.shape), self.bandwidth)
        else:
            codes = self.codes(found)
        return codes, codes @ directions + bias[(*lead,)]


class Dictionary(NamedTuple):
    """A sparse autoencoder that has been learnt, and how good it is.

    Attributes:
      module: The module.
      variables: Its variables.
      directions: Unit directions of the features, [F, D].
      fvu: Fraction of the variance that is not explained.
      l0: Mean number of features of a row.
      dead: Fraction of features that no row has.
    """

    module: SparseAutoencoder
    variables: Any
    directions: Float[Array, "F D"]
    fvu: Array
    l0: Array
    dead: Array

    def rebuild(self, x: Float[Array, "*B D"]) -> Float[Array, "*B D"]:
        """What is left of values by way of the dictionary."""
        variables: Any = self.module.apply(self.variables, x)
        return variables[1]


def sae_loss(
    module: SparseAutoencoder, variables: Any, x: Float[Array, "N D"], sparsity: float = 0.0
) -> Float[Array, ""]:
    """Mean squared error, and `sparsity` times the mean number of features of a row: a loss for any optimizer.

    Args:
      module: Module.
      variables: Its variables.
      x: Values of a tap, one a row.
      sparsity: Price of a feature; its derivative reaches the thresholds of a JumpReLU only.
    """
    out: Any = module.apply(variables, x)
    _, rebuilt = out
    loss = jnp.mean(jnp.sum((x - rebuilt) ** 2, axis=-1))
    if module.codes is None and sparsity:
        thresholds = jnp.exp(variables["params"]["threshold"])[None]
        found = (x - variables["params"]["bias"][None]) @ variables["params"]["kernel"]
        found = nn.relu(found + variables["params"]["shift"][None])
        loss = loss + sparsity * jnp.mean(jnp.sum(_step(found, jnp.broadcast_to(thresholds, found.shape),
                                                        module.bandwidth), axis=-1))  # fmt: skip
    return loss


def sae(
    x: Float[Array, "N D"], width: int, codes: Codes | None = None, *, key: Array, steps: int = 2000, batch: int = 512,
    learning_rate: float = 3e-3, sparsity: float = 0.0,
) -> Dictionary:  # fmt: skip
    """Learns a dictionary of the values of a tap, in one program; a function of its arguments, with no effects.

    Args:
      x: Values of a tap, one a row.
      width: F, number of features.
      codes: Function that makes codes sparse, such as `top_k(8)`; JumpReLU when None.
      key: Random key.
      steps: Steps of Adam.
      batch: Rows of a step.
      learning_rate: Learning rate, which falls to 0 in the last fifth.
      sparsity: As of `sae_loss`; a JumpReLU wants one.

    Raises:
      UserError: x is no table, or a JumpReLU has no price of features.

    Example:
      >>> which = jax.random.randint(jax.random.key(0), (64,), 0, 4)
      >>> x = jnp.eye(4)[which]  # each row has one of four features
      >>> found = sae(x, width=8, codes=top_k(1), key=jax.random.key(1), steps=100, batch=32, learning_rate=0.05)
      >>> found.directions.shape, bool(found.fvu < 0.01), found.l0.item()
      ((8, 4), True, 1.0)
    """
    if x.ndim != 2 or (codes is None and not sparsity):
        raise UserError(f"x has the shape {x.shape} and sparsity={sparsity}; give rows [N, D], and a JumpReLU a price")
    module = SparseAutoencoder(width, codes)
    first, order = jax.random.split(key)
    scale = jnp.sqrt(jnp.mean(jnp.sum((x - x.mean(axis=0, keepdims=True)) ** 2, axis=1)))
    rows = x / scale
    variables = module.init(first, rows[:1])
    rate = optax.linear_schedule(learning_rate, 0.0, steps // 5, transition_begin=steps - steps // 5)
    optimizer = optax.adam(rate)

    def step(carry: Any, key: Array) -> tuple[Any, None]:
        variables, state = carry
        chosen = rows[jax.random.randint(key, (batch,), 0, len(rows))]
        slopes = jax.grad(lambda v: sae_loss(module, v, chosen, sparsity))(variables)
        moves, state = optimizer.update(slopes, state)
        return (optax.apply_updates(variables, moves), state), None

    (variables, _), _ = jax.lax.scan(step, (variables, optimizer.init(variables)), jax.random.split(order, steps))
    return _measured(module, _scaled(variables["params"], scale), x)


def mmcs(found: Float[Array, "F D"], true: Float[Array, "M D"]) -> Float[Array, ""]:
    """How well directions are found: over the true ones, the mean of the largest cosine with a found one.

    Example:
      >>> float(mmcs(jnp.eye(3), 2 * jnp.eye(3)[:2]))
      1.0

    Source: Sharkey, Braun and Millidge 2022, https://www.alignmentforum.org/posts/z6QQJbtpkEAX3Aojj.
    """
    unit = [x / jnp.linalg.norm(x, axis=1, keepdims=True) for x in (true, found)]
    return jnp.mean(jnp.max(unit[0] @ unit[1].T, axis=1))


def loss_recovered(loss: Function, name: str, dictionary: Dictionary, *inputs: Any) -> Float[Array, ""]:
    """The share of a loss that the rebuilt values of a tap keep: 1 as if nothing were changed, 0 as if it were zeroed.

    Args:
      loss: Function of the inputs to a number, which calls Linen modules.
      name: Name of the tap.
      dictionary: Dictionary of its values.
      *inputs: Inputs of the loss.

    Example:
      >>> from deeplab.explain.taps import mark
      >>> loss = lambda x: ((mark(x, "part") - 1) ** 2).sum()
      >>> class Half:  # a dictionary that rebuilds half of each value
      ...     rebuild = staticmethod(lambda x: x / 2)
      >>> loss_recovered(loss, "part", Half, jnp.ones(4)).item()
      0.75
    """
    whole = loss(*inputs)
    rebuilt, zeroed = (edited(loss, {name: e})(*inputs) for e in (dictionary.rebuild, jnp.zeros_like))
    return (zeroed - rebuilt) / (zeroed - whole)


def _scaled(params: Any, scale: Array) -> Any:
    """Variables for rows that are larger: their codes are as much larger."""
    moved = {name: params[name] * scale for name in ("bias", "shift")}
    if "threshold" in params:
        moved["threshold"] = params["threshold"] + jnp.log(scale)
    return {"params": {**params, **moved}}


def _measured(module: SparseAutoencoder, variables: Any, x: Array) -> Dictionary:
    out: Any = module.apply(variables, x)
    codes, rebuilt = out
    directions = variables["params"]["directions"]
    directions = directions / jnp.linalg.norm(directions, axis=1, keepdims=True)
    fvu = jnp.sum((x - rebuilt) ** 2) / jnp.sum((x - x.mean(axis=0, keepdims=True)) ** 2)
    used = codes > 0
    return Dictionary(module, variables, directions, fvu, used.sum(axis=1).mean(), 1 - used.any(axis=0).mean())


@jax.custom_vjp
def _jump(x: Array, threshold: Array, bandwidth: float) -> Array:
    return jnp.where(x > threshold, x, 0)


def _jump_forward(x: Array, threshold: Array, bandwidth: float) -> Any:
    return _jump(x, threshold, bandwidth), (x, threshold, bandwidth)


def _jump_backward(kept: Any, g: Array) -> Any:
    x, threshold, bandwidth = kept
    return jnp.where(x > threshold, g, 0), -g * threshold / bandwidth * _near(x, threshold, bandwidth), None


_jump.defvjp(_jump_forward, _jump_backward)


@jax.custom_vjp
def _step(x: Array, threshold: Array, bandwidth: float) -> Array:
    return (x > threshold).astype(x.dtype)


def _step_backward(kept: Any, g: Array) -> Any:
    x, threshold, bandwidth = kept
    return jnp.zeros_like(x), -g / bandwidth * _near(x, threshold, bandwidth), None


_step.defvjp(lambda x, t, b: (_step(x, t, b), (x, t, b)), _step_backward)


def _near(x: Array, threshold: Array, bandwidth: Any) -> Array:
    """Whether x is within the kernel around its threshold: a rectangle, as the paper's."""
    return (jnp.abs(x - threshold) < bandwidth / 2).astype(x.dtype)
