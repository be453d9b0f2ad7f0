"""SAM: the loss at the worst parameters within reach, so that training ends in a flat minimum."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax

from deeplab.core import ranges
from deeplab.robust.training.wrapper import Wrapper
from deeplab.tasks.contract.apply import Apply
from deeplab.tasks.contract.task import Batch, Loss


@dataclasses.dataclass(frozen=True)
@ranges.checked(rho=ranges.NATURAL)
class SAM(Wrapper):
    """The loss at w + rho g / |g|, g the gradient of the loss at w: two gradients a step, of any task.

    The metrics of training, the running statistics and the task's state are those at w; the loss is the one at the
    moved parameters. With microbatches each moves the parameters by its own gradient.

    Args:
      rho: Length of the move in the space of the parameters, 0.05 in the paper; may be a tracer.

    Example:
      >>> from deeplab.tasks import Classification
      >>> SAM(Classification(), rho=0.1).headline
      ('accuracy',)

    Source: Foret et al. 2021, https://arxiv.org/abs/2010.01412.
    """

    rho: float | jax.Array = 0.05

    def loss(self, apply: Apply, batch: Batch, key: jax.Array) -> Loss:
        def at(params: Any) -> tuple[jax.Array, Loss]:
            out = self.inner.loss(apply.rebound(params=params[0], task_params=params[1]), batch, key)
            return out.loss.total, out

        here = jax.lax.stop_gradient((apply.params, apply.task_params))
        slope, out = jax.grad(at, has_aux=True)(here)
        norm = optax.tree.norm(slope)
        scale = self.rho / jnp.where(norm > 0, norm, 1)
        there = jax.tree.map(
            lambda w, g: w + (scale * g).astype(w.dtype),
            (apply.params, apply.task_params),
            jax.lax.stop_gradient(slope),
        )
        return out._replace(loss=at(there)[1].loss)
