"""Packages whose names are imported at first use, so that importing the package is fast."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any


def attach(package: str, homes: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Makes `__getattr__`, `__dir__` and `__all__` of a package with lazy names.

    Args:
      package: Name of the package, its `__name__`.
      homes: Location of each public name, relative to the package: `"module.path"` for a module, `"module.path:name"`
        for an attribute of a module.

    Example:
      >>> get, names, _ = attach("json", {"Decoder": "decoder:JSONDecoder", "scanner": "scanner"})
      >>> get("Decoder").__name__, names()
      ('JSONDecoder', ['Decoder', 'scanner'])
    """

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        home, _, attribute = homes[name].partition(":")
        module = importlib.import_module(f"{package}.{home}")
        value = getattr(module, attribute) if attribute else module
        setattr(sys.modules[package], name, value)  # later look-ups do not call this function
        return value

    return get, lambda: sorted(homes), sorted(homes)
