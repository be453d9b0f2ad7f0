"""The member axis: runs of one experiment that differ in floats and seed, as one program.

A member is what a solo run makes of the same arguments and seed: the same initial parameters, the same examples in the
same order, and the same numbers but for rounding. Everything that is the members' has a leading axis [M], which the
mesh axis `member` splits.
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

from deeplab.core.runtime import Runtime
from deeplab.experiment import Experiment
from deeplab.scale import state_shardings
from deeplab.scale.mesh import AXES
from deeplab.train.feed import place
from deeplab.train.initialize import init, with_weights
from deeplab.train.state import State

MEMBERS = P("member")
"""The sharding of what has a leading axis of members."""


@dataclasses.dataclass(frozen=True)
class MemberExecution:
    """How members share programs and devices.

    Args:
      vmap_size: Number of members in the `vmap` of each device; 1 is the step of a solo run.
      mesh: Devices, along the axis `member`.
      reason: Reason for that number, for the report.
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
        """The same for this number of members, in rounds of equal size."""
        needed = math.ceil(members / self.mesh.size)
        return dataclasses.replace(self, vmap_size=math.ceil(needed / math.ceil(needed / self.vmap_size)))

    def place(self, members: Any) -> Any:
        """Puts a tree of host arrays [M, ...] on the devices."""
        return place(members, NamedSharding(self.mesh, MEMBERS))

    def shardings(self, state: State, *, offload: bool = False) -> State:
        """A sharding for every leaf [M, ...] of the members' states."""
        return state_shardings(state, (), self.mesh, offload=offload, members=True)

    def stack(self, make: Callable[[int], Any]) -> Any:
        """The trees `make(0)` ... `make(M - 1)` as one of all members; made and placed device by device.

        Of several processes each makes the members of its own devices.
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
        """A function of one member, as one of the members of a device.

        Args:
          function: Function of one member.
          axes: For each argument 0, where it has the axis of members, or None; as `in_axes` of `jax.vmap`.
        """
        if self.vmap_size > 1:
            return jax.vmap(function, in_axes=tuple(axes))

        def alone(*arguments: Any) -> Any:
            pairs = zip(arguments, axes, strict=True)
            one = [x if axis is None else jax.tree.map(lambda leaf: leaf[0], x) for x, axis in pairs]
            return jax.tree.map(lambda leaf: leaf[None], function(*one))

        return alone

    def spread(self, function: Callable[..., Any], specs: Sequence[P], out_specs: Any = MEMBERS) -> Callable[..., Any]:
        """A function of the members of one device, as one of all members; `specs` are those of its arguments."""
        if self.mesh.size == 1:
            return function
        # Nothing is exchanged between devices, so there is nothing to check.
        return jax.shard_map(function, mesh=self.mesh, in_specs=tuple(specs), out_specs=out_specs, check_vma=False)


@dataclasses.dataclass(frozen=True)
class Members:
    """Members of a population that go through one program, M of them.

    Args:
      build: Function from the floats of one member, which may be tracers, to its experiment.
      floats: Floats by which the members differ, [M] each by name.
      seeds: Seeds of initialization and data order, [M].
      execution: How they share programs and devices.
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
        """Metrics whose leaves are [M, ...] on the host, computed for one member after another."""
        for m in range(len(self)):
            one = jax.tree.map(lambda x: np.asarray(x)[m], metrics)  # noqa: B023 (called at once)
            yield {name: metric.compute() for name, metric in one.items()}


def make_init(members: Members, runtime: Runtime = Runtime()) -> Callable[[Members], State]:
    """A function from members (these, or as many others of the same `build`) to their first states, [M, ...].

    Each member is made by the same program, that of its solo run, and has its very bits: where training is chaotic a
    last bit grows to 1e-3 of the loss in 20 steps. A program of all members would be another for each number of them.
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
        return jax.device_put(state, chunk.execution.shardings(state, offload=True)) if runtime.offload else state

    return make


def abstract_state(members: Members, runtime: Runtime = Runtime()) -> State:
    """Shapes and shardings of the members' states, [M, ...]; nothing is computed."""
    floats = {name: jax.ShapeDtypeStruct((), jnp.float32) for name in members.floats}
    one = jax.eval_shape(lambda f: init(members.build(f), jax.random.key(0), runtime), floats)
    state = jax.tree.map(lambda s: jax.ShapeDtypeStruct((len(members), *s.shape), s.dtype), one)
    shardings = members.execution.shardings(state, offload=runtime.offload)
    return jax.tree.map(lambda s, where: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=where), state, shardings)


def member_mesh(devices: Sequence[Any], members: int) -> Mesh:
    """Devices in a row along `member`; the axes of other meshes have size 1.

    There are no more devices than members, but of several processes all devices: each must take part.
    """
    used = devices if jax.process_count() > 1 else devices[:members]
    return Mesh(np.array(used).reshape(-1, *[1] * len(AXES)), ("member", *AXES))
