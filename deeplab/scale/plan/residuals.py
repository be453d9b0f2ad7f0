"""What the forward pass keeps for the backward pass, and what that computes again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
from jax.extend import core
from jax.sharding import NamedSharding

from deeplab.scale.plan.costs import inner_jaxprs, nbytes

UNOPTIMIZED: Any = {"xla_backend_optimization_level": 0}  # of programs that are read, and never run
_CALLS = ("jit", "pjit", "closed_call", "checkpoint", "remat", "remat2")  # what runs a jaxpr once, on its operands


class Residual(NamedTuple):
    """An array that waits for the backward pass.

    Attributes:
      shape: of the whole array.
      dtype: its dtype.
      spec: over which axes of the mesh each dimension is split.
      nbytes: of one device's part.
    """

    shape: tuple[int, ...]
    dtype: str
    spec: Any
    nbytes: int


def residuals(objective: Callable[..., Any], params: Any, *rest: Any) -> list[Residual]:
    """What `jax.vjp` keeps of `objective(params, *rest) -> (scalar, auxiliary)`, and how it lies on the mesh.

    Left out: the arguments themselves, which are there anyway, and what depends on no argument (masks, positions),
    which the compiler makes anew. What it recomputes besides, by fusing cheap functions of one residual, is counted: an
    upper bound. How each is split is read off the compiled forward pass, in which XLA's partitioner has decided it.

    Args:
      objective: whose gradient is taken, by its first argument.
      params: abstract arrays with shardings.
      rest: likewise.

    Example:
      >>> x = jax.ShapeDtypeStruct((4, 8), jax.numpy.float32)
      >>> [r.shape for r in residuals(lambda w, x: (jax.numpy.sin(w * x).sum(), None), x, x)]
      [(4, 8)]
    """

    def leaves(params: Any, *rest: Any) -> list[jax.Array]:
        _, pullback, _ = jax.vjp(lambda p: objective(p, *rest), params, has_aux=True)
        return jax.tree.leaves(pullback)

    jaxpr = jax.make_jaxpr(leaves)(params, *rest).jaxpr
    kept, seen = [], set(jaxpr.invars)
    depends = _depending(jaxpr, set(jaxpr.invars))
    for i, var in enumerate(jaxpr.outvars):
        if not isinstance(var, core.Literal) and var not in seen and var in depends:
            kept.append(i)
            seen.add(var)
    if not kept:
        return []
    forward = jax.jit(lambda *arguments: [leaves(*arguments)[i] for i in kept]).lower(params, *rest)
    compiled = forward.compile(compiler_options=UNOPTIMIZED)
    return [_residual(s, where) for s, where in zip(forward.out_info, compiled.output_shardings, strict=True)]


def _residual(array: Any, sharding: Any) -> Residual:
    part = jax.ShapeDtypeStruct(sharding.shard_shape(array.shape), array.dtype)
    spec = sharding.spec if isinstance(sharding, NamedSharding) else None
    return Residual(array.shape, str(array.dtype), spec, part.size * part.dtype.itemsize)


def _depending(jaxpr: Any, known: set[Any]) -> set[Any]:
    """The variables of a jaxpr that depend on `known` ones."""
    depends = set(known)
    for eqn in jaxpr.eqns:
        given = [not isinstance(v, core.Literal) and v in depends for v in eqn.invars]
        inner = eqn.params.get("jaxpr") if eqn.primitive.name in _CALLS else None
        if inner is None:
            depends |= set(eqn.outvars) if any(given) else set()
            continue
        inner = getattr(inner, "jaxpr", inner)
        found = _depending(inner, {v for v, g in zip(inner.invars, given, strict=True) if g})
        depends |= {
            out
            for out, var in zip(eqn.outvars, inner.outvars, strict=True)
            if not isinstance(var, core.Literal) and var in found
        }
    return depends


def recomputed(jaxpr: Any, wider: Any) -> int:
    """Bytes, on all devices together, that the backward pass of the largest rematerialised block needs at once.

    Only what grows with the batch; 0 where nothing is computed again (`jax.checkpoint`).

    Args:
      jaxpr: of a step, from `jax.make_jaxpr`.
      wider: the same step for twice the batch.
    """
    return max(_blocks(jaxpr.jaxpr, wider.jaxpr), default=0)


def _blocks(jaxpr: Any, wider: Any) -> Iterator[int]:
    for eqn, wide in zip(jaxpr.eqns, wider.eqns, strict=True):
        bodies = zip(inner_jaxprs(eqn), inner_jaxprs(wide), strict=True)
        for body, other in bodies:
            yield from [_peak(body, other)] if eqn.params.get("differentiated") else _blocks(body, other)


def _peak(jaxpr: Any, wider: Any) -> int:
    """The most bytes of a jaxpr's own variables that are alive at once, each until its last use."""
    end = len(jaxpr.eqns)
    last = {v: i for i, eqn in enumerate(jaxpr.eqns) for v in eqn.invars if not isinstance(v, core.Literal)}
    last |= {v: end for v in jaxpr.outvars if not isinstance(v, core.Literal)}
    alive: dict[Any, int] = {}
    peak = 0
    for i, (eqn, wide) in enumerate(zip(jaxpr.eqns, wider.eqns, strict=True)):
        bodies = zip(inner_jaxprs(eqn), inner_jaxprs(wide), strict=True)
        inside = max((_peak(a, b) for a, b in bodies), default=0)
        peak = max(peak, sum(alive.values()) + inside)
        for v, w in zip(eqn.outvars, wide.outvars, strict=True):
            alive[v] = nbytes(v.aval) if v.aval.shape != w.aval.shape else 0
        peak = max(peak, sum(alive.values()))
        alive = {v: size for v, size in alive.items() if last.get(v, -1) > i}
    return peak
