"""The state at one moment, to be written while training goes on and donates it."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from deeplab.runs.fingerprint import fingerprint_leaves
from deeplab.scale import to_device_memory


@jax.jit
def copied(state: Any) -> tuple[Any, jax.Array]:
    """A copy that no donation touches, and its fingerprints, in one program: the caller waits for its dispatch alone.

    Example:
      >>> copy, fingerprints = copied({"w": jnp.ones(2)})
      >>> fingerprints.shape
      (1,)
    """
    return jax.tree.map(jnp.copy, to_device_memory(state)), fingerprint_leaves(state)


def uncopied(state: Any) -> tuple[Any, jax.Array]:
    """The same without the copy: where it does not fit, and the caller waits until the state is written."""
    return state, _fingerprints(state)


_fingerprints = jax.jit(fingerprint_leaves)


def fits_twice(state: Any) -> bool:
    """Whether each device has room for a copy of its part of `state`, beside the most that it has needed so far."""
    part = sum(math.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize for x in jax.tree.leaves(state))
    stats = [device.memory_stats() for device in jax.local_devices()]
    return all(s is None or s["bytes_limit"] - s["peak_bytes_in_use"] > part for s in stats)
