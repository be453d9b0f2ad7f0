"""From user histories to prediction targets: functions for `Examples(prepare=...)`."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from deeplab.core import ranges
from deeplab.core.errors import UserError
from deeplab.data.base import Example, Prepare

Scalar = float | jax.Array


@ranges.checked(most=ranges.FRACTION, forget_user=ranges.FRACTION)
def hide_ratings(most: Scalar = 0.4, forget_user: Scalar = 0.0) -> Prepare:
    """In training, hides part of a user's ratings as the target: `known` and `rating`, [V] each, share no item.

    The masks `rated` and `given` [V] of the two are set if an example holds `rated`, so that 0 can be a rating.

    Each rating is hidden with a probability drawn for each user and step, uniform from 0 to `most`. Evaluation
    examples, whose targets are not among the known ratings either, are left as they are.

    Args:
      most: Largest probability of hiding a rating; may be a tracer.
      forget_user: Probability of replacing the user by user 0, who has no profile, as users outside the training set
        are; may be a tracer.

    Source: Vincent et al. 2008, "Extracting and composing robust features with denoising autoencoders",
      https://doi.org/10.1145/1390156.1390294.

    Example:
      >>> ratings = jnp.array([5, 0, 3, 4])
      >>> out = jax.jit(hide_ratings(most=1.0))({"rating": ratings}, jax.random.key(0))
      >>> (out["known"] + out["rating"]).tolist(), (out["known"] * out["rating"]).tolist()
      ([5, 0, 3, 4], [0, 0, 0, 0])
    """

    def prepare(example: Example, key: jax.Array | None) -> Example:
        if key is None:
            return example
        share_key, hide_key, forget_key = jax.random.split(key, 3)
        ratings = example["rating"]
        hidden = jax.random.uniform(hide_key, ratings.shape) < most * jax.random.uniform(share_key)
        known, rating = jnp.where(hidden, 0, ratings), jnp.where(hidden, ratings, 0)
        if "rated" in example:
            rated = example["rated"] != 0
            example = example | {"given": rated & ~hidden, "rated": rated & hidden}
        return example | {"known": known, "rating": rating} | _forget(example, forget_key, forget_user)

    return prepare


@ranges.checked(length=ranges.COUNT, num_positions=ranges.COUNT, forget_user=ranges.FRACTION)
def next_items(length: int, num_positions: int | None = None, forget_user: Scalar = 0.0) -> Prepare:
    """Next-item prediction: a window of a user's sequence, and the positions in it whose next item is the target.

    Reads `sequence` [S] (oldest first, then zeros) and `target`, the item after it. Adds `history` [T], a window of the
    sequence, then zeros; `positions` [P], indices into the window, up to which items are known; and `targets` [P], the
    items that followed, 0 where none did. In training the window is a random one of the sequence and its target; in an
    evaluation it is the last window, and only its last position is a question, P = 1. `seen` [V] marks number 0 and the
    items of the sequence, which are not recommended.

    Args:
      length: Length T of the window.
      num_positions: Number of positions P in training, drawn without repetition; all of the window when None.
      forget_user: Probability of replacing the user by user 0, who has no profile.

    Raises:
      UserError: a length of less than one item, or more positions than that.

    Example (after the films 5 and 6 came 7):
      >>> example = {"sequence": jnp.array([5, 6, 0]), "target": jnp.array(7), "count": jnp.zeros(9)}
      >>> out = next_items(length=3)(example, None)
      >>> out["history"].tolist(), out["positions"].tolist(), out["targets"].tolist()
      ([5, 6, 0], [1], [7])
    """

    if num_positions is not None and num_positions > length:
        raise UserError(f"num_positions is {num_positions}, expected at most {length}, the length of the window")

    def prepare(example: Example, key: jax.Array | None) -> Example:
        sequence = example["sequence"].astype(jnp.int32)
        size = jnp.sum(sequence > 0)
        seen = jnp.zeros(example["count"].shape, bool).at[sequence].set(True).at[0].set(True)
        if key is None:
            history = _window(sequence, jnp.maximum(size - length, 0), length)
            asked = {"history": history, "positions": jnp.maximum(jnp.minimum(size, length) - 1, 0)[None]}
            return example | {"seen": seen} | asked | {f"{k}s": example[k][None] for k in ("target",) if k in example}
        window_key, position_key, forget_key = jax.random.split(key, 3)
        start = jax.random.randint(window_key, (), 0, jnp.maximum(size - length, 0) + 1)
        whole = jnp.pad(sequence, (0, 1)).at[size].set(example["target"])  # [S + 1]
        follow = _window(whole, start + 1, length)
        history = jnp.where(follow > 0, _window(whole, start, length), 0)
        positions = jnp.arange(length)
        if num_positions is not None:
            order = jnp.where(follow > 0, jax.random.uniform(position_key, (length,)), -1.0)
            positions = jax.lax.top_k(order, num_positions)[1]
        asked = {"history": history, "positions": positions, "targets": follow[positions], "seen": seen}
        return example | asked | _forget(example, forget_key, forget_user)

    return prepare


def _window(sequence: jax.Array, start: jax.Array, length: int) -> jax.Array:
    return jax.lax.dynamic_slice_in_dim(jnp.pad(sequence, (0, length)), start, length)


def _forget(example: Example, key: jax.Array, probability: Scalar) -> Example:
    """The fields of user 0 instead of the example's, with this probability."""
    forgotten = jax.random.uniform(key) < probability
    return {name: jnp.where(forgotten, 0, example[name]) for name in ("user", "profile") if name in example}
