"""Snapshots of a state, which are written while training continues and donates the state."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from deeplab.runs.fingerprint import fingerprint_leaves
from deeplab.scale import to_device_memory


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
