"""Modules of the user's, and those that their files import; nothing is imported to find them."""

from __future__ import annotations

import ast
import collections
import importlib.machinery
import sys
import types
from collections.abc import Iterable
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).resolve().parents[2]

_UNKNOWN = object()


def file_of(module: types.ModuleType | None) -> Path | None:
    path = getattr(module, "__file__", None)
    return Path(path).resolve() if path and path.endswith(".py") and Path(path).is_file() else None


def found(name: str) -> Path | None:
    """The file of a module; nothing is imported for it."""
    if name in sys.modules:
        return file_of(sys.modules[name])
    spec, folders = None, None
    for part in name.split("."):
        spec = importlib.machinery.PathFinder.find_spec(part, folders)
        folders = spec.submodule_search_locations if spec else None
        if spec is None or (part != name.rpartition(".")[2] and folders is None):
            return None
    origin = spec.origin if spec else None
    return Path(origin).resolve() if origin and origin.endswith(".py") else None


def package_of(module: str, path: Path) -> str:
    if module == "__main__":
        return getattr(getattr(sys.modules["__main__"], "__spec__", None), "parent", None) or ""
    return module if path.name == "__init__.py" else module.rpartition(".")[0]


def imports(text: str, package: str) -> Iterable[str]:
    """Names of the modules that a source may import, also inside of functions."""
    try:
        nodes = list(ast.walk(ast.parse(text)))
    except SyntaxError:
        return
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = ".".join(package.split(".")[: len(package.split(".")) + 1 - node.level]) if node.level else ""
            base = ".".join(part for part in (above, node.module) if part)
            yield from (base, *(f"{base}.{alias.name}" for alias in node.names))


def reassigned(module: str, text: str) -> dict[str, Any]:
    """Constants of a module whose values are no longer those that its file gives them, such as after `helper.RATE = 1`.

    Args:
      module: Name of the module.
      text: Its source. Names that it assigns more than once, such as counters, do not count.
    """
    held = vars(sys.modules[module]) if module in sys.modules else {}
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return {}
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)]
    stored = collections.Counter(node.id for node in names)
    given: dict[str, Any] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            value = node.value.value if isinstance(node.value, ast.Constant) else _UNKNOWN
            given |= {target.id: value for target in targets if isinstance(target, ast.Name)}
    plain = str | bytes | int | float | complex | None
    return {
        name: held[name]
        for name, value in given.items()
        if value is not _UNKNOWN and name in held and stored[name] == 1
        if isinstance(held[name], plain) and (type(held[name]), repr(held[name])) != (type(value), repr(value))
    }
