"""Private parts of JAX that deeplab needs; no other module imports `jax._src`.

`jax.distributed.initialize` detects a cluster and connects in one call. It reports neither the coordinator's address
nor the rank that it found, and a missing process ends all the others by a signal that no program can catch. So deeplab
asks JAX's cluster classes for the address and the ranks, waits for the processes itself, and only then initializes.
The client of the coordinator, which the watchdog uses while devices hang, has no public accessor either.

Written against JAX 0.10.
"""

from __future__ import annotations

from typing import Any

from jax._src import clusters, distributed


def detect_cluster(skip: frozenset[str] = frozenset()) -> Any:
    """First of JAX's cluster classes whose environment is present; None without a cluster.

    Args:
      skip: Names of cluster classes that are not considered.
    """
    kinds = [kind for kind in clusters.ClusterEnv._cluster_types if not kind.opt_in_only_method]
    return next((kind for kind in kinds if kind.__name__ not in skip and kind.is_env_present()), None)


def coordinator_client() -> Any:
    """Client of JAX's coordinator, a key-value store with barriers; None with one process."""
    return distributed.global_state.client


def process_id() -> int:
    """Rank of this process; unlike `jax.process_index`, this does not initialize the devices."""
    return distributed.global_state.process_id
