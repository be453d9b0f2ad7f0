"""Residuals of the forward pass, and the memory of what the backward pass recomputes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax.extend import core
from jax.sharding import NamedSharding

from deeplab.core.interpret import Interpretation, interpret
from deeplab.core.jaxpr import CALLS, inner_jaxprs, walk
from deeplab.scale.plan.costs import nbytes, pairs

UNOPTIMIZED: Any = {"xla_backend_optimization_level": 0}
"""Compiler options for programs that are inspected and never run."""


class Residual(NamedTuple):
    """An array that the forward pass keeps for the backward pass.

    Attributes:
      shape: Global shape.
      dtype: Name of the dtype.
      spec: Mesh axes over which each dimension is split; None if the compiler's sharding has no such form.
      nbytes: Bytes on one device.
    """

    shape: tuple[int, ...]
    dtype: str
    spec: Any
    nbytes: int


def residuals(objective: Callable[..., Any], params: Any, *rest: Any) -> list[Residual]:
    """What `jax.vjp` keeps of `objective(params, *rest) -> (scalar, auxiliary)`, and how it is split over the mesh.

    Two kinds are left out: the arguments themselves, which are in memory anyway, and what depends on no argument
    (masks, positions), which the compiler recomputes. The compiler also recomputes cheap functions of a residual by
    fusion, which is not known here, so the list is an upper bound. The shardings are those of the compiled forward
    pass.

    Args:
      objective: Function whose gradient with respect to its first argument is taken.
      params: Abstract arrays with shardings.
      rest: Abstract arrays with shardings.

    Example:
      >>> x = jax.ShapeDtypeStruct((4, 8), jax.numpy.float32)
      >>> [r.shape for r in residuals(lambda w, x: (jax.numpy.sin(w * x).sum(), None), x, x)]
      [(4, 8)]
    """

    def leaves(params: Any, *rest: Any) -> list[jax.Array]:
        _, pullback, _ = jax.vjp(lambda p: objective(p, *rest), params, has_aux=True)
        return jax.tree.leaves(pullback)

    program = jax.make_jaxpr(leaves)(params, *rest)
    depends = interpret(program, [True] * len(program.jaxpr.invars), _DEPENDS_ON_ARGUMENTS)
    kept, seen = [], set(program.jaxpr.invars)
    for i, (var, depends_on_arguments) in enumerate(zip(program.jaxpr.outvars, depends, strict=True)):
        if depends_on_arguments and var not in seen:
            kept.append(i)
            seen.add(var)
    if not kept:
        return []

    def kept_leaves(*arguments: Any) -> list[jax.Array]:
        found = leaves(*arguments)
        return [found[i] for i in kept]

    forward = jax.jit(kept_leaves).lower(params, *rest)
    compiled = forward.compile(compiler_options=UNOPTIMIZED)
    return [_residual(s, sharding) for s, sharding in zip(forward.out_info, compiled.output_shardings, strict=True)]


def _any_input(eqn: core.JaxprEqn, inputs: list[bool], scope: str) -> Any:
    # Of a loop all outputs depend on all inputs: an upper bound.
    return NotImplemented if eqn.primitive.name in CALLS else [any(inputs)] * len(eqn.outvars)


# Values are flags: whether a variable depends on an argument of the program. Constants and literals do not.
_DEPENDS_ON_ARGUMENTS = Interpretation(_any_input, lift=lambda constant: False)


def _residual(array: Any, sharding: Any) -> Residual:
    part = jax.ShapeDtypeStruct(sharding.shard_shape(array.shape), array.dtype)
    spec = sharding.spec if isinstance(sharding, NamedSharding) else None
    return Residual(array.shape, str(array.dtype), spec, part.size * part.dtype.itemsize)


def recomputed_nbytes(jaxpr: core.ClosedJaxpr, doubled: core.ClosedJaxpr) -> int:
    """Peak bytes, over all devices, of the backward pass of the largest rematerialized block (`jax.checkpoint`).

    Only arrays that grow with the batch count; 0 where nothing is recomputed.

    Args:
      jaxpr: A training step, from `jax.make_jaxpr`.
      doubled: The same step for twice the batch.
    """
    found = pairs(list(walk(jaxpr)), list(walk(doubled)))
    return max((_inner_peak(a.eqn, b.eqn) for a, b in found if a.eqn.params.get("differentiated")), default=0)


def _inner_peak(eqn: core.JaxprEqn, twin: core.JaxprEqn) -> int:
    bodies = zip(inner_jaxprs(eqn), inner_jaxprs(twin), strict=True)
    return max((_peak(a.jaxpr, b.jaxpr) for a, b in bodies), default=0)


def _peak(jaxpr: Any, doubled: Any) -> int:
    """Most bytes of a jaxpr's own variables that are alive at once, each until its last use."""
    twins = {id(eqn): twin for eqn, twin in pairs(jaxpr.eqns, doubled.eqns)}
    grows = {v: v.aval.shape != w.aval.shape for v, w in zip(jaxpr.invars, doubled.invars, strict=True)}
    last = {v: i for i, eqn in enumerate(jaxpr.eqns) for v in eqn.invars if not isinstance(v, core.Literal)}
    last |= {v: len(jaxpr.eqns) for v in jaxpr.outvars if not isinstance(v, core.Literal)}
    alive: dict[Any, int] = {}
    peak = 0
    for i, eqn in enumerate(jaxpr.eqns):
        if twin := twins.get(id(eqn)):
            peak = max(peak, sum(alive.values()) + _inner_peak(eqn, twin))
            grows |= {v: v.aval.shape != w.aval.shape for v, w in zip(eqn.outvars, twin.outvars, strict=True)}
        else:  # a sharding constraint
            grows[eqn.outvars[0]] = grows.get(eqn.invars[0], False)
        alive |= {v: nbytes(v.aval) if grows[v] else 0 for v in eqn.outvars}
        peak = max(peak, sum(alive.values()))
        alive = {v: size for v, size in alive.items() if last.get(v, -1) > i}
    return peak
