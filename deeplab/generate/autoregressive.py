"""Images value by value: a softmax over the levels of each pixel, given those before it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import optax

from deeplab.core import ranges
from deeplab.core.blocks import Block
from deeplab.generate import images
from deeplab.generate.gallery import shown
from deeplab.generate.normalizing import bits_per_dimension
from deeplab.generate.record import Generative, keys_of, refuse_condition
from deeplab.metrics.base import Mean
from deeplab.tasks.contract.apply import Apply
from deeplab.tasks.contract.outputs import one_array
from deeplab.tasks.contract.pixels import in_units
from deeplab.tasks.contract.task import Batch, Loss, Task, Trained


@dataclasses.dataclass(frozen=True)
@ranges.checked(levels=ranges.Range(at_least=2, whole=True), drawn=ranges.COUNT)
class AutoregressiveImages(Task):
    """The negative log-likelihood of an image of `levels` levels, exactly, in nats; `bits` for each of its values.

    The model gives logits [B, H, W, C, K], of which those of a value depend on the values before it alone, as
    `dl.models.PixelCNN` and `dl.models.PixelTransformer` do. Grays are rounded to the levels: 2 of them are black and
    white, 256 are bytes.

    Args:
      shape: (H, W, C) of an image.
      levels: Number of levels K.
      drawn: Number of images that a report shows; each takes as many evaluations of the model as it has values.

    Example:
      >>> AutoregressiveImages((8, 8, 1), levels=2).headline
      ('bits',)

    Source: van den Oord et al. 2016, https://arxiv.org/abs/1601.06759.
    """

    headline: ClassVar[tuple[str, ...]] = ("bits",)
    shape: Sequence[int]
    levels: int = 256
    drawn: int = 8

    def inputs(self, batch: Batch) -> tuple[Any, ...]:
        return (self._rounded(batch["image"]),)

    def _rounded(self, x: jax.Array) -> jax.Array:
        x = in_units(x, type(self).__name__, slack=None)
        return jnp.round(x * (self.levels - 1)) / (self.levels - 1)

    def _nats(self, logits: jax.Array, x: jax.Array) -> jax.Array:
        level = jnp.round(x * (self.levels - 1)).astype(jnp.int32)
        logits = one_array(logits, *x.shape, self.levels)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, level)
        known = (level >= 0) & (level < self.levels)  # a traced value can't be refused; -1 would be the last level
        return jnp.sum(jnp.where(known, losses, jnp.nan).reshape(len(x), -1), axis=-1)

    def loss(self, apply: Apply, batch: Batch, key: jax.Array) -> Loss:
        (x,) = (images.checked(self, apply, x) for x in self.inputs(batch))
        logits, variables = apply(x, train=True, key=key)
        nats = self._nats(logits, x)
        bits = Mean.of(bits_per_dimension(nats, math.prod(self.shape)), batch["weight"])
        return Loss(Mean.of(nats, batch["weight"]), {"bits": bits}, variables)

    def generative(self, apply: Apply) -> Generative:
        """Samples value by value, and log-probabilities of images."""

        def sample(key: jax.Array, count: int, condition: Any = None) -> jax.Array:
            refuse_condition(condition, self)
            size = math.prod(self.shape)

            def draw(x: jax.Array, place: jax.Array) -> tuple[jax.Array, None]:
                logits = apply(x.reshape(count, *self.shape))[0].reshape(count, size, self.levels)
                keys = keys_of(jax.random.fold_in(key, place), jnp.arange(count))
                level = jax.vmap(jax.random.categorical)(keys, logits[:, place])
                return x.at[:, place].set(level / (self.levels - 1)), None

            drawn, _ = jax.lax.scan(draw, jnp.zeros((count, size)), jnp.arange(size))
            return drawn.reshape(count, *self.shape)

        def log_prob(x: jax.Array, key: jax.Array) -> jax.Array:
            del key
            x = self._rounded(in_units(x, type(self).__name__, self.shape))
            return -self._nats(apply(x)[0], x)

        return Generative(sample, log_prob)

    def artifacts(self, trained: Trained) -> Mapping[str, Sequence[Block]]:
        """Drawn images."""
        return {"samples": shown(self.generative(trained.apply(self.drawn)), trained, self.drawn)}
