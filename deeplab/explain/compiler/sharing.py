"""How equations hand on relevance: by the contributions to a sum, and by the factors of a product.

Products, softmax and normalization: Achtibat et al. 2024, https://arxiv.org/abs/2402.05602 (AttnLRP).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax import Array

from deeplab.explain.compiler.layers import Epsilon
from deeplab.explain.compiler.signals import Layer, Signal, kept
from deeplab.explain.compiler.steps import Step


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
        keeps_root = step.eqn.primitive.name in ("convert_element_type", "copy", "name")
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
        made = dataclasses.replace(made, slopes=tuple(step(which, *column)[0] for column in zip(*slopes, strict=True)))
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
    bias = jnp.broadcast_to(jnp.asarray(bias, at.dtype), at.shape)
    moved = first.layer.moved + step.of(bias, "part")
    known = first.layer.bias
    shifted = first.layer._replace(moved=moved, bias=bias if known is None else known + bias, constant=step.constant)
    return [Signal(at, layer=shifted, depth=first.depth)]


def negated(step: Step) -> list[Any]:
    """-a."""
    return [kept(step.signals[0], lambda x: x, lambda x: -x, -1)]


def multiplied(step: Step) -> list[Any]:
    """a * b or a / b: constants and statistics scale; two others share a product, and a quotient is the numerator's."""
    a: Any
    b: Any
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
