"""One checkpoint on disk: an Orbax directory, and a manifest of the contents of its files.

Only this file uses Orbax. The manifest is read first: a checkpoint of another model, or one that declares shapes of
terabytes, is rejected before any allocation. Checksums detect changed files (Orbax loads a flipped byte without an
error, and a truncated file with pages of tracebacks); fingerprints then verify that the arrays on the devices equal
those that were saved. Reading runs no code from the checkpoint, which consists of JSON and arrays.

A checkpoint counts once it has been read back: `write` compares what is on the disk with the state, and renames the
directory only if they agree.
"""

from __future__ import annotations

import dataclasses
import glob
import json
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from etils import epath
from orbax.checkpoint import v1 as ocp

from deeplab.core.errors import CheckpointError, UserError
from deeplab.core.text import decode, dumps
from deeplab.runs.files import checksums
from deeplab.runs.fingerprint import fingerprints, leaf_differences, leaves_by_path
from deeplab.runs.snapshot import on_host, same_bytes
from deeplab.scale import processes

PARTIAL = r"\d+\.new.*"  # suffix of an incomplete directory
_MANIFEST = "manifest.json"
_SHOWN = 12  # number of differing leaves in an error message
_PARAMETERS = 200  # the same, of parameters
_READ_BACK = 256 << 20  # bytes in host memory while a checkpoint is read back, or its largest array
T = TypeVar("T")


class Damage(Exception):
    """A stored checkpoint is damaged; the message says how."""


class _Literal(type(epath.Path("/"))):
    """A path whose characters stand for themselves: `glob` of the original takes `[1]` in a folder for a pattern."""

    def glob(self, pattern: str) -> Iterator[Any]:
        return (self / name for name in glob.glob(pattern, root_dir=self))


def check_path(path: Path) -> None:
    """Refuses a path that Orbax or TensorStore would take for another one.

    Raises:
      UserError: The path has a backslash (read as a slash), is not valid UTF-8, or is like that of a bucket.
    """
    text = str(path)
    bucket = "gs:/" in text or os.fspath(_Literal(path)) != text
    if bucket or "\\" in text or text.encode(errors="replace") != os.fsencode(path):
        raise UserError(
            f"checkpoints cannot be stored in {text!r}: the path must be valid UTF-8 without a backslash, and not be "
            "like that of a bucket (gs:/, or /gs/ at its beginning); give another --run-dir"
        )


def write(path: Path, state: Any, numbers: Iterable[int], *, step: int, metrics: Mapping, extra: Mapping) -> None:
    """Writes a checkpoint to `path`, which must not exist: reads it back, then lets it appear by a rename.

    Args:
      numbers: Fingerprint of each leaf of `state`, in order.
      step, metrics, extra: JSON values that the manifest holds.

    Raises:
      Damage: What is on the disk is not what was saved; raised in all processes.
    """
    partial, primary = path.with_name(f"{path.name}.new"), jax.process_index() == 0
    with _orbax():
        ocp.save(_Literal(partial), _stored(state))
    if primary:
        leaves = {
            name: {"shape": list(x.shape), "dtype": str(x.dtype), "fingerprint": number}
            for (name, x), number in zip(leaves_by_path(state).items(), numbers, strict=True)
        }
        about = {"step": step, "metrics": dict(metrics), "extra": dict(extra)}
        text = dumps(about | {"leaves": leaves, "files": checksums(partial, partial / _MANIFEST)})
        (partial / _MANIFEST).write_text(
            json.dumps({"crc32": zlib.crc32(text.encode()), "manifest": json.loads(text)}), encoding="utf-8"
        )
    # In two rounds, because all processes must take part in the second one, which loads.
    try:
        _everywhere(lambda: primary and _verified(partial, leaves_by_path(state), cast=False))
        _everywhere(lambda: _check_stored(partial, state))
    except Damage as damage:
        raise Damage(f"what was written cannot be read back: {damage}") from damage
    if primary:
        partial.rename(path)


def _check_stored(path: Path, state: Any) -> None:
    """Raises `Damage` if a stored leaf differs in a byte from that of `state`; each process compares its own shards."""
    leaves, structure = jax.tree.flatten(_stored(state))
    names, differing = list(leaves_by_path(state)), []
    for group in _groups([x.nbytes for x in leaves]):
        wanted = [on_host(x) if i in group else ocp.PLACEHOLDER for i, x in enumerate(leaves)]
        loaded = jax.tree.leaves(_load(path, jax.tree.unflatten(structure, wanted)))
        differing += [names[i] for i in group if not same_bytes(leaves[i], loaded[i])]
    if differing:
        raise Damage(f"the bits of {', '.join(differing[:_SHOWN])} on the disk are not those that were saved")


def _groups(sizes: Sequence[int]) -> list[range]:
    """Ranges of consecutive leaves that together fit in `_READ_BACK` bytes; a larger leaf stands alone."""
    starts, total = [0], 0
    for i, size in enumerate(sizes):
        if i > starts[-1] and total + size > _READ_BACK:
            starts, total = [*starts, i], 0
        total += size
    return [range(a, b) for a, b in zip(starts, [*starts[1:], len(sizes)], strict=True)]


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
    return decode(manifest)


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
    _check_fingerprints(state, stored)
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


def read_part(path: Path, abstract_part: Any) -> Any:
    """Reads a part of the state, such as `{"params": {"encoder": ...}}`, with its shardings and in its stored dtypes.

    Args:
      abstract_part: Nested dicts of `jax.ShapeDtypeStruct`s, whose shapes and dtypes are those that are stored.

    Raises:
      Damage: A file is missing, truncated or changed.
    """
    manifest = _everywhere(lambda: _intact(path))
    part = _everywhere(lambda: _load(path, abstract_part, partial=True))
    _check_fingerprints(part, manifest["leaves"])
    return part


def _verified(path: Path, wanted: dict[str, Any], cast: bool) -> dict[str, Any]:
    """Manifest of a checkpoint whose files are intact and whose leaves can be read as `wanted`."""
    if differences := leaf_differences(wanted, read_manifest(path)["leaves"], cast):
        own = [line for line in differences if line.startswith("params/")] or differences
        shown = own[: _SHOWN if own is differences else _PARAMETERS]
        left = len(differences) - len(shown)
        more = [f"... and {left} more leaves, of the optimizer among them"] if left else []
        raise CheckpointError(
            f"{path} is of another model, optimizer or precision:\n  "
            + "\n  ".join(shown + more)
            + "\nRun the experiment as it was, or give another --run-dir (--fresh moves this one aside)"
        )
    return _intact(path)


def _intact(path: Path) -> dict[str, Any]:
    """Manifest of a checkpoint whose files are those that were written."""
    manifest = read_manifest(path)
    found = checksums(path, path / _MANIFEST) if processes.is_primary() else manifest["files"]
    if changed := [name for name, sums in manifest["files"].items() if found.get(name) != sums]:
        raise Damage(f"{', '.join(changed[:_SHOWN])}: missing, or changed since written")
    return manifest


def _check_fingerprints(tree: Any, stored: Mapping[str, Any]) -> None:
    if changed := [name for name, number in fingerprints(tree).items() if number != stored[name]["fingerprint"]]:
        raise Damage(f"the bits of {', '.join(changed[:_SHOWN])} are not those that were saved")


def _load(path: Path, abstract: Any, *, partial: bool = False) -> Any:
    context = _orbax()
    context.pytree_options.loading.partial_load = partial
    try:
        with context:
            stored = _stored(abstract)
            loaded = ocp.load(_Literal(path), stored)
            if _kinds(loaded) != _kinds(stored):
                raise ValueError("the arrays have other shapes or dtypes than those that were saved")
            return loaded if stored is abstract else dataclasses.replace(abstract, **loaded)
    except (jax.errors.JaxRuntimeError, MemoryError):
        raise  # out of memory is no damage of the checkpoint
    except Exception as error:
        raise Damage(reason(error)) from error


def _kinds(tree: Any) -> list[Any]:
    return [(x.shape, x.dtype) for x in jax.tree.leaves(tree) if x is not ocp.PLACEHOLDER]


def _stored(state: Any) -> Any:
    """What a checkpoint holds of a state: no entry for a task without state, as in those of earlier versions."""
    if dataclasses.is_dataclass(state) and type(getattr(state, "task", None)) is tuple and not state.task:  # pyright: ignore[reportAttributeAccessIssue]  # a `State`
        return {f.name: getattr(state, f.name) for f in dataclasses.fields(state) if f.name != "task"}
    return state


def reason(error: BaseException) -> str:
    """First line of the root exception, which Orbax wraps several times."""
    while error.__cause__ is not None and not isinstance(error, Damage):
        error = error.__cause__
    line = next(iter(str(error).strip().splitlines()), "").split(" [tensorstore_spec")[0]
    return f"{type(error).__name__}: {line[:300]}"


def _abstract(x: Any, dtype: str) -> jax.ShapeDtypeStruct:
    """Abstract array like `x`, in the stored precision."""
    sharding = getattr(x, "sharding", None) or jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return jax.ShapeDtypeStruct(x.shape, x.dtype if str(x.dtype) == dtype else jnp.dtype(dtype), sharding=sharding)


def _orbax() -> ocp.Context:
    context = ocp.Context()
    context.array_options.saving.use_replica_parallel = False  # slices of replicated arrays cost 1 to 2 s per save
    return context
