"""Edit distance, on the device: the errors of a transcript."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int


def edit_distance(
    reference: Int[Array, " N"], reference_length: Int[Array, ""], given: Int[Array, " M"], given_length: Int[Array, ""]
) -> Int[Array, ""]:
    """The fewest substitutions, deletions and insertions that turn one sequence into the other; exact at any padding.

    With d[0, j] = j and d[i, 0] = i: d[i, j] = min(d[i-1, j-1] + (r_i != g_j), d[i-1, j] + 1, d[i, j-1] + 1). A row is
    made at once: the last term is a running minimum of d[i, k] - k, and the scan is over the reference alone.

    Args:
      reference: tokens, of which the first `reference_length` count.
      reference_length: scalar.
      given: tokens to compare with it.
      given_length: scalar.

    Example:
      >>> r, g = jnp.array([1, 2, 3, 0]), jnp.array([1, 3, 3, 7])
      >>> int(edit_distance(r, jnp.int32(3), g, jnp.int32(4)))
      2

    Source: Levenshtein 1966; Wagner and Fischer 1974, https://doi.org/10.1145/321796.321811.
    """
    columns = jnp.arange(given.shape[0] + 1)

    def row(above: jax.Array, item: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        number, token = item
        best = jnp.minimum(above[:-1] + (given != token), above[1:] + 1)
        best = jnp.concatenate([number[None] + 1, best])
        new = jax.lax.cummin(best - columns) + columns
        return jnp.where(number < reference_length, new, above), None

    last, _ = jax.lax.scan(row, columns, (jnp.arange(reference.shape[0]), reference))
    return last[given_length]


def character_errors(references: list[str], given: list[str]) -> tuple[int, int]:
    """(edits, characters of the references) over pairs of texts.

    Example:
      >>> character_errors(["two six"], ["to six"])
      (1, 7)
    """
    pairs = [_codes(references), _codes(given)]
    distances = jax.jit(jax.vmap(edit_distance))(*pairs[0], *pairs[1])
    return int(distances.sum()), int(pairs[0][1].sum())


def _codes(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Texts as numbers of characters, [N, longest] int32, and their lengths [N]."""
    lengths = np.array([len(text) for text in texts], np.int32)
    codes = [np.pad(np.array([ord(c) for c in text], np.int32), (0, lengths.max() - len(text))) for text in texts]
    return np.stack(codes), lengths
