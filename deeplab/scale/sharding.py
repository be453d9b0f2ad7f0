"""Rules to shardings: the same table places parameters and the optimizer's moments."""

from __future__ import annotations

import math
import re
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from deeplab.errors import UserError
from deeplab.experiment import Rules

_SMALLEST_SHARDED = 1024  # elements: below it, gathering costs more than the memory is worth


def batch_sharding(mesh: Mesh, axis: int = 0) -> NamedSharding:
    """Splits dimension `axis` over the axes `data` and `fsdp`."""
    return NamedSharding(mesh, PartitionSpec(*[None] * axis, ("data", "fsdp")))


def check_batch(batch_size: int, mesh: Mesh) -> None:
    """Raises `UserError` unless a batch divides over the mesh, with the nearest sizes that do."""
    devices = mesh.shape["data"] * mesh.shape["fsdp"]
    if batch_size % devices:
        below = batch_size // devices * devices
        sizes = f"{below} or {below + devices}" if below else f"{devices}"
        raise UserError(
            f"--batch-size {batch_size} is not a multiple of the {devices} devices on the axes "
            f'"data" and "fsdp"; use {sizes}'
        )


def state_shardings(state: Any, rules: Rules, mesh: Mesh) -> Any:
    """A `NamedSharding` for every leaf of an abstract state, in its structure.

    The moments' paths end in their parameter's path, so that a rule on `kernel` places both. A dimension that does
    not divide over its axis stays whole.

    Args:
      state: arrays or `jax.ShapeDtypeStruct`s.
      rules: the first regular expression found in the path (parts joined by "/") decides.
      mesh: see `make_mesh`.
    """

    def place(path: Any, leaf: Any) -> NamedSharding:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        return NamedSharding(mesh, _spec(name, leaf.shape, rules, mesh))

    return jax.tree_util.tree_map_with_path(place, state)


def _spec(name: str, shape: tuple[int, ...], rules: Rules, mesh: Mesh) -> PartitionSpec:
    rule = next((tuple(spec) for pattern, spec in rules if re.search(pattern, name)), ())
    if len(rule) > len(shape):
        rule = ()
    parts = [*rule, *[None] * (len(shape) - len(rule))]
    parts = [axis if axis and shape[i] % mesh.shape[axis] == 0 else None for i, axis in enumerate(parts)]
    fsdp = mesh.shape["fsdp"]
    if fsdp > 1 and math.prod(shape) >= _SMALLEST_SHARDED and "fsdp" not in parts:
        # Fully sharded: the largest dimension that is free and divides.
        free = [i for i in range(len(shape)) if parts[i] is None and shape[i] % fsdp == 0]
        if free:
            parts[max(free, key=lambda i: shape[i])] = "fsdp"
    return PartitionSpec(*parts)
