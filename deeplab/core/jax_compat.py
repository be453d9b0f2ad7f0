"""Parts of JAX that are private, or that differ between its versions; no other module reaches for them.

What differs is looked for where it is used, never derived from a version's number, so that a later version is not
refused for its name. The versions named here are those that are tested: 0.7.2, 0.10.2 and 0.12.0.

`jax.distributed.initialize` detects a cluster and connects in one call. It reports neither the coordinator's address
nor the rank that it found, and a missing process ends all the others by a signal that no program can catch. So deeplab
asks JAX's cluster classes for the address and the ranks, waits for the processes itself, and only then initializes.
The client of the coordinator, which the watchdog uses while devices hang, has no public accessor either.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

import jax
import numpy as np
from jax._src import clusters, distributed
from jax.extend import core

_ANEW: Any = jax.make_user_context(False) if hasattr(jax, "make_user_context") else None  # new in 0.8
_PLAIN: ContextVar[bool] = ContextVar("plain", default=False)
_PLAIN_ANEW: Any = jax.make_user_context(False) if hasattr(jax, "make_user_context") else None


def detect_cluster(skip: frozenset[str] = frozenset()) -> Any:
    """First of JAX's cluster classes whose environment is present; None without a cluster.

    Args:
      skip: Names of cluster classes that are not considered.
    """
    kinds = [kind for kind in clusters.ClusterEnv._cluster_types if not kind.opt_in_only_method]
    return next((kind for kind in kinds if kind.__name__ not in skip and kind.is_env_present()), None)


def coordinator_address(cluster: Any, port: str | None) -> str:
    """Address of the coordinator of a cluster class, as HOST:PORT.

    Args:
      cluster: One of JAX's cluster classes.
      port: Port of the coordinator; the one that the class chooses when None.
    """
    ask = cluster.get_coordinator_address
    if "override_coordinator_port" in inspect.signature(ask).parameters:  # 0.10
        return ask(timeout_secs=60, override_coordinator_port=port)
    address = ask(timeout_secs=60)  # 0.7
    return address if port is None else f"{address.rpartition(':')[0]}:{port}"


def initialize_distributed(coordinator: str, count: int, rank: int, **options: Any) -> None:
    """`jax.distributed.initialize` without JAX's service of preemptions, which would take over SIGTERM.

    Args:
      coordinator: Address of process 0, as HOST:PORT.
      count: Number of processes.
      rank: Index of this process.
      options: Further arguments of `jax.distributed.initialize`.
    """
    if hasattr(jax.config, "jax_enable_preemption_service"):  # 0.10
        jax.config.update("jax_enable_preemption_service", False)
    else:  # 0.7 has no option for it
        distributed.global_state.initialize_preemption_sync_manager = lambda: None
    jax.distributed.initialize(coordinator, count, rank, **options)


def coordinator_client() -> Any:
    """Client of JAX's coordinator, a key-value store with barriers; None with one process."""
    return distributed.global_state.client


def process_id() -> int:
    """Rank of this process; unlike `jax.process_index`, this does not initialize the devices."""
    return distributed.global_state.process_id


def bind(eqn: core.JaxprEqn, inputs: Sequence[Any]) -> list[Any]:
    """The outputs of a whole equation for input arrays."""
    params = eqn.primitive.get_bind_params(eqn.params)
    functions, params = params if isinstance(params, tuple) else ((), params)  # a pair in 0.7
    out = eqn.primitive.bind(*functions, *inputs, **params)
    return list(out) if eqn.primitive.multiple_results else [out]


def literal(atom: core.Literal) -> Any:
    """The value of a literal: a number, or an array of NumPy or JAX."""
    known = (bool, int, float, complex, np.generic, np.ndarray, jax.Array)
    return atom.val if isinstance(atom.val, known) else np.asarray(atom.val)  # a class of its own in 0.7


def scan_operands(eqn: core.JaxprEqn, inputs: Sequence[Any]) -> tuple[list[Any], list[Any], list[Any]]:
    """Constants, initial carry and rows among the inputs of a `scan`.

    Args:
      eqn: Equation of a `scan`.
      inputs: One value for each input of the equation.

    Example:
      >>> program = jax.make_jaxpr(lambda c, xs: jax.lax.scan(lambda c, x: (c + x, c), c, xs))(1.0, jax.numpy.ones(3))
      >>> scan_operands(program.eqns[0], ["initial", "rows"])
      ([], ['initial'], ['rows'])
    """
    if "ft_in" in eqn.params:  # 0.12: a tree of the three
        consts, carry, xs = eqn.params["ft_in"].update(inputs).unpack()
        return list(consts), list(carry), list(xs)
    start = eqn.params["num_consts"]
    end = start + eqn.params["num_carry"]
    return list(inputs[:start]), list(inputs[start:end]), list(inputs[end:])


def traced_anew() -> AbstractContextManager[Any]:
    """Context in which functions under `jax.jit` are traced, though they were traced before outside of it."""
    return _ANEW(True) if _ANEW else nullcontext()


@contextmanager
def plain_operations() -> Iterator[None]:
    """Context, or decorator of a function, in which functions are traced to operations of JAX alone.

    A vendor's kernel, such as cuDNN's attention, has values and a gradient. It has neither derivatives forward nor
    second ones, no rule in an interpreter of programs, and runs on one platform; and what it computes in between has no
    name. Whoever needs one of these traces the model in this context, which is asked for by `operations_are_plain`. It
    is entered within what is traced: a function under `jax.jit` that was traced before outside of it is traced anew
    from JAX 0.8 on, and not before.

    Example:
      >>> @plain_operations()
      ... def traced():
      ...     return operations_are_plain()
      >>> traced(), operations_are_plain()
      (True, False)
    """
    token = _PLAIN.set(True)
    try:
        with _PLAIN_ANEW(True) if _PLAIN_ANEW else nullcontext():
            yield
    finally:
        _PLAIN.reset(token)


def operations_are_plain() -> bool:
    """Whether functions are traced to operations of JAX alone; see `plain_operations`."""
    return _PLAIN.get()


def manual_axes(eqn: core.JaxprEqn) -> frozenset[str]:
    """Mesh axes over which a `shard_map` splits what it is given."""
    return eqn.params["newly_manual_axes" if "newly_manual_axes" in eqn.params else "manual_axes"]


def varying(x: jax.Array, axis: str) -> jax.Array:
    """An array that is equal on all devices of an axis, as one that differs: its gradient is the sum of theirs.

    For the body of a `jax.shard_map`, where JAX (0.10) leaves that sum out if `x` is only indexed by what differs.
    """
    if hasattr(jax.lax, "pcast"):
        return jax.lax.pcast(x, axis, to="varying")
    return jax.lax.pvary(x, axis)  # 0.7  # pyright: ignore[reportAttributeAccessIssue] - gone in 0.10
