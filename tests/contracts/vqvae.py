"""VQ-VAE: an image as one of a few codes, which are moving averages of the features that chose them.

Source: van den Oord et al. 2017, https://arxiv.org/abs/1711.00937, appendix A.1
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

import deeplab as dl
from deeplab.metrics import Mean
from deeplab.tasks import Loss, Task
from tests.contracts.networks import Painter


@dataclasses.dataclass(frozen=True)
class VQVAE(Task):
    decoder: nn.Module
    num_codes: int
    decay: float
    commitment: float

    def init_params(self, apply, batch, key):
        return {"decoder": self.decoder.init(key, apply(batch["image"])[0])["params"]}

    def init_state(self, apply, batch, key):
        size = apply(batch["image"])[0].shape[-1]
        return {"count": jnp.ones(self.num_codes), "total": jax.random.normal(key, (self.num_codes, size))}

    def loss(self, apply, batch, key):
        z, variables = apply(batch["image"], train=True, key=key)  # [B, D]
        codes = apply.task_state["total"] / apply.task_state["count"][:, None]  # [K, D]
        distance = jnp.sum(codes**2, axis=-1)[None] - 2 * z @ codes.T  # [B, K]
        chosen = jax.nn.one_hot(jnp.argmin(distance, axis=-1), self.num_codes)
        code = chosen @ codes
        straight_through = z + jax.lax.stop_gradient(code - z)
        image, _ = apply.of(self.decoder, apply.task_params["decoder"])(straight_through, train=True)
        error = jnp.sum((image - batch["image"]) ** 2, axis=(1, 2, 3))
        commitment = jnp.sum((z - code) ** 2, axis=-1)
        votes = jax.lax.stop_gradient(chosen * batch["weight"][:, None])
        seen = {"count": jnp.sum(votes, axis=0), "total": votes.T @ jax.lax.stop_gradient(z)}
        state = optax.incremental_update(seen, apply.task_state, 1 - self.decay)
        losses = Mean.of(error + self.commitment * commitment, batch["weight"])
        return Loss(losses, {"error": Mean.of(error, batch["weight"])}, variables, state)


def experiment(
    num_steps: int = 80, learning_rate: float = 3e-3, decay: float = 0.9, commitment: float = 0.25
) -> dl.Experiment:
    return dl.Experiment(
        data=dl.data.Images("digits", batch_size=64, num_steps=num_steps),
        model=dl.models.MLP(8, features=(64,)),
        task=VQVAE(Painter(), 32, decay, commitment),
        optimizer=optax.adam(learning_rate),
        eval_every=20,
    )
