"""Layer-wise relevance propagation as an interpretation: which rule an equation has."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array
from jax.extend import core

from deeplab.core.abstract.loops import run_loop
from deeplab.core.errors import UserError
from deeplab.core.interpret import Interpretation
from deeplab.core.jax_compat import bind
from deeplab.core.jaxpr import CALLS, CONTROL_FLOW
from deeplab.explain.compiler import passing, sharing
from deeplab.explain.compiler.secant import ELEMENTWISE
from deeplab.explain.compiler.signals import Rule, Signal, domain
from deeplab.explain.compiler.steps import Step


class Place(NamedTuple):
    """Where in a program a layer is, for the choice of its rule.

    Attributes:
      primitive: Name of the primitive: `dot_general` or `conv_general_dilated` for layers with weights; `add`,
        `reduce_sum` and the like for sums, of which only the epsilon of the chosen rule is used.
      scope: Path of the names around it, such as those of modules.
      depth: Number of layers with weights before it, on the longest way from the input; what a loop hands on counts as
        one.

    Example:
      >>> rule_of = lambda place: "ZBox" if place.depth == 0 else "Epsilon"
      >>> rule_of(Place("dot_general", "Dense_0", 0))
      'ZBox'
    """

    primitive: str
    scope: str
    depth: int


Rules = Rule | Callable[[Place], Rule]
"""One rule for all layers, or one for each place."""

_KEPT: dict[str, tuple[int, ...] | None] = dict.fromkeys((
    "broadcast_in_dim", "reshape", "transpose", "squeeze", "expand_dims", "concatenate", "copy", "name", "rev", "pad",
    "slice", "split", "stack", "unstack", "convert_element_type", "reduce_precision", "sharding_constraint",
    "optimization_barrier",
))  # fmt: skip
_KEPT |= {"gather": (0,), "dynamic_slice": (0,), "dynamic_update_slice": (0, 1), "scatter": (0, 2)}
_SUMS: dict[str, tuple[int, ...] | None] = dict.fromkeys(
    ("add_any", "reduce_sum", "cumsum", "reduce_window_sum", "fft", "real", "imag", "conj", "complex")
)
_SUMS |= {"scatter-add": (0, 2), "scatter_add": (0, 2)}
_LAYERS = ("dot_general", "conv_general_dilated", "ragged_dot", "ragged_dot_general")
_TABLE: dict[str, Callable[[Step], list[Any]]] = {
    **dict.fromkeys(("add", "sub"), sharing.added),
    **dict.fromkeys(("mul", "div"), sharing.multiplied),
    **dict.fromkeys(_LAYERS, sharing.layer),
    **dict.fromkeys(ELEMENTWISE - {"add", "sub", "mul", "div", "neg", "convert_element_type"}, passing.function),
    **dict.fromkeys(("reduce_max", "reduce_window_max", "cummax"), passing.highest),
    **dict.fromkeys(("reduce_min", "reduce_window_min", "cummin"), passing.highest),
    "neg": sharing.negated,
    "select_n": sharing.selected,
    "sort": passing.sorted_,
    "top_k": passing.top,
}  # fmt: skip
_DETACHED = ("stop_gradient", "sign")


@dataclasses.dataclass(frozen=True)
class Relevance:
    """The rule of equations; see `deeplab.core.interpret`.

    Attributes:
      rules: Rules of layers.
      constant: Ratio of what does not depend on the input; its derivative is what biases absorb.
    """

    rules: Rules
    constant: Array

    def __call__(self, eqn: core.JaxprEqn, inputs: list[Any], scope: str) -> Any:
        name = eqn.primitive.name
        depends = [i for i, value in enumerate(inputs) if isinstance(value, Signal)]
        if not depends:
            return bind(eqn, inputs)
        if name in CALLS:
            return NotImplemented
        if name in CONTROL_FLOW:
            return run_loop(eqn, inputs, Interpretation(self), scope, domain(self.constant))
        avals: list[Any] = [v.aval for v in eqn.outvars]
        if name in _DETACHED or not any(jnp.issubdtype(aval.dtype, jnp.inexact) for aval in avals):
            return bind(eqn, [value.at if isinstance(value, Signal) else value for value in inputs])
        step = Step(eqn, inputs, self._rule(name, scope, max(inputs[i].depth for i in depends)), self.constant)
        if name in _KEPT and set(depends) <= set(_KEPT[name] or depends):
            return sharing.placed(step, _KEPT[name])
        if name in _SUMS and set(depends) <= set(_SUMS[name] or depends):
            return sharing.summed(step, _SUMS[name])
        if name in _TABLE and (name not in _LAYERS or set(depends) <= {0, 1}):
            return _TABLE[name](step)
        warnings.warn(
            f"the primitive `{name}` in {scope or 'the program'} has no rule; its gradient is used", stacklevel=2
        )
        return passing.tangent(step)

    def _rule(self, name: str, scope: str, depth: int) -> Rule:
        rule = self.rules
        if callable(rule) and not isinstance(rule, type):
            rule = rule(Place(name, scope, depth))
        if isinstance(rule, type) or not isinstance(rule, Rule):
            raise UserError(f"the rule of `{name}` is {rule!r}, expected one such as Epsilon(1e-6) or ZPlus()")
        return rule
