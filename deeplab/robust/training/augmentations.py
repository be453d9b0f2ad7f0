"""AugMix: predictions that agree on an image and on two mixtures of its augmentations."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from deeplab.core import ranges
from deeplab.core.errors import UserError
from deeplab.data.augment.base import Augment
from deeplab.data.augment.randaugment import NUM_OPERATIONS, operation
from deeplab.metrics.base import Mean
from deeplab.robust.training.tradeoff import divergence, log_probabilities
from deeplab.robust.training.wrapper import Wrapper, attack_key, innermost, moved_field
from deeplab.tasks import Segmentation
from deeplab.tasks.contract.apply import Apply
from deeplab.tasks.contract.task import Batch, Loss
from deeplab.tasks.unlabeled.pairs import view_of

# Of RandAugment's operations those that make none of the corruptions: not brightness, color, contrast and sharpness.
_OPERATIONS = (*range(1, 6), *range(10, NUM_OPERATIONS))


@ranges.checked(width=ranges.COUNT, depth=ranges.COUNT, severity=ranges.NATURAL, alpha=ranges.POSITIVE)
def mixed(width: int = 3, depth: int = 3, severity: Any = 3.0, alpha: Any = 1.0) -> Augment:
    """A mixture of chains of augmentations, and of the image: m x + (1 - m) sum_i w_i chain_i(x).

    w ~ Dirichlet(alpha), m ~ Beta(alpha, alpha); a chain has one to `depth` of shears, translations, a rotation,
    posterize, solarize, autocontrast and equalize, each of a strength that is uniform below `severity` / 10 of
    `dl.data.augment.rand_augment`'s largest.

    Args:
      width: Number of chains.
      depth: Largest number of operations of a chain.
      severity: Largest strength, 0 to 10.
      alpha: Concentration of the weights.

    Example:
      >>> mixed()(jax.random.key(0), jnp.full((8, 8, 3), 0.5)).shape
      (8, 8, 3)

    Source: Hendrycks et al. 2020, https://arxiv.org/abs/1912.02781, algorithm 1.
    """

    def one(key: jax.Array, image: jax.Array) -> jax.Array:
        which, level, sign = jax.random.split(key, 3)
        strength = jnp.asarray(severity, jnp.float32) / 10 * jax.random.uniform(level, minval=0.01)
        signed = jnp.where(jax.random.bernoulli(sign), strength, -strength)
        return operation(image, jax.random.choice(which, jnp.array(_OPERATIONS)), strength, signed)

    def chain(key: jax.Array, image: jax.Array) -> jax.Array:
        length = jax.random.randint(jax.random.fold_in(key, depth), (), 1, depth + 1)
        for number in range(depth):
            image = jnp.where(number < length, one(jax.random.fold_in(key, number), image), image)
        return image

    def augment(key: jax.Array, image: jax.Array) -> jax.Array:
        weights_key, share_key, *keys = jax.random.split(key, 2 + width)
        weights = jax.random.dirichlet(weights_key, jnp.full(width, alpha, jnp.float32))
        share = jax.random.beta(share_key, alpha, alpha)
        chains = sum(weight * chain(k, image) for weight, k in zip(weights, keys, strict=True))
        return share * image + (1 - share) * chains

    return augment


@dataclasses.dataclass(frozen=True)
@ranges.checked(weight=ranges.NATURAL)
class AugMix(Wrapper):
    """loss(x, y) + weight JS(p(x), p(x'), p(x'')), x' and x'' two random views that keep what the image shows.

    JS is the mean divergence of the three from their mean. Running statistics of batch norms are of x.

    Args:
      view: Random view of an image in [0, 1], such as `mixed()`.
      weight: Weight of the second term, 12 in the paper.

    Raises:
      UserError: When the loss is computed: the task has no probabilities of classes, or they belong to places that a
        view moves, or what the model reads are no images.

    Example:
      >>> from deeplab.tasks import Classification
      >>> AugMix(Classification(label_smoothing=0.1)).headline  # all but the loss is the inner task's
      ('accuracy',)

    Source: Hendrycks et al. 2020, https://arxiv.org/abs/1912.02781.
    """

    view: Augment = dataclasses.field(default_factory=mixed)
    weight: float | jax.Array = 12.0

    def loss(self, apply: Apply, batch: Batch, key: jax.Array) -> Loss:
        name, keys = moved_field(self.inner, batch, "AugMix"), jax.random.split(attack_key(key))
        if isinstance(innermost(self.inner), Segmentation):
            raise UserError("AugMix moves what an image shows, and the mask of Segmentation would stay; use TRADES")
        if batch[name].ndim != 4:
            raise UserError(
                f"AugMix augments images [B, H, W, C], and {name!r} is {list(batch[name].shape)}; use TRADES"
            )
        batches = [batch, *(batch | {name: view_of(self.view, batch, k, name)} for k in keys)]
        each = [
            log_probabilities(self.inner, apply(*self.inner.inputs(b), train=True, key=key)[0], "AugMix")
            for b in batches
        ]
        middle = jax.nn.logsumexp(jnp.stack(each), axis=0) - jnp.log(len(each))
        term = Mean.of(jnp.mean(jnp.stack([divergence(one, middle) for one in each]), axis=0), batch["weight"])
        share = term.total / jnp.where(term.count == 0, 1, term.count)
        out = self.inner.loss(apply, batch, key)
        total = Mean(out.loss.total + self.weight * share * out.loss.count, out.loss.count)
        return out._replace(loss=total, metrics=out.metrics | {"divergence": term})
