"""The origin of a NaN: the failed step, replayed one primitive at a time.

A step is a pure function of its state and batch, so the very step that failed can be run again. Its jaxpr is evaluated
equation by equation. Each value that is not finite carries the equation that first produced it, and the origin that
reaches the loss or the gradient norm is reported.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from deeplab.core.interpret import Interpretation, interpret
from deeplab.core.jax_compat import bind
from deeplab.core.jaxpr import ENTERED
from deeplab.core.runtime import Runtime
from deeplab.data.base import Batch
from deeplab.experiment import Experiment
from deeplab.train.state import State
from deeplab.train.step import make_step


@dataclasses.dataclass(frozen=True)
class Origin:
    """The first value of a step that was not finite.

    Attributes:
      layer: Path of the module, such as "ResNet/stem/conv", or of an input, such as "image".
      primitive: Name of the operation, such as "log"; "input" for an argument of the step.
      value: "nan" or "inf".
      backward: Whether the operation is part of the backward pass.
    """

    layer: str
    primitive: str
    value: str
    backward: bool = False

    def __str__(self) -> str:
        if self.primitive == "input":
            return f"the input {self.layer} of the step holds {self.value}"
        where = f"the gradient of {self.layer}" if self.backward else self.layer
        return f"{self.value} first arises in {where}, from the primitive `{self.primitive}`"


def find_origin(experiment: Experiment, state: State, batch: Batch, runtime: Runtime = Runtime()) -> Origin | None:
    """The first layer and primitive whose NaN or infinity reaches the loss or the gradient norm of a step.

    It is slow, because every primitive is dispatched alone; use it for a step that has failed.

    Args:
      experiment: Experiment of the failed step.
      state: State before the step.
      batch: Raw batch of the step.
      runtime: Runtime of the failed step.

    Returns:
      The origin, or None if the replayed step is finite.
    """

    def outcome(state: State, batch: Batch) -> tuple[jax.Array, jax.Array]:
        _, metrics = make_step(experiment, runtime)(state, batch)
        return metrics["loss"].total, metrics["grad_norm"].total

    program = jax.make_jaxpr(outcome)(state, batch)
    leaves, _ = jax.tree_util.tree_flatten_with_path({"state": state, "batch": batch})
    # Flattened as the arguments are: the state's leaves, then the batch's.
    leaves.sort(key=lambda leaf: leaf[0][0].key != "state")
    origins = [_input_origin(jax.tree_util.keystr(path[1:], simple=True, separator="/"), x) for path, x in leaves]
    args = [_Value(x, origin) for (_, x), origin in zip(leaves, origins, strict=True)]
    return _first([value.origin for value in interpret(program, args, _BLAME)])


@dataclasses.dataclass(frozen=True)
class _Value:
    """An array, and why it is not finite (None when it is)."""

    array: Any
    origin: Origin | None = None


def _kind(x: Any) -> str | None:
    """ "nan", "inf", or None for a finite array; keys are finite."""
    dtype = jnp.result_type(x)
    if jnp.issubdtype(dtype, jax.dtypes.extended) or not jnp.issubdtype(dtype, jnp.floating):
        return None
    x = np.asarray(x, np.float64)
    return "nan" if np.isnan(x).any() else "inf" if np.isinf(x).any() else None


def _input_origin(name: str, x: Any) -> Origin | None:
    value = _kind(x)
    return Origin(name, "input", value) if value else None


def _rule(eqn: Any, inputs: list[_Value], scope: str) -> Any:
    if eqn.primitive.name in ENTERED:
        return NotImplemented
    arrays = bind(eqn, [value.array for value in inputs])
    return [_Value(array, _blame(eqn, inputs, _kind(array), scope)) for array in arrays]


_BLAME = Interpretation(_rule, lift=_Value, lower=lambda value: value.array)


def _blame(eqn: Any, inputs: list[_Value], value: str | None, scope: str) -> Origin | None:
    """The origin of an output: that of an input, or else this equation."""
    if value is None:
        return None
    inherited = _first([v.origin for v in inputs])
    if inherited:
        return inherited
    return Origin(_layer(scope), eqn.primitive.name, value, backward="transpose(" in scope)


def _first(origins: list[Origin | None]) -> Origin | None:
    """Inputs of the step come first; NaN comes before infinity, which masks may hold on purpose."""
    known = [origin for origin in origins if origin]
    return min(known, key=lambda o: (o.primitive != "input", o.value != "nan"), default=None)


def _layer(scope: str) -> str:
    """ "transpose(jvp(CNN))/conv1/..." -> "CNN/conv1": without the names of transformations."""
    parts = [re.sub(r"^(?:\w+\()+|\)+$", "", part) for part in scope.split("/")]
    return "/".join(part for part in parts if part) or "the loss"
