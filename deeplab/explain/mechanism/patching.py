"""Interventions: what changes when a part has the value that it has for other inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from deeplab.core.errors import UserError
from deeplab.explain.attribution import Target, scored
from deeplab.explain.mechanism.stream import gradients, named, place_by_place, writers
from deeplab.explain.taps import Function, edited, read


def patching(
    f: Callable[..., Any], x: Any, source: Any, names: Sequence[str], target: Target = None, args: Sequence[Any] = (),
    *, axes: Sequence[int] = (), chunk: int | None = None,
) -> dict[str, Array]:  # fmt: skip
    """The share of the score's difference that each tap carries: 1 if its value alone brings the source's score.

    share = (score(x, with the source's value at the tap) - score(x)) / (score(source) - score(x)). With corrupted x and
    a clean source it restores (denoising: what suffices); with clean x and a corrupted source it breaks (noising: what
    is needed).

    Args:
      f: Function `f(x, *args)` that calls Linen modules.
      x: Inputs that are run, with a leading axis of examples.
      source: Inputs of the same shape, whose values are put in.
      names: Names of taps; all calls of one without a number.
      target: What is explained.
      args: Further inputs of f, the same of both.
      axes: Axes of the taps that are patched entry by entry, such as (1,) for each position of [B, T, D] or each head
        of [B, H, T, d]; whole values when empty.
      chunk: Number of places at a time; by their size when None.

    Raises:
      UserError: there is no such tap, or it has no such axis.

    Example:
      >>> from deeplab.explain.taps import mark
      >>> f, x, source = lambda x: 3 * mark(x[:, :1], "part").sum(axis=1) + x[:, 1], jnp.zeros((1, 2)), jnp.ones((1, 2))
      >>> patching(f, x, source, ["part"])["part"].tolist()
      [0.75]

    Source: Meng et al. 2022, https://arxiv.org/abs/2202.05262; Heimersheim and Nanda 2024,
      https://arxiv.org/abs/2404.15255.
    """
    score, args = scored(f, target, args)
    names = named(score, names, x, *args)
    high, values = read(score, names)(source, *args)
    if wrong := [name for name in names if any(axis not in range(1, values[name].ndim) for axis in axes)]:
        raise UserError(f"{wrong[0]!r} has the shape {values[wrong[0]].shape}, and axes={tuple(axes)} are asked for")

    def patched(masks: Mapping[str, jax.Array]) -> jax.Array:
        edits = {name: lambda v, n=name: jnp.where(masks[n], values[n], v) for name in names}
        return edited(score, edits)(x, *args)

    low = score(x, *args)
    found = place_by_place(values, dict.fromkeys(names, axes), patched, chunk)
    shares = jax.tree.map(lambda grid: jax.vmap(lambda g, a, b: (g - a) / (b - a), -1)(grid, low, high), found)
    return dict(shares)


def attribution_patching(
    f: Callable[..., Any], x: Any, source: Any, names: Sequence[str], target: Target = None, args: Sequence[Any] = ()
) -> dict[str, Array]:
    """To first order, how the score changes when each tap has the source's value: one backward pass for all of them.

    (value of the source - value) * d score / d value, summed over the last axis: at each position of [B, T, D], for
    each head and position of [B, H, T, d]. Exact where the score is linear in the value.

    Args:
      f: Function `f(x, *args)` that calls Linen modules.
      x: Inputs that are run, with a leading axis of examples.
      source: Inputs of the same shape, whose values would be put in.
      names: Names of taps; all calls of one without a number.
      target: What is explained.
      args: Further inputs of f, the same of both.

    Raises:
      UserError: there is no such tap.

    Example:
      >>> from deeplab.explain.taps import mark
      >>> f, x, source = lambda x: 3 * mark(x, "part").sum(axis=1), jnp.ones((1, 2)), jnp.array([[2.0, 3.0]])
      >>> attribution_patching(f, x, source, ["part"])["part"].tolist()
      [9.0]

    Source: Nanda 2023, https://www.neelnanda.io/mechanistic-interpretability/attribution-patching.
    """
    score, args = scored(f, target, args)
    names = named(score, names, x, *args)
    values, slopes = gradients(score, names, x, *args)
    others = read(score, names)(source, *args)[1]
    return {name: jnp.sum((others[name] - values[name]) * slopes[name], axis=-1) for name in names}


def path_patching(
    f: Callable[..., Any], x: Any, source: Any, sender: str, receivers: Sequence[str] = (), target: Target = None,
    args: Sequence[Any] = (), *, parts: Sequence[str] | None = None,
) -> Float[Array, " B"]:  # fmt: skip
    """How the score changes when what some parts read from another one directly is that of the source.

    All other writers of the stream keep their values, so that only the direct path from the sender counts; what the
    receivers then read is put into a run of x.

    Args:
      f: Function `f(x, *args)` that calls Linen modules.
      x: Inputs that are run, with a leading axis of examples.
      source: Inputs of the same shape.
      sender: Name of the tap that has the source's value.
      receivers: Names of taps that read the stream, such as "attention_queries[1]" or "block2/feed_forward:in"; the
        outputs themselves when empty.
      target: What is explained.
      args: Further inputs of f, the same of both.
      parts: Names of all taps that write into the stream; those of `writers` when None.

    Raises:
      UserError: there is no such tap.

    Example:
      >>> from deeplab.explain.taps import mark
      >>> def f(x):
      ...     first = mark(2 * x, "first")
      ...     return (first + mark(5 * first, "second")).sum(axis=1)
      >>> x, source = jnp.ones((1, 1)), jnp.full((1, 1), 4.0)
      >>> path_patching(f, x, source, "first", parts=["first", "second"]).tolist()  # not by way of "second"
      [6.0]

    Source: Goldowsky-Dill et al. 2023, https://arxiv.org/abs/2304.05969.
    """
    score, args = scored(f, target, args)
    held = named(score, parts, x, *args) if parts else writers(score, x, *args)
    low, values = read(score, held)(x, *args)
    values = {**values, **read(score, [sender])(source, *args)[1]}
    isolated = _with(score, values)
    if not receivers:
        return isolated(x, *args) - low
    received = read(isolated, named(score, receivers, x, *args))(x, *args)[1]
    return _with(score, received)(x, *args) - low


def steer(f: Function, name: str, vector: Array, scale: float = 1.0) -> Function:
    """f with a vector added to the value of a tap, at all positions; any tap, any vector that broadcasts.

    Args:
      f: Function that calls Linen modules, or marks values.
      name: Name of a tap; at each call for one without a number.
      vector: Direction, [D].
      scale: Factor of the vector; may be a tracer.

    Example:
      >>> from deeplab.explain.taps import mark
      >>> moved = steer(lambda x: 3 * mark(x + 1, "sum"), "sum", jnp.array([1.0, 0.0]), scale=10.0)
      >>> moved(jnp.zeros(2)).tolist()
      [33.0, 3.0]

    Source: Turner et al. 2023, https://arxiv.org/abs/2308.10248.
    """

    def moved(value: Array) -> Array:
        return value + jnp.broadcast_to(jnp.asarray(scale * vector, value.dtype), value.shape)

    return edited(f, {name: moved})


def _with(score: Function, values: Mapping[str, Any]) -> Function:
    return edited(score, {name: lambda _, v=value: v for name, value in values.items()})
