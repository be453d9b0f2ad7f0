"""Sharding constraints on the outputs of layers, so that activations stay on the devices of their examples.

Where parameters and the batch are split over the same devices, XLA's partitioner may send activations instead of
parameters, which are smaller. The constraints are added from outside the model.
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
    """A context in which the output of every Linen module is split over devices as the batch is.

    The mesh is that of `jax.set_mesh`; without one, or on a single device, the context does nothing. Outputs
    [B, T, D] are also split over the axis `sequence`, where T is divisible.

    Args:
      size: Number of examples in the batch, B.

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
    """The tree with its arrays [B, ...] constrained to be split over the axes of `BATCH`; other arrays are unchanged.

    Examples are recognized by the size of the first axis: position embeddings [T, D] with T = B are split, too. That
    changes where they are computed, and no value.

    Args:
      tree: Pytree of arrays.
      size: Number of examples, B.
      convolved: Whether the arrays are outputs of a convolution. Their positions are then not split over `sequence`,
        see `deeplab.scale.rules`.
    """
    shape = jax.sharding.get_abstract_mesh().shape
    devices, parts = math.prod(shape.get(axis, 1) for axis in BATCH), shape.get("sequence", 1)
    if devices * parts == 1 or size % devices:
        return tree

    def constrain(x: Any) -> Any:
        if not isinstance(x, jax.Array) or x.ndim == 0 or x.shape[0] != size:
            return x
        spec = [BATCH, *[_ANY] * (x.ndim - 1)]
        if convolved and parts > 1:
            spec[1:-1] = [None] * (x.ndim - 2)
        elif x.ndim == 3 and parts > 1 and x.shape[1] % parts == 0:
            spec[1] = "sequence"
        return jax.lax.with_sharding_constraint(x, PartitionSpec(*spec))

    return jax.tree.map(constrain, tree)
