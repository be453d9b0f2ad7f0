"""Rules of layer-wise relevance propagation, for what a layer sums: contributions z_ij = x_i w_ij, and a bias.

Bach et al. 2015, https://doi.org/10.1371/journal.pone.0130140 (epsilon, alpha-beta); Montavon et al. 2017,
https://arxiv.org/abs/1512.02479 (z+, w^2, z^B); Montavon et al. 2019, https://doi.org/10.1007/978-3-030-28954-6_10
(gamma); Andéol et al. 2021, https://arxiv.org/abs/2106.13644 (gamma where inputs or outputs are negative).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from deeplab.core import ranges
from deeplab.explain.compiler.signals import Terms, stabilized

Product = Callable[..., jax.Array]


def _signed(product: Product, x: jax.Array, ratio: jax.Array, w: jax.Array) -> Terms:
    """The positive contributions, and the negative ones."""
    up, down, plus, minus = jnp.maximum(x, 0), jnp.minimum(x, 0), jnp.maximum(w, 0), jnp.minimum(w, 0)
    return tuple(
        (product(up * ratio, a) + product(down * ratio, b), product(up, a) + product(down, b))
        for a, b in ((plus, minus), (minus, plus))
    )


def _signed_shift(terms: Terms, bias: jax.Array, ratio: jax.Array) -> Terms:
    parts = jnp.maximum(bias, 0), jnp.minimum(bias, 0)
    return tuple((part + b * ratio, whole + b) for (part, whole), b in zip(terms, parts, strict=True))


@dataclasses.dataclass(frozen=True)
@ranges.checked(epsilon=ranges.NATURAL)
class Epsilon:
    """R_i = sum_j z_ij / (z_j + epsilon sign z_j) R_j, where z_j = sum_i z_ij + b_j; with epsilon=0, LRP-0.

    Attributes:
      epsilon: What is added to what is divided by; it absorbs relevance.

    Example:
      >>> from deeplab.explain import lrp
      >>> values = lrp(lambda x: x @ jnp.array([3.0, -1.0]), jnp.ones((1, 2)), Epsilon(0.0)).values[0]
      >>> [round(float(v), 3) for v in values]
      [3.0, -1.0]
    """

    epsilon: float = 1e-6

    def terms(self, product: Product, x: jax.Array, ratio: jax.Array, w: jax.Array) -> Terms:
        return ()

    def shift(self, terms: Terms, bias: jax.Array, ratio: jax.Array) -> Terms:
        return ()

    def ratio(self, at: jax.Array, moved: jax.Array, terms: Terms) -> jax.Array:
        return stabilized(moved, at, self.epsilon)


@dataclasses.dataclass(frozen=True)
@ranges.checked(gamma=ranges.NATURAL, epsilon=ranges.NATURAL)
class Gamma:
    """Epsilon, with z_ij + gamma max(z_ij, 0) for z_ij where z_j > 0, and z_ij + gamma min(z_ij, 0) elsewhere.

    Attributes:
      gamma: Weight of the contributions of the output's sign.
      epsilon: What is added to what is divided by.

    Example:
      >>> from deeplab.explain import lrp
      >>> values = lrp(lambda x: x @ jnp.array([3.0, -1.0]), jnp.ones((1, 2)), Gamma(1.0)).values[0]
      >>> [round(float(v), 3) for v in values]  # 2 of 6 - 1
      [2.4, -0.4]
    """

    gamma: float = 0.25
    epsilon: float = 1e-6

    def terms(self, product: Product, x: jax.Array, ratio: jax.Array, w: jax.Array) -> Terms:
        return _signed(product, x, ratio, w)

    def shift(self, terms: Terms, bias: jax.Array, ratio: jax.Array) -> Terms:
        return _signed_shift(terms, bias, ratio)

    def ratio(self, at: jax.Array, moved: jax.Array, terms: Terms) -> jax.Array:
        (up, above), (down, below) = terms
        part, whole = jnp.where(at > 0, up, down), jnp.where(at > 0, above, below)
        return stabilized(moved + self.gamma * part, at + self.gamma * whole, self.epsilon)


@dataclasses.dataclass(frozen=True)
@ranges.checked(alpha=ranges.NATURAL, beta=ranges.NATURAL, epsilon=ranges.NATURAL)
class AlphaBeta:
    """R_i = sum_j (alpha z_ij^+ / sum_i z_ij^+ - beta z_ij^- / sum_i z_ij^-) R_j, the bias among the contributions.

    Attributes:
      alpha: Weight of the positive contributions; alpha - beta = 1 conserves.
      beta: Weight of the negative contributions.
      epsilon: What is added to what is divided by.

    Example:
      >>> from deeplab.explain import lrp
      >>> lrp(lambda x: x @ jnp.array([3.0, -1.0]), jnp.ones((1, 2)), AlphaBeta()).values.round(3).tolist()
      [[4.0, -2.0]]
    """

    alpha: float = 2.0
    beta: float = 1.0
    epsilon: float = 1e-6

    def terms(self, product: Product, x: jax.Array, ratio: jax.Array, w: jax.Array) -> Terms:
        return _signed(product, x, ratio, w)

    def shift(self, terms: Terms, bias: jax.Array, ratio: jax.Array) -> Terms:
        return _signed_shift(terms, bias, ratio)

    def ratio(self, at: jax.Array, moved: jax.Array, terms: Terms) -> jax.Array:
        up, down = (stabilized(part, whole, self.epsilon) for part, whole in terms)
        return self.alpha * up - self.beta * down


def ZPlus(epsilon: float = 1e-6) -> AlphaBeta:
    """The positive contributions alone: alpha = 1, beta = 0.

    Args:
      epsilon: What is added to what is divided by.

    Example:
      >>> from deeplab.explain import lrp
      >>> lrp(lambda x: x @ jnp.array([3.0, -1.0]), jnp.ones((1, 2)), ZPlus()).values.round(3).tolist()
      [[2.0, 0.0]]
    """
    return AlphaBeta(1.0, 0.0, epsilon)


@dataclasses.dataclass(frozen=True)
@ranges.checked(epsilon=ranges.NATURAL)
class _First:
    """A rule of first layers, which shares by other numbers than the contributions; the bias gets nothing."""

    epsilon: float = 1e-6

    def shift(self, terms: Terms, bias: jax.Array, ratio: jax.Array) -> Terms:
        return terms

    def ratio(self, at: jax.Array, moved: jax.Array, terms: Terms) -> jax.Array:
        ((part, whole),) = terms
        return stabilized(part, whole, self.epsilon)


@dataclasses.dataclass(frozen=True)
class Flat(_First):
    """Equal shares for all inputs of an output.

    Attributes:
      epsilon: What is added to what is divided by.

    Example:
      >>> from deeplab.explain import lrp
      >>> lrp(lambda x: x @ jnp.array([3.0, -1.0]), jnp.ones((1, 2)), Flat()).values.round(3).tolist()
      [[1.0, 1.0]]
    """

    def terms(self, product: Product, x: jax.Array, ratio: jax.Array, w: jax.Array) -> Terms:
        one = jnp.ones_like(w)
        return ((product(ratio, one), product(jnp.ones_like(x), one)),)


@dataclasses.dataclass(frozen=True)
class WSquare(_First):
    """Shares by the squares of the weights, for inputs without bounds.

    Attributes:
      epsilon: What is added to what is divided by.

    Example:
      >>> from deeplab.explain import lrp
      >>> [round(float(v), 3) for v in lrp(lambda x: x @ jnp.array([3.0, -1.0]), jnp.ones((1, 2)), WSquare()).values[0]]
      [1.8, 0.2]
    """

    def terms(self, product: Product, x: jax.Array, ratio: jax.Array, w: jax.Array) -> Terms:
        return ((product(ratio, w**2), product(jnp.ones_like(x), w**2)),)


@dataclasses.dataclass(frozen=True)
class ZBox(_First):
    """Shares by x_i w_ij - lower_i max(w_ij, 0) - upper_i min(w_ij, 0), for inputs between bounds, as pixels are.

    Attributes:
      epsilon: What is added to what is divided by.
      lower: Least values of the inputs; arrays that broadcast to one example will do.
      upper: Greatest values of the inputs.

    Example:
      >>> from deeplab.explain import lrp
      >>> lrp(lambda x: x @ jnp.array([3.0, 1.0]), jnp.array([[0.5, 1.0]]), ZBox(0.0, 1.0)).values.round(3).tolist()
      [[2.5, 0.0]]
    """

    lower: Any = 0.0
    upper: Any = 1.0

    def terms(self, product: Product, x: jax.Array, ratio: jax.Array, w: jax.Array) -> Terms:
        low, high = (jnp.broadcast_to(jnp.asarray(end, x.dtype), x.shape) for end in (self.lower, self.upper))
        plus, minus = jnp.maximum(w, 0), jnp.minimum(w, 0)
        return (
            tuple(product(x * r, w) - product(low * r, plus) - product(high * r, minus) for r in (ratio, 1.0)),  # pyright: ignore[reportReturnType] - a pair
        )
