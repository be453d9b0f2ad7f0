"""How the members of a population run: how many in one program, on which devices, and why.

On an accelerator small models leave most of it idle, and as many members as fit go into one `vmap`. On a CPU that
pays only where dispatching costs as much as computing. Eight seeds, time a step against one after another (2 cores,
jax 0.10): perceptron 16-32-32 0.21, 784-128-128 0.95, 784-512-512 1.1; two convolutions 2.6. There the members run
one after another, under one compilation: the floats by which they differ are arguments of the program.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from deeplab.core.jaxpr import has_primitive, walk
from deeplab.scale.mesh import AXES
from deeplab.train.feed import Feed, device_memory

How = Literal["auto", "vmap", "serial"]
"""Choose; as many in one program as fit; or one after another."""

Devices = Sequence[Any]
"""Of `jax.Device`, which is a variable to a type checker."""

MEMBERS = P("member")
"""The placement of what has a leading axis of members."""

_SMALL = 2**18  # parameters: above, a member's products keep a CPU's cores busy by themselves
_SHARE = 0.5  # of a device's memory that states and activations may take


@dataclasses.dataclass(frozen=True)
class Way:
    """A way to run members.

    Args:
      lanes: members in the `vmap` of each device; 1 is the solo program itself.
      mesh: the devices, along its axis `member`.
      convolution: whether a step has one: on a CPU it is slow inside a loop.
      reason: why so many.
    """

    lanes: int
    mesh: Mesh
    convolution: bool
    reason: str

    @property
    def at_once(self) -> int:
        """Members in one program."""
        return self.lanes * self.mesh.size

    def __str__(self) -> str:
        each = "one after another" if self.at_once == 1 else f"{self.at_once} at a time"
        where = f", spread over {self.mesh.size} devices" if self.mesh.size > 1 else ""
        return f"{each}{', as one vmap' if self.lanes > 1 else ''}{where} ({self.reason})"

    def of(self, members: int) -> Way:
        """For so many members, in rounds of the same size."""
        needed = math.ceil(members / self.mesh.size)
        return dataclasses.replace(self, lanes=math.ceil(needed / math.ceil(needed / self.lanes)))

    def place(self, members: Any) -> Any:
        """Puts a tree whose leaves are [M, ...] on the devices."""
        return jax.device_put(members, NamedSharding(self.mesh, MEMBERS))

    def stack(self, members: Iterator[Any]) -> Any:
        """Trees of one member each, as one of all; made and placed for one device after another."""
        parts = []
        for device in self.mesh.devices.flat:
            mine = list(itertools.islice(members, self.lanes))
            parts.append(jax.device_put(jax.tree.map(lambda *x: jnp.stack(x), *mine), device))
        sharding = NamedSharding(self.mesh, MEMBERS)

        def whole(*leaves: jax.Array) -> jax.Array:
            shape = (self.at_once, *leaves[0].shape[1:])
            return jax.make_array_from_single_device_arrays(shape, sharding, list(leaves))

        return jax.tree.map(whole, *parts)

    def over_members(self, function: Callable[..., Any], axes: Sequence[int | None]) -> Callable[..., Any]:
        """A function of one member, as one of the members of a device; `axes` as those of `jax.vmap`: 0 or None."""
        if self.lanes > 1:
            return jax.vmap(function, in_axes=tuple(axes))

        def alone(*arguments: Any) -> Any:
            pairs = zip(arguments, axes, strict=True)
            one = [x if axis is None else jax.tree.map(lambda leaf: leaf[0], x) for x, axis in pairs]
            return jax.tree.map(lambda leaf: leaf[None], function(*one))

        return alone

    def spread(self, function: Callable[..., Any], specs: Sequence[P]) -> Callable[..., Any]:
        """A function of the members of one device, as one of all; every output has the axis of members in front."""
        if self.mesh.size == 1:
            return function
        return jax.shard_map(
            function, mesh=self.mesh, in_specs=tuple(specs), out_specs=MEMBERS, check_vma=False
        )  # nothing is exchanged between devices, so there is nothing to check


def member_mesh(devices: Devices, members: int) -> Mesh:
    """Devices in a row along `member`, no more than there are members; the axes of other meshes have size 1."""
    row = np.array(devices[:members]).reshape(-1, *[1] * len(AXES))
    return Mesh(row, ("member", *AXES))


def choose(
    step: Callable[..., Any], arguments: Sequence[Any], num_params: int, members: int, feed: Feed,
    how: How = "auto", at_once: int | None = None,
) -> Way:  # fmt: skip
    """The way to run members, from what the step of one of them holds.

    Args:
      step: of one member.
      arguments: its own; shapes are enough. The second one is its state.
      num_params: of a member.
      members: how many there are.
      feed: the training split; its mesh has the devices.
      how: asked for.
      at_once: members in one program, at most; what fits when None.
    """
    jaxpr = jax.make_jaxpr(step)(*arguments)
    convolution, devices = has_primitive(jaxpr, "conv_general_dilated"), feed.mesh.size
    needed = math.ceil(members / devices)
    # State, its successor and the best one; and every value of a step, as if none was ever freed: an upper bound.
    held = 3 * sum(map(_nbytes, jax.tree.leaves(arguments[1])))
    held += sum(_nbytes(variable.aval) for visit in walk(jaxpr) for variable in visit.eqn.outvars)
    fit = max(1, int(_SHARE * device_memory(feed.mesh) / max(held, 1)))
    lanes, reason = _lanes(how, needed, fit, convolution, num_params)
    if at_once is not None and at_once < lanes * devices:
        lanes, reason = max(1, at_once // devices), f"at most {at_once} were asked for"
    return Way(lanes, feed.mesh, convolution, reason).of(members)


def _lanes(how: How, needed: int, fit: int, convolution: bool, num_params: int) -> tuple[int, str]:
    on_cpu = jax.default_backend() == "cpu"
    if how == "serial":
        return 1, "asked for"
    if how == "auto" and on_cpu and convolution:
        return 1, "a CPU is slower at several convolutions in one program"
    if how == "auto" and on_cpu and num_params > _SMALL:
        return 1, "a single member keeps a CPU busy"
    if fit < needed:
        return fit, f"memory holds {fit} of {needed} a device"
    return needed, "asked for" if how == "vmap" else "small models leave a device idle"


def _nbytes(value: Any) -> int:
    itemsize = getattr(value.dtype, "itemsize", 4)
    return math.prod(value.shape) * itemsize
