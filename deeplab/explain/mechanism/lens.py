"""What the residual stream says about the outputs: part by part, and layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from deeplab.explain.attribution import Attribution, Target, checked, scored
from deeplab.explain.mechanism.stream import frozen, layers, named, writers
from deeplab.explain.mechanism.tuned import Translators, translated
from deeplab.explain.taps import edited, read


def logit_attribution(
    f: Callable[..., Any], x: Any, parts: Sequence[str] | None = None, target: Target = None, args: Sequence[Any] = ()
) -> Attribution:
    """What each part of a model adds to the score directly: not by way of other parts.

    The residual stream is the sum of what is written into it. With the variances of norms as they are, a logit is a
    linear function of that sum, and what each head, each other branch and the embedding writes has its share of it.
    Scores that are linear in the logits are explained exactly: a logit, or `margin`.

    Args:
      f: Function `f(x, *args)` that calls Linen modules.
      x: Inputs with a leading axis of examples: tokens, images, ...
      parts: Names of the taps that write into the stream; those of `writers` when None.
      target: What is explained.
      args: Further inputs of f with a leading axis of examples.

    Returns:
      By the name of a part, its share at each position: [B, T], and [B, H, T] of heads; and "rest" [B], what remains
      when all parts are zero, such as biases. The gap is that of their sum, 0 if the score is linear.

    Raises:
      UserError: the parts are not found.

    Example:
      >>> from deeplab.explain.taps import mark
      >>> f = lambda x: (mark(2 * x, "double") + mark(x**2, "square") + 1).sum(axis=1)
      >>> found = logit_attribution(f, jnp.array([[3.0]]), ["double", "square"])
      >>> {name: share.item() for name, share in found.values.items()}
      {'double': 6.0, 'rest': 1.0, 'square': 9.0}

    Source: Elhage et al. 2021, https://transformer-circuits.pub/2021/framework/index.html.
    """
    score, args = scored(f, target, args)

    def of_one(x: Any, args: Any) -> tuple[dict[str, Any], jax.Array]:
        inputs = jax.tree.map(lambda leaf: leaf[None], (x, *args))
        names = named(score, parts, *inputs) if parts else writers(score, *inputs)
        values, direct = frozen(score, names, *inputs)
        whole, pull = jax.vjp(direct, values)
        (slopes,) = pull(jnp.ones_like(whole))
        shares = {name: jnp.sum(values[name] * slopes[name], axis=-1) for name in names}
        rest = direct(jax.tree.map(jnp.zeros_like, values))[0]
        gap = sum(jnp.sum(share) for share in shares.values()) + rest - whole[0]
        shares = {name: share[0] if share.ndim > 1 else share for name, share in shares.items()}
        return {**shares, "rest": rest}, gap

    return checked(Attribution(*jax.vmap(of_one)(x, args)))


def logit_lens(
    f: Callable[..., Any],
    x: Any,
    names: Sequence[str] | None = None,
    args: Sequence[Any] = (),
    *,
    translators: Translators | None = None,
) -> Any:
    """The outputs if the model ended after each of its layers: its last norm and head on earlier states.

    Args:
      f: Function `f(x, *args)` that calls Linen modules.
      x: Inputs.
      names: Taps of the residual stream in their order, the last of which the head reads; `layers` when None.
      args: Further inputs of f.
      translators: Those of `tuned_lens`, which apply to the states first; none when None.

    Returns:
      The outputs with a leading axis of layers; those of the last are the model's.

    Raises:
      UserError: the taps are not found.

    Example:
      >>> from deeplab.explain.taps import mark
      >>> f = lambda x: 10 * mark(mark(x + 1, "first") + 1, "second")  # two layers, and a head
      >>> logit_lens(f, jnp.zeros((1, 1)), ["first", "second"]).tolist()
      [[[10.0]], [[20.0]]]

    Source: nostalgebraist 2020, https://www.lesswrong.com/posts/AcKRB8wDpdaN6v6ru/interpreting-gpt-the-logit-lens.
    """
    names = named(f, names, x, *args) if names else layers(f, x, *args)
    states = read(f, names)(x, *args)[1]

    def ended(state: jax.Array) -> Any:
        return edited(f, {names[-1]: lambda _: state})(x, *args)

    stacked = jnp.stack([states[name] for name in names])
    return jax.lax.map(ended, stacked if translators is None else translated(stacked, *translators[:2]))
