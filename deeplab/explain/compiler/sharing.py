"""How equations hand on relevance: by the contributions to a sum, by halves of a product, to the winner of a choice.

Products, softmax and normalization: Achtibat et al. 2024, https://arxiv.org/abs/2402.05602 (AttnLRP).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.extend import core

from deeplab.core.jax_compat import bind
from deeplab.explain.compiler.layers import Epsilon
from deeplab.explain.compiler.signals import Layer, Rule, Signal, finite, kept, of_constant


class Step(NamedTuple):
    """An equation with its inputs, and what its rule may ask for."""

    eqn: core.JaxprEqn
    inputs: list[Any]
    rule: Rule
    constant: Array

    def __call__(self, *arrays: Any) -> list[Array]:
        return bind(self.eqn, arrays)

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
        return [v if operands is None or i in operands else a for i, (a, v) in enumerate(zip(self.at, values))]

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


def placed(step: Step, operands: Sequence[int] | None) -> list[Any]:
    """Numbers at other places."""
    places = [i for i in range(len(step.inputs)) if operands is None or i in operands]
    if step.eqn.primitive.name == "optimization_barrier":
        return step.inputs
    if len(places) > 1:
        ratios = step(*step.put([step.of(value, "ratio") for value in step.inputs], operands))
        return [Signal(y, ratio, depth=step.depth) for y, ratio in zip(step(*step.at), ratios, strict=True)]
    (i,) = places
    signal, found = step.inputs[i], []
    for k in range(len(step.eqn.outvars)):
        made = kept(signal, lambda x, k=k: step(*[x if j == i else a for j, a in enumerate(step.at)])[k])
        keeps_root = step.eqn.primitive.name == "convert_element_type"
        found.append(made if keeps_root else dataclasses.replace(made, root=object(), derived=False))
    return found


def selected(step: Step) -> list[Any]:
    """What an index chooses, which is given."""
    which, *cases = step.at[0], *step.inputs[1:]
    ratio = step(which, *[step.of(case, "ratio") for case in cases])[0]
    made = Signal(step(*step.at)[0], ratio, depth=step.depth)
    if root := Step(step.eqn, cases, step.rule, step.constant).root():
        made = dataclasses.replace(made, root=root, derived=True)
    if all(signal.slopes for signal in step.signals):
        slopes = [case.slopes if isinstance(case, Signal) else (jnp.zeros_like(case),) * 2 for case in cases]
        made = dataclasses.replace(made, slopes=tuple(step(which, *column)[0] for column in zip(*slopes)))
    return [made]


def summed(step: Step, operands: Sequence[int] | None) -> list[Any]:
    """A sum of many numbers."""
    parts = step(*step.put([step.of(value, "summand") for value in step.inputs], operands))[0]
    made = step.sum(step(*step.at)[0], parts)
    (first, *more) = step.signals
    if first.slopes and not more and step.eqn.primitive.name == "reduce_sum":
        slopes = step(first.slopes[0])[0], step(first.slopes[1])[0]
        made = dataclasses.replace(made, slopes=slopes)
    return [made]


def added(step: Step) -> list[Any]:
    """a + b or a - b; a constant is a bias."""
    if (same := step.same()) is not None:
        return [same]
    at, parts = step(*step.at)[0], [step.of(value, "summand") for value in step.inputs]
    (first, *more) = step.signals
    if more or first.layer is None or not first.layer.terms:
        return [step.sum(at, step(*parts)[0])]
    if first is step.inputs[1] and step.eqn.primitive.name == "sub":
        first = kept(first, lambda x: x, lambda x: -x, -1)
    (i,) = (i for i, value in enumerate(step.inputs) if not isinstance(value, Signal))
    bias = step.inputs[i] if i == 0 or step.eqn.primitive.name == "add" else -step.inputs[i]
    assert first.layer is not None
    rule, moved, terms = first.layer
    bias = jnp.asarray(bias, at.dtype)
    terms = rule.shift(terms, bias, step.constant.astype(at.dtype))
    return [Signal(at, layer=Layer(rule, moved + step.of(bias, "part"), terms), depth=first.depth)]


def negated(step: Step) -> list[Any]:
    """-a."""
    return [kept(step.signals[0], lambda x: x, lambda x: -x, -1)]


def multiplied(step: Step) -> list[Any]:
    """a * b or a / b: constants and statistics scale; two others share a product, and a quotient is the numerator's."""
    a, b = step.inputs
    divides = step.eqn.primitive.name == "div"
    if (same := step.same()) is not None:
        return [same]
    if isinstance(a, Signal) and isinstance(b, Signal):
        if divides and a.slopes and b.slopes:
            return [_softmax(step, a, b)]
        if not divides and a.statistic == b.statistic:
            ratio = (jnp.broadcast_to(a.ratio, step(*step.at)[0].shape) + b.ratio) / 2
            made = Signal(step(*step.at)[0], ratio, depth=step.depth, statistic=a.statistic)
            return [dataclasses.replace(made, root=step.root() or object(), derived=True)]
        a, b = (a.at, b) if a.statistic and not divides else (a, b.at)
    if divides and isinstance(b, Signal):
        ratio = jnp.broadcast_to(b.ratio, step(*step.at)[0].shape)
        made = Signal(step(*step.at)[0], ratio, depth=step.depth, statistic=True)
        return [dataclasses.replace(made, root=step.root() or object(), derived=True)]
    signal, factor = (a, b) if isinstance(a, Signal) else (b, a)
    shape = jnp.shape(step(*step.at)[0])

    def scale(x: Array) -> Array:
        return step(*((x, factor) if signal is a else (factor, x)))[0]

    made = kept(signal, lambda x: jnp.broadcast_to(x, shape), scale, jnp.sign(factor))
    return [made if jnp.ndim(factor) == 0 else dataclasses.replace(made, root=object(), derived=False)]


def _softmax(step: Step, a: Signal, b: Signal) -> Signal:
    """exp(x) / sum(exp(x)): its derivative times x; the rest is a bias."""
    assert a.slopes is not None
    assert b.slopes is not None
    y = step(a.at, b.at)[0]
    moved, whole = (step(p - y * q, b.at)[0] for p, q in zip(a.slopes, b.slopes, strict=True))
    return step.sum(y, moved + (y - whole) * step.constant.astype(y.dtype), Epsilon(0.0))


def layer(step: Step) -> list[Any]:
    """A product with weights, or of two things that depend on the input, half of which is each one's."""
    left, right, *rest = step.inputs
    y = step(*step.at)[0]
    if isinstance(left, Signal) and isinstance(right, Signal) and left.statistic == right.statistic:
        half = (step(left.part, right.at, *rest)[0] + step(left.at, right.part, *rest)[0]) / 2
        return [step.sum(y, half)]
    first = isinstance(left, Signal) and not (left.statistic and isinstance(right, Signal))
    signal, weights = (left, step.at[1]) if first else (right, step.at[0])
    ratio = signal.ratio

    def product(x: Array, w: Array) -> Array:
        return step(*((x, w) if first else (w, x)), *rest)[0]

    terms = step.rule.terms(product, signal.at, ratio, weights)
    return [Signal(y, layer=Layer(step.rule, product(signal.part, weights), terms), depth=step.depth + 1)]


def function(step: Step) -> list[Any]:
    """A function of single numbers: of one, it is handed on; of a larger and a smaller, to the one that is taken."""
    name, at = step.eqn.primitive.name, step(*step.at)[0]
    signals = step.signals
    if jnp.iscomplexobj(signals[0].at):  # as the absolute value is, homogeneous
        return tangent(step)
    ratios = [jnp.broadcast_to(signal.ratio, at.shape) for signal in signals]
    ratio = sum(ratios[1:], ratios[0]) / len(ratios)
    if len(signals) == 2 and name in ("max", "min"):
        ratio = jnp.where(signals[0].at == at, *ratios)
    if name in ("pow", "rem", "clamp"):
        ratio = jnp.broadcast_to(step.inputs[1 if name == "clamp" else 0].ratio, at.shape) if _led(step) else ratio
    made = Signal(at, ratio, depth=step.depth, statistic=_inverts(step.eqn), root=step.root() or object(), derived=True)
    if name == "sqrt":  # so that the inverse of a deviation is a statistic, as that of a variance is
        made = dataclasses.replace(made, derived=False)
    if name == "exp":
        still, zero = jnp.zeros_like(at), at == 0
        parts = signals[0].summand, finite(signals[0].at)
        made = dataclasses.replace(made, slopes=tuple(jnp.where(zero, still, at * part) for part in parts))
    if name == "log" and signals[0].slopes:
        moved, whole = (slope / signals[0].at for slope in signals[0].slopes)
        return [step.sum(at, moved + (at - whole) * step.constant.astype(at.dtype), Epsilon(0.0))]
    return [made]


def _led(step: Step) -> bool:
    """Whether the argument that a function is of depends on the input."""
    return isinstance(step.inputs[1 if step.eqn.primitive.name == "clamp" else 0], Signal)


def _inverts(eqn: core.JaxprEqn) -> bool:
    """Whether a function falls as the inverse of a power does."""
    if eqn.primitive.name == "pow":
        power = eqn.invars[1]
        return isinstance(power, core.Literal) and bool(np.all(np.asarray(power.val) < 0))
    return eqn.primitive.name == "rsqrt" or (eqn.primitive.name == "integer_pow" and eqn.params["y"] < 0)


def highest(step: Step) -> list[Any]:
    """The winner takes all."""
    (signal,) = step.signals
    y, ratio = jax.jvp(lambda x: step(x)[0], (signal.at,), (signal.ratio,))
    return [Signal(y, ratio, depth=step.depth)]


def sorted_(step: Step) -> list[Any]:
    """Numbers in an order that is given."""
    axis = step.eqn.params["dimension"]
    places = jax.lax.broadcasted_iota("int32", jnp.shape(step.at[0]), axis)
    keys, stable = step.eqn.params["num_keys"], step.eqn.params["is_stable"]
    *values, order = jax.lax.sort((*step.at, places), dimension=axis, is_stable=stable, num_keys=keys)
    ends = zip(step.inputs, values, strict=True)
    return [
        Signal(y, jnp.take_along_axis(x.ratio, order, axis), depth=step.depth) if isinstance(x, Signal) else y
        for x, y in ends
    ]


def top(step: Step) -> list[Any]:
    """The k highest numbers, and their places, which are given."""
    (signal,) = step.signals
    y, places = step(signal.at)
    axis = step.eqn.params.get("axis", -1) % jnp.ndim(y)
    return [Signal(y, jnp.take_along_axis(signal.ratio, places, axis), depth=step.depth), places]


def tangent(step: Step) -> list[Any]:
    """The derivative times the inputs; the rest is a bias."""
    signals = step.signals

    def run(*arrays: Array) -> list[Array]:
        given = iter(arrays)
        return step(*(next(given) if isinstance(value, Signal) else value for value in step.inputs))

    points = [signal.at for signal in signals]
    ys, moved = jax.jvp(run, points, [signal.part for signal in signals])
    _, whole = jax.jvp(run, points, points)
    return [
        step.sum(y, part + (y - all_) * step.constant.astype(y.dtype), Epsilon(0.0))
        if jnp.issubdtype(y.dtype, jnp.inexact)
        else y
        for y, part, all_ in zip(ys, moved, whole, strict=True)
    ]
