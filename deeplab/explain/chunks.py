"""Many evaluations of a program with flat memory: a few at a time, added up as they come."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend import core

from deeplab.core.errors import UserError
from deeplab.core.jaxpr import inner_jaxprs
from deeplab.explain.attribution import count_of

_TARGET = 64 << 20  # bytes of intermediate values; larger chunks gain nothing on a CPU
_UNROLLED = 16  # XLA runs convolutions within a loop on one thread of a CPU, 3 to 6 times slower


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

    def some(rows: Any) -> Any:
        return jax.tree.map(lambda x: jnp.sum(x, axis=0), jax.vmap(f)(rows))

    first, rest, unroll = _divided(f, rows, chunk)
    begin = jax.tree.map(lambda x: x[0], first)

    def step(carry: Any, rows: Any) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, carry, some(_after(_number(carry), rows, begin))), None

    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), jax.eval_shape(some, begin))
    with _memory(begin):
        found = jax.block_until_ready(jax.lax.scan(step, zeros, first, unroll=unroll)[0])
    return found if rest is None else step(found, rest)[0]


def mapped(f: Callable[[Any], Any], rows: Any, chunk: int | None = None) -> Any:
    """f(row) of all rows along a leading axis, `chunk` of them at a time.

    Example:
      >>> mapped(lambda n: n**2, jnp.arange(5.0), chunk=2).tolist()
      [0.0, 1.0, 4.0, 9.0, 16.0]
    """
    first, rest, unroll = _divided(f, rows, chunk)
    begin = jax.tree.map(lambda x: x[0], first)

    def step(before: jax.Array, rows: Any) -> tuple[jax.Array, Any]:
        made = jax.vmap(f)(_after(before, rows, begin))
        return _number(made), made

    with _memory(begin):
        last, found = jax.block_until_ready(jax.lax.scan(step, jnp.zeros((), "float32"), first, unroll=unroll))
    found = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), found)
    return found if rest is None else jax.tree.map(lambda *parts: jnp.concatenate(parts), found, step(last, rest)[1])


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


def _number(tree: Any) -> jax.Array:
    """A number that is there when the first array of a tree is; 0 if it is not one of real numbers."""
    leaf = jax.tree.leaves(tree)[0]
    return (
        jnp.sum(leaf.ravel()[:1].astype("float32"))
        if jnp.issubdtype(leaf.dtype, jnp.floating)
        else jnp.zeros((), "float32")
    )


def _after(number: jax.Array, rows: Any, others: Any) -> Any:
    """The rows, once `number` is there; others if it were infinite and not a number.

    XLA begins unrolled chunks together, and keeps the intermediate values of all; it drops barriers on a CPU.
    """
    never = jnp.isnan(number) & jnp.isinf(number)
    return jax.tree.map(lambda row, other: jnp.where(never, other[: len(row)], row), rows, others)


def _divided(f: Callable[[Any], Any], rows: Any, chunk: int | None) -> tuple[Any, Any, int]:
    """The rows in whole chunks [N, chunk, ...], the rest of them or None, and how many chunks a loop has unrolled."""
    count = len(jax.tree.leaves(rows)[0])
    chunk = min(count, fitting(f, rows) if chunk is None else count_of("chunk", chunk))
    whole = count // chunk
    first = jax.tree.map(lambda x: x[: whole * chunk].reshape(whole, chunk, *x.shape[1:]), rows)
    rest = jax.tree.map(lambda x: x[whole * chunk :], rows) if count % chunk else None
    return first, rest, whole if whole <= _UNROLLED and jax.default_backend() == "cpu" else 1


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
