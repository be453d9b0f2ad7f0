"""Connectionist temporal classification: from a sequence to a shorter sequence of tokens, without alignment."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import optax

from deeplab.core import ranges
from deeplab.decode.ctc import beam_search, best_path
from deeplab.metrics.base import Mean, Metrics
from deeplab.metrics.edits import character_errors, edit_distance
from deeplab.tasks.base import Apply, Batch, Loss, Task


@dataclasses.dataclass(frozen=True)
@ranges.checked(beam=ranges.COUNT)
class CTC(Task):
    """Negative log probability of a transcript, summed over all its alignments with blanks.

    A batch holds `features` [B, F, M] with `frames` [B] valid frames, and `label` [B, L] int32 with `label_length` [B]
    valid tokens. Token 0 is the blank and the padding, token k is `vocabulary[k - 1]`. The model, called with features
    and frames, returns logits [B, T, K + 1] for T = F / s, of which the first ceil(frames / s) are valid.

    Metrics: `loss` in nats per transcript; `wer`, edits of greedy decoding per reference token; `exact`, the fraction
    of transcripts without edits. For a whole split, by beam search: `wer_beam`, and `cer_beam` over characters.

    Args:
      vocabulary: Text of each token.
      beam: Number of prefixes that the beam search of `predict` keeps.
      separator: Text between the tokens of a transcript.
      fields: Names of the batch's fields that the model reads.

    Source: Graves et al. 2006, https://doi.org/10.1145/1143844.1143891.
    """

    headline: ClassVar[tuple[str, ...]] = ("wer",)
    vocabulary: Sequence[str]
    beam: int = 8
    separator: str = " "
    fields: tuple[str, ...] = ("features", "frames")

    def loss(self, apply: Apply, batch: Batch, key: jax.Array) -> Loss:
        logits, variables = apply(*self.inputs(batch), train=True, key=key)
        losses = _losses(logits, batch)
        greedy = self._greedy(logits, batch)
        return Loss(Mean.of(losses, batch["weight"]), {"wer": _error_rate(*greedy, batch)}, variables)

    def metrics(self, apply: Apply, batch: Batch, key: jax.Array) -> Metrics:
        logits, _ = apply(*self.inputs(batch))
        tokens, lengths = self._greedy(logits, batch)
        exact = (_edits(tokens, lengths, batch) == 0).astype(jnp.float32)
        return {
            "loss": Mean.of(_losses(logits, batch), batch["weight"]),
            "wer": _error_rate(tokens, lengths, batch),
            "exact": Mean.of(exact, batch["weight"]),
        }

    def predict(self, apply: Apply, batch: Batch, key: jax.Array) -> dict[str, jax.Array]:
        """The most probable transcript by beam search, its log probability, and the reference."""
        logits, _ = apply(*self.inputs(batch))
        frames, most = _frames(logits, batch), _longest(batch)
        search = jax.vmap(lambda y, n: beam_search(y, n, most, self.beam))
        tokens, lengths, log_probs = search(jax.nn.log_softmax(logits), frames)
        return {
            "label": batch["label"],
            "label_length": batch["label_length"],
            "prediction": tokens[:, 0],
            "prediction_length": lengths[:, 0],
            "log_prob": log_probs[:, 0],
            "loss": _losses(logits, batch),
        }

    def score(self, outputs: jax.Array, batch: Batch, target: Any = None) -> jax.Array:
        """Log probability of each transcript, or of the transcripts `target` (tokens [B, L], lengths [B])."""
        if target is not None:
            batch = batch | dict(zip(("label", "label_length"), map(jnp.asarray, target), strict=True))
        return -_losses(outputs, batch)

    def summarize(self, predictions: Mapping[str, np.ndarray]) -> dict[str, float]:
        given = predictions["prediction"], predictions["prediction_length"]
        references = predictions["label"], predictions["label_length"]
        edits = jax.jit(jax.vmap(edit_distance))(*references, *given)
        errors, characters = character_errors(self.texts(*references), self.texts(*given))
        return {
            "wer_beam": float(edits.sum()) / max(int(references[1].sum()), 1),
            "cer_beam": errors / max(characters, 1),
        }

    def texts(self, tokens: np.ndarray, lengths: np.ndarray) -> list[str]:
        """Transcripts of tokens [N, L], of which the first `lengths` [N] are valid."""
        return [transcript(row[:n], self.vocabulary, self.separator) for row, n in zip(tokens, lengths, strict=True)]

    def _greedy(self, logits: jax.Array, batch: Batch) -> tuple[jax.Array, jax.Array]:
        return jax.vmap(best_path, (0, 0, None))(logits, _frames(logits, batch), _longest(batch))


def transcript(tokens: np.ndarray, vocabulary: Sequence[str], separator: str = " ") -> str:
    """Joins tokens to a text.

    Example:
      >>> transcript(np.array([2, 1]), ("one", "two"))
      'two one'
    """
    return separator.join(vocabulary[int(token) - 1] for token in tokens)


def _longest(batch: Batch) -> int:
    """Maximum length of a decoded transcript: twice the longest reference."""
    return 2 * batch["label"].shape[1]


def _frames(logits: jax.Array, batch: Batch) -> jax.Array:
    """Number of valid frames of the logits, [B]."""
    shorter, longer = logits.shape[1], batch["features"].shape[1]
    if longer % shorter:
        raise ValueError(f"the model returns {shorter} frames for {longer} inputs; expected a divisor of {longer}")
    return -(-batch["frames"] // (longer // shorter))


def _losses(logits: jax.Array, batch: Batch) -> jax.Array:
    """Loss of each example, [B]."""
    padded = jnp.arange(logits.shape[1])[None] >= _frames(logits, batch)[:, None]
    absent = jnp.arange(batch["label"].shape[1])[None] >= batch["label_length"][:, None]
    return optax.ctc_loss(logits, padded.astype(jnp.float32), batch["label"], absent.astype(jnp.float32))


def _edits(tokens: jax.Array, lengths: jax.Array, batch: Batch) -> jax.Array:
    return jax.vmap(edit_distance)(batch["label"], batch["label_length"], tokens, lengths)


def _error_rate(tokens: jax.Array, lengths: jax.Array, batch: Batch) -> Mean:
    """Edits per reference token, as sums that merge over batches."""
    counted, weight = batch["label_length"], batch["weight"]
    edits = _edits(tokens, lengths, batch)
    return Mean(jnp.sum(jnp.where(weight > 0, weight * edits, 0)), jnp.sum(jnp.where(weight > 0, weight * counted, 0)))
