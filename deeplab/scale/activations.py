"""Activations stay with their examples: a constraint on every layer's output, from outside the model.

Where parameters are split over the devices that split the batch, too, XLA's partitioner may move the activations
instead of the parameters, which are smaller.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import flax.linen as nn
import jax
from jax.sharding import PartitionSpec

from deeplab.scale.mesh import BATCH

_ANY = PartitionSpec.UNCONSTRAINED


def by_example(size: int) -> AbstractContextManager[Any]:
    """A context in which what a layer gives for a batch of this size is split as the batch is.

    The mesh is that of `jax.set_mesh`; without one, or on a single device, nothing is done. An output [B, T, D] is also
    split over the axis `sequence`, where T divides.

    Example:
      >>> with by_example(4):
      ...     out, _ = nn.Dense(3).init_with_output(jax.random.key(0), jax.numpy.ones((4, 2)))
    """
    if math.prod(jax.sharding.get_abstract_mesh().shape.values()) == 1:
        return contextlib.nullcontext()

    def intercept(call: Callable, args: tuple, kwargs: dict, context: nn.module.InterceptorContext) -> Any:
        out = call(*args, **kwargs)
        if context.method_name != "__call__":
            return out
        return with_examples(out, size, convolved=isinstance(context.module, nn.Conv | nn.ConvTranspose))

    return nn.intercept_methods(intercept)


def with_examples(tree: Any, size: int, *, convolved: bool = False) -> Any:
    """The arrays of a batch of this size, split over `data` and `fsdp`; others, and without a mesh, as they are.

    Where the mesh splits sequences, what is `convolved` is whole in its places: see `deeplab.scale.rules`.
    """
    shape = jax.sharding.get_abstract_mesh().shape
    devices, parts = shape.get("data", 1) * shape.get("fsdp", 1), shape.get("sequence", 1)
    if devices * parts == 1 or size % devices:
        return tree

    def pin(x: Any) -> Any:
        if not isinstance(x, jax.Array) or x.ndim == 0 or x.shape[0] != size:
            return x
        spec = [BATCH, *[_ANY] * (x.ndim - 1)]
        if convolved and parts > 1:
            spec[1:-1] = [None] * (x.ndim - 2)
        elif x.ndim == 3 and parts > 1 and x.shape[1] % parts == 0:
            spec[1] = "sequence"
        return jax.lax.with_sharding_constraint(x, PartitionSpec(*spec))

    return jax.tree.map(pin, tree)
