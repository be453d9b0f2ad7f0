"""Whether a function of an experiment is pure: whether it gives the same experiment twice."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from deeplab.core.errors import UserError, place_of
from deeplab.experiment import Experiment

_DEPTH = 12  # of values in values that are compared


def pure(function: Callable[..., Experiment], **arguments: Any) -> Experiment:
    """Builds an experiment twice, and compares the two: a run that goes on, and each run of a sweep, builds it again.

    Args:
      function: Function of the experiment.
      **arguments: Its arguments.

    Raises:
      UserError: A number, a text or an array differs, as where the function draws from a generator without a seed.
    """
    made, again = function(**arguments), function(**arguments)
    for path, a, b in _differences("", made, again, _DEPTH):
        name, place = getattr(function, "__name__", "the experiment"), place_of(function)
        raise UserError(
            f"{name}{place and f' ({place})'} gives another experiment each time: {path} is {_brief(a)}, and then "
            f"{_brief(b)}. An experiment is a pure function of its arguments: draw with a seed, as by "
            "np.random.default_rng(0), and make no other state or time a part of it"
        )
    return made


def _differences(path: str, a: Any, b: Any, depth: int) -> Iterator[tuple[str, Any, Any]]:
    """Plain values that differ, with the path to them; what cannot be compared counts as equal."""
    if a is b or depth == 0:
        return
    if isinstance(a, bool | int | float | str) and isinstance(b, bool | int | float | str):
        if a != b and not (a != a and b != b):
            yield path, a, b
    elif isinstance(a, np.ndarray | jax.Array) and isinstance(b, np.ndarray | jax.Array):
        if not _is_key(a) and (a.shape != b.shape or not np.array_equal(a, b, equal_nan=a.dtype.kind == "f")):
            yield path, a, b
    elif type(a) is type(b):
        one, other = _parts(a), _parts(b)
        for name in (name for name in one if name in other):
            yield from _differences(f"{path}.{name}" if path else name, one[name], other[name], depth - 1)


def _parts(value: Any) -> dict[str, Any]:
    """What a record, a container or a function holds, by name."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        linen = ("parent", "name") if isinstance(value, nn.Module) else ()
        return {
            field.name: getattr(value, field.name) for field in dataclasses.fields(value) if field.name not in linen
        }
    if isinstance(value, Mapping):
        return {str(name): part for name, part in value.items()}
    if isinstance(value, tuple | list):
        return dict(zip(getattr(value, "_fields", map(str, range(len(value)))), value, strict=True))
    if isinstance(value, types.FunctionType) and value.__closure__:
        return dict(zip(value.__code__.co_freevars, value.__closure__, strict=True))
    if isinstance(value, types.CellType):
        try:
            return {"value": value.cell_contents}
        except ValueError:  # a name that has no value yet
            return {}
    return {}


def _is_key(value: Any) -> bool:
    return jax.numpy.issubdtype(value.dtype, jax.dtypes.prng_key)


def _brief(value: Any) -> str:
    return f"{value.dtype}{list(value.shape)}" if isinstance(value, np.ndarray | jax.Array) else repr(value)[:80]
