"""Rules to shardings: the same table places parameters and the optimizer's moments."""

from __future__ import annotations

import math
import re
from typing import Any

import jax
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec

from deeplab.core.errors import UserError, nearest
from deeplab.experiment import Rules
from deeplab.scale.mesh import AXES, BATCH

SMALLEST = 1024
"""Elements of the smallest array that is split over `fsdp`: below it, gathering costs more than the memory is worth."""

HOST = "pinned_host"
_SHOWN = 4  # names in a message


def batch_sharding(mesh: Mesh, axis: int = 0) -> NamedSharding:
    """Splits dimension `axis` over the axes `data` and `fsdp`."""
    return NamedSharding(mesh, PartitionSpec(*[None] * axis, BATCH))


def check_batch(batch_size: int, mesh: Mesh | AbstractMesh, accumulate: int = 1) -> None:
    """Raises `UserError` unless a batch divides over the mesh and into microbatches, with the nearest sizes that do."""
    devices = math.prod(mesh.shape.get(axis, 1) for axis in BATCH)
    unit = devices * accumulate
    if batch_size % unit:
        below = batch_size // unit * unit
        sizes = f"{below} or {below + unit}" if below else f"{unit}"
        parts = f" times the {accumulate} microbatches of --accumulate" if accumulate > 1 else ""
        raise UserError(
            f"--batch-size {batch_size} is not a multiple of the {devices} devices on the axes "
            f'"data" and "fsdp"{parts}; use {sizes}'
        )


def state_shardings(
    state: Any, rules: Rules, mesh: Mesh | AbstractMesh, *, offload: bool = False, smallest: int = SMALLEST
) -> Any:
    """A `NamedSharding` for every leaf of an abstract state, in its structure.

    The moments' paths end in their parameter's path, so that a rule on `kernel` places both. A dimension that does
    not divide over its axis stays whole; `unapplied_rules` says which.

    Args:
      state: arrays or `jax.ShapeDtypeStruct`s.
      rules: the first regular expression found in the path (parts joined by "/") decides.
      mesh: see `make_mesh`.
      offload: keep the optimizer's moments in the host's memory.
      smallest: elements of the smallest array that is split over `fsdp`.

    Raises:
      UserError: a rule names an axis that no mesh has, or these devices cannot use the host's memory.
    """
    if offload and isinstance(mesh, Mesh):
        _check_host_memory(mesh)

    def place(path: Any, leaf: Any) -> NamedSharding:
        name = _name(path)
        kind = HOST if offload and _is_moment(name, leaf) else None
        return NamedSharding(mesh, _spec(name, leaf.shape, rules, mesh, smallest), memory_kind=kind)

    return jax.tree_util.tree_map_with_path(place, state)


def to_device_memory(tree: Any) -> Any:
    """The tree with what waits in the host's memory brought to the device's; traceable, and else nothing."""

    def one(x: Any) -> Any:
        far = jax.typeof(x).memory_space == jax.memory.Space.Host
        return jax.device_put(x, jax.memory.Space.Device) if far else x

    return jax.tree.map(one, tree)


def unapplied_rules(params: Any, rules: Rules, mesh: Mesh | AbstractMesh) -> list[str]:
    """What of the rules comes to nothing on this mesh, for the start of a run: each of them a sentence.

    A rule that matches no parameter, a dimension that stays whole because it does not divide, and a `model` axis over
    which nothing is split.

    Example:
      >>> from deeplab.scale import abstract_mesh
      >>> params = {"head": {"kernel": jax.ShapeDtypeStruct((8, 10), "float32")}}
      >>> unapplied_rules(params, [("haed/kernel", PartitionSpec(None, "fsdp"))], abstract_mesh("fsdp=2"))
      ["the rule 'haed/kernel' matches no parameter; did you mean 'head/kernel'?"]
    """
    if mesh.size == 1:
        return []
    shapes = {_name(path): leaf.shape for path, leaf in jax.tree_util.tree_leaves_with_path(params)}
    said = [
        f"the rule {pattern!r} matches no parameter; {nearest(pattern, shapes)}"
        for pattern, _ in rules
        if not any(re.search(pattern, name) for name in shapes)
    ]
    whole = [
        f"{name} {list(shape)} ({shape[i]} over {_text(axis)}={_size(axis, mesh)})"
        for name, shape in shapes.items()
        for i, axis in enumerate(_rule(name, shape, rules))
        if axis is not None and shape[i] % _size(axis, mesh)
    ]
    if whole:
        more = f" and {len(whole) - _SHOWN} more" if len(whole) > _SHOWN else ""
        said.append(f"each device holds the whole of what does not divide: {', '.join(whole[:_SHOWN])}{more}")
    specs = [_spec(name, shape, rules, mesh, SMALLEST) for name, shape in shapes.items()]
    if mesh.shape["model"] > 1 and not any("model" in jax.tree.leaves(tuple(spec)) for spec in specs):
        said.append(f"no parameter is split over model={mesh.shape['model']}: these devices repeat each other's work")
    return said


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _is_moment(name: str, leaf: Any) -> bool:
    """Not the average of the parameters, which evaluations read."""
    return "opt_state/" in name and "/average/" not in name and math.prod(leaf.shape) >= SMALLEST


def _check_host_memory(mesh: Mesh) -> None:
    device = mesh.devices.flat[0]
    kinds = [memory.kind for memory in device.addressable_memories()]
    if HOST not in kinds:
        raise UserError(
            f"--offload keeps moments in the host's memory ({HOST}), and {device.device_kind} has only "
            f"{', '.join(kinds)}; leave it out, or split the moments by --mesh fsdp=N"
        )


def _rule(name: str, shape: tuple[int, ...], rules: Rules) -> tuple[Any, ...]:
    """The axes that the first rule found in a name gives; none where it has more of them than the array."""
    rule = next((tuple(spec) for pattern, spec in rules if re.search(pattern, name)), ())
    return rule if len(rule) <= len(shape) else ()


def _spec(name: str, shape: tuple[int, ...], rules: Rules, mesh: Mesh | AbstractMesh, smallest: int) -> PartitionSpec:
    rule = _rule(name, shape, rules)
    parts = [*rule, *[None] * (len(shape) - len(rule))]
    parts = [axis if axis and shape[i] % _size(axis, mesh) == 0 else None for i, axis in enumerate(parts)]
    fsdp = mesh.shape["fsdp"]
    # XLA's partitioner (jax 0.10) silently gives wrong numbers for convolutions that are split over their batch, their
    # outputs, and their inputs or their places. On data=2,fsdp=2,model=2 a U-Net's loss was off by 2e-4 after one step,
    # on data=2,sequence=2,model=2 a Conformer's by 0.1 before the first. So a kernel has what a rule splits or `fsdp`,
    # not both; and where sequences are split the rule of a convolution is left out.
    if _is_convolution(name, shape) and mesh.shape["sequence"] > 1:
        parts[:] = [None] * len(shape)
    split_kernel = len(shape) > 2 and any(part and _size(part, mesh) > 1 for part in parts)
    if fsdp > 1 and not split_kernel and math.prod(shape) >= smallest and "fsdp" not in jax.tree.leaves(tuple(parts)):
        # Fully sharded: the largest dimension that is free and divides; else one whose rule splits it into one part.
        fits = [i for i in range(len(shape)) if shape[i] % fsdp == 0]
        single = [i for i in fits if (axis := parts[i]) and _size(axis, mesh) == 1]
        free = [i for i in fits if parts[i] is None] or single
        if free:
            parts[max(free, key=lambda i: shape[i])] = "fsdp"
    return PartitionSpec(*parts)


def _is_convolution(name: str, shape: tuple[int, ...]) -> bool:
    """Of more than two axes is a stack of layers' kernels, too."""
    return len(shape) > 2 and re.search(r"conv[^/]*/kernel$", name) is not None


def _size(axis: str | tuple[str, ...], mesh: Mesh | AbstractMesh) -> int:
    """Devices on an axis, or on several."""
    axes = (axis,) if isinstance(axis, str) else axis
    for name in axes:
        if name not in mesh.shape:
            raise UserError(f"a rule splits over {name!r}, which is no axis of a mesh ({', '.join(AXES)})")
    return math.prod(mesh.shape[name] for name in axes)


def _text(axis: str | tuple[str, ...]) -> str:
    return axis if isinstance(axis, str) else "*".join(axis)
