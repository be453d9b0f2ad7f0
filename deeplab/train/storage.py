"""One checkpoint on disk: an Orbax directory with a manifest of what it must hold.

This file alone knows Orbax. The manifest (shape, dtype and fingerprint of each leaf, JSON, with a checksum) is read
first: a checkpoint of another model, or one that declares shapes of terabytes, is refused before anything is
allocated, and what was read is compared with the fingerprints, because Orbax loads a flipped byte without an error.
Reading runs no code of the checkpoint: it is JSON and arrays.
"""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import warnings
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from orbax.checkpoint import v1 as ocp

from deeplab.errors import CheckpointError
from deeplab.train.fingerprint import fingerprints, leaves_by_path

PARTIAL = r"\d+\.orbax-checkpoint-tmp.*"  # what Orbax calls a directory before it is complete
_SHOWN = 12  # differing leaves in an error


class Damage(Exception):
    """What is stored cannot be trusted; the text says why."""


def write(path: Path, state: Any, fingerprints: list[int], *, step: int, metrics: Mapping, extra: Mapping) -> None:
    """Writes `path` at once or not at all; it must not exist.

    Args:
      fingerprints: one for each leaf of `state`, in order.
      step, metrics, extra: JSON, to be kept beside it.
    """
    leaves = {
        name: {"shape": list(x.shape), "dtype": str(x.dtype), "fingerprint": number}
        for (name, x), number in zip(leaves_by_path(state).items(), fingerprints, strict=True)
    }
    text = json.dumps({"step": step, "metrics": dict(metrics), "extra": dict(extra), "leaves": leaves})
    with _orbax():
        ocp.save(path, state, custom_metadata={"manifest": text, "crc32": zlib.crc32(text.encode())})


def read_manifest(path: Path) -> dict[str, Any]:
    """What `write` was given: {"step", "metrics", "extra", "leaves"}; raises `Damage`."""
    with _as_damage():
        stored = ocp.metadata(path).custom_metadata or {}
    text = stored.get("manifest")
    if not isinstance(text, str):
        raise Damage("its manifest is missing: not written by deeplab, or _CHECKPOINT_METADATA is gone")
    if zlib.crc32(text.encode()) != stored.get("crc32"):
        raise Damage("its manifest has changed since it was written (the checksum differs)")
    return json.loads(text)


def read(path: Path, abstract_state: Any, *, cast: bool = False) -> tuple[Any, dict[str, Any]]:
    """The state, laid out as `abstract_state` says, and `extra`.

    Args:
      abstract_state: arrays, or `jax.ShapeDtypeStruct`s (without a sharding: on the first device).
      cast: whether floating-point leaves may be stored in another precision.

    Raises:
      Damage: a file is missing, cut or changed.
      CheckpointError: the checkpoint is of another model, optimizer or precision.
    """
    manifest = read_manifest(path)
    wanted, stored = leaves_by_path(abstract_state), manifest["leaves"]
    differences = _differences(wanted, stored, cast)
    if differences:
        rest = [f"... and {len(differences) - _SHOWN} more"] if len(differences) > _SHOWN else []
        raise CheckpointError(
            f"{path} is of another model, optimizer or precision:\n  "
            + "\n  ".join(differences[:_SHOWN] + rest)
            + "\nRun the experiment as it was, or give another --run-dir (--fresh moves this one aside)"
        )
    as_stored = {name: _abstract(x, stored[name]["dtype"]) for name, x in wanted.items()}
    structure = jax.tree.structure(abstract_state)
    with _as_damage(), _orbax():
        state = ocp.load(path, jax.tree.unflatten(structure, as_stored.values()))
    loaded, numbers = leaves_by_path(state), fingerprints(state)
    changed = [
        name
        for name, x in as_stored.items()
        if (loaded[name].shape, loaded[name].dtype, numbers[name]) != (x.shape, x.dtype, stored[name]["fingerprint"])
    ]
    if changed:
        raise Damage(f"the bytes of {', '.join(changed[:_SHOWN])} have changed since they were written")
    with jax.transfer_guard("allow"):
        state = jax.tree.map(lambda x, y: x if x.dtype == y.dtype else x.astype(y.dtype), state, abstract_state)
    return state, manifest["extra"]


def reason(error: BaseException) -> str:
    """The first line of the exception at the root: Orbax wraps the real one several times."""
    while error.__cause__ is not None:
        error = error.__cause__
    line = next(iter(str(error).strip().splitlines()), "").split(" [tensorstore_spec")[0]
    return f"{type(error).__name__}: {line[:300]}"


def _differences(wanted: dict[str, Any], stored: dict[str, Any], cast: bool) -> list[str]:
    """A line for each leaf that is not the same, such as `w: checkpoint (2,) float32, model (3,) float32`."""
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
    """As `x`, in the precision that is stored."""
    sharding = getattr(x, "sharding", None) or jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return jax.ShapeDtypeStruct(x.shape, x.dtype if str(x.dtype) == dtype else jnp.dtype(dtype), sharding=sharding)


@contextlib.contextmanager
def _as_damage() -> Iterator[None]:
    """Turns what Orbax raises into one line, and silences the pages of tracebacks that it logs beside."""
    loggers = [logging.getLogger(name) for name in ("absl", "asyncio")]
    levels = [logger.level for logger in loggers]
    failure = None
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    except (jax.errors.JaxRuntimeError, MemoryError):
        raise  # memory is short: that says nothing about the checkpoint
    except Exception as error:
        failure = reason(error)
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
    if failure is not None:
        with warnings.catch_warnings(action="ignore"):
            gc.collect()  # coroutines that Orbax leaves half-run complain when they go: here, not in mid-training
        raise Damage(failure)


def _orbax() -> ocp.Context:
    context = ocp.Context()
    context.array_options.saving.use_replica_parallel = False  # replicated arrays in slices: 1 to 2 s more a save
    return context
