"""What is public: the names that a user reaches from `deeplab`, each where it is found first."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from pathlib import Path
from types import ModuleType
from typing import Any

import deeplab

Rooms = dict[str, tuple[ModuleType, dict[str, Any]]]
"""Modules by the names by which a user calls them, such as `deeplab.models.resnet`, each with its public names."""


def rooms() -> Rooms:
    """The modules that a user reaches from `deeplab`, and what each makes public; what two export is listed once.

    A room that exports nothing is told by its README; if it has none, its modules are public.

    Example:
      >>> module, names = rooms()["deeplab.robust.attacks"]
      >>> module.__name__, "pgd" in names
      ('deeplab.robust.attacks', True)
    """
    found: Rooms = {}
    known: set[Any] = set()
    waiting = [("deeplab", deeplab)]
    for name, module in waiting:  # which grows on the way
        members = {}
        for key, value in _exports(module).items():
            same = value.__name__ if isinstance(value, ModuleType) else origin_of(value) or (key, id(value))
            if same not in known and isinstance(value, ModuleType):
                waiting.append((f"{name}.{key}", value))
            elif same not in known:
                members[key] = inspect.unwrap(value) if callable(value) else value
            known.add(same)
        found[name] = module, members
    return found


def _exports(module: ModuleType) -> dict[str, Any]:
    """What a module makes public, modules among it."""
    if hasattr(module, "__all__"):
        return {name: getattr(module, name) for name in module.__all__}
    inner = {} if (folder_of(module) / "README.md").exists() else getattr(module, "__path__", {})
    names: dict[str, Any] = {
        m.name: importlib.import_module(f"{module.__name__}.{m.name}") for m in pkgutil.iter_modules([*inner])
    }
    for name, value in vars(module).items():
        own = callable(value) and getattr(value, "__module__", "") == module.__name__
        own |= name.isupper() and not inspect.isclass(value)  # a constant; an imported class may be in capitals, too
        if own and not name.startswith("_"):
            names[name] = value
    return names


def folder_of(module: ModuleType) -> Path:
    """The folder of a module's file."""
    return Path(str(module.__file__)).parent


def origin_of(value: Any) -> str | None:
    """Where a class or a function of deeplab is defined."""
    home, name = getattr(value, "__module__", None) or "", getattr(value, "__qualname__", "")
    return f"{home}.{name}" if home.startswith("deeplab.") and name else None
