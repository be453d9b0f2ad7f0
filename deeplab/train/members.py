"""The member axis: runs of one experiment that differ in floats and seed, as one program.

A member equals a solo run with the same arguments and seed: it has the same initial parameters, the same examples in
the same order, and the same values up to rounding. Arrays of members have a leading axis [M], which the mesh axis
`member` splits.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from deeplab.core.errors import UserError
from deeplab.core.runtime import Runtime
from deeplab.experiment import Experiment
from deeplab.scale import state_shardings
from deeplab.scale.mesh import AXES
from deeplab.train.feed import place
from deeplab.train.initialize import init, with_weights
from deeplab.train.state import State

MEMBERS = P("member")
"""Sharding of arrays with a leading member axis."""


@dataclasses.dataclass(frozen=True)
class MemberExecution:
    """How members share programs and devices.

    Args:
      vmap_size: Number of members in the `vmap` of each device; 1 is the step of a solo run.
      mesh: Devices, along the axis `member`.
      reason: Explanation of this choice, for the report.
    """

    vmap_size: int
    mesh: Mesh
    reason: str

    @property
    def members_per_program(self) -> int:
        """Number of members in one program."""
        return self.vmap_size * self.mesh.size

    def __str__(self) -> str:
        each = "one after another" if self.members_per_program == 1 else f"{self.members_per_program} at a time"
        where = f", spread over {self.mesh.size} devices" if self.mesh.size > 1 else ""
        return f"{each}{', as one vmap' if self.vmap_size > 1 else ''}{where} ({self.reason})"

    def of(self, members: int) -> MemberExecution:
        """Execution of this number of members, in rounds of equal size."""
        needed = math.ceil(members / self.mesh.size)
        return dataclasses.replace(self, vmap_size=math.ceil(needed / math.ceil(needed / self.vmap_size)))

    def place(self, members: Any) -> Any:
        """Puts a tree of host arrays [M, ...] on the devices."""
        return place(members, NamedSharding(self.mesh, MEMBERS))

    def shardings(self, state: State, *, offload: bool = False) -> State:
        """Sharding of every leaf [M, ...] of the members' states."""
        return state_shardings(state, (), self.mesh, offload=offload, members=True)

    def stack(self, make: Callable[[int], Any]) -> Any:
        """Stacks the trees `make(0)` ... `make(M - 1)` along the member axis, device by device.

        With several processes, each makes the members of its own devices.
        """
        parts, sharding = [], NamedSharding(self.mesh, MEMBERS)
        for i, device in enumerate(self.mesh.devices.flat):
            if device.process_index == jax.process_index():
                mine = [make(i * self.vmap_size + k) for k in range(self.vmap_size)]
                parts.append(jax.device_put(jax.tree.map(lambda *x: jnp.stack(x), *mine), device))

        def whole(*leaves: jax.Array) -> jax.Array:
            shape = (self.members_per_program, *leaves[0].shape[1:])
            return jax.make_array_from_single_device_arrays(shape, sharding, list(leaves))

        return jax.tree.map(whole, *parts)

    def over_members(self, function: Callable[..., Any], axes: Sequence[int | None]) -> Callable[..., Any]:
        """Maps a function of one member over the members of a device.

        Args:
          function: Function of one member.
          axes: Member axis of each argument, 0 or None, like `in_axes` of `jax.vmap`.
        """
        if self.vmap_size > 1:
            return jax.vmap(function, in_axes=tuple(axes))

        def alone(*arguments: Any) -> Any:
            pairs = zip(arguments, axes, strict=True)
            one = [x if axis is None else jax.tree.map(lambda leaf: leaf[0], x) for x, axis in pairs]
            return jax.tree.map(lambda leaf: leaf[None], function(*one))

        return alone

    def spread(self, function: Callable[..., Any], specs: Sequence[P], out_specs: Any = MEMBERS) -> Callable[..., Any]:
        """Maps a function of the members of one device over all devices; `specs` are the specs of its arguments."""
        if self.mesh.size == 1:
            return function
        # Devices do not communicate, so there is nothing to check.
        return jax.shard_map(function, mesh=self.mesh, in_specs=tuple(specs), out_specs=out_specs, check_vma=False)


@dataclasses.dataclass(frozen=True)
class Members:
    """M members of a population that one program trains or evaluates.

    Args:
      build: Function from the floats of one member, which may be tracers, to its experiment.
      floats: Floats in which the members differ, by name, [M] each.
      seeds: Seeds of initialization and data order, [M].
      execution: Assignment of members to programs and devices.
    """

    build: Callable[[Mapping[str, Any]], Experiment]
    floats: Mapping[str, np.ndarray]
    seeds: np.ndarray
    execution: MemberExecution

    def __len__(self) -> int:
        return len(self.seeds)

    def placed(self) -> dict[str, jax.Array]:
        """The floats on the devices."""
        return self.execution.place(dict(self.floats))

    def each(self, metrics: Any) -> Iterator[dict[str, float]]:
        """Yields the computed metrics of each member, from metrics whose leaves are [M, ...] on the host.

        Raises:
          UserError: A sum of metrics has joined batches along the axis of members.
        """
        for name, metric in metrics.items():
            if wrong := [np.shape(x) for x in jax.tree.leaves(metric) if np.shape(x)[:1] != (len(self),)]:
                raise UserError(
                    f"the metric {name!r} of {len(self)} members has an array {list(wrong[0])} when its batches are "
                    f"merged, expected [{len(self)}, ...]: arrays of members have a leading axis, so `+` must join "
                    "examples along an axis that is counted from the end, such as axis=-1"
                )
        for m in range(len(self)):
            one = jax.tree.map(lambda x: np.asarray(x)[m], metrics)  # noqa: B023 (called at once)
            yield {name: metric.compute() for name, metric in one.items()}


def make_init(members: Members, runtime: Runtime = Runtime()) -> Callable[[Members], State]:
    """Makes a function from members (these, or equally many with the same `build`) to initial states, [M, ...].

    The program of a solo run initializes each member, so that the bits are equal: in chaotic training a difference in
    the last bit grows to 1e-3 of the loss in 20 steps. A program for all members would depend on their number.
    """

    @jax.jit
    def one(floats: Any, seed: Any) -> State:
        return init(members.build(floats), jax.random.key(seed), runtime)

    weights = members.build({name: values[0] for name, values in members.floats.items()}).weights

    def make(chunk: Members) -> State:
        def member(m: int) -> State:
            state = one({name: values[m] for name, values in chunk.floats.items()}, chunk.seeds[m])
            return with_weights(state, weights)

        state = chunk.execution.stack(member)
        return moved(state, chunk.execution.shardings(state, offload=True)) if runtime.offload else state

    return make


def moved(tree: Any, shardings: Any) -> Any:
    """Copies arrays to other shardings; those of several processes by a program, since `device_put` cannot."""
    if jax.process_count() == 1:
        return jax.device_put(tree, shardings)
    return jax.jit(lambda x: x, out_shardings=shardings)(tree)


def abstract_state(members: Members, runtime: Runtime = Runtime()) -> State:
    """Shapes and shardings of the members' states, [M, ...], without any computation."""
    floats = {name: jax.ShapeDtypeStruct((), jnp.float32) for name in members.floats}
    one = jax.eval_shape(lambda f: init(members.build(f), jax.random.key(0), runtime), floats)
    state = jax.tree.map(lambda s: jax.ShapeDtypeStruct((len(members), *s.shape), s.dtype), one)
    shardings = members.execution.shardings(state, offload=runtime.offload)
    return jax.tree.map(lambda s, where: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=where), state, shardings)


def member_mesh(devices: Sequence[Any], members: int) -> Mesh:
    """Mesh of devices along the axis `member`; all other axes have size 1.

    It has no more devices than members, except that with several processes it has all devices: each must take part.
    """
    used = devices if jax.process_count() > 1 else devices[:members]
    return Mesh(np.array(used).reshape(-1, *[1] * len(AXES)), ("member", *AXES))
