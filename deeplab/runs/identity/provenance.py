"""Provenance of a run: source, versions, devices and commit; and the differences between two runs.

The source of an old run is parsed and never executed.
"""

from __future__ import annotations

import ast
import datetime
import difflib
import functools
import hashlib
import importlib.metadata
import platform
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from deeplab.core import arguments
from deeplab.core.text import dumps
from deeplab.experiment import Weights
from deeplab.runs.identity.sources import parts_of, source_of

_PACKAGES = ("deeplab", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
_PACKAGE = Path(__file__).parents[2]
_PATCH_BYTES = 1_000_000  # Larger diffs hold data, not code.
_SHOWN = 12  # Lines of a difference between sources.


def canonical(source: str) -> str:
    """The source without comments, docstrings and layout, so that sources of equal programs are equal.

    Args:
      source: Python source; returned as it is if it cannot be parsed.

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
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # Magics of a notebook, or a damaged file.
        return source


def environment() -> dict[str, Any]:
    """What the numbers of a run depend on besides its arguments.

    Returns:
      JSON values: `session` (the current time), `versions` by package, with a digest of deeplab's own source,
      `devices`, `device_kind`, and `git` with the `commit` and whether the working tree is `dirty`.
    """
    devices = jax.devices()
    return {
        "session": now(),
        "versions": versions(),
        "devices": [f"{device.platform}:{device.id}" for device in devices],
        "device_kind": devices[0].device_kind,
        "git": {"commit": _git("rev-parse", "HEAD"), "dirty": bool(_git("status", "--porcelain", "-uno"))},
    }


def now() -> str:
    """The current time in ISO format, with the time zone."""
    return datetime.datetime.now().astimezone().isoformat(timespec="seconds")


def patch() -> str:
    """The diff of the working tree against the commit, cut at 1 MB; "" where there is none, or no git repository."""
    found = _git("diff", "--no-ext-diff", "--no-textconv", "HEAD")
    return f"{found}\n"[:_PATCH_BYTES] if found else ""


def identity(
    function: Callable[..., Any], module: str, arguments: Mapping[str, Any], flags: Mapping[str, Any]
) -> dict[str, Any]:
    """What all processes of a run must share, by the name that an error shows.

    Args:
      function: Experiment.
      module: Name of its module, such as "experiments.image_digits".
      arguments: Hyper-parameters, by name.
      flags: Flags of the command that every process must give alike, by name.

    Returns:
      JSON values: the arguments, the flags, the versions of packages, and a digest of each source file of deeplab and
      of the experiment's.
    """
    files = _package_files() | {f"of {module}": source_of(function).encode()}
    return (
        {"experiment": module}
        | {f"argument {name}": value for name, value in arguments.items()}
        | {f"flag --{name.replace('_', '-')}": value for name, value in flags.items()}
        | {f"package {name}": version for name, version in _versions().items()}
        | {f"file {name}": hashlib.sha256(source).hexdigest()[:12] for name, source in files.items()}
    )


def differences(old: Mapping[str, Any], new: Mapping[str, Any], old_source: str, new_source: str) -> str:
    """A table of two runs' differences in experiment, seed, arguments, versions and source; "" where there are none.

    What only one of the two has recorded of the versions is not compared.

    Args:
      old: `run.json` of the old run.
      new: `run.json` of the new run.
      old_source: Source of the old run's experiment.
      new_source: Source of the new run's experiment.

    Example:
      >>> print(differences({"seed": 0}, {"seed": 1}, "a = 1", "a = 1  # one"))
        argument  old run  now
        seed      0        1
    """
    settings: list[dict[str, Any]] = []
    for run in (old, new):
        own = dict(run.get("arguments") or {})  # one of which may be called as what it stands beside
        settings.append({f"{k} of the run" if k in own else k: run.get(k) for k in ("experiment", "seed")} | own)
    if "weights" in old and "weights" in new:
        settings[0]["(weights)"], settings[1]["(weights)"] = _contents(old["weights"]), _contents(new["weights"])
    for name in ("split", "probe") if "measured" in old and "measured" in new else ():
        settings[0][f"({name})"], settings[1][f"({name})"] = old["measured"][name], new["measured"][name]
    before, after = (dict(run.get("versions") or {}) for run in (old, new))
    for name in sorted(before.keys() & after.keys()):
        settings[0][f"({name})"], settings[1][f"({name})"] = before[name], after[name]
    rows = [("argument", "old run", "now")]
    for name in settings[0] | settings[1]:
        values = [dumps(run[name]) if name in run else "(none)" for run in settings]
        if not all(name in run for run in settings) or not arguments.same(*(run[name] for run in settings)):
            rows.append((name, values[0], values[1]))
    widths = [max(len(row[i]) for row in rows) for i in range(2)]
    lines = [f"  {row[0]:{widths[0]}}  {row[1]:{widths[1]}}  {row[2]}" for row in rows] if len(rows) > 1 else []
    made_of = [run["sources"] for run in (old, new) if "sources" in run]
    # By their contents: a module that is run has another name than where it is imported.
    if len(made_of) == 2 and sorted(made_of[0].values()) != sorted(made_of[1].values()):
        names = changed_sources(*made_of)
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        lines.append(f"  sources that differ: {', '.join(names[:_SHOWN])}{more}")
    before, after = canonical(old_source).splitlines(), canonical(new_source).splitlines()
    unified = list(difflib.unified_diff(before, after, n=0, lineterm=""))[2:]  # After the names of the files.
    changed = [line for line in unified if not line.startswith("@@")]
    if changed:
        lines += ["  source (without comments):", *(f"    {line}" for line in changed[:_SHOWN])]
        lines += [f"    ... and {len(changed) - _SHOWN} lines more"] if len(changed) > _SHOWN else []
    return "\n".join(lines)


def sources(function: Callable[..., Any]) -> dict[str, str]:
    """Digests of the sources that a function reaches, by the name of the module, function or value.

    Comments, docstrings and layout do not count.
    """
    return {
        name: hashlib.sha256(canonical(text).encode()).hexdigest()[:12] for name, text in parts_of(function).items()
    }


def changed_sources(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """Names of the sources that differ between two runs.

    Example:
      >>> changed_sources({"a": "1", "b": "1"}, {"a": "2", "c": "1"})
      ['a', 'b (gone)', 'c (new)']
    """
    note = {
        name: "" if name in old and name in new else " (gone)" if name in old else " (new)" for name in {**old, **new}
    }
    return [f"{name}{note[name]}" for name in sorted(note) if old.get(name) != new.get(name)]


def weights_record(weights: Weights | Sequence[Weights]) -> list[dict[str, Any]]:
    """What the record of a run holds of the trained values that it begins with."""
    parts = (weights,) if isinstance(weights, Weights) else weights
    return [{"source": w.source, "digest": w.digest, "path": w.path, "skip": list(w.skip)} for w in parts]


def _contents(weights: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The same without the source, where a digest tells more."""
    return [{k: v for k, v in part.items() if k != "source" or not part["digest"]} for part in weights]


def bit_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Changes after which a resumed run is not bitwise equal to an uninterrupted one.

    These are another kind of device, mesh, number of processes or number of steps per dispatch.

    Args:
      old: `run.json` of the earlier session.
      new: `run.json` of this session; what only one of the two holds is not compared.

    Example:
      >>> bit_changes({"mesh": "data=1", "processes": 2}, {"mesh": "data=8", "processes": 2})
      ['mesh data=1 (now data=8)']
    """
    names = [name for name in ("device_kind", "mesh", "processes", "steps_per_dispatch") if name in old and name in new]
    return [f"{name} {old[name]} (now {new[name]})" for name in names if old[name] != new[name]]


def _package_files() -> dict[str, bytes]:
    return {path.relative_to(_PACKAGE.parent).as_posix(): path.read_bytes() for path in sorted(_PACKAGE.rglob("*.py"))}


@functools.cache
def _package_digest() -> str:
    """A digest of deeplab's source, which is what this process has imported or will import."""
    return hashlib.sha256(repr(_package_files()).encode()).hexdigest()[:12]


def versions() -> dict[str, str | None]:
    """Versions of Python, deeplab and its dependencies, and a digest of deeplab's own source."""
    return _versions() | {"deeplab source": _package_digest()}


def _versions() -> dict[str, str | None]:
    return {"python": platform.python_version()} | {name: _version(name) for name in _PACKAGES}


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git(*arguments: str) -> str | None:
    """The output of a git command in the working directory; None where it fails or prints nothing."""
    command = ["git", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, errors="replace", timeout=10, check=True, encoding="utf-8")
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip("\n") or None  # of `patch`, too, which ends its last line again
