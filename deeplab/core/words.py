"""Arguments as the words of a command line, and as the Python call where no command line has them."""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import inspect
import io
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from deeplab.core.arguments import kinds_of, same


def flag_words(
    values: Mapping[str, Any], defaults: Mapping[str, Any], kinds: Mapping[str, Any] | None = None
) -> list[str]:
    """Words of the command line for flags that differ from their defaults.

    Args:
      values: Values by name.
      defaults: Defaults by name; None for a name that has none.
      kinds: Annotations by name; a boolean is a flag without a value where its annotation is `bool`, or not known.

    Example:
      >>> flag_words({"width": 8, "smoke": True, "depth": 2, "name": "-x"}, {"width": 4, "smoke": False, "depth": 2})
      ['--width', '8', '--smoke', '--name=-x']
    """
    words: list[str] = []
    for name, value in values.items():
        flag, default = f"--{name.replace('_', '-')}", defaults.get(name)
        if same(value, default) or (value is False and default is None and kinds is None):
            continue
        if dataclasses.is_dataclass(value):
            fields = [field.name for field in dataclasses.fields(value)]
            own, usual = ({field: getattr(v, field, None) for field in fields} for v in (value, default))
            words += flag_words(own, usual, kinds_of(type(value)))
        elif isinstance(value, bool) and (kinds is None or kinds.get(name) is bool):
            words.append(flag if value else f"--no-{flag[2:]}")
        elif isinstance(value, tuple | list):
            words += [flag, *map(_word, _flat(value))]
        else:
            word = _word(value)
            words += [f"{flag}={word}"] if word.startswith("-") else [flag, word]
    return words


def parses_to(function: Callable[..., Any], values: Mapping[str, Any], words: Sequence[str]) -> bool:
    """Whether the words of a command line give a function these very arguments.

    Args:
      function: Function whose parameters are flags.
      values: Arguments by name.
      words: Words from `flag_words`.
    """
    import tyro

    kinds, parameters = kinds_of(function), inspect.signature(function).parameters
    fields = [
        (name, kinds[name], dataclasses.field(default_factory=lambda default=p.default: default))
        for name, p in parameters.items()
    ]
    silent = contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO())
    try:
        with silent[0], silent[1]:
            arguments = dataclasses.make_dataclass("Arguments", fields)
            parsed = tyro.cli(arguments, args=list(words), config=(tyro.conf.OmitArgPrefixes,))
        return all(same(getattr(parsed, name), value) for name, value in values.items())
    except (SystemExit, Exception):  # whatever a parser finds wrong with types and values of a user
        return False


def python_text(value: Any) -> str:
    """A value as Python text.

    Example:
      >>> python_text({"rates": (1.0, float("inf")), "root": Path("data")})
      "{'rates': (1.0, float('inf')), 'root': Path('data')}"
    """
    if isinstance(value, enum.Enum):
        return f"{type(value).__name__}.{value.name}"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        given = ", ".join(f"{f.name}={python_text(getattr(value, f.name))}" for f in dataclasses.fields(value))
        return f"{type(value).__name__}({given})"
    if isinstance(value, Path):
        return f"Path({str(value)!r})"
    if isinstance(value, float) and not math.isfinite(value):
        return f"float('{value}')"
    if isinstance(value, list | tuple):
        inner = ", ".join(map(python_text, value))
        return f"[{inner}]" if isinstance(value, list) else f"({inner}{',' * (len(value) == 1)})"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{python_text(key)}: {python_text(each)}' for key, each in value.items())}}}"
    return repr(value)


def call_text(
    verb: str, function: Callable[..., Any], module: str, given: Mapping[str, Any], options: Mapping[str, Any]
) -> str:
    """The Python call of a verb, with the imports that it needs.

    Args:
      verb: Name of the verb.
      function: Function of the experiment.
      module: Name of the module that it is imported from; "" where it is defined in a notebook.
      given: Arguments of the experiment that differ from their defaults; of a sweep, its axes are among them.
      options: Options of the verb by name; those that are None are left out.

    Example:
      >>> print(call_text("train", call_text, "", {"width": 8}, {"run_dir": Path("runs/1"), "seed": 0}))
      import functools
      dl.fit(functools.partial(call_text, width=8), run_dir='runs/1', seed=0)
    """
    name = getattr(function, "__name__", "experiment")
    name = name if name.isidentifier() else "experiment"
    own = ", ".join(f"{key}={python_text(value)}" for key, value in given.items())
    partial = bool(own) and verb != "sweep"
    words = [f"functools.partial({name}, {own})" if partial else name]
    words += [python_text(dict(given))] if verb == "sweep" else ["question"] if verb == "study" else []
    words += [
        f"{key}={python_text(str(value) if isinstance(value, Path) else value)}"
        for key, value in options.items()
        if value is not None
    ]
    called = {"train": "fit", "eval": "evaluate"}.get(verb, verb)
    imports = ["import functools"] * partial + ["from pathlib import Path"] * ("Path(" in own)
    kinds = {kind for value in given.values() for kind in _kinds(value)}
    imports += [f"from {kind.__module__} import {kind.__name__}" for kind in kinds if kind.__module__ != "__main__"]
    known = getattr(function, "__module__", "") != "__main__" and getattr(function, "__qualname__", "<").isidentifier()
    imports += [f"from {module} import {name}"] * bool(module and known)
    return "\n".join([*sorted(imports), f"dl.{called}({', '.join(words)})"])


def _kinds(value: Any) -> set[type]:
    """Classes that the Python text of a value names."""
    if isinstance(value, enum.Enum):
        return {type(value)}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {type(value)}.union(*(_kinds(getattr(value, f.name)) for f in dataclasses.fields(value)))
    if isinstance(value, Mapping):
        return set().union(*(_kinds(each) for each in value.values()))
    return set().union(*map(_kinds, value)) if isinstance(value, list | tuple) else set()


def _word(value: Any) -> str:
    if isinstance(value, enum.Enum):
        return value.name
    return f"./{value}" if isinstance(value, Path) and str(value) == "None" else str(value)


def _flat(values: Sequence[Any]) -> list[Any]:
    return [x for v in values for x in (_flat(v) if isinstance(v, tuple | list) else [v])]
