"""Circuits: how much of a score flows along each edge between the parts of a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from deeplab.explain import chunks
from deeplab.explain.attribution import Target, scored
from deeplab.explain.mechanism import stream
from deeplab.explain.taps import Function, edited, read

OUTPUT = "output"


def eap_ig(
    f: Callable[..., Any], x: Any, source: Any, target: Target = None, args: Sequence[Any] = (), *,
    writers: Sequence[str] | None = None, readers: Sequence[str] | None = None, steps: int = 8,
    chunk: int | None = None,
) -> dict[tuple[str, str], Array]:  # fmt: skip
    """How the score changes, to first order, if a part reads from another one what that writes for the source.

    edge(u, v) = (u(source) - u(x)) * mean d score / d (what v reads of the stream), the mean of the derivatives along
    the straight line from the embedding of x to that of the source. Norms before a part belong to the part.

    Args:
      f: Function `f(x, *args)` that calls Linen modules.
      x: Inputs, with a leading axis of examples: those of the behavior that is explained.
      source: Inputs of the same shape that lack it.
      target: What is explained.
      args: Further inputs of f, the same of both.
      writers: Taps that write into the stream, its embedding first; those of `stream.writers` when None.
      readers: Taps that read it; those of `stream.readers` when None. The outputs are one as well: "output".
      steps: Nodes of the Gauss-Legendre rule.
      chunk: Number of nodes at a time; by their size when None.

    Returns:
      By the names of a writer and a reader, the scores [B], with an axis of heads for each of the two that has some:
      [B, H, H'] from heads to heads.

    Raises:
      UserError: the parts are not found.

    Example:
      >>> from deeplab.explain.taps import mark
      >>> def f(x):  # a part reads the embedding, and both are read by the output
      ...     start = mark(x, "start")
      ...     return (start + mark(5 * mark(start, "part:in"), "part")).sum(axis=1)
      >>> found = eap_ig(f, jnp.ones((1, 1)), jnp.zeros((1, 1)), writers=["start", "part"], readers=["part:in"])
      >>> round(found["start", "part:in"].item(), 3), round(found["start", "output"].item(), 3)
      (-5.0, -1.0)

    Source: Hanna, Pezzelle and Belinkov 2024, https://arxiv.org/abs/2403.17806.
    """
    score, args = scored(f, target, args)
    nodes, weights = np.polynomial.legendre.leggauss(steps)

    def of_one(x: Any, source: Any, args: Any) -> dict[str, dict[str, jax.Array]]:
        x, source, *args = jax.tree.map(lambda leaf: leaf[None], (x, source, *args))
        into = stream.named(score, writers, x, *args) if writers else stream.writers(score, x, *args)
        out = stream.named(score, readers, x, *args) if readers else stream.readers(score, x, *args)
        values, others = (read(score, into)(at, *args)[1] for at in (x, source))
        moves = jax.tree.map(jnp.subtract, others, values)

        def at_node(node: tuple[jax.Array, jax.Array]) -> Any:
            embedded = {into[0]: values[into[0]] + node[0] * moves[into[0]]}
            return jax.tree.map(lambda x: node[1] * x, _edges(score, embedded, moves, out, (x, *args)))

        return chunks.total(at_node, (jnp.asarray((nodes + 1) / 2), jnp.asarray(weights / 2)), chunk)

    found = jax.vmap(of_one)(x, source, tuple(args))
    return {(writer, reader): edge for writer, row in found.items() for reader, edge in row.items()}


def _edges(
    score: Function, embedded: Mapping[str, Any], moves: Mapping[str, Any], readers: Sequence[str], inputs: Any
) -> dict[str, dict[str, jax.Array]]:
    """For each writer and reader, what a move of the one does to the score by what the other reads directly."""
    running = edited(score, {name: lambda _, v=value: v for name, value in embedded.items()})
    values = {**embedded, **read(running, [name for name in moves if name not in embedded])(*inputs)[1]}
    slopes = stream.gradients(running, readers, *inputs)[1]

    def direct(values: Mapping[str, Any]) -> tuple[jax.Array, dict[str, Any]]:
        held = edited(score, {name: lambda _, v=values[name]: v for name in moves})
        return read(held, readers)(*inputs)

    linear = jax.linearize(direct, values)[1]

    def of_one(masks: Mapping[str, Any]) -> dict[str, jax.Array]:
        change, read_changes = linear({name: jnp.where(masks[name], move, 0) for name, move in moves.items()})
        parts = {n: jnp.sum(slopes[n] * moved, axis=-1) for n, moved in read_changes.items()}
        heads = {n: part.sum(axis=(0, 2)) if part.ndim == 3 else part.sum() for n, part in parts.items()}
        return {OUTPUT: change[0], **heads}

    axes = {name: (1,) if move.ndim == 4 else () for name, move in moves.items()}
    return stream.place_by_place(moves, axes, of_one)
