"""A generative adversarial network that trains: a relativistic loss, with gradient penalties on both sides."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from deeplab.core import ranges
from deeplab.core.blocks import Block
from deeplab.core.jax_compat import plain_operations
from deeplab.generate.gallery import shown
from deeplab.generate.record import Generative, decoding, keys_of, normals, refuse_condition, refuse_normalized
from deeplab.metrics.base import Mean, Metrics
from deeplab.tasks.contract.apply import Apply
from deeplab.tasks.contract.outputs import one_array
from deeplab.tasks.contract.pixels import in_units
from deeplab.tasks.contract.task import Batch, Loss, Task, Trained


@dataclasses.dataclass(frozen=True)
@ranges.checked(latents=ranges.COUNT, penalty=ranges.NATURAL, spacing=ranges.COUNT)
class R3GAN(Task):
    """Generator G, the model, and critic D, the task's own network, of images in [0, 1].

    D learns softplus(D(G(z)) - D(x)) + penalty / 2 (|dD/dx|^2 + |dD/dG|^2), G learns softplus(D(x) - D(G(z))), each z
    beside one real x. Both are parts of one loss, which reach their own networks alone; give the two an optimizer each
    by `dl.optim.groups({"^task/critic/": ..., ".*": ...})`. The metric of evaluations that tells something is
    `mean_distance`, between the mean images of what is real and what is drawn; see also `dl.generate.measures`.

    Args:
      critic: D, a module from images [B, H, W, C] to numbers [B], such as `dl.models.Critic`.
      latents: Number of components of z.
      penalty: Weight of the gradients' squares, R1 and R2; may be a tracer.
      spacing: Number of examples for each one whose gradients are penalized: with 4 they are a quarter of the batch,
        which stands for all of it.

    Example:
      >>> from deeplab.models import Critic
      >>> R3GAN(Critic(widths=(8, 16)), latents=16).penalty
      1.0

    Source: Huang et al. 2024, "The GAN is dead; long live the GAN!", https://arxiv.org/abs/2501.05441; the loss:
      Jolicoeur-Martineau 2018, https://arxiv.org/abs/1807.00734.
    """

    critic: nn.Module
    latents: int = 64
    penalty: float | jax.Array = 1.0
    spacing: int = 1

    def inputs(self, batch: Batch) -> tuple[Any, ...]:
        return (jnp.zeros((len(batch["id"]), self.latents)),)

    def init_params(self, apply: Apply, batch: Batch, key: jax.Array) -> dict[str, Any]:
        return {"critic": self.critic.init(key, batch["image"])["params"]}

    def _drawn(self, apply: Apply, keys: jax.Array, **options: Any) -> tuple[jax.Array, Any]:
        return apply(normals(keys, (self.latents,)), **options)

    def loss(self, apply: Apply, batch: Batch, key: jax.Array) -> Loss:
        params, stopped = apply.task_params["critic"], jax.lax.stop_gradient
        real = in_units(batch["image"], type(self).__name__, slack=None)
        refuse_normalized(apply, self)
        fake, variables = self._drawn(apply, keys_of(key, batch["id"]), train=True, key=key)
        one_array(fake, *real.shape)

        def judged(params: Any, x: jax.Array) -> jax.Array:
            return apply.of(self.critic, params)(x, train=True, key=key)[0]

        @plain_operations()  # it is differentiated once more
        def steepness(x: jax.Array) -> jax.Array:
            slope = jax.grad(lambda x: jnp.sum(judged(params, x)))(x)
            return jnp.sum(slope.reshape(len(x), -1) ** 2, axis=-1)

        generator = nn.softplus(judged(stopped(params), real) - judged(stopped(params), fake))
        critic = nn.softplus(judged(params, stopped(fake)) - judged(params, real))
        some = slice(None, None, self.spacing)
        penalty = Mean.of(steepness(real[some]) + steepness(stopped(fake)[some]), batch["weight"][some])
        means = {name: Mean.of(x, batch["weight"]) for name, x in {"generator": generator, "critic": critic}.items()}
        loss = Mean.of(generator + critic, batch["weight"])
        steep = self.penalty / 2 * penalty.total * loss.count / jnp.maximum(penalty.count, 1e-6)
        return Loss(Mean(loss.total + steep, loss.count), means | {"penalty": penalty}, variables)

    def metrics(self, apply: Apply, batch: Batch, key: jax.Array) -> Metrics:
        fake, _ = self._drawn(apply, keys_of(key, batch["id"]))
        weight = batch["weight"]
        apart = jnp.abs(jnp.average(fake - batch["image"], axis=0, weights=weight)).mean()
        return super().metrics(apply, batch, key) | {"mean_distance": Mean.of(apart[None], weight.sum()[None])}

    def generative(self, apply: Apply) -> Generative:
        """Samples; there is no density."""

        def decode(start: jax.Array, condition: Any = None) -> jax.Array:
            refuse_condition(condition, self)
            return apply(start)[0]

        return decoding(decode, (self.latents,))

    def artifacts(self, trained: Trained) -> Mapping[str, Sequence[Block]]:
        """Drawn images."""
        return {"samples": shown(self.generative(trained.apply(24)), trained)}
