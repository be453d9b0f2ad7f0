"""An equation in relevance propagation, with what its rule may ask for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array
from jax.extend import core

from deeplab.core.jax_compat import bind
from deeplab.explain.compiler.layers import Epsilon
from deeplab.explain.compiler.pairs import by_membership
from deeplab.explain.compiler.signals import Layer, Rule, Signal, finite, of_constant


class Step(NamedTuple):
    """An equation with its inputs, and what its rule may ask for."""

    eqn: core.JaxprEqn
    inputs: list[Any]
    rule: Rule
    constant: Array

    def __call__(self, *arrays: Any) -> list[Array]:
        ragged = self.eqn.primitive.name.startswith("ragged_dot")
        return [by_membership(*arrays)] if ragged else bind(self.eqn, arrays)

    @property
    def signals(self) -> list[Signal]:
        return [value for value in self.inputs if isinstance(value, Signal)]

    @property
    def depth(self) -> int:
        return max(signal.depth for signal in self.signals)

    @property
    def at(self) -> list[Array]:
        return [value.at if isinstance(value, Signal) else value for value in self.inputs]

    def of(self, value: Any, name: str) -> Array:
        """The ratio, the part or the summand of a value, constant or not."""
        if isinstance(value, Signal):
            return getattr(value, name)
        ratio = of_constant(value, self.constant)
        return ratio if name == "ratio" else finite(jnp.asarray(value, ratio.dtype)) * ratio

    def put(self, values: Sequence[Any], operands: Sequence[int] | None) -> list[Any]:
        """The arrays with others at the places of some operands, all when None."""
        return [
            v if operands is None or i in operands else a for i, (a, v) in enumerate(zip(self.at, values, strict=True))
        ]

    def sum(self, at: Array, moved: Array, rule: Rule | None = None) -> Signal:
        """A sum of contributions."""
        return Signal(at, layer=Layer(rule or Epsilon(self.rule.epsilon), moved), depth=self.depth)

    def root(self) -> object:
        """The array of which all inputs are functions, number by number; None if there are several, or constants."""
        roots = {id(signal.root) for signal in self.signals}
        scalars = all(isinstance(value, Signal) or jnp.ndim(value) == 0 for value in self.inputs)
        return self.signals[0].root if len(roots) == 1 and scalars else None

    def same(self) -> Signal | None:
        """A function of one number, if this and what led to it are one that is not linear."""
        root, (first, *_) = self.root(), self.signals
        nonlinear = any(signal.derived for signal in self.signals)
        if root is None or not nonlinear or len({jnp.shape(signal.at) for signal in self.signals}) > 1:
            return None
        return Signal(self(*self.at)[0], first.ratio, depth=self.depth, root=root, derived=True)
