"""Several pairs of sequences packed into one row, so that little of a batch is padding.

A sequence `x` [L] of a pair comes with `x_segment` [L], the number of the pair that each token belongs to, and 0 for
padding. A model that reads segments keeps the pairs of a row apart, so that each is read as if it were alone.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from deeplab.core import ranges
from deeplab.core.errors import UserError
from deeplab.data.base import Batch, Mix

_PAIR = ("source", "target")


def segments(example: dict[str, Any], key: jax.Array | None = None) -> dict[str, Any]:
    """A `prepare`: `source_length` and `target_length` become `source_segment` and `target_segment`, 1 within a length.

    Example:
      >>> made = segments({"source": jnp.array([5, 6, 0, 0]), "source_length": jnp.int32(2)})
      >>> made["source_segment"].tolist()
      [1, 1, 0, 0]
    """
    example = dict(example)
    for name in _PAIR:
        if f"{name}_length" in example:
            length = example.pop(f"{name}_length")
            example[f"{name}_segment"] = (jnp.arange(example[name].shape[0]) < length).astype(jnp.int32)
    return example


@ranges.checked(per_row=ranges.COUNT, width=ranges.COUNT)
def pack(per_row: int, width: int) -> Mix:
    """A `mix`: B pairs, each [L], become B / `per_row` rows of `width` tokens on either side.

    The pairs are sorted by length and cut into `per_row` parts. Row k gets the k-th shortest pair of each part but the
    last, and the k-th longest of the last, so that rows have nearly equal sums. A pair that does not fit into its row,
    or has weight 0, is left out. With `per_row=1`, only pairs longer than `width` are.

    The rows hold `source`, `target`, their segments, `weight` and `id`; a row's id is that of its first pair, and
    its weight the mean of those of its pairs.

    Args:
      per_row: Pairs that share a row; divides the batch.
      width: Tokens of a row, on either side.

    Raises:
      UserError: the batch is not a multiple of `per_row`.

    Example:
      >>> one = jnp.array([[1, 1, 0], [1, 1, 1]])
      >>> batch = {"source": 5 * one, "source_segment": one, "target": 7 * one, "target_segment": one}
      >>> batch |= {"weight": jnp.ones(2), "id": jnp.arange(2)}
      >>> made = pack(per_row=2, width=6)(jax.random.key(0), batch)
      >>> made["source"].tolist(), made["source_segment"].tolist()
      ([[5, 5, 5, 5, 5, 0]], [[1, 1, 2, 2, 2, 0]])
    """

    def mix(key: jax.Array, batch: Batch) -> Batch:
        B = len(batch["id"])
        if B % per_row:
            raise UserError(f"batch_size is {B}, expected a multiple of {per_row}, the pairs that share a row")
        lengths = {name: jnp.sum(batch[f"{name}_segment"] > 0, axis=1) for name in _PAIR}  # [B] each
        parts = jnp.argsort(lengths["source"] + lengths["target"]).reshape(per_row, -1)  # [K, R]
        # Not an update of `parts`: XLA 0.12 for CPUs then writes the reversed part over what it still has to read.
        members = jnp.concatenate([parts[:-1], parts[-1:, ::-1]]).T  # [R, K]
        ends = {name: jnp.cumsum(lengths[name][members], axis=1) for name in _PAIR}
        weight = jnp.asarray(batch["weight"], jnp.float32)[members]
        fits = (ends["source"] <= width) & (ends["target"] <= width) & (weight > 0)
        mean = jnp.sum(weight, axis=1, where=fits) / jnp.maximum(jnp.sum(fits, axis=1), 1)
        packed = {"weight": mean, "id": batch["id"][members[:, 0]]}
        number = jnp.arange(1, per_row + 1)[None, :, None]  # [1, K, 1]
        for name in _PAIR:
            tokens, length = batch[name][members], lengths[name][members]  # [R, K, L], [R, K]
            offset = jnp.arange(tokens.shape[2])[None, None]
            inside = (offset < length[..., None]) & fits[..., None]
            where = jnp.where(inside, (ends[name] - length)[..., None] + offset, width)  # beyond the row: dropped
            rows = jnp.arange(len(members))[:, None, None]
            empty = jnp.zeros((len(members), width), jnp.int32)
            packed[name] = empty.at[rows, where].set(tokens.astype(jnp.int32), mode="drop")
            packed[f"{name}_segment"] = empty.at[rows, where].set(jnp.broadcast_to(number, where.shape), mode="drop")
        return packed

    return mix
