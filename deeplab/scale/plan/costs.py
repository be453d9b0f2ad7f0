"""What a program computes and reads, from its jaxpr: nothing is compiled and nothing runs.

A product or a convolution counts two FLOPs for each multiplication, elementwise functions and reductions one for each
element. The body of a loop counts as often as it runs; of the branches of a condition the dearest counts.
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

# What makes its result in memory; everything else joins, elementwise, the loops of its neighbours. A reduction reads
# memory, and its small result is written.
_PRODUCTS = ("dot_general", "conv_general_dilated", "ragged_dot_general")
_IN_MEMORY = (
    *_PRODUCTS, "gather", "scatter", "scatter-add", "scatter_add", "scatter_mul", "sort", "top_k", "cumsum", "cumprod",
    "cummax", "cumlogsumexp", "reduce", "reduce_sum", "reduce_max", "reduce_min", "reduce_prod", "argmax", "argmin",
    "reduce_window_sum", "reduce_window_max", "reduce_window", "select_and_scatter_add", "concatenate", "fft",
)  # fmt: skip
# Moves, not arithmetic.
_MOVES = (
    "broadcast_in_dim", "reshape", "transpose", "squeeze", "slice", "dynamic_slice", "dynamic_update_slice", "gather",
    "scatter", "concatenate", "pad", "rev", "iota", "copy", "copy_p", "convert_element_type", "split", "select_n",
    "stop_gradient", "sort", "top_k", "sharding_constraint", "optimization_barrier", "name", "expand_dims",
    "reduce_precision", "bitcast_convert_type", "pvary",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Operation:
    """One equation of a jaxpr, and how often it runs.

    Attributes:
      primitive: its name.
      dtype: of its operands.
      flops: of all its runs, on all devices.
      split: bytes of operands and results whose shape depends on the batch, of one run; 0 where it joins a neighbour.
      whole: bytes of the others.
      times: how often it runs.
    """

    primitive: str
    dtype: str
    flops: float
    split: int
    whole: int
    times: int

    @property
    def product(self) -> bool:
        """Whether a matrix unit does it."""
        return self.primitive in _PRODUCTS


def operations(jaxpr: Any, wider: Any = None) -> list[Operation]:
    """The equations of a program, those inside loops and calls included.

    Args:
      jaxpr: from `jax.make_jaxpr`.
      wider: the same program for twice the batch, to tell what grows with it; without it everything counts as whole.

    Example (a scan of 5 products of 2 x 3 by 3 x 3):
      >>> def f(x, ws):
      ...     return jax.lax.scan(lambda x, w: (x @ w, None), x, ws)[0]
      >>> ops = operations(jax.make_jaxpr(f)(jnp.ones((2, 3)), jnp.ones((5, 3, 3))))
      >>> [(op.primitive, op.flops, op.times) for op in ops]
      [('dot_general', 180.0, 5)]
    """
    return list(_walk(jaxpr.jaxpr, (wider or jaxpr).jaxpr, 1))


def flops(operations: Sequence[Operation], products: bool = False) -> float:
    """Their FLOPs, or those of products and convolutions alone."""
    return sum(op.flops for op in operations if op.product or not products)


def _walk(jaxpr: Any, wider: Any, times: int) -> Iterator[Operation]:
    for eqn, wide in zip(jaxpr.eqns, wider.eqns, strict=True):
        inner, others = (inner_jaxprs(e) for e in (eqn, wide))
        if not inner:
            yield _operation(eqn, wide, times)
            continue
        times_here = times * _trips(eqn)
        bodies = [list(_walk(a, b, times_here)) for a, b in zip(inner, others, strict=True)]
        if eqn.primitive.name == "cond":
            yield from max(bodies, key=flops)
        else:
            yield from itertools.chain(*bodies)


def inner_jaxprs(eqn: Any) -> list[Any]:
    """The jaxprs that an equation runs."""
    found = []
    for name, value in eqn.params.items():
        # The rules of a custom derivative are no jaxprs that run; a scatter's or a reduction's combine single elements.
        if name in ("update_jaxpr", "jvp_jaxpr_fun", "fwd_jaxpr_thunk", "bwd"):
            continue
        for leaf in value if isinstance(value, (tuple, list)) else (value,):
            if isinstance(leaf, core.ClosedJaxpr):
                found.append(leaf.jaxpr)
            elif isinstance(leaf, core.Jaxpr):
                found.append(leaf)
    return [] if eqn.primitive.name in _IN_MEMORY else found


def _trips(eqn: Any) -> int:
    if eqn.primitive.name == "scan":
        return eqn.params["length"]
    if eqn.primitive.name == "while":
        return _while_trips(eqn) or 1
    if eqn.primitive.name == "shard_map":  # its body is what one device does
        mesh, manual = eqn.params["mesh"], eqn.params["manual_axes"]
        return math.prod(mesh.shape[axis] for axis in manual)
    return 1


def _while_trips(eqn: Any) -> int | None:
    """Trips of `while i < n` with constant ends and a step of one, such as a `fori_loop`'s; None if unknown."""
    cond, body = eqn.params["cond_jaxpr"].jaxpr, eqn.params["body_jaxpr"].jaxpr
    carried = eqn.invars[eqn.params["cond_nconsts"] + eqn.params["body_nconsts"] :]
    if len(cond.eqns) != 1 or cond.eqns[0].primitive.name != "lt" or eqn.params["cond_nconsts"]:
        return None
    counter, end = cond.eqns[0].invars
    if isinstance(counter, core.Literal) or not isinstance(end, core.Literal):
        return None
    place = cond.invars.index(counter)
    before, after = body.invars[eqn.params["body_nconsts"] + place], body.outvars[place]
    step = next((e for e in body.eqns if after in e.outvars), None)
    if step is None or step.primitive.name != "add" or step.invars[0] is not before:
        return None
    if not isinstance(step.invars[1], core.Literal) or step.invars[1].val != 1:
        return None
    start = carried[place]
    return max(0, int(end.val) - int(start.val)) if isinstance(start, core.Literal) else None


def _operation(eqn: Any, wide: Any, times: int) -> Operation:
    name, arrays = eqn.primitive.name, [v.aval for v in eqn.invars] + [v.aval for v in eqn.outvars]
    split = whole = 0
    if name in _IN_MEMORY:
        wider = [v.aval for v in wide.invars] + [v.aval for v in wide.outvars]
        grows = [a.shape != b.shape for a, b in zip(arrays, wider, strict=True)]
        split = sum(nbytes(a) for a, g in zip(arrays, grows, strict=True) if g)
        whole = sum(nbytes(a) for a, g in zip(arrays, grows, strict=True) if not g)
    dtype = str(arrays[0].dtype) if arrays and hasattr(arrays[0], "dtype") else ""
    return Operation(name, dtype, float(times * _flops(eqn)), split, whole, times)


def nbytes(array: Any) -> int:
    """Bytes of an abstract array; 0 of what is no array, such as an effect's token."""
    if not hasattr(array, "shape"):
        return 0
    size = math.prod(array.shape)
    return size * (8 if jnp.issubdtype(array.dtype, jax.dtypes.prng_key) else array.dtype.itemsize)


def _flops(eqn: Any) -> int:
    """Of one run."""
    name = eqn.primitive.name
    out: Any = eqn.outvars[0].aval if eqn.outvars else None
    if name == "dot_general":
        (contracted, _), _ = eqn.params["dimension_numbers"]
        return 2 * math.prod(out.shape) * math.prod(eqn.invars[0].aval.shape[i] for i in contracted)
    if name == "conv_general_dilated":
        return _convolution(eqn)
    if name in _MOVES or out is None or not hasattr(out, "dtype") or not jnp.issubdtype(out.dtype, jnp.inexact):
        return 0
    if name.startswith("scatter"):
        return math.prod(eqn.invars[2].aval.shape)  # what is added, not what it is added to
    # A reduction adds what it reads, an elementwise function makes what it writes.
    return max(math.prod(v.aval.shape) for v in (*eqn.invars, *eqn.outvars) if hasattr(v.aval, "shape"))


def _convolution(eqn: Any) -> int:
    """2 x batch x output channels x input channels of a group x (output place, kernel place) pairs that meet an input.

    Padding and the zeros that a dilation inserts are not counted: the backward pass of a strided convolution then costs
    what its forward pass does.
    """
    p = eqn.params
    x, kernel, out = eqn.invars[0].aval.shape, eqn.invars[1].aval.shape, eqn.outvars[0].aval.shape
    numbers, pairs = p["dimension_numbers"], 1
    for i, padding in enumerate(p["padding"]):
        size, width, places = (
            shape[spec[i + 2]]
            for shape, spec in ((x, numbers.lhs_spec), (kernel, numbers.rhs_spec), (out, numbers.out_spec))
        )
        dilation = p["lhs_dilation"][i]
        place = np.arange(places)[:, None] * p["window_strides"][i] - padding[0]
        place = place + np.arange(width)[None, :] * p["rhs_dilation"][i]
        pairs *= int(((place >= 0) & (place <= (size - 1) * dilation) & (place % dilation == 0)).sum())
    batch, channels = out[numbers.out_spec[0]], out[numbers.out_spec[1]]
    return 2 * batch * channels * kernel[numbers.rhs_spec[1]] * pairs
