"""Values of relevance propagation: an array, and how much of each of its numbers comes from the inputs.

The *ratio* of a number is linear in the ratios of the inputs: an average of them, by the weights with which a rule
shares the number's relevance among what it was made of. So the derivative of a ratio by the inputs' is their share of
the relevance, and where all weights of an average add up to one, nothing is lost.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp

from deeplab.core.abstract.loops import Domain
from deeplab.explain.compiler.pairs import divided

Map = Callable[[jax.Array], jax.Array]
"""A linear function of arrays."""


@runtime_checkable
class Rule(Protocol):
    """How a layer shares the relevance of its outputs; see `deeplab.explain.compiler.layers`."""

    @property
    def epsilon(self) -> float:
        """Added to what is divided by, away from 0."""
        ...

    def terms(self, product: Callable[..., jax.Array], x: jax.Array, ratio: jax.Array, w: jax.Array) -> Terms:
        """Sums over the layer's inputs that it needs beside the output."""
        ...

    def shift(self, terms: Terms, bias: jax.Array, ratio: jax.Array) -> Terms:
        """These sums with one more summand."""
        ...

    def ratio(self, at: jax.Array, moved: jax.Array, terms: Terms) -> jax.Array:
        """The ratio of the outputs."""
        ...


Terms = tuple[tuple[jax.Array, jax.Array], ...]
"""Sums of contributions, each after the sum in which every contribution is multiplied by its ratio."""


class Layer(NamedTuple):
    """A sum that may get more summands, as that of a matrix product gets a bias.

    Attributes:
      rule: Rule that it is shared by.
      moved: Sum of the contributions, each multiplied by its ratio.
      terms: Further sums of its rule, without the bias.
      bias: Sum of the constants, of the same shape, for a rule with such sums.
      constant: Ratio of constants.
    """

    rule: Rule
    moved: jax.Array
    terms: Terms = ()
    bias: jax.Array | None = None
    constant: jax.Array | None = None

    def ratio(self, at: jax.Array) -> jax.Array:
        """The ratio of the sum `at`."""
        terms = self.terms
        if self.bias is not None and self.constant is not None:
            terms = self.rule.shift(terms, self.bias, self.constant.astype(at.dtype))
        return self.rule.ratio(at, self.moved, terms)


@dataclasses.dataclass(frozen=True, eq=False)
class Signal:
    """An array that depends on the input: a closed one has ratios, an open one a layer that makes them.

    Attributes:
      at: The array.
      closed: Ratios, of the same shape; None for an open one.
      layer: Sum that it is; None for a closed one.
      depth: Number of layers with weights on the longest way from the inputs.
      statistic: Whether it is the inverse of something, which only scales what it is multiplied by.
      slopes: For parts of sums of exponentials, how they move with the exponents, and how they would if each exponent
        moved by itself.
      root: Identity of the array of which it is a function, number by number, with scalar constants.
      derived: Whether that function is not linear.
    """

    at: jax.Array
    closed: jax.Array | None = None
    layer: Layer | None = None
    depth: int = 0
    statistic: bool = False
    slopes: tuple[jax.Array, jax.Array] | None = None
    root: object = dataclasses.field(default_factory=object)
    derived: bool = False

    @property
    def ratio(self) -> jax.Array:
        """The average of the inputs' ratios."""
        if self.layer is None:
            assert self.closed is not None
            return self.closed
        return self.layer.ratio(self.at)

    @property
    def part(self) -> jax.Array:
        """Ratio times number, as the next layer gets it."""
        if self.layer is not None and not self.layer.terms and self.layer.rule.epsilon == 0:
            return self.layer.moved
        return finite(self.at) * self.ratio

    @property
    def summand(self) -> jax.Array:
        """Ratio times number, as another sum gets it, with which this one is one sum."""
        return self.layer.moved if self.layer is not None and not self.layer.terms else self.part


def finite(x: jax.Array) -> jax.Array:
    """An array with 0 for what is infinite, as the logits of masked positions are."""
    return jnp.where(jnp.isfinite(x), x, 0)


def stabilized(part: jax.Array, whole: jax.Array, epsilon: float) -> jax.Array:
    """part / (whole + epsilon sign(whole)), with sign(0) = 1; 0 where that is 0/0."""
    if epsilon == 0:
        return divided(part, whole)
    return part / (whole + epsilon * jnp.where(whole == 0, 1, jnp.sign(whole)))


def kept(signal: Signal, shape: Map, scale: Map | None = None, sign: Any = 1) -> Signal:
    """A signal of which each number goes to other places, multiplied by constants, if at all.

    Args:
      signal: Open or closed one, which stays so.
      shape: Function that moves the numbers.
      scale: Function that moves and multiplies them; `shape` if they are not multiplied.
      sign: Sign of the constants.
    """
    scale = scale or shape
    slopes = None if signal.slopes is None else (scale(signal.slopes[0]), scale(signal.slopes[1]))
    made = dataclasses.replace(signal, at=scale(signal.at), slopes=slopes)
    if signal.layer is None:
        return dataclasses.replace(made, closed=shape(signal.ratio))
    rule, moved, terms, bias, constant = signal.layer
    terms = tuple((scale(part), scale(whole)) for part, whole in terms)
    if len(terms) == 2:  # of the positive contributions, and of the negative ones
        (a, b), (c, d) = terms
        up = sign >= 0
        terms = ((jnp.where(up, a, c), jnp.where(up, b, d)), (jnp.where(up, c, a), jnp.where(up, d, b)))
    return dataclasses.replace(
        made, layer=Layer(rule, scale(moved), terms, None if bias is None else scale(bias), constant)
    )


def _flatten(signal: Signal) -> tuple[tuple[jax.Array, jax.Array], int]:
    return (signal.at, signal.ratio), signal.depth


def _unflatten(depth: int, arrays: Any) -> Signal:
    return Signal(*arrays, depth=depth)


jax.tree_util.register_pytree_node(Signal, _flatten, _unflatten)


def domain(constant: jax.Array) -> Domain:
    """Signals in loops: closed ones, one layer deep; the ratio of constants is given."""

    def lift(x: Any) -> Signal:
        if isinstance(x, Signal):
            return Signal(x.at, x.ratio, depth=1)
        return Signal(jnp.asarray(x), of_constant(x, constant), depth=1)

    return Domain(Signal, lift, lambda value: value.at if isinstance(value, Signal) else value)


def of_constant(x: Any, constant: jax.Array) -> jax.Array:
    """The ratio of constants, in the shape of an array."""
    wide = jnp.result_type(x) if jnp.issubdtype(jnp.result_type(x), jnp.inexact) else jnp.result_type(float)
    return jnp.broadcast_to(constant.astype(wide), jnp.shape(x))
