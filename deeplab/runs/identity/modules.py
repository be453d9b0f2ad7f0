"""Modules of the user's, and those that their files import; nothing is imported to find them."""

from __future__ import annotations

import ast
import importlib.machinery
import sys
import sysconfig
import types
from collections.abc import Iterable
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2]
_INSTALLED = (PACKAGE, *(Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "purelib", "platlib")))


def file_of(module: types.ModuleType | None) -> Path | None:
    path = getattr(module, "__file__", None)
    return Path(path).resolve() if path and path.endswith(".py") and Path(path).is_file() else None


def is_installed(path: Path) -> bool:
    """Whether a file is deeplab's, of another installed package, or of Python itself."""
    return any(path.is_relative_to(folder) for folder in _INSTALLED)


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
