"""The source of an experiment: everything of the user's that its function reaches, as one text.

A run is what made it. The file of an experiment is not enough: a helper module, another cell of a notebook, a constant
or an array in a closure changes what is learned as well. deeplab and other installed packages are no part of the text:
their versions are recorded beside it.
"""

from __future__ import annotations

import ast
import dataclasses
import enum
import functools
import hashlib
import inspect
import re
import sys
import textwrap
import types
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from deeplab.core.errors import is_installed
from deeplab.runs.identity.modules import PACKAGE, file_of, found, imports, package_of, reassigned

_SHOWN = 2_000  # characters of a value; of a longer one, a digest follows


def source_of(function: Callable[..., Any]) -> str:
    """The source of the file that defines `function`, and of everything else of the user's that it reaches.

    The text is Python. After the file itself it holds:

    - the files of the user's modules that it imports, and of those that they import;
    - for a function of a notebook, or one made by another function: the functions, classes and values that it uses;
      arrays are told by a digest of their content.

    Args:
      function: Function of an experiment; may be wrapped, a partial, or without a file.

    Example:
      >>> def make(table):
      ...     return lambda width=8: table
      >>> print(source_of(make(np.zeros(2, np.int8))).splitlines()[-1])
      table = 'int8[2] 96a296d224f285c6'
    """
    return _reached(function).text()


def parts_of(function: Callable[..., Any]) -> dict[str, str]:
    """The parts of `source_of`, by the name of the module, function or value."""
    return _reached(function).parts()


def _reached(function: Callable[..., Any]) -> _Reached:
    reached = _Reached()
    inner = inspect.unwrap(function)
    module = sys.modules.get(getattr(inner, "__module__", None) or "")
    if (path := file_of(module)) and not path.is_relative_to(PACKAGE):  # an installed experiment is one, too
        reached.add_file(getattr(module, "__name__", ""), path)
    described = reached.describe(function)
    if not isinstance(inner, types.FunctionType):
        reached.add_line("experiment", described)
    return reached


def _name_of_main(path: Path) -> str:
    """The name under which the program's own module is imported elsewhere, as far as it is known."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return spec.name if spec is not None else path.stem


class _Reached:
    """What is reached from a function: files by path, the sources of cells, and the values of names."""

    def __init__(self) -> None:
        self._texts: dict[Any, str] = {}
        self._modules: dict[Any, str] = {}
        self._lines: dict[str, str] = {}
        self._seen: dict[int, Any] = {}  # holds the objects, so that no two have the same id

    def text(self) -> str:
        first, *others = self._texts.values() or [""]
        return "\n".join(text for text in (first, *sorted(others), *sorted(self._lines.values())) if text)

    def parts(self) -> dict[str, str]:
        named = {str(self._modules.get(key, key)): text for key, text in self._texts.items()}
        for line in sorted(self._lines.values()):
            name = line.partition(" = ")[0]
            named[name] = "\n".join(filter(None, [named.get(name), line]))
        return named

    def add_file(self, module: str, path: Path) -> None:
        """Adds the file of a module, and of the user's modules that it imports."""
        if path in self._texts:
            return
        text = self._texts[path] = path.read_text(encoding="utf-8")
        self._modules[path] = _name_of_main(path) if module == "__main__" else module
        for name, value in reassigned(module, text).items():
            self.add_line(f"{self._modules[path]}_{name}".replace(".", "_"), repr(value))
        for name in imports(text, package_of(module, path)):
            if (other := found(name)) and not is_installed(other):
                self.add_file(name, other)

    def add_line(self, name: str, described: str) -> None:
        """Adds the value of a name; other values of the same name are kept beside it."""
        line = f"{name} = {described!r}"
        if len(line) > _SHOWN:
            digest = hashlib.sha256(line.encode()).hexdigest()[:16]
            line = f"{name} = {described[:_SHOWN] + '... ' + digest!r}"
        self._lines[line] = line

    def describe(self, value: Any) -> str:
        """A description of a value by its content, without addresses; adds the sources that it reaches."""
        if value is None or isinstance(value, str | bytes | int | float | complex | types.EllipsisType):
            return repr(value)
        if isinstance(value, enum.Enum | np.generic | Path):
            return f"{type(value).__name__} {value!s}"
        if isinstance(value, jax.Array) or (hasattr(value, "__array__") and not isinstance(value, type)):
            return _digest(value)
        if id(value) in self._seen:
            return _name_of(value)
        self._seen[id(value)] = value
        if isinstance(value, types.ModuleType):
            return self._module(value)
        if isinstance(value, type):
            return self._class(value)
        inner = inspect.unwrap(value) if callable(value) else value
        if isinstance(inner, types.FunctionType):
            return self._function(inner)
        parts = _parts(value)
        if not parts and not isinstance(value, Mapping | tuple | list | set | frozenset):
            shown = repr(value)  # as of a `PartitionSpec`
            return _name_of(value) if re.search(r"\b0x[0-9a-f]+", shown) else shown
        inside = ", ".join(f"{name}={self.describe(part)}" for name, part in parts.items())
        return f"{self.describe(type(value))}({inside})"

    def _module(self, value: types.ModuleType) -> str:
        if (path := file_of(value)) and not is_installed(path):
            self.add_file(value.__name__, path)
        return value.__name__

    def _class(self, value: type) -> str:
        if not self._in_file(value):  # nor can `inspect` find the source of a notebook's class: its members tell
            bases = [self.describe(base) for base in value.__bases__]
            self.add_line(value.__name__, f"class of {', '.join(bases)}")
            for name, held in vars(value).items():
                function = inspect.unwrap(getattr(held, "__func__", getattr(held, "fget", held)))
                if isinstance(function, types.FunctionType):
                    self.describe(function)
                elif name == "__annotations__" or not name.startswith("__"):
                    self._named(f"{value.__name__}_{name}", held)
        return _name_of(value)

    def _function(self, value: types.FunctionType) -> str:
        if not self._in_file(value):
            self._texts.setdefault(_name_of(value), _source(value))
            for name in _names(value.__code__):
                if name in value.__globals__:
                    self._named(name, value.__globals__[name])
        cells = zip(value.__code__.co_freevars, value.__closure__ or (), strict=True)
        for name, cell in cells:
            if _is_filled(cell):
                self._named(name, cell.cell_contents)
        if "<locals>" in value.__qualname__ or value.__name__ == "<lambda>":  # its defaults may be any values
            for default in (*(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values()):
                self._named(f"default of {value.__name__}", default)
        return _name_of(value)

    def _named(self, name: str, value: Any) -> None:
        described = self.describe(value)
        if not isinstance(value, types.FunctionType | type | types.ModuleType):
            self.add_line(re.sub(r"\W", "_", name), described)

    def _in_file(self, value: Any) -> bool:
        """Adds the file of a function or class of the user's; whether its source needs no other record."""
        module = sys.modules.get(value.__module__ or "")
        path = file_of(module)
        if path is not None and not is_installed(path):
            self.add_file(value.__module__, path)
        return path is not None or getattr(module, "__spec__", None) is not None  # the latter of built-in modules


def _parts(value: Any) -> Mapping[Any, Any]:
    """What a value is made of, by name."""
    if isinstance(value, Mapping):
        return {repr(key): value[key] for key in value}
    if isinstance(value, set | frozenset):
        return dict(enumerate(sorted(value, key=repr)))
    if isinstance(value, tuple | list):
        return dict(zip(getattr(value, "_fields", range(len(value))), value, strict=True))
    if isinstance(value, functools.partial):
        return {"function": value.func, **dict(enumerate(value.args)), **value.keywords}
    if isinstance(value, types.MethodType):
        return {"self": value.__self__, "function": value.__func__}
    if dataclasses.is_dataclass(value):
        linen = ("parent", "name") if isinstance(value, nn.Module) else ()
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.name not in linen}
    return getattr(value, "__dict__", {})


def _digest(value: Any) -> str:
    if isinstance(value, jax.Array) and jax.numpy.issubdtype(value.dtype, jax.dtypes.prng_key):
        value = jax.random.key_data(value)
    array = np.ascontiguousarray(value)
    content = repr(array.tolist()).encode() if array.dtype == object else array.tobytes()
    return f"{array.dtype}[{','.join(map(str, array.shape))}] {hashlib.sha256(content).hexdigest()[:16]}"


def _names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)


def _source(function: types.FunctionType) -> str:
    if function.__code__.co_filename == "<string>":  # Python 3.13 would give the text of `python -c`
        return _code(function.__code__)
    try:
        text = textwrap.dedent(inspect.getsource(function))
        ast.parse(text)
    except SyntaxError:  # the line of a lambda, inside of an expression
        return f"line = {text!r}"
    except OSError:  # made by `exec`: what its code does tells it apart
        return _code(function.__code__)
    return text


def _code(code: types.CodeType) -> str:
    constants = [_code(c) if isinstance(c, types.CodeType) else repr(c) for c in code.co_consts]
    return f"code = {[code.co_code.hex(), constants, code.co_names]!r}"


def _is_filled(cell: types.CellType) -> bool:
    try:
        return cell.cell_contents is not cell
    except ValueError:  # a name that has no value yet
        return False


def _name_of(value: Any) -> str:
    named = value if hasattr(value, "__qualname__") else type(value)
    return f"{named.__module__}.{named.__qualname__}"
