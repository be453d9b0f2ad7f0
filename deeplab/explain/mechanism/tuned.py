"""The tuned lens: a translation of each layer's states to those that the head reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from deeplab.core.errors import UserError
from deeplab.explain.mechanism.stream import layers, named
from deeplab.explain.taps import edited, read


class Translators(NamedTuple):
    """An affine function h + h W + b of each layer's states; that of the last layer is the identity.

    Attributes:
      weight: W of each layer.
      bias: b of each layer.
      loss: Mean divergence of the lens from the outputs where it was fitted, in nats; no more than the logit lens's.
    """

    weight: Float[Array, "L D D"]
    bias: Float[Array, "L D"]
    loss: Float[Array, " L"]


def tuned_lens(
    f: Callable[..., Any],
    x: Any,
    names: Sequence[str] | None = None,
    args: Sequence[Any] = (),
    *,
    steps: int = 250,
    learning_rate: float = 1e-3,
) -> Translators:
    """Fits the translators of `logit_lens(f, x, translators=...)`, by which earlier layers speak as the last one does.

    Each lowers the divergence KL(p || q) of its lens q from the distribution p of the outputs, by Adam on all inputs
    from the identity on; the best of its steps is kept, so that it is never worse than the logit lens on these inputs.
    A translator has D (D + 1) numbers, which learn few inputs by heart: measure it on others.

    Args:
      f: Function `f(x, *args)` that calls Linen modules, to logits [B, ..., V].
      x: Inputs to fit on.
      names: Taps of the residual stream in their order, the last of which the head reads; `layers` when None.
      args: Further inputs of f.
      steps: Number of steps.
      learning_rate: Learning rate of Adam.

    Raises:
      UserError: the taps are not found, or there is one layer.

    Example:
      >>> from deeplab.explain.taps import mark
      >>> f, x = lambda x: mark(jnp.flip(mark(x, "first"), axis=-1), "second"), jnp.array([[0.0, 2.0]])
      >>> translators = tuned_lens(f, x, ["first", "second"], steps=30, learning_rate=0.1)
      >>> translators.weight.shape, bool(translators.loss[0] < 0.1)
      ((2, 2, 2), True)

    Source: Belrose et al. 2023, https://arxiv.org/abs/2303.08112.
    """
    names = named(f, names, x, *args) if names else layers(f, x, *args)
    if len(names) < 2:
        raise UserError(
            f"a tuned lens was asked for of {names}; give two layers or more, since the last one needs none"
        )
    outputs, found = read(f, names)(x, *args)
    target, states = jax.nn.log_softmax(outputs), jnp.stack([found[name] for name in names])
    adam = optax.adam(learning_rate)

    def divergences(lens: tuple[Array, Array]) -> Float[Array, " L"]:
        def of_one(state: Array) -> Array:
            ended = jax.nn.log_softmax(edited(f, {names[-1]: lambda _: state})(x, *args))
            return jnp.mean(jnp.sum(jnp.exp(target) * (target - ended), axis=-1))

        return jax.lax.map(of_one, translated(states, lens[0], lens[1]))

    def step(carry: Any, _: None) -> tuple[Any, None]:
        lens, moments, best, least = carry
        losses, pull = jax.vjp(divergences, lens)
        (slopes,) = pull(jnp.ones_like(losses))
        better = losses < least
        best = jax.tree.map(lambda new, old: jnp.where(better.reshape(-1, *[1] * (new.ndim - 1)), new, old), lens, best)
        updates, moments = adam.update(slopes, moments)
        updates = jax.tree.map(lambda u: u.at[-1].set(0), updates)
        return (optax.apply_updates(lens, updates), moments, best, jnp.minimum(losses, least)), None

    (L, *_, D), kind = states.shape, states.dtype
    identity = jnp.zeros((L, D, D), kind), jnp.zeros((L, D), kind)
    first = identity, adam.init(identity), identity, jnp.full(L, jnp.inf, kind)
    _, _, best, least = jax.lax.scan(step, first, length=steps + 1)[0]
    return Translators(best[0], best[1], least)


def translated(states: Float[Array, "L ... D"], weight: Float[Array, "L D D"], bias: Float[Array, "L D"]) -> Array:
    """The states of all layers as their translators give them.

    Example:
      >>> translated(jnp.ones((1, 3, 2)), jnp.eye(2)[None], jnp.array([[0.0, 1.0]]))[0, 0].tolist()
      [2.0, 3.0]
    """
    L, *places, D = states.shape
    return states + jnp.einsum("l...d,lde->l...e", states, weight) + bias.reshape(L, *[1] * len(places), D)
