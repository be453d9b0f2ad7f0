"""Snapshots of a state, which are written while training continues and donates the state, and then compared."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from deeplab.runs.fingerprint import fingerprint_leaves
from deeplab.scale import to_device_memory
from deeplab.scale.rules import HOST


@jax.jit
def copied(state: Any) -> tuple[Any, jax.Array]:
    """Copies a state and computes its fingerprints, in one program; the caller waits for its dispatch only.

    Example:
      >>> copy, fingerprints = copied({"w": jnp.ones(2)})
      >>> fingerprints.shape
      (1,)
    """
    return jax.tree.map(jnp.copy, to_device_memory(state)), fingerprint_leaves(state)


def uncopied(state: Any) -> tuple[Any, jax.Array]:
    """Fingerprints without a copy, for a state that does not fit twice; the caller waits until it is written."""
    return state, _fingerprints(state)


_fingerprints = jax.jit(fingerprint_leaves)


def fits_twice(state: Any) -> bool:
    """Whether each device has room for a copy of its part of `state`, in addition to its peak use so far."""
    part = sum(math.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize for x in jax.tree.leaves(state))
    stats = [device.memory_stats() for device in jax.local_devices()]
    return all(s is None or s["bytes_limit"] - s["peak_bytes_in_use"] > part for s in stats)


def on_host(x: Any) -> Any:
    """Abstract array like `x` with the same shards in the host's memory, so that no device needs room for it."""
    if not isinstance(x, jax.Array):
        return np.broadcast_to(np.zeros((), x.dtype), x.shape)
    kinds = {memory.kind for device in x.sharding.addressable_devices for memory in device.addressable_memories()}
    moves = HOST in kinds and not _is_key(x)
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding.with_memory_kind(HOST) if moves else x.sharding)


def same_bytes(x: Any, y: Any) -> bool:
    """Whether two arrays with the same shards are equal in each byte of the shards that this process writes.

    Example:
      >>> same_bytes(jnp.array([jnp.nan, 0.0]), jnp.array([jnp.nan, 0.0])), same_bytes(jnp.zeros(1), -jnp.zeros(1))
      (True, False)
    """
    with jax.transfer_guard("allow"):
        pairs = zip(_own_parts(x), _own_parts(y), strict=True)
        return all(a.shape == b.shape and a.dtype == b.dtype and np.array_equal(_bytes(a), _bytes(b)) for a, b in pairs)


def _own_parts(x: Any) -> list[np.ndarray]:
    if not isinstance(x, jax.Array):
        return [np.asarray(x)]
    x = jax.random.key_data(x) if _is_key(x) else x
    return [np.asarray(shard.data) for shard in x.addressable_shards if shard.replica_id == 0]


def _bytes(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x).reshape(-1).view(np.uint8)


def _is_key(x: jax.Array) -> bool:
    return jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
