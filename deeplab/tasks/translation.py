"""Translation: generation of a target sequence from a source sequence."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from deeplab.core import ranges
from deeplab.decode.beam import beam_search
from deeplab.decode.protocol import cached
from deeplab.metrics.base import Mean, Metrics, Perplexity, hits
from deeplab.metrics.bleu import bleu, sacre_bleu
from deeplab.tasks.contract.apply import Apply
from deeplab.tasks.contract.task import Batch, Labels, Loss, Task
from deeplab.tasks.language import token_losses, token_weight


@dataclasses.dataclass(frozen=True)
@ranges.checked(
    label_smoothing=ranges.RATE,
    beam=ranges.COUNT,
    length_penalty=ranges.NATURAL,
    begin=ranges.NATURAL,
    end=ranges.NATURAL,
)
class Translation(Task):
    """Cross-entropy with label smoothing of each target token, given the source and the preceding target tokens.

    A batch holds `source` [B, S], `target` [B, T], whose last token is `end`, and `source_segment`, `target_segment`:
    the number of a token's sentence pair within its row, 0 for padding. In an evaluation a row holds one pair, and
    `target_text`, [B, N] UTF-8 bytes padded by zeros. The model maps these four (the target shifted by one, with
    `begin` first) to logits [B, T, V], and has the methods `start` and `step` of `deeplab.decode.protocol`, and
    `attention`, the weights of each target position over the source, [B, T, S].

    Metrics: `loss` in nats per token, without smoothing; `perplexity`; `accuracy`, given the correct preceding tokens.
    For a whole split, by beam search: `bleu`, lower-cased and tokenized, and `sacrebleu`, of the unmodified texts. A
    translation has at most T tokens, as targets have; one that does not end by then is cut.

    Args:
      text: Function from padded tokens to text.
      label_smoothing: Probability that is spread evenly over the vocabulary; may be a tracer.
      beam: Number of sequences that the beam search keeps; 1 is greedy decoding.
      length_penalty: Length penalty of `deeplab.decode.beam.beam_search`; may be a tracer.
      begin: Token before the first one of a target.
      end: Last token of a target.

    Example:
      >>> Translation(text=lambda tokens: " ".join(map(str, tokens)), beam=4).beam
      4

    Source: Sutskever et al. 2014, https://arxiv.org/abs/1409.3215; label smoothing: Vaswani et al. 2017,
      https://arxiv.org/abs/1706.03762, section 5.4.
    """

    headline: ClassVar[tuple[str, ...]] = ("bleu",)
    text: Callable[[np.ndarray], str]
    label_smoothing: float = 0.1
    beam: int = 5
    length_penalty: float = 1.0
    begin: int = 1
    end: int = 2

    def inputs(self, batch: Batch) -> tuple[Any, ...]:
        target, segments = batch["target"].astype(jnp.int32), batch["target_segment"]
        return (
            batch["source"].astype(jnp.int32),
            batch["source_segment"],
            _before(target, segments, self.begin),
            segments,
        )

    def loss(self, apply: Apply, batch: Batch, key: jax.Array) -> Loss:
        logits, variables = apply(*self.inputs(batch), train=True, key=key)
        losses = token_losses(logits, batch["target"], self.label_smoothing)
        return Loss(Mean.of(losses, _weight(batch)), {"accuracy": _accuracy(logits, batch)}, variables)

    def metrics(self, apply: Apply, batch: Batch, key: jax.Array) -> Metrics:
        logits, _ = apply(*self.inputs(batch))
        mean = Mean.of(token_losses(logits, batch["target"]), _weight(batch))
        return {"loss": mean, "perplexity": Perplexity(mean.total, mean.count), "accuracy": _accuracy(logits, batch)}

    def predict(self, apply: Apply, batch: Batch, key: jax.Array) -> dict[str, jax.Array]:
        """Best sequence `prediction` [B, T], its `log_prob` [B], and its `attention` over the source [B, T, S]."""
        source, source_segments, target, segments = self.inputs(batch)
        length = target.shape[1]
        found, _, log_probs = beam_search(
            cached(apply, source, source_segments, length=length, sequences=self.beam),
            beam=self.beam,
            length=length,
            begin=self.begin,
            end=self.end,
            length_penalty=self.length_penalty,
        )
        best = found[:, 0]  # [B, T]
        written = (best > 0).astype(segments.dtype)
        inputs = source, source_segments, _before(best, written, self.begin), written
        attention, _ = apply(*inputs, method="attention")
        return {
            "prediction": best,
            "log_prob": log_probs[:, 0],
            "attention": attention.astype(jnp.float16),
            "target_text": batch["target_text"],
            "loss": -self.score(apply(*self.inputs(batch))[0], batch) / jnp.sum(segments > 0, axis=1),
        }

    def score(self, outputs: jax.Array, batch: Batch, target: Any = None) -> jax.Array:
        """Log probability of each target, or of the tokens `target` [B, T] in its place."""
        target = batch["target"] if target is None else jnp.broadcast_to(jnp.asarray(target), outputs.shape[:-1])
        return -jnp.sum(jnp.where(batch["target_segment"] > 0, token_losses(outputs, target), 0), axis=1)

    def labels(self, apply: Apply, batch: Batch) -> Mapping[str, Labels]:
        outputs = apply(*self.inputs(batch))[0].shape[-1]
        return {"target": Labels(outputs, counted=batch["target_segment"] > 0)}

    def summarize(self, predictions: Mapping[str, np.ndarray]) -> dict[str, float]:
        if np.isnan(predictions.get("log_prob", np.zeros(1))).any():
            return {"bleu": float("nan"), "sacrebleu": float("nan")}
        written = [self.text(tokens) for tokens in predictions["prediction"]]
        references = [unpadded(row) for row in predictions["target_text"]]
        return {"bleu": bleu(written, references), "sacrebleu": sacre_bleu(written, references)}


def unpadded(row: np.ndarray) -> str:
    """Decodes UTF-8 bytes that are padded by zeros.

    Example:
      >>> unpadded(np.frombuffer(b"a caf\\xc3\\xa9\\0\\0", np.uint8))
      'a café'
    """
    return np.asarray(row, np.uint8).tobytes().rstrip(b"\0").decode(errors="replace")


def _before(target: Int[Array, "B T"], segments: Int[Array, "B T"], begin: int) -> Int[Array, "B T"]:
    """Shifts the target by one, within each sequence of a row, so that each position holds the preceding token."""
    moved = jnp.pad(target[:, :-1], ((0, 0), (1, 0)), constant_values=begin)
    same = jnp.pad(segments[:, 1:] == segments[:, :-1], ((0, 0), (1, 0)))
    return jnp.where(same, moved, begin)


def _weight(batch: Batch) -> jax.Array:
    mask = (batch["target_segment"] > 0).astype(jnp.float32)
    return token_weight({"targets": batch["target"], "weight": batch["weight"], "mask": mask})


def _accuracy(logits: jax.Array, batch: Batch) -> Mean:
    return Mean.of(hits(logits, batch["target"]), _weight(batch))
