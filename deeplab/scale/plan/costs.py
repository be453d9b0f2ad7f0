"""FLOPs and memory traffic of a program, from its jaxpr: nothing is compiled, and nothing runs.

A product or convolution counts two FLOPs per multiplication, an elementwise function one per output element, a
reduction one per input element. The body of a loop counts as often as it runs. A `cond` is charged its most expensive
branch.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from deeplab.core.jaxpr import Visit, visits

# What reads its operands from memory and writes its results there. Everything else is elementwise, and fused into the
# loops of its neighbors.
_PRODUCTS = ("dot_general", "conv_general_dilated", "ragged_dot_general")
_IN_MEMORY = (
    *_PRODUCTS, "gather", "scatter", "scatter-add", "scatter_add", "scatter_mul", "sort", "top_k", "cumsum", "cumprod",
    "cummax", "cumlogsumexp", "reduce", "reduce_sum", "reduce_max", "reduce_min", "reduce_prod", "argmax", "argmin",
    "reduce_window_sum", "reduce_window_max", "reduce_window", "select_and_scatter_add", "concatenate", "fft",
)  # fmt: skip
# Data movement: no arithmetic.
_MOVES = (
    "broadcast_in_dim", "reshape", "transpose", "squeeze", "slice", "dynamic_slice", "dynamic_update_slice", "gather",
    "scatter", "concatenate", "pad", "rev", "iota", "copy", "copy_p", "convert_element_type", "split", "select_n",
    "stop_gradient", "sort", "top_k", "sharding_constraint", "optimization_barrier", "name", "expand_dims",
    "reduce_precision", "bitcast_convert_type", "pvary",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Operation:
    """One equation of a program that runs no other jaxpr, and its cost.

    Attributes:
      primitive: Name of the primitive.
      dtype: Dtype of the first operand.
      flops: FLOPs of all runs, on all devices.
      batch_bytes: Bytes per run of the operands and results whose shape depends on the batch; 0 if it is fused.
      fixed_bytes: Bytes per run of the other operands and results; 0 if it is fused.
      times: Number of runs.
      scope: Name stack of the equation.
    """

    primitive: str
    dtype: str
    flops: float
    batch_bytes: int
    fixed_bytes: int
    times: int
    scope: str = ""

    @property
    def is_product(self) -> bool:
        """Whether a matrix unit computes it."""
        return self.primitive in _PRODUCTS

    @property
    def is_recomputed(self) -> bool:
        """Whether `jax.checkpoint` computes it a second time, for the backward pass."""
        return "rematted_computation" in self.scope.split("/")

    @property
    def is_of_gradient(self) -> bool:
        """Whether it is part of a differentiated function or of its backward pass."""
        return "jvp(" in self.scope


def operations(jaxpr: core.ClosedJaxpr, doubled: core.ClosedJaxpr | None = None) -> list[Operation]:
    """The operations of a program, those inside loops and calls included.

    Args:
      jaxpr: A program, from `jax.make_jaxpr`.
      doubled: The same program for twice the batch, which tells `batch_bytes` from `fixed_bytes`. Without it all bytes
        are fixed.

    Example (a scan of 5 products of 2 x 3 by 3 x 3):
      >>> def f(x, ws):
      ...     return jax.lax.scan(lambda x, w: (x @ w, None), x, ws)[0]
      >>> ops = operations(jax.make_jaxpr(f)(jnp.ones((2, 3)), jnp.ones((5, 3, 3))))
      >>> [(op.primitive, op.flops, op.times) for op in ops]
      [('dot_general', 180.0, 5)]
    """
    return list(_operations(visits(jaxpr), visits(doubled or jaxpr)))


def flops(operations: Sequence[Operation], products_only: bool = False) -> float:
    """Total FLOPs of operations, or of the products and convolutions among them."""
    return sum(op.flops for op in operations if op.is_product or not products_only)


def model_flops(operations: Sequence[Operation]) -> float:
    """FLOPs of the products that a loss and its gradient need, once each: the numerator of MFU.

    That is three times the products of the forward pass, less what no gradient needs: the product for the gradient of
    the first layer's input, and both for whatever depends on no parameter. Neither recomputation, nor augmentation, nor
    the optimizer counts.

    Source: Chowdhery et al. 2022 (PaLM), https://arxiv.org/abs/2204.02311, appendix B.
    """
    return flops([op for op in operations if op.is_of_gradient and not op.is_recomputed], products_only=True)


def recomputed_flops(operations: Sequence[Operation]) -> float:
    """FLOPs of the products that `jax.checkpoint` computes a second time."""
    return flops([op for op in operations if op.is_recomputed], products_only=True)


def _operations(found: Sequence[Visit], doubled: Sequence[Visit]) -> Iterator[Operation]:
    for visit, twin in pairs(found, doubled):
        bodies = [list(_operations(*pair)) for pair in zip(visit.bodies, twin.bodies, strict=True)]
        if visit.eqn.primitive.name == "cond":
            yield from max(bodies, key=flops)
        elif bodies:
            yield from itertools.chain(*bodies)
        else:
            yield _operation(visit, twin)


def pairs(equations: Sequence[Any], doubled: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
    """The equations (or visits) of a program beside those of the same program for twice the batch.

    Sharding constraints are left out. They cost nothing, and one program may have more of them: activations are known
    by their leading axis, and a position embedding of 16 positions looks like one where the batch has 16 examples.
    """

    def kept(side: Sequence[Any]) -> list[Any]:
        return [e for e in side if getattr(e, "eqn", e).primitive.name != "sharding_constraint"]

    return zip(kept(equations), kept(doubled), strict=True)


def _operation(visit: Visit, twin: Visit) -> Operation:
    eqn, name = visit.eqn, visit.eqn.primitive.name
    arrays: list[Any] = [v.aval for v in (*eqn.invars, *eqn.outvars)]
    others: list[Any] = [v.aval for v in (*twin.eqn.invars, *twin.eqn.outvars)]
    batch_bytes = fixed_bytes = 0
    if name in _IN_MEMORY:
        for array, other in zip(arrays, others, strict=True):
            depends_on_batch = array.shape != other.shape
            batch_bytes += nbytes(array) * depends_on_batch
            fixed_bytes += nbytes(array) * (not depends_on_batch)
    dtype = str(arrays[0].dtype) if arrays and hasattr(arrays[0], "dtype") else ""
    return Operation(name, dtype, float(visit.times * _flops(eqn)), batch_bytes, fixed_bytes, visit.times, visit.scope)


def nbytes(array: Any) -> int:
    """Bytes of an abstract array; 0 for anything else, such as the token of an effect."""
    if not hasattr(array, "shape"):
        return 0
    size = math.prod(array.shape)
    return size * (8 if jnp.issubdtype(array.dtype, jax.dtypes.prng_key) else array.dtype.itemsize)


def _flops(eqn: Any) -> int:
    """FLOPs of one run."""
    name = eqn.primitive.name
    out: Any = eqn.outvars[0].aval if eqn.outvars else None
    if name == "dot_general":
        (contracted, _), _ = eqn.params["dimension_numbers"]
        return 2 * math.prod(out.shape) * math.prod(eqn.invars[0].aval.shape[i] for i in contracted)
    if name == "conv_general_dilated":
        return _convolution_flops(eqn)
    if name in _MOVES or out is None or not hasattr(out, "dtype") or not jnp.issubdtype(out.dtype, jnp.inexact):
        return 0
    if name.startswith("scatter"):
        return math.prod(eqn.invars[2].aval.shape)  # the updates, not the array that they are added to
    # A reduction adds what it reads, an elementwise function computes what it writes.
    return max(math.prod(v.aval.shape) for v in (*eqn.invars, *eqn.outvars) if hasattr(v.aval, "shape"))


def _convolution_flops(eqn: Any) -> int:
    """2 x batch x output channels x input channels of a group x (output, kernel) position pairs that meet an input.

    Padding and the zeros that a dilation inserts are not counted: the backward pass of a strided convolution then costs
    what its forward pass does.
    """
    p = eqn.params
    x, kernel, out = eqn.invars[0].aval.shape, eqn.invars[1].aval.shape, eqn.outvars[0].aval.shape
    numbers, pairs = p["dimension_numbers"], 1
    for i, padding in enumerate(p["padding"]):
        size, width, num_positions = (
            shape[spec[i + 2]]
            for shape, spec in ((x, numbers.lhs_spec), (kernel, numbers.rhs_spec), (out, numbers.out_spec))
        )
        dilation = p["lhs_dilation"][i]
        position = np.arange(num_positions)[:, None] * p["window_strides"][i] - padding[0]
        position = position + np.arange(width)[None, :] * p["rhs_dilation"][i]
        pairs *= int(((position >= 0) & (position <= (size - 1) * dilation) & (position % dilation == 0)).sum())
    batch, channels = out[numbers.out_spec[0]], out[numbers.out_spec[1]]
    return 2 * batch * channels * kernel[numbers.rhs_spec[1]] * pairs
