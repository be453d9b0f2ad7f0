"""Detects the place of this process among the processes of a run: from flags, environment variables or the cluster."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

from deeplab.core import jax_compat
from deeplab.core.errors import UserError

_CLUSTER_NAMES = {
    "SlurmCluster": "SLURM",
    "OmpiCluster": "Open MPI",
    "K8sCluster": "Kubernetes",
    "GkeTpuCluster": "GKE's TPU metadata",
    "GceTpuCluster": "the TPU's metadata",
}
_FLAGS = ("--coordinator", "--num-processes", "--process-id")
_VARIABLES = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")


@dataclasses.dataclass(frozen=True)
class Place:
    """The place of this process among all processes of a run.

    Attributes:
      coordinator: Address of process 0, as HOST:PORT.
      count: Number of processes.
      rank: Index of this process, from 0.
      source: Where the place was found, as shown to the user.
      devices: Indices of the local accelerators that belong to this process; None for all of them.
    """

    coordinator: str
    count: int
    rank: int
    source: str
    devices: tuple[int, ...] | None = None


def find_place(coordinator: str | None = None, count: int | None = None, rank: int | None = None) -> Place | None:
    """The place of this process; None where there is one process only.

    Each of the three values is taken from the argument, else from its environment variable (JAX_COORDINATOR_ADDRESS,
    JAX_NUM_PROCESSES, JAX_PROCESS_ID), else from the cluster that JAX detects: SLURM, Open MPI, a TPU pod or an indexed
    Kubernetes job.

    Args:
      coordinator: Address of process 0, as HOST:PORT.
      count: Number of processes.
      rank: Index of this process, from 0.

    Raises:
      UserError: Some of the three values are known and others are not, or the rank is not below the count.

    Example:
      >>> find_place("host:8476", count=2, rank=1)
      Place(coordinator='host:8476', count=2, rank=1, source='flags', devices=None)
    """
    variables = [os.environ.get(name) for name in _VARIABLES]
    given = (coordinator, count, rank)
    values = [value if value is not None else variable for value, variable in zip(given, variables, strict=True)]
    cluster = _detect_cluster() if None in values else None
    source = "flags" if any(value is not None for value in given) else "environment variables"
    if cluster is not None:
        values = [value if value is not None else ask() for value, ask in zip(values, _queries(cluster), strict=True)]
        source = _CLUSTER_NAMES.get(cluster.__name__) or str(cluster.__name__)
    if values == [None, None, None]:
        return None
    if None in values:
        missing = [f"{flag} ({name})" for flag, name, x in zip(_FLAGS, _VARIABLES, values, strict=True) if x is None]
        raise UserError(
            f"each of several processes needs --coordinator, --num-processes and --process-id; missing: "
            f"{', '.join(missing)}"
        )
    size, index = _integer("--num-processes", values[1]), _integer("--process-id", values[2])
    if not 0 <= index < size:
        raise UserError(f"--process-id {index} of --num-processes {size}: expected 0 to {size - 1}")
    return Place(str(values[0]), size, index, source, _local_devices(cluster)) if size > 1 else None


def _detect_cluster() -> Any:
    # A Kubernetes pod that is not part of an indexed job runs alone.
    skip = frozenset() if "JOB_COMPLETION_INDEX" in os.environ else frozenset({"K8sCluster"})
    return jax_compat.detect_cluster(skip)


def _queries(cluster: Any) -> tuple[Any, Any, Any]:
    """Functions that ask a cluster for the coordinator's address, the number of processes and the rank."""

    def address() -> str:
        return jax_compat.coordinator_address(cluster, os.environ.get("JAX_COORDINATOR_PORT"))

    return address, cluster.get_process_count, cluster.get_process_id


def _local_devices(cluster: Any) -> tuple[int, ...] | None:
    """One accelerator for each of several processes on a machine, unless the launcher has already divided them.

    JAX gives a SLURM process one accelerator even where it is the only process of a machine with eight.
    """
    index = cluster.get_local_process_id() if cluster is not None else None
    tasks = os.environ.get("SLURM_STEP_TASKS_PER_NODE") or os.environ.get("OMPI_COMM_WORLD_LOCAL_SIZE") or ""
    alone = tasks.split("(")[0] == "1"
    divided = os.environ.get("CUDA_VISIBLE_DEVICES", "").isdigit()  # As by srun --gpus-per-task=1.
    return None if index is None or alone or divided else (index,)


def _integer(flag: str, value: Any) -> int:
    try:
        return int(value)
    except ValueError:
        raise UserError(f"{flag} {value!r}: expected an integer") from None
