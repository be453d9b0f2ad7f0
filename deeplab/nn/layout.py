"""How layers lay out their arrays on the mesh of `jax.set_mesh`; on a single device, every function is the identity.

Where time is split, over the axis "sequence", queries stay on the device of their positions, and each device receives
all keys and values. Where features are split, over "model", those that a recurrence cuts into gates are gathered first.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P

_ANY = P.UNCONSTRAINED

IN_TURN = (
    (r"hidden\d*[13579]/kernel", P(None, "model")),
    (r"hidden\d*[13579]/bias", P("model")),
    (r"hidden\d*[02468]/kernel", P("model", None)),
)
"""Rules of layers in a row, "hidden1", "hidden2", ...: split by their outputs and by their inputs in turn.

The layer after them has no rule of "model", since it may follow either kind. XLA's partitioner (jax 0.10) silently
gives wrong values to two layers in a row that are split alike where `fsdp` splits them, too, and `data` the batch: x @
W is wrong with x, W and the product each split over "model", on data=2,fsdp=2,model=2; that is the second layer if both
are split by inputs, and the gradient of the first if both are by outputs.
"""


def parts_of_time(length: int) -> int:
    """Number of parts into which the current mesh splits sequences of this length; 1 where it does not divide it.

    Example:
      >>> parts_of_time(8)  # without a mesh
      1
    """
    size = jax.sharding.get_abstract_mesh().shape.get("sequence", 1)
    return 1 if length % size else size


def check_block(length: int, block: int) -> None:
    """Checks that blocks divide a device's part of sequences of this length.

    Raises:
      ValueError: They do not; the message names the nearest smaller block that does.

    Example:
      >>> check_block(8, 3)
      Traceback (most recent call last):
      ValueError: blocks of 3 do not divide the 8 positions of a device; blocks of 2 do
    """
    each = length // parts_of_time(length)
    if block < 1 or each % block:
        nearest = next(size for size in range(max(block, 1), 0, -1) if each % size == 0)
        raise ValueError(f"blocks of {block} do not divide the {each} positions of a device; blocks of {nearest} do")


def _divides_time(length: int) -> bool:
    """Whether the current mesh splits sequences of this length."""
    return parts_of_time(length) > 1


def divides_experts(number: int) -> bool:
    """Whether the current mesh splits this number of experts, over the axis "expert".

    Example:
      >>> divides_experts(4)  # without a mesh
      False
    """
    size = jax.sharding.get_abstract_mesh().shape.get("expert", 1)
    return size > 1 and number % size == 0


def rows(x: jax.Array) -> jax.Array:
    """[B, T, D] as [(B T), D]; unchanged where time is split, since one axis of both would gather it.

    Example:
      >>> rows(jnp.ones((2, 3, 4))).shape
      (6, 4)
    """
    return x if _divides_time(x.shape[1]) else x.reshape(-1, x.shape[-1])


def split_queries(query: jax.Array, key: jax.Array, value: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Queries [B, H, T, d] split over time, keys and values [B, H, S, d] whole.

    Example:
      >>> query = key = jnp.ones((1, 2, 3, 4))
      >>> split_queries(query, key, key)[0] is query  # without a mesh
      True
    """
    if not _divides_time(query.shape[2]):
        return query, key, value
    whole = P(_ANY, _ANY, None, _ANY)
    return (
        jax.lax.with_sharding_constraint(query, P(_ANY, _ANY, "sequence", _ANY)),
        jax.lax.with_sharding_constraint(key, whole),
        jax.lax.with_sharding_constraint(value, whole),
    )


def for_each_part(x: jax.Array, parts: int) -> jax.Array:
    """[B, H, S, d] as [n, B, H, S, d]: all positions for each of the n `parts_of_time`, on the devices of that part.

    Example:
      >>> for_each_part(jnp.ones((1, 2, 3, 4)), parts_of_time(3)).shape
      (1, 1, 2, 3, 4)
    """
    copies = jnp.broadcast_to(x[None], (parts, *x.shape))
    if parts == 1:
        return copies
    return jax.lax.with_sharding_constraint(copies, P("sequence", _ANY, _ANY, None, _ANY))


def whole(x: jax.Array, dims: int = 1) -> jax.Array:
    """`x` with its last dimensions whole on each device, as a recurrence needs that cuts them into gates.

    XLA's partitioner (jax 0.10) silently gives wrong gradients to a scan's parts of a split dimension where the batch
    is split over two more axes: on data=2,fsdp=2,model=2 by four fifths of a tensor's largest. Gates outside of a scan
    (a gated linear unit) are right.

    Args:
      x: Array of any rank.
      dims: Number of last dimensions that are gathered; the others stay as they are.

    Example:
      >>> gates = jnp.ones((2, 3, 8))
      >>> whole(gates) is gates  # without a mesh
      True
    """
    if math.prod(jax.sharding.get_abstract_mesh().shape.values()) == 1:
        return x
    return jax.lax.with_sharding_constraint(x, P(*[_ANY] * (x.ndim - dims), *[None] * dims))
