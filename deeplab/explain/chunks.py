"""Many evaluations of a program with flat memory: a few at a time, added up as they come."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend import core

from deeplab.core.abstract.convolutions import canonical
from deeplab.core.errors import UserError
from deeplab.core.jaxpr import inner_jaxprs
from deeplab.explain.attribution import count_of

_TARGET = 64 << 20  # bytes of intermediate values; larger chunks gain nothing on a CPU


def total(f: Callable[[Any], Any], rows: Any, chunk: int | None = None) -> Any:
    """The sum of f(row) over all rows, `chunk` of them at a time.

    Args:
      f: Function from a row to a pytree of arrays.
      rows: Pytree of arrays with a leading axis of rows, such as the nodes and weights of a quadrature, or keys.
      chunk: Number of rows at a time; by the size of what f computes when None.

    Example:
      >>> float(total(lambda n: n**2, jnp.arange(5.0), chunk=2))
      30.0
    """

    @canonical
    def some(rows: Any) -> Any:
        return jax.tree.map(lambda x: jnp.sum(x, axis=0), jax.vmap(f)(rows))

    def step(carry: Any, rows: Any) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, carry, some(rows)), None

    first, rest = _divided(f, rows, chunk)
    begin = jax.tree.map(lambda x: x[0], first)
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), jax.eval_shape(some, begin))
    with _memory(begin):
        found = jax.block_until_ready(jax.lax.scan(step, zeros, first)[0])
    return found if rest is None else step(found, rest)[0]


def mapped(f: Callable[[Any], Any], rows: Any, chunk: int | None = None) -> Any:
    """f(row) of all rows along a leading axis, `chunk` of them at a time.

    Example:
      >>> mapped(lambda n: n**2, jnp.arange(5.0), chunk=2).tolist()
      [0.0, 1.0, 4.0, 9.0, 16.0]
    """
    first, rest = _divided(f, rows, chunk)
    some = canonical(jax.vmap(f))
    with _memory(jax.tree.map(lambda x: x[0], first)):
        found = jax.block_until_ready(jax.lax.scan(lambda _, rows: (None, some(rows)), None, first)[1])
    found = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), found)
    return found if rest is None else jax.tree.map(lambda x, y: jnp.concatenate([x, y]), found, some(rest))


def averaged(f: Callable[[Any], Any], rows: Any, chunk: int | None = None) -> tuple[Any, Any]:
    """The mean of f(row) over rows that are independent draws, and its standard error."""
    count = len(jax.tree.leaves(rows)[0])
    first = jax.tree.map(jax.lax.stop_gradient, f(jax.tree.map(lambda x: x[0], rows)))  # a shift, against cancellation

    def moments(row: Any) -> Any:
        apart = jax.tree.map(jnp.subtract, f(row), first)
        return apart, jax.tree.map(jnp.square, apart)

    sums, squares = total(moments, rows, chunk)
    mean = jax.tree.map(lambda s, x: x + s / count, sums, first)
    error = jax.tree.map(
        lambda s, q: jnp.sqrt(jnp.maximum(q - s**2 / count, 0) / max(count - 1, 1) / count), sums, squares
    )
    return mean, error


@contextlib.contextmanager
def _memory(chunk: Any) -> Iterator[None]:
    """Context of evaluations that may need more memory than there is, of which XLA tells no more than its size.

    Raises:
      UserError: they do.
    """
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        size = len(jax.tree.leaves(chunk)[0])
        fewer = f"chunk={size // 2}" if size > 1 else "fewer examples at a time"
        raise UserError(f"there is too little memory for {size} evaluations at a time; give {fewer}") from error


def _divided(f: Callable[[Any], Any], rows: Any, chunk: int | None) -> tuple[Any, Any]:
    """The rows in whole chunks [N, chunk, ...], and the rest of them or None."""
    count = len(jax.tree.leaves(rows)[0])
    chunk = min(count, fitting(f, rows) if chunk is None else count_of("chunk", chunk))
    whole = count // chunk
    first = jax.tree.map(lambda x: x[: whole * chunk].reshape(whole, chunk, *x.shape[1:]), rows)
    rest = jax.tree.map(lambda x: x[whole * chunk :], rows) if count % chunk else None
    return first, rest


def fitting(f: Callable[[Any], Any], rows: Any) -> int:
    """Number of rows of which f computes some 64 MiB of values at once: a power of two."""
    row = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), rows)
    size = _bytes(jax.make_jaxpr(f)(row).jaxpr)
    return 2 ** max(0, math.floor(math.log2(max(_TARGET / max(size, 1), 1))))


def _bytes(program: core.Jaxpr) -> int:
    """Bytes of all values that a program computes; loops hold those of one pass."""
    own: list[Any] = [v.aval for eqn in program.eqns for v in eqn.outvars]
    sizes = (math.prod(a.shape) * a.dtype.itemsize for a in own)
    return sum(sizes) + sum(_bytes(inner.jaxpr) for eqn in program.eqns for inner in inner_jaxprs(eqn))
