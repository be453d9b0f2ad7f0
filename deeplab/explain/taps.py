"""Taps: the values within a program, read and edited by name, in any function that calls Linen modules.

The name of a tap is the path of a module, such as "block_2/attention", for its outputs; or the name of a `mark`. A
module that is called several times (one that is shared, or the layers of a scan) has one tap for each call, in the
order of the program: "blocks/attention[0]", "blocks/attention[1]". What a module reads is a tap as well, that no other
module sees the edits of: "blocks/attention:in[0]", for its first argument where that is one array.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.core import Tracer
from jax.extend import core

from deeplab.core.errors import UserError, nearest
from deeplab.core.interpret import Interpretation, interpret, traced
from deeplab.core.jax_compat import bind, traced_anew
from deeplab.core.jaxpr import ENTERED, inner_jaxprs
from deeplab.nn.marks import mark, read_mark

Function = Callable[..., Any]
Edit = Callable[[Any], Any]
INPUT = ":in"


def taps(f: Function, *inputs: Any) -> dict[str, Any]:
    """All taps of a function in the order of its program, with their shapes; nothing is computed.

    The inputs of modules are left out.

    Args:
      f: Function that calls Linen modules, or marks values.
      *inputs: Its inputs, or their shapes.

    Example:
      >>> model = nn.Sequential([nn.Dense(3), nn.relu, nn.Dense(2)])
      >>> variables = model.init(jax.random.key(0), jax.numpy.ones((1, 4)))
      >>> {name: tap.shape for name, tap in taps(lambda x: model.apply(variables, x), jax.numpy.ones((1, 4))).items()}
      {'layers_0': (1, 3), 'layers_2': (1, 2)}
    """
    names: list[str] = []

    def values(*inputs: Any) -> list[Any]:
        every = {name: value for name, value in _every(_run(f, inputs)[1]).items() if INPUT not in name}
        names.extend(every)
        return list(every.values())

    shapes = jax.eval_shape(values, *inputs)
    return dict(zip(names, shapes, strict=True))


def read(f: Function, names: Sequence[str]) -> Function:
    """The function from the inputs of f to its outputs, and its taps of these names: (outputs, {name: value}).

    Args:
      f: Function that calls Linen modules, or marks values.
      names: Names of taps. One of several calls without a number has the list of their values.

    Raises:
      UserError: when called, if f has no such tap; the nearest are named.

    Example:
      >>> value, found = read(lambda x: 3 * mark(x + 1, "sum"), ["sum"])(1.0)
      >>> float(value), float(found["sum"])
      (6.0, 2.0)
    """

    def reading(*inputs: Any) -> tuple[Any, dict[str, Any]]:
        wanted = {_parsed(name)[0] for name in names}
        outputs, calls = _run(f, inputs, wanted)
        return outputs, {name: _picked(f, name, calls, inputs) for name in names}

    return reading


def edited(f: Function, edits: Mapping[str, Edit]) -> Function:
    """f with edits of the values at taps.

    Args:
      f: Function that calls Linen modules, or marks values.
      edits: By the name of a tap, the function from its value to what stands there instead; at each call for a name
        without a number.

    Raises:
      UserError: when called, if f has no such tap, or an edit changes a shape.

    Example:
      >>> half = edited(lambda x: 3 * mark(x + 1, "sum"), {"sum": lambda value: value / 2})
      >>> float(half(1.0))
      3.0
    """

    def editing(*inputs: Any) -> Any:
        wanted = {_parsed(name)[0] for name in edits}
        outputs, calls = _run(f, inputs, wanted, edits)
        for name in edits:
            _picked(f, name, calls, inputs)
        return outputs

    return editing


def split(f: Function, name: str) -> tuple[Function, Function]:
    """f in two: from the inputs to the value of a tap, and from a value and the inputs to the outputs.

    All methods explain a tap by the second function, and its value by the first.

    Args:
      f: Function that calls Linen modules, or marks values.
      name: Name of one tap.

    Returns:
      upto(*inputs) -> value, and rest(value, *inputs) -> outputs.

    Example:
      >>> upto, rest = split(lambda x: 3 * mark(x + 1, "sum"), "sum")
      >>> float(upto(1.0)), float(rest(5.0, 1.0))
      (2.0, 15.0)
    """

    def upto(*inputs: Any) -> Any:
        value = read(f, [name])(*inputs)[1][name]
        if isinstance(value, list):
            raise UserError(f"{name!r} is called {len(value)} times; name one call: {name}[0] to [{len(value) - 1}]")
        return value

    def rest(value: Any, *inputs: Any) -> Any:
        return edited(f, {name: lambda _: value})(*inputs)

    return upto, rest


def _marked(call: Callable, args: tuple, kwargs: dict, context: nn.module.InterceptorContext) -> Any:
    path = "/".join(context.module.path)
    if not path or context.method_name != "__call__":
        return call(*args, **kwargs)
    if args and isinstance(args[0], jax.Array):
        args = (mark(args[0], path + INPUT), *args[1:])
    return mark(call(*args, **kwargs), path)


def _run(
    f: Function, inputs: Any, wanted: set[str] | None = None, edits: Mapping[str, Edit] | None = None
) -> tuple[Any, list[tuple[str, Any]]]:
    """The outputs, and the names and values of all calls of wanted names in their order; of all names when None.

    Only calls and loops that hold a wanted tap are entered; all others keep their derivatives, and stay loops.
    """

    def marked(*inputs: Any) -> Any:
        with nn.intercept_methods(_marked), traced_anew():
            return f(*inputs)

    program, shape = traced(marked, *inputs)
    calls: list[tuple[str, Any]] = []
    counts: Counter[str] = Counter()
    marks: dict[Any, str | None] = {}  # of variables, since functions that are edited twice are marked twice

    def rule(eqn: core.JaxprEqn, values: list[Any], scope: str) -> Any:
        del scope
        name = read_mark(eqn)
        if name is not None:
            marks[eqn.outvars[0]], (given,) = name, eqn.invars
            if not isinstance(given, core.Literal) and marks.get(given) == name:
                return values
        if name is None or not (wanted is None or name in wanted):
            if not _holds(eqn, wanted):
                return bind(eqn, values)
            if eqn.primitive.name == "while" or (eqn.primitive.name == "cond" and isinstance(values[0], Tracer)):
                raise UserError(f"a tap is within a `{eqn.primitive.name}` that the input decides; mark its result")
            return NotImplemented
        (value,) = values
        for edit in (edits or {}).get(name), (edits or {}).get(f"{name}[{counts[name]}]"):
            value = value if edit is None else _fitting(name, edit(value), value)
        counts[name] += 1
        calls.append((name, value))
        return bind(eqn, [value])

    out = interpret(program, jax.tree.leaves(inputs), Interpretation(rule))
    return jax.tree.unflatten(jax.tree.structure(shape), out), calls


def _holds(eqn: core.JaxprEqn, wanted: set[str] | None) -> bool:
    """Whether a wanted tap is within the programs that an equation runs."""
    if eqn.primitive.name not in ENTERED:
        return False
    inner = [e for program in inner_jaxprs(eqn) for e in program.jaxpr.eqns]
    names = [read_mark(e) for e in inner]
    return any(name is not None and (wanted is None or name in wanted) for name in names) or any(
        _holds(e, wanted) for e in inner
    )


def _fitting(name: str, made: Any, value: jax.Array) -> jax.Array:
    if jnp.shape(made) != value.shape:
        raise UserError(f"the edit of {name!r} gives the shape {jnp.shape(made)}, and {value.shape} stands there")
    return jnp.asarray(made, value.dtype)


def _parsed(name: str) -> tuple[str, int | None]:
    path, number = re.fullmatch(r"(.*?)(?:\[(\d+)\])?", name, re.DOTALL).groups()  # pyright: ignore - it always matches
    return path, None if number is None else int(number)


def _picked(f: Function, name: str, calls: Sequence[tuple[str, Any]], inputs: Any) -> Any:
    """The value of a tap, or the values of all its calls."""
    path, number = _parsed(name)
    known = [value for called, value in calls if called == path]
    if number is None and known:
        return known[0] if len(known) == 1 else known
    if number is None or number >= len(known):
        every = _every(_run(f, inputs)[1])
        raise UserError(f"there is no tap {name!r}; {nearest(name, every)}")
    return known[number]


def _every(calls: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """All values by the names of their calls, in their order."""
    counts, seen, every = Counter(name for name, _ in calls), Counter(), {}
    for name, value in calls:
        every[name if counts[name] == 1 else f"{name}[{seen[name]}]"] = value
        seen[name] += 1
    return every
