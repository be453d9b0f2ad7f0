"""Masked diffusion of text: tokens are hidden, more and more of them, and found again from both sides."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer

from deeplab.core import ranges
from deeplab.core.blocks import Block, samples
from deeplab.core.errors import UserError
from deeplab.generate.paths.schedules import even
from deeplab.generate.record import Generative, keys_of, refuse_condition
from deeplab.metrics.base import Mean
from deeplab.tasks.contract.apply import Apply
from deeplab.tasks.contract.outputs import check_token, one_array
from deeplab.tasks.contract.task import Batch, Labels, Loss, Task, Trained

_LEAST = 1e-3  # of the times of training: the weight 1 / t stays finite


@dataclasses.dataclass(frozen=True)
@ranges.checked(vocab_size=ranges.COUNT, length=ranges.COUNT, steps=ranges.COUNT, looks=ranges.COUNT)
class MaskedDiffusion(Task):
    """Each token is hidden with probability t, uniform in [0, 1] for a sequence; the loss is of the hidden ones, by t.

    sum over hidden tokens of -log p(token | what is not hidden) / t is, on average, a bound of the negative
    log-likelihood of the sequence; `loss` is for each token, in nats. The model is called with tokens [B, T], V where
    one is hidden, and gives logits [B, T, V], as `dl.models.GapTransformer` does. The text is the batch's `targets`.

    Args:
      vocab_size: V.
      length: Number of tokens of a sample.
      steps: Number of steps of a sample, each of which finds a share of the hidden tokens.
      looks: Number of times at which the bound of `Generative.log_prob` is measured.

    Example:
      >>> MaskedDiffusion(vocab_size=65, length=32).steps
      64

    Source: Sahoo et al. 2024, "Simple and effective masked diffusion language models",
      https://arxiv.org/abs/2406.07524.
    """

    vocab_size: int
    length: int = 64
    steps: int = 64
    looks: int = 64

    def inputs(self, batch: Batch) -> tuple[Any, ...]:
        return (batch["targets"],)

    def labels(self, apply: Apply, batch: Batch) -> Mapping[str, Labels]:
        return {"targets": Labels(self.vocab_size, "vocab_size of the task")}

    def loss(self, apply: Apply, batch: Batch, key: jax.Array) -> Loss:
        at, which = (keys_of(jax.random.fold_in(key, i), batch["id"]) for i in range(2))
        time = jax.vmap(lambda k: jax.random.uniform(k, minval=_LEAST))(at)
        losses, variables = self._losses(apply, batch["targets"], time, which, train=True, key=key)
        counted = jnp.broadcast_to(batch.get("mask", jnp.ones((1, 1))), losses.shape)
        return Loss(Mean.of(losses, counted * batch["weight"][:, None]), {}, variables)

    def _losses(self, apply: Apply, tokens: jax.Array, time: jax.Array, keys: jax.Array, **options: Any) -> Any:
        """Each token's part of the bound, [B, T], for one draw of what is hidden at times [B]."""
        uniform = jax.vmap(lambda k: jax.random.uniform(k, tokens.shape[1:]))(keys)
        hidden = uniform < time[:, None]
        logits, variables = apply(jnp.where(hidden, self.vocab_size, tokens), **options)
        logits = one_array(logits, *tokens.shape, self.vocab_size)
        check_token(apply, self.vocab_size, "the token of what is hidden", "give a model with a row for it, too, such "
                    f"as dl.models.GapTransformer({self.vocab_size})")  # fmt: skip
        each = optax.softmax_cross_entropy_with_integer_labels(logits, tokens)
        return jnp.where(hidden, each / time[:, None], 0.0), variables

    def generative(self, apply: Apply) -> Generative:
        """Samples [count, length] of tokens, and a bound of the log-probability of sequences, in nats."""

        def sample(key: jax.Array, count: int, condition: Any = None) -> jax.Array:
            refuse_condition(condition, self)
            times = even(self.steps)

            def find(tokens: jax.Array, pair: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, None]:
                t, s, number = pair
                logits = apply(tokens)[0]
                keys = keys_of(jax.random.fold_in(key, number), jnp.arange(count))
                drawn = jax.vmap(lambda k, x: jax.random.categorical(jax.random.fold_in(k, 0), x))(keys, logits)
                uniform = jax.vmap(lambda k: jax.random.uniform(jax.random.fold_in(k, 1), (self.length,)))(keys)
                found = (tokens == self.vocab_size) & (uniform < (t - s) / t)
                return jnp.where(found, drawn, tokens), None

            hidden = jnp.full((count, self.length), self.vocab_size, jnp.int32)
            return jax.lax.scan(find, hidden, (times[:-1], times[1:], jnp.arange(self.steps)))[0]

        def log_prob(x: jax.Array, key: jax.Array) -> jax.Array:
            x = self._tokens(x)
            known = jnp.all((x >= 0) & (x < self.vocab_size), axis=-1)

            def add(total: jax.Array, number: jax.Array) -> tuple[jax.Array, None]:
                keys = keys_of(jax.random.fold_in(key, number), jnp.arange(len(x)))
                # One time in each of as many equal parts of [0, 1]: the mean varies less than that of free ones.
                time = jnp.maximum((number + jax.vmap(jax.random.uniform)(keys)) / self.looks, _LEAST)
                losses, _ = self._losses(apply, x, time, jax.vmap(lambda k: jax.random.fold_in(k, 1))(keys))
                return total - jnp.sum(losses, axis=-1), None

            total = jax.lax.scan(add, jnp.zeros(len(x)), jnp.arange(self.looks))[0] / self.looks
            return jnp.where(known, total, jnp.nan)  # traced tokens cannot be refused

        return Generative(sample, log_prob)

    def _tokens(self, x: Any) -> jax.Array:
        """The sequences, if they are ones; values of a traced program cannot be looked at."""
        x = jnp.asarray(x)
        if x.ndim != 2 or not jnp.issubdtype(x.dtype, jnp.integer):
            raise UserError(f"log_prob was given {x.dtype}{list(x.shape)}, expected integer tokens [B, T]")
        if not isinstance(x, Tracer) and x.size and not 0 <= (low := int(x.min())) <= int(x.max()) < self.vocab_size:
            raise UserError(
                f"log_prob was given tokens {low} to {x.max()}, and the model knows 0 to {self.vocab_size - 1}"
            )
        return x

    def artifacts(self, trained: Trained) -> Mapping[str, Sequence[Block]]:
        """Drawn texts, where the data have a vocabulary."""
        if trained.decode is None:
            return {}
        model = self.generative(trained.apply(3))
        drawn = np.asarray(jax.jit(lambda key: model.sample(key, 3))(trained.key))
        return {"samples": [samples([""] * 3, [trained.decode(tokens) for tokens in drawn.tolist()])]}
