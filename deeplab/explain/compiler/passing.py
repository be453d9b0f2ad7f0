"""How equations hand on relevance: functions of single numbers pass it, choices give it to the winner."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.extend import core

from deeplab.explain.compiler.layers import Epsilon
from deeplab.explain.compiler.signals import Signal, finite
from deeplab.explain.compiler.steps import Step


def function(step: Step) -> list[Any]:
    """A function of single numbers: of one, it is handed on; of a larger and a smaller, to the one that is taken."""
    name, at = step.eqn.primitive.name, step(*step.at)[0]
    signals = step.signals
    if jnp.iscomplexobj(signals[0].at):  # as the absolute value is, homogeneous
        return tangent(step)
    if name == "abs" and signals[0].slopes:  # of a sum of exponentials, whose logarithm is taken
        return signals
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
    (signal,), name = step.signals, step.eqn.primitive.name
    y = step(signal.at)[0]
    if not name.startswith("reduce_m"):
        _, ratio = jax.jvp(lambda x: step(x)[0], (signal.at,), (signal.ratio,))
        return [Signal(y, ratio, depth=step.depth)]
    # The derivative looks for y among the numbers, which XLA may have rounded otherwise.
    axes = step.eqn.params["axes"]
    others = [i for i in range(signal.at.ndim) if i not in axes]
    rows, ratios = (x.transpose(*others, *axes).reshape(*y.shape, -1) for x in (signal.at, signal.ratio))
    place = (jnp.argmax if name == "reduce_max" else jnp.argmin)(rows, axis=-1, keepdims=True)
    return [Signal(y, jnp.take_along_axis(ratios, place, axis=-1)[..., 0], depth=step.depth)]


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
