"""Causal language modelling: each token from those before it."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from deeplab.tasks.base import Apply, Batch, Loss, Mean, Metrics, Perplexity


@dataclasses.dataclass(frozen=True)
class LanguageModelling:
    """Mean negative log-likelihood per token, in nats.

    A batch holds `tokens` and `targets` (the tokens one place on), [B, T] int32, and may hold `mask`, [B, T]
    float32: 0 where a target does not count (padding, or what another window has counted). Of packed documents it holds
    `segments` too, which the model then reads beside the tokens.
    """

    def inputs(self, batch: Batch) -> tuple[Any, ...]:
        return (batch["tokens"], batch["segments"]) if "segments" in batch else (batch["tokens"],)

    def loss(self, apply: Apply, batch: Batch, key: jax.Array) -> Loss:
        logits, variables = apply(*self.inputs(batch), train=True, key=key)
        losses, weight = _losses(logits, batch["targets"]), _weight(batch)
        correct = (jnp.argmax(logits, axis=-1) == batch["targets"]).astype(jnp.float32)
        return Loss(Mean.of(losses, weight), {"accuracy": Mean.of(correct, weight)}, variables)

    def metrics(self, apply: Apply, batch: Batch) -> Metrics:
        logits, _ = apply(*self.inputs(batch))
        losses, weight = _losses(logits, batch["targets"]), _weight(batch)
        correct = (jnp.argmax(logits, axis=-1) == batch["targets"]).astype(jnp.float32)
        mean = Mean.of(losses, weight)
        return {"loss": mean, "perplexity": Perplexity(mean.total, mean.count), "accuracy": Mean.of(correct, weight)}

    def predict(self, apply: Apply, batch: Batch) -> dict[str, jax.Array]:
        """`prediction` [B, T], `token_loss` [B, T] (0 where masked) and `loss` [B], the mean over counted tokens."""
        logits, _ = apply(*self.inputs(batch))
        mask = batch.get("mask", jnp.ones(batch["targets"].shape, jnp.float32))
        losses = _losses(logits, batch["targets"]) * mask
        return {
            "prediction": jnp.argmax(logits, axis=-1),
            "token_loss": losses,
            "loss": jnp.sum(losses, axis=-1) / jnp.maximum(jnp.sum(mask, axis=-1), 1.0),
        }

    def scores(self, apply: Apply, batch: Batch) -> jax.Array:
        """The log-likelihood of each sequence's counted tokens, [B]."""
        logits, _ = apply(*self.inputs(batch))
        return -jnp.sum(_losses(logits, batch["targets"]) * _weight(batch | {"weight": jnp.ones(len(logits))}), axis=-1)


def _losses(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """Negative log-likelihoods, [B, T, V] and [B, T] -> [B, T]; float32 whatever the logits are."""
    logits = logits.astype(jnp.float32)
    chosen = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    return jax.nn.logsumexp(logits, axis=-1) - chosen


def _weight(batch: Batch) -> jax.Array:
    weight = batch["weight"][:, None]  # [B, 1]
    return jnp.broadcast_to(weight, batch["targets"].shape) * batch.get("mask", jnp.ones((1, 1), jnp.float32))
