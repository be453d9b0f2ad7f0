"""Inside the room of data, modules import each other in one direction; no late import hides a cycle."""

import ast
import graphlib
from pathlib import Path

import deeplab

ROOT = Path(deeplab.__file__).parents[1]
FILES = sorted((ROOT / "deeplab" / "data").rglob("*.py"))
LAZY = {"deeplab.data", "deeplab.data.features"}  # packages whose names are loaded on first use


def _module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def _imports(path: Path, modules: set[str]) -> set[str]:
    """Modules of the room that a file imports, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {name if name in modules else str(node.module) for name in names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found & modules - LAZY


def test_modules_of_data_form_no_cycle():
    modules = {_module(path) for path in FILES}
    graph = {_module(path): _imports(path, modules) for path in FILES if _module(path) not in LAZY}
    list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError, which names the cycle


def test_preparation_knows_no_set():
    for path in (ROOT / "deeplab" / "data" / "prepare").glob("*.py"):
        assert not any("sets" in name for name in _imports(path, {_module(p) for p in FILES})), path
