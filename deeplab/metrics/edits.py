"""Edit distance, on the device."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from deeplab.core.errors import UserError


def edit_distance(
    reference: Int[Array, " N"],
    reference_length: Int[Array, ""],
    hypothesis: Int[Array, " M"],
    hypothesis_length: Int[Array, ""],
) -> Int[Array, ""]:
    """Levenshtein distance: the smallest number of substitutions, deletions and insertions between two sequences.

    With d[0, j] = j and d[i, 0] = i, d[i, j] = min(d[i-1, j-1] + (r_i != h_j), d[i-1, j] + 1, d[i, j-1] + 1). A row is
    computed at once, because the last term is a running minimum of d[i, k] - k. The scan is over the reference.

    Args:
      reference: Reference tokens, padded.
      reference_length: Number of reference tokens.
      hypothesis: Hypothesis tokens, padded.
      hypothesis_length: Number of hypothesis tokens.

    Example:
      >>> r, h = jnp.array([1, 2, 3, 0]), jnp.array([1, 3, 3, 7])
      >>> int(edit_distance(r, jnp.int32(3), h, jnp.int32(4)))
      2

    Source: Levenshtein 1966; Wagner and Fischer 1974, https://doi.org/10.1145/321796.321811.
    """
    columns = jnp.arange(hypothesis.shape[0] + 1)

    def row(above: jax.Array, item: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        number, token = item
        best = jnp.minimum(above[:-1] + (hypothesis != token), above[1:] + 1)
        best = jnp.concatenate([number[None] + 1, best])
        new = jax.lax.cummin(best - columns) + columns
        return jnp.where(number < reference_length, new, above), None

    last, _ = jax.lax.scan(row, columns, (jnp.arange(reference.shape[0]), reference))
    return last[hypothesis_length]


def character_errors(references: list[str], hypotheses: list[str]) -> tuple[int, int]:
    """Summed edit distances, and the summed lengths of the references, in characters; (0, 0) of no text.

    Raises:
      UserError: not one hypothesis for each reference.

    Example:
      >>> character_errors(["two six"], ["to six"])
      (1, 7)
    """
    if len(references) != len(hypotheses):
        raise UserError(
            f"{len(references):,} references and {len(hypotheses):,} hypotheses, expected one hypothesis for each "
            "reference"
        )
    if not references:
        return 0, 0
    pairs = [_codes(references), _codes(hypotheses)]
    distances = jax.jit(jax.vmap(edit_distance))(*pairs[0], *pairs[1])
    return int(distances.sum()), int(pairs[0][1].sum())


def word_errors(references: list[str], hypotheses: list[str]) -> tuple[int, int]:
    """Summed edit distances, and the summed lengths of the references, in words that spaces separate.

    Raises:
      UserError: not one hypothesis for each reference.

    Example:
      >>> word_errors(["two six"], ["two sixty six"])
      (1, 2)
    """
    number: dict[str, int] = {}
    coded = [
        ["".join(chr(number.setdefault(word, len(number) + 1)) for word in text.split()) for text in texts]
        for texts in (references, hypotheses)
    ]
    return character_errors(*coded)


def _codes(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Code points of the texts, padded, [N, longest] int32, and their lengths [N]."""
    lengths = np.array([len(text) for text in texts], np.int32)
    codes = [np.pad(np.array([ord(c) for c in text], np.int32), (0, lengths.max() - len(text))) for text in texts]
    return np.stack(codes), lengths
