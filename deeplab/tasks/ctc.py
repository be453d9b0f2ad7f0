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
from deeplab.core.errors import UserError
from deeplab.decode.ctc import beam_search, best_path
from deeplab.metrics.base import Mean, Metrics, defined
from deeplab.metrics.edits import character_errors, edit_distance, word_errors
from deeplab.tasks.contract.apply import Apply
from deeplab.tasks.contract.task import Batch, Labels, Loss, Task


@dataclasses.dataclass(frozen=True)
@ranges.checked(beam=ranges.COUNT)
class CTC(Task):
    """Negative log probability of a transcript, summed over all its alignments with blanks.

    A batch holds `features` [B, F, M] with `frames` [B] valid frames, and `label` [B, L] int32 with `label_length` [B]
    valid tokens. Token 0 is the blank and the padding, token k is `vocabulary[k - 1]`. The model, called with features
    and frames, returns logits [B, T, K + 1] for T = ceil(F / s), of which the first ceil(frames / s) are valid.

    A transcript needs a frame for each token, and one for a blank between equal neighbors. One that has not as many
    frames is impossible: its loss is infinite, and it has no weight in the mean. An empty transcript is all blanks.

    Metrics: `loss` in nats per possible transcript; `impossible`, the fraction of the others; `wer`, edits of greedy
    decoding per reference token; `exact`, the fraction of transcripts without edits. For a whole split, by beam search:
    `wer_beam`, and `cer_beam` over characters. Without a separator tokens are characters: `wer` is then called `cer`,
    and the words of `wer_beam` are what lies between spaces.

    Args:
      vocabulary: Text of each token.
      beam: Number of prefixes that the beam search of `predict` keeps.
      separator: Text between the tokens of a transcript.
      fields: Names of the batch's fields that the model reads.

    Example:
      >>> CTC(("one", "two")).texts(np.array([[2, 1, 0]]), np.array([2]))
      ['two one']

    Source: Graves et al. 2006, https://doi.org/10.1145/1143844.1143891.
    """

    headline: ClassVar[tuple[str, ...]] = ("wer", "cer")
    vocabulary: Sequence[str]
    beam: int = 8
    separator: str = " "
    fields: tuple[str, ...] = ("features", "frames")

    def loss(self, apply: Apply, batch: Batch, key: jax.Array) -> Loss:
        logits, variables = apply(*self.inputs(batch), train=True, key=key)
        losses = _mean_losses(logits, batch)
        return Loss(
            losses.pop("loss"), {self._rate: _error_rate(self._edits(logits, batch), batch), **losses}, variables
        )

    def metrics(self, apply: Apply, batch: Batch, key: jax.Array) -> Metrics:
        logits, _ = apply(*self.inputs(batch))
        edits = self._edits(logits, batch)
        exact = defined((edits == 0).astype(jnp.float32), edits[:, None])
        return {
            **_mean_losses(logits, batch),
            self._rate: _error_rate(edits, batch),
            "exact": Mean.of(exact, batch["weight"]),
        }

    def predict(self, apply: Apply, batch: Batch, key: jax.Array) -> dict[str, jax.Array]:
        """The most probable transcript by beam search, its log probability, and the reference."""
        logits, _ = apply(*self.inputs(batch))
        # A path has no more tokens than frames, so that no transcript is cut.
        search = jax.vmap(lambda y, n: beam_search(y, n, logits.shape[1], self.beam))
        tokens, lengths, log_probs = search(jax.nn.log_softmax(logits), _frames(logits, batch))
        return {
            "label": batch["label"],
            "label_length": batch["label_length"],
            "prediction": tokens[:, 0],
            "prediction_length": lengths[:, 0],
            "log_prob": log_probs[:, 0],
            "loss": jnp.where(_is_possible(logits, batch), _losses(logits, batch), jnp.inf),
        }

    def score(self, outputs: jax.Array, batch: Batch, target: Any = None) -> jax.Array:
        """Log probability of each transcript, or of the transcripts `target` (tokens [B, L], lengths [B])."""
        if target is not None:
            batch = batch | dict(zip(("label", "label_length"), map(jnp.asarray, target), strict=True))
        return jnp.where(_is_possible(outputs, batch), -_losses(outputs, batch), -jnp.inf)

    def labels(self, apply: Apply, batch: Batch) -> Mapping[str, Labels]:
        outputs, words = apply(*self.inputs(batch))[0].shape[-1], len(self.vocabulary)
        counted = ~_absent(batch)
        if words < outputs - 1:
            return {
                "label": Labels(words + 1, "vocabulary of the task, whose words are outputs 1, 2, ...", None, counted)
            }
        return {"label": Labels(outputs, counted=counted)}

    def summarize(self, predictions: Mapping[str, np.ndarray]) -> dict[str, float]:
        given = predictions["prediction"], predictions["prediction_length"]
        references = predictions["label"], predictions["label_length"]
        if np.isnan(predictions.get("loss", np.zeros(1))).any():
            return {"wer_beam": float("nan"), "cer_beam": float("nan")}
        texts = self.texts(*references), self.texts(*given)
        if self.separator:
            edits = jax.jit(jax.vmap(edit_distance))(*references, *given)
            errors, words = int(edits.sum()), int(references[1].sum())
        else:
            errors, words = word_errors(*texts)
        wrong, characters = character_errors(*texts)
        return {"wer_beam": errors / max(words, 1), "cer_beam": wrong / max(characters, 1)}

    def texts(self, tokens: np.ndarray, lengths: np.ndarray) -> list[str]:
        """Transcripts of tokens [N, L], of which the first `lengths` [N] are valid."""
        return [transcript(row[:n], self.vocabulary, self.separator) for row, n in zip(tokens, lengths, strict=True)]

    @property
    def _rate(self) -> str:
        return "wer" if self.separator else "cer"

    def _edits(self, logits: jax.Array, batch: Batch) -> jax.Array:
        """Edits between each transcript and greedy decoding, [B] float32; NaN where a frame that counts holds one."""
        frames = _frames(logits, batch)
        tokens, lengths = jax.vmap(best_path, (0, 0, None))(logits, frames, logits.shape[1])
        edits = jax.vmap(edit_distance)(batch["label"], batch["label_length"], tokens, lengths)
        inside = jnp.arange(logits.shape[1])[None] < frames[:, None]
        return defined(edits.astype(jnp.float32), jnp.where(inside, jnp.max(logits, axis=-1), 0))


def transcript(tokens: np.ndarray, vocabulary: Sequence[str], separator: str = " ") -> str:
    """Joins tokens to a text; an output beyond the vocabulary is written as its number.

    Example:
      >>> transcript(np.array([2, 1]), ("one", "two"))
      'two one'
    """
    return separator.join(vocabulary[t - 1] if t <= len(vocabulary) else f"<{t}>" for t in map(int, tokens))


def _frames(logits: jax.Array, batch: Batch) -> jax.Array:
    """Number of valid frames of the logits, [B]."""
    shorter, longer = logits.shape[1], batch["features"].shape[1]
    stride = -(-longer // shorter)
    if -(-longer // stride) != shorter:
        raise UserError(
            f"the model returns {shorter} frames for {longer} inputs, expected {longer} / s, rounded up, for a stride s"
        )
    return -(-batch["frames"] // stride)


def _losses(logits: jax.Array, batch: Batch) -> jax.Array:
    """Loss of each example, [B]; a large number where it is impossible."""
    padded = jnp.arange(logits.shape[1])[None] >= _frames(logits, batch)[:, None]
    return optax.ctc_loss(logits, padded.astype(jnp.float32), batch["label"], _absent(batch).astype(jnp.float32))


def _absent(batch: Batch) -> jax.Array:
    return jnp.arange(batch["label"].shape[1])[None] >= batch["label_length"][:, None]


def _is_possible(logits: jax.Array, batch: Batch) -> jax.Array:
    """Whether a transcript has a path: a frame for each token, and for a blank between equal neighbors, [B]."""
    label = batch["label"]
    repeats = jnp.sum((label[:, 1:] == label[:, :-1]) & ~_absent(batch)[:, 1:], axis=1)
    return _frames(logits, batch) >= batch["label_length"] + repeats


def _mean_losses(logits: jax.Array, batch: Batch) -> dict[str, Mean]:
    possible, weight = _is_possible(logits, batch), batch["weight"]
    impossible = Mean.of((~possible).astype(jnp.float32), weight)
    return {"loss": Mean.of(_losses(logits, batch), jnp.where(possible, weight, 0)), "impossible": impossible}


def _error_rate(edits: jax.Array, batch: Batch) -> Mean:
    """Edits per reference token, as sums that merge over batches."""
    weight = batch["weight"]
    return Mean(Mean.of(edits, weight).total, Mean.of(batch["label_length"].astype(jnp.float32), weight).total)
