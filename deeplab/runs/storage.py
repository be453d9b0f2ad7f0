"""One checkpoint on disk: an Orbax directory, and a manifest of the contents of its files.

Only this file uses Orbax. The manifest is read first: a checkpoint of another model, or one that declares shapes of
terabytes, is rejected before any allocation. Checksums detect changed files (Orbax loads a flipped byte without an
error, and a truncated file with pages of tracebacks); fingerprints then verify that the arrays on the devices equal
those that were saved. Reading runs no code from the checkpoint, which consists of JSON and arrays.
"""

from __future__ import annotations

import dataclasses
import json
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from orbax.checkpoint import v1 as ocp

from deeplab.core.errors import CheckpointError
from deeplab.runs.fingerprint import fingerprints, leaves_by_path
from deeplab.scale import processes

PARTIAL = r"\d+\.new.*"  # suffix of an incomplete directory
_MANIFEST = "manifest.json"
_SHOWN = 12  # number of differing leaves in an error message
T = TypeVar("T")


class Damage(Exception):
    """A stored checkpoint is damaged; the message says how."""


def write(path: Path, state: Any, numbers: Iterable[int], *, step: int, metrics: Mapping, extra: Mapping) -> None:
    """Writes a checkpoint atomically to `path`, which must not exist.

    Args:
      numbers: Fingerprint of each leaf of `state`, in order.
      step, metrics, extra: JSON values that the manifest holds.
    """
    partial = path.with_name(f"{path.name}.new")
    with _orbax():
        ocp.save(str(partial), _stored(state))
    if jax.process_index() > 0:
        return
    leaves = {
        name: {"shape": list(x.shape), "dtype": str(x.dtype), "fingerprint": number}
        for (name, x), number in zip(leaves_by_path(state).items(), numbers, strict=True)
    }
    manifest = {
        "step": step,
        "metrics": dict(metrics),
        "extra": dict(extra),
        "leaves": leaves,
        "files": _files(partial),
    }
    text = json.dumps(manifest)
    (partial / _MANIFEST).write_text(
        json.dumps({"crc32": zlib.crc32(text.encode()), "manifest": manifest}), encoding="utf-8"
    )
    partial.rename(path)


def read_manifest(path: Path) -> dict[str, Any]:
    """Reads the manifest {"step", "metrics", "extra", "leaves", "files"}; raises `Damage`."""
    try:
        stored = json.loads((path / _MANIFEST).read_bytes())
        manifest, checksum = stored["manifest"], stored["crc32"]
    except FileNotFoundError:
        raise Damage(f"{_MANIFEST} is missing: it was not written by deeplab, or is not complete") from None
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise Damage(f"{_MANIFEST} cannot be read: {reason(error)}") from error
    if checksum != zlib.crc32(json.dumps(manifest).encode()):
        raise Damage(f"{_MANIFEST} has changed since it was written")
    return manifest


def read(path: Path, abstract_state: Any, *, cast: bool = False) -> tuple[Any, dict[str, Any]]:
    """Reads the state, with the shardings of `abstract_state`, and `extra`.

    Args:
      abstract_state: Tree of arrays or `jax.ShapeDtypeStruct`s; one without a sharding is loaded to the first device.
      cast: Whether floating-point leaves may be stored in another precision.

    Raises:
      Damage: A file is missing, truncated or changed.
      CheckpointError: The checkpoint is of another model, optimizer or precision.
    """
    wanted = leaves_by_path(abstract_state)
    manifest = _everywhere(lambda: _verified(path, wanted, cast))
    stored = manifest["leaves"]
    as_stored = {name: _abstract(x, stored[name]["dtype"]) for name, x in wanted.items()}
    state = _everywhere(lambda: _load(path, jax.tree.unflatten(jax.tree.structure(abstract_state), as_stored.values())))
    if changed := [name for name, number in fingerprints(state).items() if number != stored[name]["fingerprint"]]:
        raise Damage(f"the bits of {', '.join(changed[:_SHOWN])} are not those that were saved")
    with jax.transfer_guard("allow"):
        state = jax.tree.map(lambda x, y: x if x.dtype == y.dtype else x.astype(y.dtype), state, abstract_state)
    return state, manifest["extra"]


def _everywhere(read: Callable[[], T]) -> T:
    """Reads in each process; damage that one process finds is raised in all."""
    if jax.process_count() == 1:
        return read()
    value = damage = None
    try:
        value = read()
    except Damage as error:
        damage = error
    for rank, text in enumerate(processes.allgather_json(damage and str(damage))):
        if text is not None:
            raise Damage(f"{text} (process {rank})") from damage
    return value  # type: ignore[return-value]  # not None without damage


def _verified(path: Path, wanted: dict[str, Any], cast: bool) -> dict[str, Any]:
    """Manifest of a checkpoint whose files are intact and whose leaves can be read as `wanted`."""
    manifest = read_manifest(path)
    if differences := _differences(wanted, manifest["leaves"], cast):
        more = [f"... and {len(differences) - _SHOWN} more"] if len(differences) > _SHOWN else []
        raise CheckpointError(
            f"{path} is of another model, optimizer or precision:\n  "
            + "\n  ".join(differences[:_SHOWN] + more)
            + "\nRun the experiment as it was, or give another --run-dir (--fresh moves this one aside)"
        )
    found = _files(path) if processes.is_primary() else manifest["files"]
    if changed := [name for name, sums in manifest["files"].items() if found.get(name) != sums]:
        raise Damage(f"{', '.join(changed[:_SHOWN])}: missing, or changed since written")
    return manifest


def _load(path: Path, abstract: Any) -> Any:
    try:
        with _orbax():
            stored = _stored(abstract)
            loaded = ocp.load(str(path), stored)
            return loaded if stored is abstract else dataclasses.replace(abstract, **loaded)
    except (jax.errors.JaxRuntimeError, MemoryError):
        raise  # out of memory is no damage of the checkpoint
    except Exception as error:
        raise Damage(reason(error)) from error


def _stored(state: Any) -> Any:
    """What a checkpoint holds of a state: no entry for a task without state, as in those of earlier versions."""
    if dataclasses.is_dataclass(state) and type(getattr(state, "task", None)) is tuple and not state.task:  # pyright: ignore[reportAttributeAccessIssue]  # a `State`
        return {f.name: getattr(state, f.name) for f in dataclasses.fields(state) if f.name != "task"}
    return state


def reason(error: BaseException) -> str:
    """First line of the root exception, which Orbax wraps several times."""
    while error.__cause__ is not None:
        error = error.__cause__
    line = next(iter(str(error).strip().splitlines()), "").split(" [tensorstore_spec")[0]
    return f"{type(error).__name__}: {line[:300]}"


def _files(path: Path) -> dict[str, list[int]]:
    """Size and checksum of each file in a directory, by its name."""
    sums = {}
    for file in sorted(p for p in path.rglob("*") if p.is_file() and p != path / _MANIFEST):
        size = checksum = 0
        with file.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                size, checksum = size + len(chunk), zlib.crc32(chunk, checksum)
        sums[file.relative_to(path).as_posix()] = [size, checksum]
    return sums


def _differences(wanted: dict[str, Any], stored: dict[str, Any], cast: bool) -> list[str]:
    """One line for each leaf that differs, such as `w: checkpoint (2) float32, model (3) float32`."""
    lines = []
    for name in sorted(wanted.keys() | stored.keys()):
        here = (tuple(wanted[name].shape), str(wanted[name].dtype)) if name in wanted else None
        there = (tuple(stored[name]["shape"]), stored[name]["dtype"]) if name in stored else None
        if here == there or (cast and here and there and here[0] == there[0] and _floating(here[1], there[1])):
            continue
        show = [f"({', '.join(map(str, x[0]))}) {x[1]}" if x else "no such leaf" for x in (there, here)]
        lines.append(f"{name}: checkpoint {show[0]}, model {show[1]}")
    return lines


def _floating(*dtypes: str) -> bool:
    return all(not dtype.startswith("key<") and jnp.issubdtype(jnp.dtype(dtype), jnp.floating) for dtype in dtypes)


def _abstract(x: Any, dtype: str) -> jax.ShapeDtypeStruct:
    """Abstract array like `x`, in the stored precision."""
    sharding = getattr(x, "sharding", None) or jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return jax.ShapeDtypeStruct(x.shape, x.dtype if str(x.dtype) == dtype else jnp.dtype(dtype), sharding=sharding)


def _orbax() -> ocp.Context:
    context = ocp.Context()
    context.array_options.saving.use_replica_parallel = False  # slices of replicated arrays cost 1 to 2 s per save
    return context
