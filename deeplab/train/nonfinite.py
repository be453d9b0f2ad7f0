"""Where a NaN comes from: the step, replayed one primitive at a time.

A step is a pure function of what was saved (state and batch), so that the very step that failed can be run again.
Its jaxpr is evaluated equation by equation; each value that is not finite carries the equation that first made it
so, and the loss names the culprit.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from deeplab.core.runtime import Runtime
from deeplab.data.base import Batch
from deeplab.experiment import Experiment
from deeplab.train.state import State
from deeplab.train.step import make_step

_CALLS = ("jit", "pjit", "closed_call", "custom_jvp_call", "custom_vjp_call", "remat2", "checkpoint")


@dataclasses.dataclass(frozen=True)
class Origin:
    """The first thing in a step that was not finite.

    Attributes:
      layer: the path of the module, such as "ResNet/stem/conv"; or of an input, such as `batch["image"]`.
      primitive: the operation, such as "log"; "input" when the step was given it.
      value: "nan" or "inf".
      backward: whether it arose in the backward pass.
    """

    layer: str
    primitive: str
    value: str
    backward: bool = False

    def __str__(self) -> str:
        if self.primitive == "input":
            return f"{self.layer}, which the step was given, holds {self.value}"
        where = f"the gradient of {self.layer}" if self.backward else self.layer
        return f"{self.value} first arises in {where}, from the primitive `{self.primitive}`"


def find_origin(experiment: Experiment, state: State, batch: Batch, runtime: Runtime = Runtime()) -> Origin | None:
    """The first layer and primitive of a step to give NaN or infinity that reaches the loss or the gradient.

    Slow (every primitive is dispatched by itself), and meant for a step that has failed.

    Args:
      experiment: whose step.
      state: as it was before the step.
      batch: the raw batch.

    Returns:
      None when the replayed step is finite.
    """

    def outcome(state: State, batch: Batch) -> tuple[jax.Array, jax.Array]:
        _, metrics = make_step(experiment, runtime)(state, batch)
        return metrics["loss"].total, metrics["grad_norm"].total

    closed = jax.make_jaxpr(outcome)(state, batch)
    leaves, _ = jax.tree_util.tree_flatten_with_path({"state": state, "batch": batch})
    # Flattened as the arguments are: the state's leaves, then the batch's.
    leaves.sort(key=lambda leaf: leaf[0][0].key != "state")
    origins = [_input_origin(jax.tree_util.keystr(path[1:], simple=True, separator="/"), x) for path, x in leaves]
    out = _evaluate(closed.jaxpr, closed.consts, [_Value(x, o) for (_, x), o in zip(leaves, origins, strict=True)], "")
    return _first([value.origin for value in out])


@dataclasses.dataclass(frozen=True)
class _Value:
    """An array, and why it is not finite (None when it is)."""

    array: Any
    origin: Origin | None = None


def _trouble(x: Any) -> str | None:
    if not jnp.issubdtype(jnp.result_type(x), jnp.floating):
        return None
    x = np.asarray(x, np.float64)
    return "nan" if np.isnan(x).any() else "inf" if np.isinf(x).any() else None


def _input_origin(name: str, x: Any) -> Origin | None:
    value = None if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else _trouble(x)
    return Origin(name, "input", value) if value else None


def _evaluate(jaxpr: core.Jaxpr, consts: Any, args: list[_Value], scope: str) -> list[_Value]:
    """Evaluates a jaxpr, with the origin of what is not finite beside each value."""
    values: dict[Any, _Value] = dict(zip(jaxpr.constvars, map(_Value, consts), strict=True))
    values.update(zip(jaxpr.invars, args, strict=True))

    def read(atom: Any) -> _Value:
        return _Value(atom.val) if isinstance(atom, core.Literal) else values[atom]

    for eqn in jaxpr.eqns:
        inputs = [read(atom) for atom in eqn.invars]
        here = "/".join(filter(None, [scope, str(eqn.source_info.name_stack)]))
        values.update(zip(eqn.outvars, _equation(eqn, inputs, here), strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _equation(eqn: Any, inputs: list[_Value], scope: str) -> list[_Value]:
    inner = _inner_jaxpr(eqn)
    if inner is not None:
        return _evaluate(inner.jaxpr, inner.consts, inputs, scope)
    if eqn.primitive.name == "scan" and not eqn.params["reverse"]:
        return _scan(eqn, inputs, scope)
    # An equation with an inner function (`while`, a reversed scan, ...) is evaluated as a whole.
    out = eqn.primitive.bind(*(v.array for v in inputs), **eqn.primitive.get_bind_params(eqn.params))
    arrays = out if eqn.primitive.multiple_results else [out]
    return [_Value(x, _blame(eqn, inputs, _float_trouble(x), scope)) for x in arrays]


def _float_trouble(x: Any) -> str | None:
    return None if jnp.issubdtype(jnp.result_type(x), jax.dtypes.extended) else _trouble(x)


def _inner_jaxpr(eqn: Any) -> Any:
    """The function that an equation calls once, with its own operands: jit, remat, custom derivatives."""
    if eqn.primitive.name in _CALLS:
        inner = next(eqn.params[k] for k in ("jaxpr", "call_jaxpr", "fun_jaxpr") if k in eqn.params)
        return inner if isinstance(inner, core.ClosedJaxpr) else core.ClosedJaxpr(inner, ())
    return None


def _scan(eqn: Any, inputs: list[_Value], scope: str) -> list[_Value]:
    """A forward scan, iteration by iteration; the stacked outputs carry the first origin of any iteration."""
    p, inner = eqn.params, eqn.params["jaxpr"]
    fixed, rest = inputs[: p["num_consts"]], inputs[p["num_consts"] :]
    carry, xs = rest[: p["num_carry"]], rest[p["num_carry"] :]
    rows: list[list[_Value]] = []
    for i in range(p["length"]):
        part = [_Value(x.array[i], x.origin) for x in xs]
        out = _evaluate(inner.jaxpr, inner.consts, [*fixed, *carry, *part], scope)
        carry = out[: p["num_carry"]]
        rows.append(out[p["num_carry"] :])
    ys = [
        _Value(jnp.stack([v.array for v in column]), next((v.origin for v in column if v.origin), None))
        for column in zip(*rows, strict=True)
    ]
    return [*carry, *ys]


def _blame(eqn: Any, inputs: list[_Value], value: str | None, scope: str) -> Origin | None:
    """The origin of an output: inherited from an input, or this equation."""
    if value is None:
        return None
    inherited = _first([v.origin for v in inputs])
    if inherited:
        return inherited
    return Origin(_layer(scope), eqn.primitive.name, value, backward="transpose(" in scope)


def _first(origins: list[Origin | None]) -> Origin | None:
    """What the step was given explains all else; NaN comes before infinity, which masks may hold on purpose."""
    known = [origin for origin in origins if origin]
    return min(known, key=lambda o: (o.primitive != "input", o.value != "nan"), default=None)


def _layer(scope: str) -> str:
    """ "transpose(jvp(CNN))/conv1/..." -> "CNN/conv1": without the names of transformations."""
    parts = [re.sub(r"^(?:\w+\()+|\)+$", "", part) for part in scope.split("/")]
    return "/".join(part for part in parts if part) or "the loss"
