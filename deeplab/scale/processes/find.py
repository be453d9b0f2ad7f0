"""Many processes as one: found, joined, and made sure that they do the same.

Every process runs the same program on the same arguments; arrays span the devices of all of them. What a process needs
to know of the others is small, and goes through two functions: `allgather_json` and `assert_same_across_processes`.
"""

from __future__ import annotations

import dataclasses
import json
import os
import warnings
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax._src import clusters, distributed  # private: jax.distributed finds a cluster, and does not say what it found
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from deeplab.core.errors import UserError
from deeplab.scale.mesh import make_mesh
from deeplab.scale.processes import meet

_NAMES = {
    "SlurmCluster": "SLURM",
    "OmpiCluster": "Open MPI",
    "K8sCluster": "Kubernetes",
    "GkeTpuCluster": "GKE's TPU metadata",
    "GceTpuCluster": "the TPU's metadata",
}
_ENVIRONMENT = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")


@dataclasses.dataclass(frozen=True)
class Place:
    """This process among the others.

    Attributes:
      coordinator: HOST:PORT of process 0.
      count: of the processes.
      rank: of this one, from 0.
      found: by what, for people.
      devices: the local accelerators that are this process's; None for all of them.
    """

    coordinator: str
    count: int
    rank: int
    found: str
    devices: tuple[int, ...] | None = None


def find_place(coordinator: str | None = None, count: int | None = None, rank: int | None = None) -> Place | None:
    """The place of this process: as given, else from the environment variables, else from the cluster.

    The variables are JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID; the clusters are those that JAX
    knows: SLURM, Open MPI, TPUs and Kubernetes. None where there is one process only.

    Raises:
      UserError: some of the three are known and others not, or they contradict each other.
    """
    variables = [os.environ.get(name) for name in _ENVIRONMENT]
    given = (coordinator, count, rank)
    texts = [value if value is not None else variable for value, variable in zip(given, variables, strict=True)]
    cluster = _cluster() if None in texts else None
    found = "its flags" if any(value is not None for value in given) else "environment variables"
    if cluster is not None:
        texts = [text if text is not None else ask() for text, ask in zip(texts, _questions(cluster), strict=True)]
        found = _NAMES.get(cluster.__name__) or str(cluster.__name__)
    if texts == [None, None, None]:
        return None
    if None in texts:
        flags = ("--coordinator", "--num-processes", "--process-id")
        missing = [f"{flag} ({name})" for flag, name, x in zip(flags, _ENVIRONMENT, texts, strict=True) if x is None]
        raise UserError(f"of several processes each must know its place, and there is no {' and no '.join(missing)}")
    number, place = _integer("--num-processes", texts[1]), _integer("--process-id", texts[2])
    if not 0 <= place < number:
        raise UserError(f"--process-id {place} of --num-processes {number}: expected 0 to {number - 1}")
    return Place(str(texts[0]), number, place, found, _devices(cluster)) if number > 1 else None


def _cluster() -> Any:
    """The first of JAX's clusters that is there."""
    kinds = [kind for kind in clusters.ClusterEnv._cluster_types if not kind.opt_in_only_method]
    if "JOB_COMPLETION_INDEX" not in os.environ:  # a pod that is no part of an indexed job is alone
        kinds = [kind for kind in kinds if kind.__name__ != "K8sCluster"]
    return next((kind for kind in kinds if kind.is_env_present()), None)


def _questions(cluster: Any) -> tuple[Any, Any, Any]:
    def address() -> str:
        port = os.environ.get("JAX_COORDINATOR_PORT")
        return cluster.get_coordinator_address(timeout_secs=60, override_coordinator_port=port)

    return address, cluster.get_process_count, cluster.get_process_id


def _devices(cluster: Any) -> tuple[int, ...] | None:
    """One accelerator for each of several processes on a machine, unless the launcher has shared them out.

    JAX gives one to each process of SLURM, also to the only one of a machine with eight.
    """
    local = cluster.get_local_process_id() if cluster is not None else None
    neighbours = os.environ.get("SLURM_STEP_TASKS_PER_NODE") or os.environ.get("OMPI_COMM_WORLD_LOCAL_SIZE") or ""
    alone = neighbours.split("(")[0] == "1"
    bound = os.environ.get("CUDA_VISIBLE_DEVICES", "").isdigit()  # srun --gpus-per-task=1
    return None if local is None or alone or bound else (local,)


def _integer(flag: str, text: Any) -> int:
    try:
        return int(text)
    except ValueError:
        raise UserError(f"{flag} {text!r} is no number") from None


def join(place: Place, timeout: float, heartbeat: float) -> None:
    """Meets the other processes and starts `jax.distributed`; before the first array.

    Raises:
      UserError: not all came, or they do not fit together; the text names the address and the numbers.
    """
    meet.meet(place.coordinator, place.count, place.rank, timeout)
    jax.config.update("jax_enable_preemption_service", False)  # it takes SIGTERM, which is ours
    jax.distributed.initialize(
        place.coordinator,
        place.count,
        place.rank,
        local_device_ids=place.devices,
        cluster_detection_method="deactivate",
        initialization_timeout=max(60, int(timeout)),
        heartbeat_timeout_seconds=max(2, int(heartbeat)),
    )
    if place.rank:
        warnings.simplefilter("ignore")  # process 0 says the same


def client() -> Any:
    """JAX's client of the coordinator, for what must work while the devices hang; None with one process."""
    return distributed.global_state.client


def is_primary() -> bool:
    """Whether this process is the one that writes; asks no device."""
    return distributed.global_state.process_id == 0


def allgather_json(value: Any) -> list[Any]:
    """The JSON values of all processes, in their order; every process must call it."""
    if jax.process_count() == 1:
        return [value]
    data = json.dumps(value).encode()
    sizes = multihost_utils.process_allgather(np.array([len(data)], np.int32)).reshape(-1)
    padded = np.zeros(max(256, 1 << int(sizes.max() - 1).bit_length()), np.uint8)  # few sizes, few compilations
    padded[: len(data)] = np.frombuffer(data, np.uint8)
    rows = multihost_utils.process_allgather(padded)
    return [json.loads(row[:size].tobytes()) for row, size in zip(rows, sizes, strict=True)]


def assert_same_across_processes(facts: Mapping[str, Any]) -> None:
    """Makes sure that all processes have the same facts (JSON).

    Raises:
      UserError: with a table of what differs; in every process.

    Example:
      >>> assert_same_across_processes({"argument width": 8})
    """
    first, *others = allgather_json(facts)
    for rank, other in enumerate(others, 1):
        rows = [("", "process 0", f"process {rank}")]
        for name in first | other:
            a, b = (json.dumps(side[name]) if name in side else "(none)" for side in (first, other))
            if a != b:
                rows.append((name, a, b))
        if len(rows) > 1:
            shown = rows[:13]
            widths = [max(len(row[i]) for row in shown) for i in range(2)]
            table = "\n".join(f"  {a:{widths[0]}}  {b:{widths[1]}}  {c}" for a, b, c in shown)
            more = f"\n  ... and {len(rows) - 13} more" if len(rows) > 13 else ""
            raise UserError(
                f"process {rank} of {len(others) + 1} does not run what process 0 runs:\n{table}{more}\n"
                "Give all of them the same code, packages, data and arguments"
            )


def global_mesh(shape: str) -> Mesh:
    """As `make_mesh`, over the devices of all processes: "auto" is all of them.

    Raises:
      UserError: not enough devices, or a process would have none of the mesh's.
    """
    count = jax.process_count()
    if count == 1:
        return make_mesh(shape)
    total = len(jax.devices())
    try:
        mesh = make_mesh(f"data={total}" if shape == "auto" else shape)
    except UserError as error:
        raise UserError(f"{error} ({count} processes with {total // count} devices each)") from error
    idle = sorted(set(range(count)) - {device.process_index for device in mesh.devices.flat})
    if idle:
        raise UserError(
            f"--mesh {shape} uses {mesh.size} of {total} devices, and leaves process {', '.join(map(str, idle))} of "
            f"{count} without one; use all of them (--mesh data={total}), or fewer processes"
        )
    return mesh


def local(tree: Any) -> Any:
    """The whole of arrays that span processes, on one device of this process; every process must call it."""
    if jax.process_count() == 1:
        return tree

    def everywhere(x: jax.Array) -> NamedSharding:
        assert isinstance(x.sharding, NamedSharding)
        return NamedSharding(x.sharding.mesh, PartitionSpec())

    copies = jax.jit(lambda x: x, out_shardings=jax.tree.map(everywhere, tree))(tree)
    return jax.tree.map(lambda x: x.addressable_data(0), copies)
