"""Masking: tokens of a text and frames of a sound are hidden, and guessed from those around them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from deeplab.core import ranges
from deeplab.metrics.base import Mean, Metrics, Perplexity, hits
from deeplab.tasks.contract.apply import Apply
from deeplab.tasks.contract.outputs import check_token
from deeplab.tasks.contract.task import Batch, Labels, Loss, Task
from deeplab.tasks.language import token_losses
from deeplab.tasks.unlabeled.pairs import by_example
from deeplab.tasks.unlabeled.restoring import Hidden, Restoring


@dataclasses.dataclass(frozen=True)
@ranges.checked(mask_token=ranges.NATURAL, vocab_size=ranges.COUNT, share=ranges.FRACTION)
class MaskedTokens(Task):
    """Mean negative log-likelihood of the tokens of a share of the positions, in nats (BERT).

    Of these positions 80 % show the mask token, 10 % a random token and 10 % their own, drawn for each example by its
    `id`. A batch holds `tokens` [B, T]; where it holds `mask` [B, T], positions of mask 0 are neither hidden nor
    counted, and so is padding. The model gives logits [B, T, V], as `dl.models.Bert` with the head `MaskedTokens` does.
    Metrics: `loss`, `perplexity` and `accuracy` per hidden token.

    Args:
      mask_token: Token that stands for a hidden one, such as an added one after those of the vocabulary.
      vocab_size: Number V of tokens that a random one is drawn from.
      share: Share of the positions that are guessed; may be a tracer.
      padding: Token of the padding, if there is one.

    Example:
      >>> batch = {"tokens": jnp.arange(1, 9)[None], "weight": jnp.ones(1), "id": jnp.array([5])}
      >>> shown, asked = MaskedTokens(mask_token=9, vocab_size=9, share=0.5).hide(batch, jax.random.key(0))
      >>> bool((shown == batch["tokens"])[~asked].all())
      True

    Source: Devlin et al. 2018, https://arxiv.org/abs/1810.04805, section 3.1.
    """

    headline: ClassVar[tuple[str, ...]] = ("loss", "accuracy")
    fields: ClassVar[tuple[str, ...]] = ("tokens",)

    mask_token: int
    vocab_size: int
    share: float = 0.15
    padding: int | None = None

    def hide(self, batch: Batch, key: jax.Array) -> tuple[Int[Array, "B T"], Bool[Array, "B T"]]:
        """The tokens that the model reads, and the positions that it is asked for."""
        tokens = batch["tokens"]

        def draw(key: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
            keys, size = jax.random.split(key, 3), tokens.shape[1:]
            chosen, kind = (jax.random.uniform(k, size) for k in keys[:2])
            return chosen < self.share, kind, jax.random.randint(keys[2], size, 0, self.vocab_size)

        chosen, kind, other = jax.vmap(draw)(by_example(key, batch))
        if "mask" in batch:
            chosen = chosen & (batch["mask"] != 0)
        if self.padding is not None:
            chosen = chosen & (tokens != self.padding)
        shown = jnp.where(kind < 0.8, self.mask_token, jnp.where(kind < 0.9, other, tokens))
        return jnp.where(chosen, shown, tokens).astype(tokens.dtype), chosen

    def loss(self, apply: Apply, batch: Batch, key: jax.Array) -> Loss:
        metrics, variables = self._guessed(apply, batch, key)
        return Loss(metrics["loss"], {"accuracy": metrics["accuracy"]}, variables)

    def metrics(self, apply: Apply, batch: Batch, key: jax.Array) -> Metrics:
        metrics, _ = self._guessed(apply.evaluating(), batch, key)
        return {**metrics, "perplexity": Perplexity(metrics["loss"].total, metrics["loss"].count)}

    def labels(self, apply: Apply, batch: Batch) -> Mapping[str, Labels]:
        return {"tokens": Labels(apply(*self.inputs(batch))[0].shape[-1])}

    def _guessed(self, apply: Apply, batch: Batch, key: jax.Array) -> tuple[dict[str, Mean], Any]:
        for argument, most in (("mask_token", self.mask_token), ("the last token of vocab_size", self.vocab_size - 1)):
            check_token(apply, most, argument, f"give the model vocab_size={most + 1}, or the task fewer tokens")
        hide_key, key = jax.random.split(key)
        shown, chosen = self.hide(batch, hide_key)
        logits, variables = apply(shown, train=True, key=key)
        weight = chosen * batch["weight"][:, None]
        losses, right = token_losses(logits, batch["tokens"]), hits(logits, batch["tokens"])
        return {"loss": Mean.of(losses, weight), "accuracy": Mean.of(right, weight)}, variables


@dataclasses.dataclass(frozen=True)
@ranges.checked(spans=ranges.COUNT, length=ranges.COUNT)
class MaskedFrames(Restoring):
    """The mean absolute error of hidden frames of a spectrogram, restored from those around them.

    A batch holds `features` [B, F, M], standardized, and `frames` [B], the number of frames that are no padding. The
    model turns features into a state of each frame, [B, F, D], and the decoder the states into frames [B, F, M].

    Args:
      spans: Number of hidden spans, which may overlap.
      length: Number of frames of a span.

    Example:
      >>> import deeplab as dl
      >>> batch = {"features": jnp.ones((1, 20, 4)), "frames": jnp.array([20]), "id": jnp.array([5])}
      >>> hidden = MaskedFrames(dl.models.MLP(4), spans=1, length=7).hide(batch, jax.random.key(0))
      >>> int((hidden.inputs[0] == 0).all(axis=-1).sum())  # frames
      7

    Source: Liu et al. 2019, "Mockingjay", https://arxiv.org/abs/1910.12638.
    """

    fields: ClassVar[tuple[str, ...]] = ("features",)

    spans: int = 2
    length: int = 7

    def hide(self, batch: Batch, key: jax.Array) -> Hidden:
        frame = jnp.arange(batch["features"].shape[1])

        def drawn(key: jax.Array, frames: jax.Array) -> jax.Array:
            room = jnp.maximum(frames - self.length, 0) + 1
            start = jnp.floor(jax.random.uniform(key, (self.spans, 1)) * room)
            inside = (frame[None] >= start) & (frame[None] < start + self.length)
            return jnp.any(inside, axis=0) & (frame < frames)

        where = jax.vmap(drawn)(by_example(key, batch), batch["frames"])  # [B, F]
        return Hidden((jnp.where(where[..., None], 0, batch["features"]),), (), where)

    def errors(self, restored: Float[Array, "B F M"], batch: Batch, where: Bool[Array, "B F"]) -> Float[Array, " B"]:
        each = jnp.abs(restored - batch["features"]).mean(axis=-1)
        return jnp.sum(jnp.where(where, each, 0), axis=1) / jnp.maximum(jnp.sum(where, axis=1), 1)
