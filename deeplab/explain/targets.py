"""What is explained, where it is more than one logit: differences, log-probabilities, whole transcripts, regions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int

from deeplab.core.errors import UserError
from deeplab.explain.attribution import ByExample, Score, Target, picked

Number = int | Int[Array, " B"]


def margin(k: Number, j: Number | None = None) -> Target:
    """Why k rather than j: the difference of their logits; j is the best of the others when None.

    Args:
      k: Number of an output, or one for each example.
      j: Number of another one, likewise.

    Example:
      >>> margin(2, 0)(jnp.array([[1.0, 5.0, 4.0]])).tolist()
      [3.0]
    """

    def best(logits: Array, k: Any) -> Array:
        own = jnp.arange(logits.shape[-1])[None] == jnp.reshape(k, (-1, 1))
        return _pick(logits, k) - jnp.max(jnp.where(own, -jnp.inf, logits), axis=-1)

    if j is None:
        return _target(best, k)
    return _target(lambda logits, k, j: _pick(logits, k) - _pick(logits, j), k, j)


def logprob(k: Number) -> Target:
    """The log-probability of an output.

    Args:
      k: Number of an output, or one for each example.

    Example:
      >>> round(float(logprob(0)(jnp.zeros((1, 4)))[0]), 4)
      -1.3863
    """
    return _target(lambda logits, k: _pick(jax.nn.log_softmax(logits, axis=-1), k), k)


def position(t: Number, target: Target) -> Target:
    """A target of the logits [B, T, V] at one position, such as -1.

    Args:
      t: Position, or one for each example; may be a tracer.
      target: What is explained of the logits [B, V] there.

    Example:
      >>> position(-1, margin(0, 1))(jnp.arange(6.0).reshape(1, 3, 2)).tolist()
      [-1.0]
    """

    def at(logits: Array, t: Any) -> Array:
        t = jnp.where(jnp.asarray(t) < 0, jnp.asarray(t) + logits.shape[1], t)
        return jnp.take_along_axis(logits, jnp.reshape(t, (-1, 1, 1)), axis=1)[:, 0]

    if isinstance(target, ByExample):
        score, data = target
        t = jnp.broadcast_to(jnp.asarray(t), (len(jax.tree.leaves(data)[0]),))
        return ByExample(lambda logits, both: score(at(logits, both[0]), both[1]), (t, data))
    if target is None or not callable(target):
        return position(t, _target(_pick, 0 if target is None else target))
    return _target(lambda logits, t: target(at(logits, t)), t)


def channel(k: Number) -> Target:
    """The mean of a channel over all its places, such as those of a layer's tap.

    Args:
      k: Number of a channel of values [B, ..., C], or one for each example.

    Example:
      >>> channel(1)(jnp.arange(8.0).reshape(1, 2, 2, 2)).tolist()
      [4.0]
    """

    def mean(values: Float[Array, "B ... C"], k: Any) -> Array:
        return _pick(values.reshape(len(values), -1, values.shape[-1]).mean(axis=1), k)

    return _target(mean, k)


def seq_logprob(tokens: Int[Array, "B T"], mask: Bool[Array, "B T"] | None = None) -> Target:
    """The log-probability of a whole text: the sum over the positions of logits [B, T, V].

    Args:
      tokens: The token that each position should predict: the next one, in a model that reads the text itself.
      mask: True where a position counts; everywhere when None.

    Example:
      >>> score = seq_logprob(jnp.array([[1, 0]]))
      >>> round(float(score.score(jnp.zeros((1, 2, 2)), score.data)[0]), 4)
      -1.3863
    """
    mask = jnp.ones(tokens.shape, bool) if mask is None else mask

    def score(logits: Array, data: Any) -> Array:
        tokens, mask = data
        logprobs = jnp.take_along_axis(jax.nn.log_softmax(logits, axis=-1), tokens[..., None], axis=-1)[..., 0]
        return jnp.sum(jnp.where(mask, logprobs, 0), axis=1)

    return ByExample(score, (tokens, mask))


def ctc(labels: Int[Array, "B N"], label_padding: Array, logit_padding: Array, blank: int = 0) -> Target:
    """The log-probability of a transcript under all its alignments to logits [B, T, V].

    Args:
      labels: Tokens of the transcript.
      label_padding: 1 where a label is padding [B, N].
      logit_padding: 1 where a frame is padding [B, T].
      blank: Number of the output that stands for no token.

    Example:
      >>> score = ctc(jnp.array([[1]]), jnp.zeros((1, 1)), jnp.zeros((1, 2)))
      >>> logprob = score.score(jnp.zeros((1, 2, 2)), score.data)[0]
      >>> round(float(jnp.exp(logprob)), 4)  # of four equal paths three say 1: 1 1, 1 blank, blank 1
      0.75
    """

    def score(logits: Array, data: Any) -> Array:
        labels, label_padding, logit_padding = data
        return -optax.ctc_loss(logits, logit_padding, labels, label_padding, blank_id=blank)

    return ByExample(score, (labels, label_padding, logit_padding))


def region(mask: Bool[Array, "B H W"], k: int) -> Target:
    """The mean logit of class k within a region of logits [B, H, W, K]; the region does not move with the input.

    Args:
      mask: True within the region, such as where the model predicts k for the input itself.
      k: Number of a class.

    Example:
      >>> score = region(jnp.array([[[True, True, False]]]), k=1)
      >>> score.score(jnp.array([[[[0.0, 5.0], [0.0, 7.0], [0.0, 100.0]]]]), score.data).tolist()
      [6.0]
    """

    def score(logits: Float[Array, "B H W K"], mask: Array) -> Array:
        inside = jnp.where(mask, logits[..., k], 0)
        return jnp.sum(inside, axis=(1, 2)) / jnp.maximum(jnp.sum(mask, axis=(1, 2)), 1)

    return ByExample(score, mask)


def _target(score: Callable[..., Array], *numbers: Any) -> Score | ByExample:
    """A score with numbers; those of each example are its data."""
    if all(jnp.ndim(number) == 0 for number in numbers):
        return lambda outputs: score(outputs, *numbers)
    size = max(len(number) for number in numbers if jnp.ndim(number))
    if wrong := [jnp.shape(number) for number in numbers if jnp.shape(number) not in ((), (size,))]:
        raise UserError(f"numbers have the shape {wrong[0]}, expected one number, or one for each example, [{size}]")
    data = tuple(jnp.broadcast_to(jnp.asarray(number), (size,)) for number in numbers)
    return ByExample(lambda outputs, data: score(outputs, *data), data)


def _pick(logits: Array, k: Any) -> Array:
    return picked(logits, k, None if isinstance(k, Tracer) else np.asarray(k).reshape(-1))
