"""The rules of equations by which a program becomes a tape of linear bounds."""

from __future__ import annotations

import dataclasses
import functools
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from deeplab.core.abstract import intervals
from deeplab.core.abstract.interval_values import Interval
from deeplab.core.interpret import Interpretation, interpret
from deeplab.core.jax_compat import bind
from deeplab.core.jaxpr import CALLS, inner_jaxprs
from deeplab.explain.compiler.rectifiers import is_zero
from deeplab.robust.certify import lines
from deeplab.robust.certify.shapes import Shape, shape_of
from deeplab.robust.certify.tape import Node, between, tightened, weighted, within

_SAME = frozenset({"copy", "name", "optimization_barrier", "sharding_constraint", "stop_gradient"})
_PRODUCTS = frozenset({"conv_general_dilated", "dot_general", "mul"})
# Affine in all of their arguments but some that have to be given: indices, and what chooses.
_AFFINE: dict[str, slice] = {
    **dict.fromkeys((
        "add", "add_any", "broadcast_in_dim", "concatenate", "convert_element_type", "cumsum", "expand_dims", "neg",
        "pad", "reduce_sum", "reduce_window_sum", "reshape", "rev", "slice", "split", "squeeze", "stack", "sub",
        "tile", "transpose", "unstack",
    ), slice(0)),
    **dict.fromkeys(("gather", "dynamic_slice"), slice(1, None)), "dynamic_update_slice": slice(2, None),
    **dict.fromkeys(("scatter-add", "scatter_add"), slice(1, 2)), "select_n": slice(1),
}  # fmt: skip
_REWRITTEN: dict[str, Callable[..., jax.Array]] = {
    "max": lambda a, b: b + jax.nn.relu(a - b),
    "min": lambda a, b: b - jax.nn.relu(b - a),
    "clamp": lambda low, x, high: jnp.minimum(jnp.maximum(x, low), high),
    "div": lambda a, b: a * b**-1,
}
_ZEROS = ("broadcast_in_dim", "reshape", "convert_element_type")


@dataclasses.dataclass(frozen=True, eq=False)
class Rules:
    """The rule of equations; see `deeplab.core.interpret`.

    Attributes:
      tight: Whether what goes into a curved function is bounded by linear functions of the inputs.
      known: Values with their tight bounds, by the identity of the value, which is kept, so that it stays its own.
    """

    tight: bool
    known: dict[int, tuple[Node, Node]] = dataclasses.field(default_factory=dict)

    def __call__(self, eqn: core.JaxprEqn, inputs: list[Any], scope: str) -> Any:
        name, nodes = eqn.primitive.name, [value for value in inputs if isinstance(value, Node)]
        if not nodes:  # zeros stay known under a trace
            zero = name in _ZEROS and len(inputs) == 1 and is_zero(eqn.invars[0], inputs[0])
            return [np.zeros(v.aval.shape, v.aval.dtype) for v in eqn.outvars] if zero else bind(eqn, inputs)  # pyright: ignore[reportAttributeAccessIssue] - of an array
        if name == "scan" or (name in CALLS and shape_of(eqn) is None):
            return NotImplemented
        if name in _SAME:
            return inputs
        found = self.linear(eqn, inputs, scope) if all(node.floating for node in nodes) else None
        if found is None and name == "select_n":
            found = self.gated(eqn, inputs, scope)
        return self.by_intervals(eqn, inputs, scope) if found is None else found

    def linear(self, eqn: core.JaxprEqn, inputs: list[Any], scope: str) -> Any:
        """The outputs of an equation that has lines; None if it has none."""
        name, given = eqn.primitive.name, [i for i, value in enumerate(inputs) if not isinstance(value, Node)]
        one, floating = len(given) == len(inputs) - 1, all(_is_floating(v) for v in eqn.outvars)
        if name in _AFFINE and set(range(len(inputs))[_AFFINE[name]]) <= set(given) and floating:
            return self.affine(eqn, inputs, scope)
        if one and (name in _PRODUCTS or (name == "div" and given == [1])):
            return self.affine(eqn, inputs, scope)
        if name == "max" and one and is_zero(eqn.invars[given[0]], inputs[given[0]]):
            return self.curved(eqn, inputs, scope, lambda _, x: lines.rectifier(x))
        if name in _REWRITTEN:
            return self.rewritten(eqn, _REWRITTEN[name], inputs, scope)
        if name == "mul":
            same = inputs[0] is inputs[1]
            return self.curved(eqn, inputs, scope, lines.convex) if same else self.product(eqn, inputs, scope)
        if name in ("reduce_max", "reduce_window_max"):
            return self.largest(eqn, inputs, scope)
        shape = shape_of(eqn)
        return None if shape is None else self.curved(eqn, inputs, scope, shape)

    def tighter(self, value: Any) -> Any:
        """A value with tight bounds."""
        if not self.tight or not isinstance(value, Node):
            return value
        if id(value) not in self.known:
            self.known[id(value)] = value, tightened(value)
        return self.known[id(value)][1]

    def intervals(self, eqn: core.JaxprEqn, inputs: list[Any], scope: str) -> list[Any]:
        """The intervals of the outputs of an equation."""
        values = [value.interval if isinstance(value, Node) else value for value in inputs]
        if eqn.primitive.name in CALLS:
            return interpret(inner_jaxprs(eqn)[0], values, Interpretation(intervals.rule), scope)
        return intervals.rule(eqn, values, scope)

    def affine(self, eqn: core.JaxprEqn, inputs: list[Any], scope: str) -> list[Node]:
        places = [i for i, value in enumerate(inputs) if isinstance(value, Node)]

        def run(*nodes: jax.Array) -> list[jax.Array]:
            values = list(inputs)
            for i, node in zip(places, nodes, strict=True):
                values[i] = node
            return bind(eqn, values)

        at_zero, back = jax.vjp(run, *(jnp.zeros_like(inputs[i].lower) for i in places))
        offset = eqn.primitive.name not in _PRODUCTS  # at 0 they are 0, at the cost of all else

        def pull(a: jax.Array, output: int) -> tuple[jax.Array, Sequence[jax.Array]]:
            parts = [jnp.zeros_like(out) for out in at_zero]
            parts[output] = a.astype(parts[output].dtype)
            return jnp.sum(weighted(a, at_zero[output])) if offset else jnp.zeros((), a.dtype), back(parts)

        parents, found = tuple(inputs[i] for i in places), self.intervals(eqn, inputs, scope)
        pulls = [functools.partial(pull, output=i) for i in range(len(found))]
        return [Node(out.lower, out.upper, parents, pull, True) for out, pull in zip(found, pulls, strict=True)]

    def curved(self, eqn: core.JaxprEqn, inputs: list[Any], scope: str, shape: Shape) -> list[Node]:
        """A function of one number, between two lines."""
        node = next(value for value in inputs if isinstance(value, Node))
        x = self.tighter(node)
        (found,) = self.intervals(eqn, [x if value is node else value for value in inputs], scope)

        def f(at: jax.Array) -> jax.Array:
            values = [at if value is node else value for value in inputs]
            return (interpret(inner_jaxprs(eqn)[0], values) if eqn.primitive.name in CALLS else bind(eqn, values))[0]

        return [between(found, (node,), [lines.better(shape(f, x.interval), found, x.interval)])]

    def product(self, eqn: core.JaxprEqn, inputs: list[Any], scope: str) -> list[Node]:
        """The planes below and above a b that touch it at two corners each (McCormick 1976)."""
        a, b = map(self.tighter, inputs)
        (found,) = self.intervals(eqn, [a, b], scope)

        low, high = -a.lower * b.lower / 2, -a.upper * b.lower / 2
        planes = lines.Lines((b.lower, low), (b.lower, high)), lines.Lines((a.lower, low), (a.upper, high))
        return [between(found, tuple(inputs), planes)]

    def largest(self, eqn: core.JaxprEqn, inputs: list[Any], scope: str) -> list[Node]:
        """At least the one that is largest at the lower ends; at most the largest upper end."""
        x = self.tighter(inputs[0])
        (found,) = self.intervals(eqn, [x], scope)
        _, back = jax.vjp(lambda at: bind(eqn, [at])[0], x.lower)

        def pull(a: jax.Array) -> tuple[jax.Array, Sequence[jax.Array]]:
            return jnp.sum(weighted(jnp.minimum(a, 0), found.upper)), back(jnp.maximum(a, 0))

        return [Node(found.lower, found.upper, (inputs[0],), pull)]

    def gated(self, eqn: core.JaxprEqn, inputs: list[Any], scope: str) -> list[Node] | None:
        """x or 0 by a truth value that depends on the input, as in the derivative of a rectifier; None for others."""
        zero = [i for i in range(1, len(inputs)) if is_zero(eqn.invars[i], inputs[i])]
        node = inputs[2 if zero == [1] else 1]
        if len(inputs) != 3 or len(zero) != 1 or not isinstance(node, Node):
            return None
        which, x = self.tighter(inputs[0]).interval, self.tighter(node)
        chosen = which if zero == [1] else Interval(~which.upper, ~which.lower)
        (found,) = self.intervals(eqn, [x if value is node else value for value in inputs], scope)
        return [between(found, (node,), [lines.better(lines.gate(x.interval, chosen), found, x.interval)])]

    def rewritten(self, eqn: core.JaxprEqn, f: Callable[..., jax.Array], inputs: list[Any], scope: str) -> list[Any]:
        """The output of an equation as that of others, whose intervals may be wider."""
        arrays = [value.lower if isinstance(value, Node) else value for value in inputs]
        (out,) = interpret(jax.make_jaxpr(f)(*arrays), inputs, Interpretation(self), scope)
        (found,) = self.intervals(eqn, list(map(self.tighter, inputs)), scope)
        return [within(out, found)]

    def by_intervals(self, eqn: core.JaxprEqn, inputs: list[Any], scope: str) -> list[Any]:
        """The outputs of an equation without lines: constants between two others."""
        outputs = self.intervals(eqn, list(map(self.tighter, inputs)), scope)
        if any(isinstance(value, Node) and value.floating for value in inputs) and any(map(_is_floating, eqn.outvars)):
            warnings.warn(
                f"the primitive `{eqn.primitive.name}` in {scope or 'the program'} has no linear bounds: it is bounded "
                "by intervals, which forget what its arguments share",
                stacklevel=2,
            )
        return [Node(*out) if isinstance(out, Interval) else out for out in outputs]


def _is_floating(variable: Any) -> bool:
    return jnp.issubdtype(variable.aval.dtype, jnp.floating)
