"""Arguments of an experiment in a record: as JSON, from which their types give them back, and as text."""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import functools
import inspect
import numbers
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax.core
import numpy as np

from deeplab.core.errors import UserError, nearest, place_of
from deeplab.core.text import dumps


def to_json(value: Any) -> Any:
    """What a record holds of an argument: a value of JSON; paths, enums and dataclasses as {name of the class: value}.

    Raises:
      UserError: The value, or one inside it, is of a type that a record cannot hold.

    Example:
      >>> to_json((1, None, Path("data")))
      [1, None, {'Path': 'data'}]
    """
    name = type(value).__name__
    if isinstance(value, enum.Enum) and value.name in type(value).__members__:
        return {name: value.name}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {name: {field.name: to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}}
    if isinstance(value, Path):
        return {"Path": str(value)}
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: to_json(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(each) for each in value]
    if to_list := getattr(value, "tolist", None):  # of numpy and jax
        return to_json(to_list())
    if isinstance(value, bool | int | float | str | None):
        return value
    raise UserError(
        f"the argument {value!r} is of type {name}, which the record of a run cannot hold; give numbers, texts, paths, "
        "enums, or lists, tuples and dataclasses of these, and make other objects inside the experiment's function"
    )


def from_json(stored: Any, kind: Any) -> Any:
    """The inverse of `to_json`.

    Args:
      stored: Value from `to_json`.
      kind: Annotation of the argument, whose classes are the ones that are made.

    Example:
      >>> from_json([1, 2], tuple[int, ...]), from_json({"Path": "data"}, Path | None)
      ((1, 2), PosixPath('data'))
    """
    kinds = alternatives(kind)
    if isinstance(stored, list):
        sequence = next((k for k in kinds if _class(k) in (tuple, list, collections.abc.Sequence)), list)
        parts = typing.get_args(sequence)
        if _class(sequence) is tuple and parts[1:] != (...,) and len(parts) == len(stored):
            return tuple(map(from_json, stored, parts))
        made = [from_json(each, parts[0] if parts else Any) for each in stored]
        return made if _class(sequence) is list else tuple(made)
    if not isinstance(stored, dict):
        return stored
    mapping = next((k for k in kinds if _class(k) in (dict, collections.abc.Mapping)), None)
    if len(stored) == 1 and mapping is None:
        ((name, inner),) = stored.items()
        made: Any = next((k for k in map(_class, kinds) if getattr(k, "__name__", "") == name), None)
        if name == "Path":
            return Path(inner)
        if isinstance(made, type) and issubclass(made, enum.Enum):
            return made[inner]
        if isinstance(made, type) and dataclasses.is_dataclass(made):
            fields = typing.get_type_hints(made, include_extras=True)
            return made(**{key: from_json(each, fields.get(key, Any)) for key, each in inner.items()})
    parts = typing.get_args(mapping)
    return {key: from_json(each, parts[1] if parts else Any) for key, each in stored.items()}


def kinds_of(function: Callable[..., Any]) -> dict[str, Any]:
    """Annotations of a function's parameters by name; the type of the default for one that has none."""
    function = inspect.unwrap(function)
    try:
        hints = typing.get_type_hints(function, include_extras=True)
    except (NameError, TypeError):  # a name that exists for a type checker only
        hints = {}
    parameters = inspect.signature(function).parameters.items()
    return {name: type(p.default) if hints.get(name, Any) is Any else hints[name] for name, p in parameters}


def unbound(function: Any) -> tuple[Any, dict[str, Any]]:
    """The function within a `functools.partial`, and the arguments that it was given there, by name.

    Args:
      function: Function, or partial of one.

    Raises:
      UserError: The function takes no such argument, or was given one twice.

    Example:
      >>> def experiment(width: int = 8, depth: int = 2): ...
      >>> unbound(functools.partial(experiment, 16, depth=3))[1]
      {'width': 16, 'depth': 3}
    """
    by_place: tuple[Any, ...] = ()
    by_name: dict[str, Any] = {}
    while isinstance(function, functools.partial):
        by_place, by_name = (*function.args, *by_place), {**function.keywords, **by_name}
        function = function.func
    if not (by_place or by_name) or not callable(function):
        return function, by_name
    names = list(inspect.signature(function).parameters)
    if unknown := [name for name in by_name if name not in names]:
        raise UserError(f"the experiment takes no argument {unknown[0]!r}; {nearest(unknown[0], names)}")
    if len(by_place) > len(names):
        raise UserError(f"the experiment takes {len(names)} arguments, and was given {len(by_place)}")
    given = dict(zip(names, by_place, strict=False))
    if twice := sorted(given.keys() & by_name.keys()):
        raise UserError(f"the experiment was given {twice[0]!r} twice, by its place and by its name")
    return function, {**given, **by_name}


def check_given(function: Callable[..., Any], given: Mapping[str, Any]) -> None:
    """Checks that the arguments of an experiment are of the types that it declares, and that a record can hold them.

    Args:
      function: Function of an experiment.
      given: Values by name; the defaults stand for those that are missing.

    Raises:
      UserError: An argument has no value or one of another type, is an array, or stands for many arguments.

    Example:
      >>> def experiment(width: int = 8): ...
      >>> check_given(experiment, {"width": 8})
    """
    kinds = kinds_of(function)
    for name, parameter in inspect.signature(function).parameters.items():
        value, place = given.get(name, parameter.default), place_of(function)
        where = f"the argument {name!r} of {getattr(function, '__name__', 'the experiment')}{place and f' ({place})'}"
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise UserError(f"{where} has no name of its own; give each argument a name, a type and a default")
        if value is inspect.Parameter.empty:
            raise UserError(f"{where} has no value; give it a default, as in {name}: float = 0.1")
        if isinstance(value, np.ndarray | jax.Array) and value.ndim and not isinstance(value, jax.core.Tracer):
            raise UserError(
                f"{where} is an array {value.dtype}{list(value.shape)}; arguments are numbers, texts, paths, and "
                "tuples of them. Make or read the array inside the function"
            )
        if not _is_of(value, kinds[name]):
            told = inspect.formatannotation(kinds[name])
            mend = f"; annotate it {told} | None" if value is None else ""
            raise UserError(f"{where} is {value!r} of type {type(value).__name__}, expected {told}{mend}")


def _is_of(value: Any, kind: Any) -> bool:
    """Whether a value is of an annotated type; True where that cannot be told."""
    return isinstance(value, jax.core.Tracer) or any(_is_one_of(value, each) for each in alternatives(kind))


def _is_one_of(value: Any, kind: Any) -> bool:
    made = _class(kind)
    if made is typing.Literal:
        return value in typing.get_args(kind)
    if made in (int, float):
        number = numbers.Integral if made is int else numbers.Real
        return isinstance(value, number | np.ndarray | jax.Array) and not isinstance(value, bool)
    if made in (str, bool, type(None), tuple) or (isinstance(made, type) and issubclass(made, Path | enum.Enum)):
        return isinstance(value, (made, {tuple: list, Path: str}.get(made, made)))
    return True


def told(stored: Any) -> Any:
    """A recorded argument as a reader knows it: a path as its text, a dataclass as the call that makes it.

    Example:
      >>> told({"Path": "data"}), told({"Config": {"width": 8, "root": {"Path": "."}}}), told(3)
      ('data', 'Config(width=8, root=.)', 3)
    """
    if isinstance(stored, list):
        return [told(each) for each in stored]
    if not isinstance(stored, dict) or len(stored) != 1:
        return stored
    ((name, inner),) = stored.items()
    if isinstance(inner, dict):
        return f"{name}({', '.join(f'{key}={told(each)}' for key, each in inner.items())})"
    return inner if isinstance(inner, str) else stored


def same(a: Any, b: Any) -> bool:
    """Whether two arguments make the same run: of equal type and value, where 1 is 1.0, and NaN is NaN.

    Example:
      >>> same((1, float("nan")), [1.0, float("nan")]), same(True, 1), same("1", 1), same(0.0, -0.0)
      (True, False, False, False)
    """
    return dumps(_floats(to_json(a))) == dumps(_floats(to_json(b)))


def _floats(value: Any) -> Any:
    if isinstance(value, list):
        return [_floats(each) for each in value]
    if isinstance(value, dict):
        return {key: _floats(each) for key, each in value.items()}
    whole = type(value) is int and abs(value) <= 2**53  # larger ones may be no float
    return float(value) if whole else value


def _class(kind: Any) -> Any:
    return typing.get_origin(kind) or kind


def alternatives(kind: Any) -> list[Any]:
    """The members of a union, those of `Annotated` types inside it too.

    Example:
      >>> alternatives(int | None)
      [<class 'int'>, <class 'NoneType'>]
    """
    if hasattr(kind, "__metadata__"):
        return alternatives(typing.get_args(kind)[0])
    if _class(kind) in (typing.Union, types.UnionType):
        return [each for part in typing.get_args(kind) for each in alternatives(part)]
    return [kind]
