"""Word vectors: a word guesses the words around it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from deeplab.core import ranges
from deeplab.core.blocks import Block, rows, section
from deeplab.metrics.base import Mean
from deeplab.tasks.contract.apply import Apply
from deeplab.tasks.contract.task import Batch, Labels, Loss, Task, Trained
from deeplab.tasks.unlabeled.pairs import by_example

_SHOWN, _NEAREST, _SEEN = 20, 10, 5  # words of a report, neighbors of each, and how often these were seen at least


@dataclasses.dataclass(frozen=True)
@ranges.checked(vocab_size=ranges.COUNT, window=ranges.COUNT, negatives=ranges.COUNT, threshold=ranges.NATURAL)
class SkipGram(Task):
    """Skip-gram with negative sampling: -log sigmoid(u_o v_c) - sum over negatives n of log sigmoid(-u_n v_c).

    For each pair of a center c and a word o at most b positions from it, with b uniform in 1 to `window`; a batch holds
    `tokens` [B, T], and pairs are within a row. Negatives are drawn for each center, in proportion to the 3/4 power of
    the tokens' counts, and frequent tokens are left out, the more the more frequent. The counts are the task's state:
    those of the tokens seen so far, so that no pass over the text comes before the first step. The model gives v for
    tokens, [B, T, D]; the table of u is the task's. All draws are by the example's `id`.

    Args:
      vocab_size: Number V of tokens.
      window: Largest distance of a pair.
      negatives: Number of negatives of a center.
      threshold: Frequency t above which tokens are left out, with probability 1 - sqrt(t / f); 0 keeps all; may be a
        tracer.

    Example:
      >>> SkipGram(vocab_size=10_000, window=2).negatives
      5

    Source: Mikolov et al. 2013, https://arxiv.org/abs/1310.4546, section 2.
    """

    headline: ClassVar[tuple[str, ...]] = ("loss",)
    fields: ClassVar[tuple[str, ...]] = ("tokens",)

    vocab_size: int
    window: int = 5
    negatives: int = 5
    threshold: float = 1e-3

    def init_params(self, apply: Apply, batch: Batch, key: jax.Array) -> dict[str, Any]:
        vectors, _ = apply(*self.inputs(batch))
        return {"context": jnp.zeros((self.vocab_size, vectors.shape[-1]))}

    def init_state(self, apply: Apply, batch: Batch, key: jax.Array) -> Float[Array, " V"]:
        return jnp.ones(self.vocab_size)

    def loss(self, apply: Apply, batch: Batch, key: jax.Array) -> Loss:
        tokens, counts = batch["tokens"], apply.task_state
        vectors, variables = apply(tokens, train=True, key=key)
        context, (B, T) = apply.task_params["context"], tokens.shape
        around = jnp.concatenate([jnp.arange(-self.window, 0), jnp.arange(1, self.window + 1)])  # [2W]
        place = jnp.arange(T)[:, None] + around[None]  # [T, 2W]
        inside = (place >= 0) & (place < T)
        cumulative = jnp.cumsum(counts**0.75)
        share = counts / jnp.sum(counts)

        def drawn(key: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
            keys = jax.random.split(key, 3)
            level = (1 - jax.random.uniform(keys[0], (T, self.negatives))) * cumulative[-1]
            reach = jax.random.randint(keys[1], (T,), 1, self.window + 1)
            return jnp.searchsorted(cumulative, level), reach, jax.random.uniform(keys[2], (T,))

        others, reach, luck = jax.vmap(drawn)(by_example(key, batch))
        others = jnp.minimum(others, self.vocab_size - 1)
        rarity = jnp.sqrt(self.threshold / share[tokens])
        kept = luck < jnp.where(self.threshold > 0, rarity, 1)  # luck is below 1
        near = inside[None] & (jnp.abs(around)[None, None] <= reach[..., None])
        outside = tokens[:, jnp.clip(place, 0, T - 1)]  # [B, T, 2W]
        pairs = near & kept[..., None] & kept[:, jnp.clip(place, 0, T - 1)]
        weight = pairs * batch["weight"][:, None, None]
        apart = jnp.einsum("btd,btnd->btn", vectors, context[others])
        alike = jnp.einsum("btd,btwd->btw", vectors, context[outside])
        foreign = others != tokens[..., None]  # a center is no negative of itself
        losses = jax.nn.softplus(-alike) + jnp.sum(jax.nn.softplus(apart) * foreign, axis=-1)[..., None]
        seen = jnp.zeros_like(counts).at[tokens].add(jnp.broadcast_to(batch["weight"][:, None], (B, T)))
        return Loss(Mean.of(losses, weight), {}, variables, counts + seen)

    def labels(self, apply: Apply, batch: Batch) -> Mapping[str, Labels]:
        return {"tokens": Labels(self.vocab_size, "vocab_size of SkipGram")}

    def artifacts(self, trained: Trained) -> Mapping[str, Sequence[Block]]:
        """The nearest words of frequent ones, by the cosine of their vectors."""
        if trained.decode is None:
            return {}
        apply = trained.apply(1)
        vectors, _ = apply(jnp.arange(self.vocab_size)[None])
        counts = np.asarray(apply.task_state)
        words = [trained.decode([token]).strip() for token in range(self.vocab_size)]
        return {"words": [nearest_words(words, np.asarray(vectors[0]), counts)]}


def nearest_words(words: Sequence[str], vectors: Float[np.ndarray, "V D"], counts: Float[np.ndarray, " V"]) -> Block:
    """The nearest words of the most frequent ones of four letters or more; words that were hardly seen are left out.

    Example:
      >>> vectors = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]])
      >>> nearest_words(["king", "queen", "seven"], vectors, np.array([9.0, 8.0, 7.0]))["blocks"][0]["body"][0]
      ['king', 'queen seven']
    """
    known = [i for i, word in enumerate(words) if word.isalpha() and counts[i] > _SEEN]
    z = vectors[known] / np.maximum(np.linalg.norm(vectors[known], axis=1, keepdims=True), 1e-12)
    frequent = [k for k in np.argsort(-counts[known], kind="stable") if len(words[known[k]]) >= 4][:_SHOWN]

    def near(k: int) -> str:
        order = [int(other) for other in np.argsort(-(z @ z[k]), kind="stable") if other != k]
        return " ".join(words[known[other]] for other in order[:_NEAREST])

    return section("Nearest words", rows(("word", "nearest"), [(words[known[k]], near(k)) for k in frequent]))
