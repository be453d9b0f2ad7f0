"""How the members of a population run: how many in one program, on which devices, and why.

On an accelerator small models leave most of it idle, and as many members as fit go into one `vmap`. On a CPU that
pays only where dispatching costs as much as computing. Eight seeds, time a step against one after another (2 cores,
jax 0.10): perceptron 16-32-32 0.21, 784-128-128 0.95, 784-512-512 1.1; two convolutions 2.6. There the members run
one after another, under one compilation: the floats by which they differ are arguments of the program.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp

from deeplab.core.errors import UserError, place_of_error
from deeplab.core.jaxpr import has_primitive, walk
from deeplab.scale import processes
from deeplab.search.groups import Group
from deeplab.train.feed import Feed, device_memory
from deeplab.train.initialize import init
from deeplab.train.members import MemberExecution
from deeplab.train.state import State
from deeplab.train.step import make_step

How = Literal["auto", "vmap", "serial"]
"""Choose; as many in one program as fit; or one after another."""

Devices = Sequence[Any]
"""Of `jax.Device`, which is a variable to a type checker."""

_SMALL = 2**18  # parameters: above, a member's products keep a CPU's cores busy by themselves
_SHARE = 0.5  # of a device's memory that states and activations may take


def choose_execution(
    group: Group, feed: Feed, how: How = "auto", members_per_program: int | None = None
) -> MemberExecution:
    """How a group runs on the devices of its feed, from what the step of one member holds.

    Args:
      group: Members of one program.
      feed: Training split, on the mesh with the axis `member`.
      how: What is asked for.
      members_per_program: Largest number of members in one program; what fits when None.
    """
    floats = {name: jax.ShapeDtypeStruct((), jnp.float32) for name in group.floats}
    try:
        state = jax.eval_shape(lambda f: init(group.experiment(f), jax.random.key(0), group.runtime), floats)
    except UserError:
        raise
    except Exception as error:  # of any kind: with numbers in place of tracers, the same has been built
        given = [name for name in floats if not _is_traceable(group, name)] or list(floats)
        place = place_of_error(error)
        raise UserError(
            f"the experiment uses one of its floats ({', '.join(given)}) in `if`, int() or a shape, and a sweep traces "
            f"them: declare that argument dl.StaticFloat, or int, bool or str{place and f'; see {place}'}"
        ) from error

    def step(floats: Any, state: State, item: Any) -> Any:
        return make_step(group.experiment(floats), group.runtime)(state, feed.fetch(feed.resident, item))

    ids = feed.data.train_ids(0, group.members[0].seed)[0]
    item = ids if feed.resident is not None else feed.data.fetch(feed.source, ids)
    jaxpr = jax.make_jaxpr(step)(floats, state, item)
    convolution, devices = has_primitive(jaxpr, "conv_general_dilated"), feed.mesh.size
    num_params = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(state.params))
    needed = math.ceil(len(group.members) / devices)
    # State, its successor and the best one; and every value of a step, as if none was ever freed: an upper bound.
    held = 3 * sum(map(_nbytes, jax.tree.leaves(state)))
    held += sum(_nbytes(variable.aval) for visit in walk(jaxpr) for variable in visit.eqn.outvars)
    fit = max(1, int(_SHARE * device_memory(feed.mesh) / max(held, 1)))
    size, reason = _vmap_size(how, needed, fit, convolution, num_params)
    if members_per_program is not None and members_per_program < size * devices:
        size, reason = max(1, members_per_program // devices), f"at most {members_per_program} were asked for"
    size, reason = processes.allgather_json([size, reason])[0]  # hosts may differ in memory
    return MemberExecution(size, feed.mesh, reason).of(len(group.members))


def _is_traceable(group: Group, name: str) -> bool:
    """Whether one float may be a tracer while the others are numbers."""
    try:
        shape = jax.ShapeDtypeStruct((), jnp.float32)
        jax.eval_shape(lambda f: init(group.experiment({name: f}), jax.random.key(0), group.runtime), shape)
    except Exception:  # as in `choose_execution`
        return False
    return True


def _vmap_size(how: How, needed: int, fit: int, convolution: bool, num_params: int) -> tuple[int, str]:
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
