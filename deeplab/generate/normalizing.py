"""Normalizing flows as a task: the exact likelihood, of numbers or of images of so many levels."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from deeplab.core import ranges
from deeplab.core.blocks import Block
from deeplab.core.errors import UserError
from deeplab.core.precision import exact
from deeplab.generate.gallery import shown
from deeplab.generate.paths.likelihoods import normal_log_prob
from deeplab.generate.record import Generative, decoding, keys_of, refuse_condition, refuse_normalized
from deeplab.metrics.base import Mean
from deeplab.tasks.contract.apply import Apply
from deeplab.tasks.contract.pixels import in_units
from deeplab.tasks.contract.task import Batch, Loss, Task, Trained


def bits_per_dimension(nats: Any, size: int) -> Any:
    """Negative log-likelihood in bits for each of the numbers of an example.

    Args:
      nats: Negative log-likelihood of an example, in nats: of the levels, not of a density of grays in [0, 1].
      size: Number of numbers of an example.

    Example:
      >>> bits_per_dimension(28 * 28 * math.log(256), 28 * 28)
      8.0
    """
    return nats / (size * math.log(2))


def to_logits(u: Float[Array, "B ..."], edge: float) -> tuple[Float[Array, "B ..."], Float[Array, " B"]]:
    """logit(edge + (1 - 2 edge) u) of numbers in [0, 1], and the logarithm of its Jacobian's determinant.

    Source: Dinh et al. 2017, https://arxiv.org/abs/1605.08803, section 4.1.
    """
    inner = edge + (1 - 2 * edge) * u
    each = math.log(1 - 2 * edge) - jnp.log(inner) - jnp.log1p(-inner)
    return jnp.log(inner) - jnp.log1p(-inner), jnp.sum(each.reshape(len(u), -1), axis=-1)


@dataclasses.dataclass(frozen=True)
@ranges.checked(shape=ranges.COUNT, levels=ranges.COUNT, edge=ranges.Range(above=0, below=0.5))
class NormalizingFlow(Task):
    """-log N(z) - log |det dz/dx|, where the model gives z and the logarithm of the determinant, as `dl.models.flows`.

    Of images of `levels` grays, noise makes numbers of them, x = (gray + uniform) / levels, whose logits the model
    reads; the loss is then a bound of the negative log-likelihood of the grays (Theis et al. 2016,
    https://arxiv.org/abs/1511.01844). Metrics: `loss` in nats an example, `bits` for each number.

    Args:
      shape: Shape of an example, such as (28, 28, 1) or (2,).
      field: Name of the batch's field that is learnt.
      levels: Number of grays of images in [0, 1]; the numbers are taken as they are when None.
      edge: Distance from 0 and 1 that gray numbers keep before their logit.

    Example:
      >>> NormalizingFlow((2,), field="x", levels=None).headline
      ('bits',)
    """

    headline: ClassVar[tuple[str, ...]] = ("bits",)
    shape: Sequence[int]
    field: str = "image"
    levels: int | None = 256
    edge: float = 0.05

    def inputs(self, batch: Batch) -> tuple[Any, ...]:
        return (batch[self.field],)

    def loss(self, apply: Apply, batch: Batch, key: jax.Array) -> Loss:
        found, variables = self._log_prob(apply, batch[self.field], keys_of(key, batch["id"]), train=True, key=key)
        loss = Mean.of(-found, batch["weight"])
        bits = Mean.of(bits_per_dimension(-found, math.prod(self.shape)), batch["weight"])
        return Loss(loss, {"bits": bits}, variables)

    def _log_prob(self, apply: Apply, x: jax.Array, keys: jax.Array, **options: Any) -> tuple[jax.Array, Any]:
        """Log-density, or bound of the log-probability of the grays, [B], and the model's variables."""
        refuse_normalized(apply, self)
        if x.shape[1:] != tuple(self.shape):
            raise UserError(f"{self.field!r} is {list(x.shape[1:])}, and NormalizingFlow has shape={tuple(self.shape)}")
        change = jnp.zeros(len(x), x.dtype)
        if self.levels is not None:
            gray = jnp.round(in_units(x, type(self).__name__) * (self.levels - 1))
            noise = jax.vmap(lambda k: jax.random.uniform(k, x.shape[1:], x.dtype))(keys)
            x, change = to_logits((gray + noise) / self.levels, self.edge)
            change = change - x[0].size * math.log(self.levels)
        (z, log_det), variables = apply(x, **options)
        return normal_log_prob(z) + log_det + change, variables

    def generative(self, apply: Apply) -> Generative:
        """Samples, of grays where there are levels, and log-densities, or a bound of the log-probability of grays."""

        start = jax.eval_shape(lambda x: apply(x)[0][0], jnp.zeros((1, *self.shape))).shape[1:]

        @exact  # the way back is that of the density
        def decode(start: jax.Array, condition: Any = None) -> jax.Array:
            refuse_condition(condition, self)
            x = apply(start, method="invert")[0]
            if self.levels is None:
                return x
            u = (jax.nn.sigmoid(x) - self.edge) / (1 - 2 * self.edge)
            return jnp.clip(jnp.floor(u * self.levels), 0, self.levels - 1) / (self.levels - 1)

        @exact
        def log_prob(x: jax.Array, key: jax.Array) -> jax.Array:
            return self._log_prob(apply, x, keys_of(key, jnp.arange(len(x))))[0]

        return decoding(decode, start, log_prob=log_prob)

    def artifacts(self, trained: Trained) -> Mapping[str, Sequence[Block]]:
        """Drawn images; of what is no image, nothing."""
        if len(self.shape) != 3:
            return {}
        return {"samples": shown(self.generative(trained.apply(24)), trained)}
