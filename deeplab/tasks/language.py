"""Causal language modeling: prediction of each token from those before it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from deeplab.core.blocks import Block, loss_by_position, samples
from deeplab.decode.generate import generate
from deeplab.metrics.base import Mean, Metrics, Perplexity, hits
from deeplab.tasks.contract.apply import Apply
from deeplab.tasks.contract.task import Batch, Labels, Loss, Task, Trained

_SAMPLES, _PROMPT_TOKENS = 3, 32

Way = Callable[[Any, Apply, jax.Array, int, jax.Array], jax.Array]
"""`(model, apply, prompts [B, T], num_tokens, key) -> tokens [B, N]`, such as `decode.generate` with its settings."""


@dataclasses.dataclass(frozen=True)
class LanguageModeling(Task):
    """Mean negative log-likelihood per token, in nats.

    A batch holds `tokens` and `targets` (the tokens shifted by one), [B, T] int32, and optionally `mask`, [B, T]
    float32, which is 0 where a target is ignored (padding, or a target that another window counts). For packed
    documents it also holds `segments`, which the model reads besides the tokens.

    Metrics: `loss`, `perplexity` and `accuracy` per token. These depend on the vocabulary; if a batch holds `words` and
    `bytes`, [B, T], the number of each in a target, there are also `perplexity_word` and `perplexity_byte`: the same
    total nats, per word and per byte of the text.

    Args:
      ways: Ways to write the report's samples, by their titles there.
      sample_tokens: Number of tokens of a sample.

    Example:
      >>> batch = {"tokens": jnp.array([[0, 1]]), "targets": jnp.array([[1, 2]]), "weight": jnp.ones(1)}
      >>> uniform = lambda tokens, **_: (jnp.zeros((*tokens.shape, 4)), {})
      >>> round(LanguageModeling().loss(uniform, batch, None).loss.compute(), 4)  # log 4
      1.3863
    """

    headline: ClassVar[tuple[str, ...]] = ("loss",)
    ways: Sequence[tuple[str, Way]] = (("Samples", functools.partial(generate, temperature=0.8)),)
    sample_tokens: int = 400

    def inputs(self, batch: Batch) -> tuple[Any, ...]:
        return (batch["tokens"], batch["segments"]) if "segments" in batch else (batch["tokens"],)

    def loss(self, apply: Apply, batch: Batch, key: jax.Array) -> Loss:
        logits, variables = apply(*self.inputs(batch), train=True, key=key)
        losses, weight = token_losses(logits, batch["targets"]), token_weight(batch)
        correct = hits(logits, batch["targets"])
        return Loss(Mean.of(losses, weight), {"accuracy": Mean.of(correct, weight)}, variables)

    def metrics(self, apply: Apply, batch: Batch, key: jax.Array) -> Metrics:
        logits, _ = apply(*self.inputs(batch))
        losses, weight = token_losses(logits, batch["targets"]), token_weight(batch)
        correct = hits(logits, batch["targets"])
        mean = Mean.of(losses, weight)
        per = {
            f"perplexity_{unit.removesuffix('s')}": Perplexity(mean.total, Mean.of(batch[unit], weight).total)
            for unit in ("words", "bytes")
            if unit in batch
        }
        perplexity = Perplexity(mean.total, mean.count)
        return {"loss": mean, "perplexity": perplexity, "accuracy": Mean.of(correct, weight), **per}

    def predict(self, apply: Apply, batch: Batch, key: jax.Array) -> dict[str, jax.Array]:
        """`prediction` [B, T], `token_loss` [B, T] (0 where masked) and `loss` [B], the mean over unmasked tokens.

        `loss` is NaN where all tokens are masked.
        """
        logits, _ = apply(*self.inputs(batch))
        mask = batch.get("mask", jnp.ones(batch["targets"].shape, jnp.float32))
        losses = jnp.where(mask != 0, token_losses(logits, batch["targets"]) * mask, 0)
        return {
            "prediction": jnp.argmax(logits, axis=-1),
            "token_loss": losses,
            "loss": jnp.sum(losses, axis=-1) / jnp.sum(mask, axis=-1),
        }

    def labels(self, apply: Apply, batch: Batch) -> Mapping[str, Labels]:
        counted = jnp.broadcast_to(batch.get("mask", jnp.ones((1, 1))) != 0, batch["targets"].shape)
        return {"targets": Labels(apply(*self.inputs(batch))[0].shape[-1], counted=counted)}

    def artifacts(self, trained: Trained) -> Mapping[str, Sequence[Block]]:
        """Samples that continue the beginnings of a few windows, and the loss by length of the context."""
        made = loss_by_position(trained.predictions["token_loss"], trained.split)
        if trained.decode is not None:
            made = [*self._samples(trained, trained.decode), *made]
        return {"language": made}

    def _samples(self, trained: Trained, decode: Callable[[Sequence[int]], str]) -> Sequence[Block]:
        ids = trained.predictions["id"]
        chosen = ids[np.linspace(0, len(ids) - 1, _SAMPLES).astype(int)]
        prompts = np.asarray(trained.raw(chosen)["tokens"], np.int32)[:, :_PROMPT_TOKENS]
        length = min(
            self.sample_tokens, 10 * trained.num_steps
        )  # a run of a few steps, such as a smoke run, writes noise
        apply = trained.apply(len(prompts))

        def written(title: str, way: Way) -> Block:
            write = jax.jit(lambda prompts, key: way(apply.module, apply, prompts, length, key))
            texts = np.asarray(write(prompts, trained.key)).tolist()
            return samples([decode(prompt) for prompt in prompts.tolist()], [decode(text) for text in texts], title)

        return [written(*one) for one in self.ways]

    def score(self, outputs: jax.Array, batch: Batch, target: Any = None) -> jax.Array:
        """Log-likelihood of each sequence's unmasked targets, or of the tokens `target` [B, T] in their place."""
        target = batch["targets"] if target is None else jnp.broadcast_to(jnp.asarray(target), outputs.shape[:-1])
        weight = token_weight(batch | {"weight": jnp.ones(len(outputs))})
        return -jnp.sum(jnp.where(weight != 0, token_losses(outputs, target) * weight, 0), axis=-1)


def token_losses(
    logits: Float[Array, "B T V"], targets: Int[Array, "B T"], smoothing: float | jax.Array = 0.0
) -> Float[Array, "B T"]:
    """Cross-entropy of each target, with a fraction `smoothing` of its probability spread evenly over all tokens.

    log sum_v exp(z_v) - (1 - s) z_y - s mean_v(z_v), in nats; float32 for logits of any dtype. `smoothing` may be a
    tracer.

    Example:
      >>> logits, targets = jnp.array([[[2.0, 0.0]]]), jnp.array([[0]])
      >>> [round(float(token_losses(logits, targets, s)[0, 0]), 3) for s in (0.0, 0.5)]
      [0.127, 0.627]

    Source: Szegedy et al. 2016, https://arxiv.org/abs/1512.00567, section 7.
    """
    logits = logits.astype(jnp.float32)
    chosen = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    if not (isinstance(smoothing, float) and smoothing == 0):
        chosen = (1 - smoothing) * chosen + smoothing * jnp.mean(logits, axis=-1)
    return jax.nn.logsumexp(logits, axis=-1) - chosen


def token_weight(batch: Batch) -> Float[Array, "B T"]:
    """Weight of each target: the weight of its example, and 0 where `mask` is 0."""
    weight = batch["weight"][:, None]  # [B, 1]
    return jnp.broadcast_to(weight, batch["targets"].shape) * batch.get("mask", jnp.ones((1, 1), jnp.float32))
