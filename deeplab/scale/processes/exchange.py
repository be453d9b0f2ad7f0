"""What processes exchange: JSON values, arrays that span them, and the check that all run the same program.

Every process runs the same program on the same arguments, and arrays span the devices of all of them. Small values are
exchanged by `allgather_json` and compared by `assert_same_across_processes`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from deeplab.core import jax_compat
from deeplab.core.errors import UserError
from deeplab.core.text import dumps, loads
from deeplab.scale.mesh import make_mesh

_SHOWN = 12  # Rows of the table of differences.


def client() -> Any:
    """JAX's client of the coordinator, which works while devices hang; None with one process."""
    return jax_compat.coordinator_client()


def is_primary() -> bool:
    """Whether this is process 0, which writes the run directory; does not initialize the devices."""
    return jax_compat.process_id() == 0


def allgather_json(value: Any) -> list[Any]:
    """The JSON values of all processes, ordered by rank; every process must call it.

    Example:
      >>> allgather_json({"width": 8})
      [{'width': 8}]
    """
    if jax.process_count() == 1:
        return [value]
    data = dumps(value).encode()
    sizes = multihost_utils.process_allgather(np.array([len(data)], np.int32)).reshape(-1)
    # Padded to a power of two, so that few shapes are compiled.
    padded = np.zeros(max(256, 1 << int(sizes.max() - 1).bit_length()), np.uint8)
    padded[: len(data)] = np.frombuffer(data, np.uint8)
    rows = multihost_utils.process_allgather(padded)
    return [loads(row[:size].tobytes()) for row, size in zip(rows, sizes, strict=True)]


def assert_same_across_processes(values: Mapping[str, Any]) -> None:
    """Checks that all processes hold the same JSON values; every process must call it.

    Args:
      values: JSON values by the name that the error shows.

    Raises:
      UserError: A process differs from process 0. Raised in every process, with a table of the differences.

    Example:
      >>> assert_same_across_processes({"argument width": 8})
    """
    first, *others = allgather_json(values)
    for rank, other in enumerate(others, 1):
        rows = [("", "process 0", f"process {rank}")]
        for name in first | other:
            a, b = (dumps(side[name]) if name in side else "(none)" for side in (first, other))
            if a != b:
                rows.append((name, a, b))
        if len(rows) > 1:
            raise UserError(
                f"process {rank} of {len(others) + 1} does not run the same program as process 0:\n{_table(rows)}\n"
                "Start all processes with the same code, packages, data and arguments"
            )


def _table(rows: list[tuple[str, str, str]]) -> str:
    shown, hidden = rows[: _SHOWN + 1], len(rows) - _SHOWN - 1
    widths = [max(len(row[i]) for row in shown) for i in range(2)]
    lines = [f"  {a:{widths[0]}}  {b:{widths[1]}}  {c}" for a, b, c in shown]
    return "\n".join([*lines, f"  ... and {hidden} more"] if hidden > 0 else lines)


def global_mesh(shape: str) -> Mesh:
    """A mesh over the devices of all processes; "auto" is data parallelism over all of them.

    Args:
      shape: Sizes by axis, such as "data=4,fsdp=2"; see `make_mesh`.

    Raises:
      UserError: There are too few devices, or the mesh would leave a process without a device.
    """
    return make_mesh(shape) if jax.process_count() == 1 else _shared_mesh(shape)


def _shared_mesh(shape: str) -> Mesh:
    count, total = jax.process_count(), len(jax.devices())
    try:
        mesh = make_mesh(f"data={total}" if shape == "auto" else shape)
    except UserError as error:
        raise UserError(f"{error} ({count} processes with {total // count} devices each)") from error
    idle = sorted(set(range(count)) - {device.process_index for device in mesh.devices.flat})
    if idle:
        raise UserError(
            f"--mesh {shape} uses {mesh.size} of {total} devices, and leaves process {', '.join(map(str, idle))} of "
            f"{count} without one; use all devices (--mesh data={total}) or start fewer processes"
        )
    return mesh


def local(tree: Any) -> Any:
    """Copies of arrays that span processes, whole and on one device of this process; every process must call it."""
    if jax.process_count() == 1:
        return tree

    def replicated(x: jax.Array) -> NamedSharding:
        assert isinstance(x.sharding, NamedSharding)
        return NamedSharding(x.sharding.mesh, PartitionSpec())

    copies = jax.jit(lambda x: x, out_shardings=jax.tree.map(replicated, tree))(tree)
    return jax.tree.map(lambda x: x.addressable_data(0), copies)
