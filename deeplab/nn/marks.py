"""Marks: values of a program that have a name, by which they can be read and edited from outside."""

from __future__ import annotations

from typing import Any, TypeVar

import jax
from jax.ad_checkpoint import checkpoint_name
from jax.extend import core

T = TypeVar("T")
_PREFIX = "tap:"


def mark(value: T, name: str) -> T:
    """The value itself, which `deeplab.explain.taps` finds by this name; it costs nothing.

    Args:
      value: Array; or a pytree of arrays, each of which has the name and its place, such as "lstm.0".
      name: Name; one that is marked several times has as many values, in the order of the program.

    Example:
      >>> mark(jax.numpy.ones(2), "hidden").tolist()
      [1.0, 1.0]
    """

    def one(path: Any, leaf: Any) -> jax.Array:
        place = jax.tree_util.keystr(path, simple=True, separator=".")
        return checkpoint_name(leaf, f"{_PREFIX}{name}.{place}" if place else _PREFIX + name)

    return jax.tree_util.tree_map_with_path(one, value)


def read_mark(eqn: core.JaxprEqn) -> str | None:
    """The name that an equation gives to its value; None of any other equation.

    Example:
      >>> program = jax.make_jaxpr(lambda x: mark(2 * x, "double"))(1.0)
      >>> [read_mark(eqn) for eqn in program.eqns]
      [None, 'double']
    """
    given: Any = eqn.params.get("name") if eqn.primitive.name == "name" else None
    return given.removeprefix(_PREFIX) if isinstance(given, str) and given.startswith(_PREFIX) else None
