"""Shardings from rules: one table of path patterns shards parameters and optimizer state."""

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
"""Elements of the smallest array that is split over `fsdp`; for smaller ones, gathering costs more than it saves."""

HOST = "pinned_host"
_SHOWN = 4  # Names in a message.


def batch_sharding(mesh: Mesh, axis: int = 0) -> NamedSharding:
    """The sharding of a batch: dimension `axis` is split over the mesh axes `data`, `fsdp` and `expert`.

    Example:
      >>> from deeplab.scale import make_mesh
      >>> batch_sharding(make_mesh("data=1")).spec
      P(('data', 'fsdp', 'expert'),)
    """
    return NamedSharding(mesh, PartitionSpec(*[None] * axis, BATCH))


def check_batch(batch_size: int, mesh: Mesh | AbstractMesh, accumulate: int = 1) -> None:
    """Checks that a batch divides over the mesh and into microbatches.

    Args:
      batch_size: Number of examples in a batch.
      mesh: Mesh, from `make_mesh` or `abstract_mesh`.
      accumulate: Number of microbatches in a step.

    Raises:
      UserError: The batch does not divide; the text gives the nearest sizes that do.

    Example:
      >>> from deeplab.scale import abstract_mesh
      >>> check_batch(128, abstract_mesh("data=8"), accumulate=2)
    """
    devices = math.prod(mesh.shape.get(axis, 1) for axis in BATCH)
    unit = devices * accumulate
    if batch_size % unit:
        below = batch_size // unit * unit
        sizes = f"{below} or {below + unit}" if below else f"{unit}"
        parts = f" times the {accumulate} microbatches of --accumulate" if accumulate > 1 else ""
        raise UserError(
            f"--batch-size {batch_size} is not a multiple of the {devices} devices on the axes "
            f'"data", "fsdp" and "expert"{parts}; use {sizes}'
        )


def state_shardings(
    state: Any, rules: Rules, mesh: Mesh | AbstractMesh, *, offload: bool = False, smallest: int = SMALLEST,
    members: bool = False,
) -> Any:  # fmt: skip
    """The sharding of every leaf of a state.

    Paths in the optimizer state end in the path of their parameter, so a rule on `kernel` applies to both. A dimension
    that is not divisible by the size of its axis is replicated; `unapplied_rules` lists those. Large arrays without a
    rule for `fsdp` are split over it along their largest divisible dimension.

    Args:
      state: Pytree of arrays or `jax.ShapeDtypeStruct`s.
      rules: Pairs of a regular expression and a `PartitionSpec`; the first that is found in the path of a leaf, its
        parts joined by "/", applies.
      mesh: Mesh, from `make_mesh` or `abstract_mesh`.
      offload: Whether the optimizer state is kept in host memory.
      smallest: Elements of the smallest array that is split over `fsdp`.
      members: Whether the leaves have a leading axis of members. The axis `member` of the mesh splits it, and no rule
        applies.

    Returns:
      A pytree of `NamedSharding` in the structure of `state`.

    Raises:
      UserError: A rule names an axis that no mesh has, or the devices have no access to host memory.

    Example:
      >>> from deeplab.scale import abstract_mesh
      >>> state = {"kernel": jax.ShapeDtypeStruct((64, 128), "float32")}
      >>> state_shardings(state, [], abstract_mesh("fsdp=2"))["kernel"].spec
      P(None, 'fsdp')
    """
    if offload and isinstance(mesh, Mesh):
        _check_host_memory(mesh)

    def shard(path: Any, leaf: Any) -> NamedSharding:
        name = _name(path)
        kind = HOST if offload and _is_offloaded(name, leaf) else None
        spec = PartitionSpec("member") if members else _spec(name, leaf.shape, rules, mesh, smallest)
        return NamedSharding(mesh, spec, memory_kind=kind)

    return jax.tree_util.tree_map_with_path(shard, state)


def to_device_memory(tree: Any) -> Any:
    """The tree with its arrays in host memory copied to device memory; traceable.

    Example:
      >>> to_device_memory({"w": jax.numpy.ones(2)})["w"].sharding.memory_kind == "pinned_host"
      False
    """

    def copy(x: Any) -> Any:
        offloaded = jax.typeof(x).memory_space == jax.memory.Space.Host
        return jax.device_put(x, jax.memory.Space.Device) if offloaded else x

    return jax.tree.map(copy, tree)


def unapplied_rules(params: Any, rules: Rules, mesh: Mesh | AbstractMesh, *, given: bool = True) -> list[str]:
    """Rules that have no effect on a mesh, for a warning at the start of a run.

    Reported are rules that match no parameter, dimensions that are replicated because they are not divisible, and a
    `model` axis over which no parameter is split.

    Args:
      params: Pytree of arrays or `jax.ShapeDtypeStruct`s.
      rules: Pairs of a regular expression and a `PartitionSpec`.
      mesh: Mesh, from `make_mesh` or `abstract_mesh`.
      given: Whether the rules were written for this model. Those of a family may match no parameter of one member.

    Returns:
      One sentence for each finding.

    Example:
      >>> from deeplab.scale import abstract_mesh
      >>> params = {"head": {"kernel": jax.ShapeDtypeStruct((8, 10), "float32")}}
      >>> unapplied_rules(params, [("haed/kernel", PartitionSpec(None, "fsdp"))], abstract_mesh("fsdp=2"))
      ["the rule 'haed/kernel' matches no parameter; did you mean 'head/kernel'?"]
    """
    if mesh.size == 1:
        return []
    shapes = {_name(path): leaf.shape for path, leaf in jax.tree_util.tree_leaves_with_path(params)}
    findings = [
        f"the rule {pattern!r} matches no parameter; {nearest(pattern, shapes)}"
        for pattern, _ in (rules if given else ())
        if not any(re.search(pattern, name) for name in shapes)
    ]
    replicated = [
        f"{name} {list(shape)} ({shape[i]} over {_text(axis)}={_size(axis, mesh)})"
        for name, shape in shapes.items()
        for i, axis in enumerate(_rule(name, shape, rules))
        if axis is not None and shape[i] % _size(axis, mesh)
    ]
    if replicated:
        more = f" and {len(replicated) - _SHOWN} more" if len(replicated) > _SHOWN else ""
        findings.append(f"replicated, since not divisible: {', '.join(replicated[:_SHOWN])}{more}")
    specs = [_spec(name, shape, rules, mesh, SMALLEST) for name, shape in shapes.items()]
    if mesh.shape["model"] > 1 and not any("model" in jax.tree.leaves(tuple(spec)) for spec in specs):
        findings.append(f"no parameter is split over model={mesh.shape['model']}: its devices repeat the same work")
    return findings


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _is_offloaded(name: str, leaf: Any) -> bool:
    """Whether an array of the optimizer state is offloaded; averages of parameters are not: evaluations read them."""
    return "opt_state/" in name and "/average/" not in name and math.prod(leaf.shape) >= SMALLEST


def _check_host_memory(mesh: Mesh) -> None:
    device = mesh.devices.flat[0]
    kinds = [memory.kind for memory in device.addressable_memories()]
    if HOST not in kinds:
        raise UserError(
            f"--offload keeps optimizer state in host memory ({HOST}), and {device.device_kind} has only "
            f"{', '.join(kinds)}; leave it out, or split the optimizer state by --mesh fsdp=N"
        )


def _rule(name: str, shape: tuple[int, ...], rules: Rules) -> tuple[Any, ...]:
    """The axes of the first rule found in a name; empty where they are more than the array's dimensions."""
    rule = next((tuple(spec) for pattern, spec in rules if re.search(pattern, name)), ())
    return rule if len(rule) <= len(shape) else ()


def _spec(name: str, shape: tuple[int, ...], rules: Rules, mesh: Mesh | AbstractMesh, smallest: int) -> PartitionSpec:
    rule = _rule(name, shape, rules)
    parts = [*rule, *[None] * (len(shape) - len(rule))]
    parts = [axis if axis and shape[i] % _size(axis, mesh) == 0 else None for i, axis in enumerate(parts)]
    fsdp = mesh.shape["fsdp"]
    # XLA's partitioner (jax 0.10) silently computes wrong values for convolutions that are split over their batch,
    # their outputs, and their inputs or positions. On data=2,fsdp=2,model=2 a U-Net's loss was off by 2e-4 after one
    # step, and on data=2,sequence=2,model=2 a Conformer's by 0.1 before the first. So a kernel is split by its rule or
    # by `fsdp`, not both, and where sequences are split, the rules of convolutions do not apply.
    if _is_convolution(name, shape) and mesh.shape["sequence"] > 1:
        parts[:] = [None] * len(shape)
    split_kernel = len(shape) > 2 and any(part and _size(part, mesh) > 1 for part in parts)
    if fsdp > 1 and not split_kernel and math.prod(shape) >= smallest and "fsdp" not in jax.tree.leaves(tuple(parts)):
        # The largest divisible dimension without a rule; else one whose rule names an axis of size 1.
        fits = [i for i in range(len(shape)) if shape[i] % fsdp == 0]
        single = [i for i in fits if (axis := parts[i]) and _size(axis, mesh) == 1]
        free = [i for i in fits if parts[i] is None] or single
        if free:
            parts[max(free, key=lambda i: shape[i])] = "fsdp"
    return PartitionSpec(*parts)


def _is_convolution(name: str, shape: tuple[int, ...]) -> bool:
    """Whether a name is that of a convolution's kernel; stacked layers have more than two dimensions, too."""
    return len(shape) > 2 and re.search(r"conv[^/]*/kernel$", name) is not None


def _size(axis: str | tuple[str, ...], mesh: Mesh | AbstractMesh) -> int:
    """The number of devices on an axis, or on several."""
    axes = (axis,) if isinstance(axis, str) else axis
    for name in axes:
        if name not in mesh.shape:
            raise UserError(f"a rule splits over {name!r}; the axes of a mesh are {', '.join(AXES)}")
    return math.prod(mesh.shape[name] for name in axes)


def _text(axis: str | tuple[str, ...]) -> str:
    return axis if isinstance(axis, str) else "*".join(axis)
