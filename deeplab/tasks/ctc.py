"""Connectionist temporal classification: a sequence in, a shorter sequence of tokens out, their places unknown."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import optax

from deeplab.decode.ctc import beam_search, best_path
from deeplab.metrics.base import Mean, Metrics
from deeplab.metrics.edits import character_errors, edit_distance
from deeplab.tasks.base import Apply, Batch, Loss, Task


@dataclasses.dataclass(frozen=True)
class CTC(Task):
    """Minus the log probability of a transcript: of all paths of tokens and blanks that read as it.

    A batch holds `features` [B, F, M], of which `frames` [B] count, and `label` [B, L] int32, of which `label_length`
    [B] count. Token 0 is the blank and the padding, token k is `vocabulary[k - 1]`. The model, called with features and
    frames, gives logits [B, T, K + 1] for T = F / s: the first ceil(frames / s) of them count, exactly.

    Metrics: `loss` in nats a transcript; `wer`, the edits of greedy decoding a token of the references; `exact`, the
    part of transcripts without any. Of the whole split, by beam search: `wer_beam`, and `cer_beam` over characters.

    Args:
      vocabulary: the tokens' texts.
      beam: prefixes that `predict` keeps.
      separator: between the texts of tokens in a transcript.

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
        """The likeliest transcript by beam search, its log probability, and the reference."""
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
        """The log probability of each transcript, or of the transcripts `target` (tokens [B, L], lengths [B])."""
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
        """Transcripts of tokens [N, L], of which the first `lengths` [N] count."""
        return [transcript(row[:n], self.vocabulary, self.separator) for row, n in zip(tokens, lengths, strict=True)]

    def _greedy(self, logits: jax.Array, batch: Batch) -> tuple[jax.Array, jax.Array]:
        return jax.vmap(best_path, (0, 0, None))(logits, _frames(logits, batch), _longest(batch))


def transcript(tokens: np.ndarray, vocabulary: Sequence[str], separator: str = " ") -> str:
    """Tokens as a text.

    Example:
      >>> transcript(np.array([2, 1]), ("one", "two"))
      'two one'
    """
    return separator.join(vocabulary[int(token) - 1] for token in tokens)


def _longest(batch: Batch) -> int:
    """Room for transcripts that are wrong: twice the longest reference."""
    return 2 * batch["label"].shape[1]


def _frames(logits: jax.Array, batch: Batch) -> jax.Array:
    """Frames of the logits that count, [B]."""
    shorter, longer = logits.shape[1], batch["features"].shape[1]
    if longer % shorter:
        raise ValueError(f"the model makes {shorter} frames of {longer}, expected a whole fraction")
    return -(-batch["frames"] // (longer // shorter))


def _losses(logits: jax.Array, batch: Batch) -> jax.Array:
    """Of each example, [B]."""
    padded = jnp.arange(logits.shape[1])[None] >= _frames(logits, batch)[:, None]
    absent = jnp.arange(batch["label"].shape[1])[None] >= batch["label_length"][:, None]
    return optax.ctc_loss(logits, padded.astype(jnp.float32), batch["label"], absent.astype(jnp.float32))


def _edits(tokens: jax.Array, lengths: jax.Array, batch: Batch) -> jax.Array:
    return jax.vmap(edit_distance)(batch["label"], batch["label_length"], tokens, lengths)


def _error_rate(tokens: jax.Array, lengths: jax.Array, batch: Batch) -> Mean:
    """Edits over tokens of the references; summed, so that it merges."""
    counted, weight = batch["label_length"], batch["weight"]
    edits = _edits(tokens, lengths, batch)
    return Mean(jnp.sum(jnp.where(weight > 0, weight * edits, 0)), jnp.sum(jnp.where(weight > 0, weight * counted, 0)))
