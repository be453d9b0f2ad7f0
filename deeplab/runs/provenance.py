"""Where a run comes from: source, versions, devices, commit; and how two runs differ in what was asked of them.

The source of an old run is parsed, never run.
"""

from __future__ import annotations

import ast
import datetime
import difflib
import importlib.metadata
import inspect
import json
import platform
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax

_PACKAGES = ("deeplab", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
_PATCH_BYTES = 1_000_000  # of a diff that is kept: more is data, not code
_SHOWN = 12  # lines of a difference in the sources


def source_of(function: Callable[..., Any]) -> str:
    """The source of the file that holds `function`; of the function alone in a notebook, "" where there is none."""
    function = inspect.unwrap(function)
    path = inspect.getsourcefile(function)
    if path and Path(path).is_file():
        return Path(path).read_text()
    try:
        return inspect.getsource(function)
    except OSError:
        return ""


def canonical(source: str) -> str:
    """The program without comments, docstrings and layout: equal for sources that do the same.

    Example:
      >>> canonical("def f(x):  # doubles\\n    '''Twice.'''\\n    return (2*x)")
      'def f(x):\\n    return 2 * x'
    """
    try:
        tree = ast.parse(source)
        for node in ast.walk(tree):
            documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            if documented and ast.get_docstring(node, clean=False) is not None:
                node.body = node.body[1:] or [ast.Pass()]
        return ast.unparse(tree)
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # a notebook's magics, or a damaged file
        return source


def environment() -> dict[str, Any]:
    """What the numbers of a run depend on beside its arguments: versions, devices and commit."""
    devices = jax.devices()
    return {
        "session": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in _PACKAGES},
        "devices": [f"{device.platform}:{device.id}" for device in devices],
        "device_kind": devices[0].device_kind,
        "git": {"commit": _git("rev-parse", "HEAD"), "dirty": bool(_git("status", "--porcelain", "-uno"))},
    }


def patch() -> str:
    """What the working tree has changed since the commit, cut at 1 MB; "" where nothing has, or git is not there."""
    return (_git("diff", "--no-ext-diff", "--no-textconv", "HEAD") or "")[:_PATCH_BYTES]


def differences(old: Mapping[str, Any], new: Mapping[str, Any], old_source: str, new_source: str) -> str:
    """A table of what two runs do not share of experiment, seed, arguments and source; "" when they are the same.

    Example:
      >>> print(differences({"seed": 0}, {"seed": 1}, "a = 1", "a = 1  # one"))
        argument  old run  now
        seed      0        1
    """
    settings = [
        {"experiment": run.get("experiment"), "seed": run.get("seed")} | dict(run.get("arguments") or {})
        for run in (old, new)
    ]
    rows = [("argument", "old run", "now")]
    for name in settings[0] | settings[1]:
        values = [json.dumps(run[name]) if name in run else "(none)" for run in settings]
        if values[0] != values[1]:
            rows.append((name, values[0], values[1]))
    widths = [max(len(row[i]) for row in rows) for i in range(2)]
    lines = [f"  {row[0]:{widths[0]}}  {row[1]:{widths[1]}}  {row[2]}" for row in rows] if len(rows) > 1 else []
    before, after = canonical(old_source).splitlines(), canonical(new_source).splitlines()
    unified = list(difflib.unified_diff(before, after, n=0, lineterm=""))[2:]  # after the files' names
    changed = [line for line in unified if not line.startswith("@@")]
    if changed:
        lines += ["  source (without comments):", *(f"    {line}" for line in changed[:_SHOWN])]
        lines += [f"    ... and {len(changed) - _SHOWN} lines more"] if len(changed) > _SHOWN else []
    return "\n".join(lines)


def bit_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What keeps a run from going on bit by bit: other versions, kind of device, mesh, number of
    processes or steps in one dispatch.

    Example:
      >>> bit_changes({"mesh": "data=1", "versions": {"jax": "0.9"}}, {"mesh": "data=8", "versions": {"jax": "0.10"}})
      ['jax 0.9 (now 0.10)', 'mesh data=1 (now data=8)']
    """
    facts = [
        dict(run.get("versions") or {})
        | {name: run[name] for name in ("device_kind", "mesh", "processes", "steps_per_dispatch") if name in run}
        for run in (old, new)
    ]
    both = [name for name in facts[0] if name in facts[1]]
    return [f"{k} {facts[0][k]} (now {facts[1][k]})" for k in both if facts[0][k] != facts[1][k]]


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git(*arguments: str) -> str | None:
    """What git says of the working directory; None where it says nothing."""
    command = ["git", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip("\n") or None
