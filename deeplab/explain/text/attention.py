"""Attention: its weights in all layers, and what they say about where a model looks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from deeplab.core.errors import UserError
from deeplab.explain.attribution import Target, scored
from deeplab.explain.mechanism.stream import gradients
from deeplab.explain.taps import read, taps

WEIGHTS = "attention_weights"


def attention(f: Callable[..., Any], *inputs: Any, within: str = "") -> Float[Array, "L B H T S"]:
    """The weights of attention of all layers, from each position to those that it reads.

    Args:
      f: Function that calls Linen modules.
      *inputs: Its inputs.
      within: Beginning of the names of modules whose attention is meant, such as "encoder", "blocks/cross" or
        "blocks/attention"; all when empty.

    Raises:
      UserError: there is no attention, or its layers have several shapes, such as those of a decoder that reads an
        encoder as well.

    Example:
      >>> from deeplab.models import GPT
      >>> model, tokens = GPT(vocab_size=9, num_layers=2, num_heads=2, width=8, context=4), jnp.array([[1, 2, 3]])
      >>> variables = jax.jit(model.init)(jax.random.key(0), tokens)
      >>> attention(lambda x: model.apply(variables, x), tokens).shape
      (2, 1, 2, 3, 3)
    """
    names = _names(f, within, *inputs)
    found = read(f, names)(*inputs)[1]
    return jnp.stack([found[name] for name in names])


def attention_gradients(
    f: Callable[..., Any], x: Any, target: Target = None, args: Sequence[Any] = (), within: str = ""
) -> tuple[Float[Array, "L B H T S"], Float[Array, "L B H T S"]]:
    """The weights of attention, and the derivatives of the score with respect to them; their product weighs a look.

    Args:
      f: Function `f(x, *args)` that calls Linen modules.
      x: Inputs with a leading axis of examples.
      target: What is explained.
      args: Further inputs of f.
      within: As of `attention`.

    Raises:
      UserError: as of `attention`.

    Example:
      >>> from deeplab.models import GPT
      >>> model, tokens = GPT(vocab_size=9, num_layers=2, num_heads=2, width=8, context=4), jnp.array([[1, 2, 3]])
      >>> variables = jax.jit(model.init)(jax.random.key(0), tokens)
      >>> last = lambda x: model.apply(variables, x)[:, -1]  # the logits of the next token
      >>> weights, slopes = attention_gradients(last, tokens, target=5)
      >>> (weights * slopes).shape
      (2, 1, 2, 3, 3)
    """
    score, args = scored(f, target, args)
    names = _names(score, within, x, *args)
    values, slopes = gradients(score, names, x, *args)
    return jnp.stack([values[name] for name in names]), jnp.stack([slopes[name] for name in names])


def rollout(weights: Float[Array, "L B H T T"]) -> Float[Array, "B T T"]:
    """From which positions of the input each state of the last layer comes, if attention mixed them as it weighs them.

    The product over layers of (A + I) / 2, with A the mean over heads. Rows add up to 1. It knows no score: it is the
    same for every class.

    Args:
      weights: Weights of all layers, from `attention`.

    Example:
      >>> rollout(jnp.full((2, 1, 1, 2, 2), 0.5)).tolist()
      [[[0.625, 0.375], [0.375, 0.625]]]

    Source: Abnar and Zuidema 2020, https://arxiv.org/abs/2005.00928, section 3.
    """
    mixed = weights.mean(axis=2) + jnp.eye(weights.shape[-1])[None, None]
    mixed = mixed / mixed.sum(axis=-1, keepdims=True)
    return _product(list(mixed))


def attention_relevance(
    f: Callable[..., Any], x: Any, target: Target = None, args: Sequence[Any] = (), within: str = ""
) -> Float[Array, "B T T"]:
    """How much each position of the input bears on each state of the last layer, as far as the score gains by it.

    The product over layers of I + mean over heads of max(0, A dscore/dA). Read the row of the position that the score
    is taken from, such as that of the class token; a row's own position always has its 1.

    Args:
      f: Function `f(x, *args)` that calls Linen modules.
      x: Inputs with a leading axis of examples.
      target: What is explained.
      args: Further inputs of f.
      within: As of `attention`: layers in which a sequence attends to itself.

    Raises:
      UserError: as of `attention`.

    Example:
      >>> from deeplab.models import GPT
      >>> model, tokens = GPT(vocab_size=9, num_layers=2, num_heads=2, width=8, context=4), jnp.array([[1, 2, 3]])
      >>> variables = jax.jit(model.init)(jax.random.key(0), tokens)
      >>> relevance = attention_relevance(lambda x: model.apply(variables, x)[:, -1], tokens, target=5)
      >>> relevance[:, -1].shape  # of each token for the last state, from which these logits are made
      (1, 3)

    Source: Chefer, Gur and Wolf 2021, https://arxiv.org/abs/2103.15679, equations 5 and 6.
    """
    weights, slopes = attention_gradients(f, x, target, args, within)
    gains = jax.nn.relu(weights * slopes).mean(axis=2)
    return _product(list(gains + jnp.eye(gains.shape[-1])[None, None]))


def _product(layers: Sequence[Float[Array, "B T T"]]) -> Float[Array, "B T T"]:
    found = layers[0]
    for layer in layers[1:]:
        found = layer @ found
    return found


def _names(f: Callable[..., Any], within: str, *inputs: Any) -> list[str]:
    """The taps of weights in modules of these names; a weight belongs to the module that gives its value next."""
    every = taps(f, *inputs)
    order, wanted = list(every), within.strip("/")
    found = {
        name: next((n for n in order[i + 1 :] if not n.startswith("attention_")), "")
        for i, name in enumerate(order)
        if name.partition("[")[0] == WEIGHTS
    }
    names = [name for name, owner in found.items() if not wanted or f"{owner}/".startswith(f"{wanted}/")]
    owners = sorted({owner.partition("[")[0].rpartition("/")[0] for owner in found.values()})
    if not names:
        raise UserError(f"there is no attention within {within!r}; attention is in {owners}" if found else
                        "the function computes no attention that its taps tell of")  # fmt: skip
    if len({every[name].shape for name in names}) > 1:
        raise UserError(f"the layers' attentions have several shapes; give within= one of {owners}")
    return names
