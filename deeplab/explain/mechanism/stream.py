"""The residual stream of a model: what is written into it, and the values and derivatives at its taps."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from deeplab.core.errors import UserError
from deeplab.core.interpret import Interpretation, interpret, traced
from deeplab.core.jax_compat import bind
from deeplab.core.jaxpr import ENTERED, inner_jaxprs
from deeplab.explain.chunks import fitting
from deeplab.explain.taps import INPUT, Function, edited, read, taps

HEADS = "attention_heads"
BRANCHES = "attention", "feed_forward", "mixer"
_STATISTICS = "rsqrt", "sqrt"  # of the variance, in every norm


def named(f: Function, names: Sequence[str], *inputs: Any) -> tuple[str, ...]:
    """Names of single calls: one that is called several times becomes as many names, "heads[0]", "heads[1]", ...

    Args:
      f: Function that calls Linen modules, or marks values.
      names: Names of taps.
      *inputs: Inputs of f, or their shapes.
    """
    found = jax.eval_shape(lambda *inputs: read(f, names)(*inputs)[1], *inputs)
    return tuple(
        name if not isinstance(found[name], list) else f"{name}[{i}]"
        for name in names
        for i in range(len(found[name]) if isinstance(found[name], list) else 1)
    )


def layers(f: Function, *inputs: Any) -> tuple[str, ...]:
    """Taps of the residual stream after each layer, in their order.

    A layer is a module that has a branch named "attention", "feed_forward" or "mixer".

    Raises:
      UserError: there is no such module.
    """
    every = taps(f, *inputs)
    parents = _parents(every)
    return tuple(name for name in every if re.sub(r"(\.0)?(\[\d+\])?$", "", name) in parents)


def writers(f: Function, *inputs: Any) -> tuple[str, ...]:
    """Taps of what a model adds to its residual stream: what its first layer reads, all heads, all other branches.

    The value of heads is their outputs [B, H, T, d] before the kernel that leads to the stream.

    Raises:
      UserError: no module has a branch named "attention", "feed_forward" or "mixer".
    """
    every = taps(f, *inputs)
    firsts: dict[str, str] = {}
    for parent in _parents(every):
        firsts.setdefault(re.sub(r"(/layers_\d+)?$", "", parent).rpartition("/")[0], parent)
    embedded = [named(f, [parent + INPUT], *inputs)[0] for parent in firsts.values()]
    heads = any(_path(name) == HEADS for name in every)
    branches = BRANCHES[1:] if heads else BRANCHES
    return (*embedded, *(n for n in every if _path(n) == HEADS or _path(n).rpartition("/")[2] in branches))


def readers(f: Function, *inputs: Any) -> tuple[str, ...]:
    """Taps of what reads the residual stream: queries, keys and values of all heads, inputs of all other branches."""
    every = taps(f, *inputs)
    heads = [n for n in every if _path(n) in ("attention_queries", "attention_keys", "attention_values")]
    branches = BRANCHES[1:] if heads else BRANCHES
    inner = dict.fromkeys(_path(n) + INPUT for n in every if _path(n).rpartition("/")[2] in branches)
    return (*heads, *(named(f, list(inner), *inputs) if inner else ()))


def gradients(f: Function, names: Sequence[str], *inputs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The values of taps, and the derivatives of the sum of f's outputs with respect to them.

    Args:
      f: Function of the inputs to an array.
      names: Names of single calls.
      *inputs: Inputs of f.

    Example:
      >>> from deeplab.explain.taps import mark
      >>> values, slopes = gradients(lambda x: mark(2 * x, "twice") ** 2, ["twice"], 3.0)
      >>> float(values["twice"]), float(slopes["twice"])
      (6.0, 12.0)
    """
    values = read(f, names)(*inputs)[1]

    def moved(moves: dict[str, Any]) -> jax.Array:
        return jnp.sum(edited(f, {name: lambda value, m=moves[name]: value + m for name in names})(*inputs))

    return values, jax.grad(moved)(jax.tree.map(jnp.zeros_like, values))


def frozen(f: Function, names: Sequence[str], *inputs: Any) -> tuple[dict[str, Any], Callable[[dict[str, Any]], Any]]:
    """The values of taps, and f as a function of them, in which they reach the outputs by direct paths alone.

    The value of each tap is given, so that none of them depends on another; and norms keep the variance that they have
    at the values, so that they are linear.

    Args:
      f: Function that calls Linen modules, or marks values.
      names: Names of single calls.
      *inputs: Inputs of f.
    """
    values = read(f, names)(*inputs)[1]

    def given(values: dict[str, Any], *inputs: Any) -> Any:
        return edited(f, {name: lambda _, v=values[name]: v for name in names})(*inputs)

    program, shape = traced(given, values, *inputs)
    kept: list[Any] = []

    def keep(eqn: core.JaxprEqn, found: list[Any]) -> Any:
        kept.append(bind(eqn, found))
        return kept[-1]

    _run(program, (values, *inputs), keep)

    def direct(values: dict[str, Any]) -> Any:
        left = iter(kept)
        return jax.tree.unflatten(
            jax.tree.structure(shape), _run(program, (values, *inputs), lambda eqn, _: next(left))
        )

    return values, direct


def place_by_place(
    values: Mapping[str, Any], axes: Mapping[str, Sequence[int]], run: Callable[[dict[str, Any]], Any],
    chunk: int | None = None,
) -> dict[str, Any]:  # fmt: skip
    """run(masks) for each place of each value, one place being True: a few at a time, under one compilation.

    Args:
      values: Arrays by name.
      axes: Axes of each of them whose entries are places; the whole array is one where there are none.
      run: Function from masks, which broadcast to the values, to a pytree of arrays.
      chunk: Number of places at a time; by the size of what `run` computes when None.

    Returns:
      By name, the pytrees with leading axes of places, as `axes` has them.
    """
    shapes = {name: [value.shape[a] if a in axes[name] else 1 for a in range(value.ndim)]
              for name, value in values.items()}  # fmt: skip
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    starts = dict(zip(sizes, np.cumsum([0, *sizes.values()]).tolist(), strict=False))

    def one(place: jax.Array) -> Any:
        return run({n: (jnp.arange(sizes[n]) + starts[n] == place).reshape(shapes[n]) for n in values})

    every = jnp.arange(sum(sizes.values()))
    found = jax.lax.map(one, every, batch_size=min(chunk or fitting(one, every), len(every)))

    def part(name: str, x: jax.Array) -> jax.Array:
        grid = [values[name].shape[a] for a in axes[name]]
        return x[starts[name] : starts[name] + sizes[name]].reshape(*grid, *x.shape[1:])

    return {name: jax.tree.map(lambda x, n=name: part(n, x), found) for name in values}


def _run(program: core.ClosedJaxpr, inputs: Any, statistic: Callable[[core.JaxprEqn, list[Any]], Any]) -> list[Any]:
    """The program with a rule for the statistics of norms; only calls and scans that have some are entered."""

    def rule(eqn: core.JaxprEqn, values: list[Any], scope: str) -> Any:
        del scope
        if eqn.primitive.name in _STATISTICS:
            return statistic(eqn, values)
        return NotImplemented if _holds(eqn) else bind(eqn, values)

    return interpret(program, jax.tree.leaves(inputs), Interpretation(rule))


def _holds(eqn: core.JaxprEqn) -> bool:
    inner = [e for program in inner_jaxprs(eqn) for e in program.jaxpr.eqns]
    return eqn.primitive.name in ENTERED and any(e.primitive.name in _STATISTICS or _holds(e) for e in inner)


def _path(name: str) -> str:
    return re.sub(r"\[\d+\]$", "", name)


def _parents(every: Mapping[str, Any]) -> list[str]:
    found = [_path(name).rpartition("/") for name in every]
    parents = list(dict.fromkeys(parent for parent, _, last in found if last in BRANCHES and parent))
    if not parents:
        raise UserError(f"no module has a branch named {', '.join(BRANCHES)}; name the taps yourself: {list(every)}")
    return parents
