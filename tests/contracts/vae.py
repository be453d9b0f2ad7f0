"""A variational autoencoder: its model draws the latents from an RNG collection of its own.

Source: Kingma and Welling 2014, https://arxiv.org/abs/1312.6114
"""

import dataclasses

import jax.numpy as jnp
import optax

import deeplab as dl
from deeplab.metrics import Mean
from deeplab.tasks import Loss, Task
from tests.contracts.networks import Variational


@dataclasses.dataclass(frozen=True)
class EvidenceLowerBound(Task):
    beta: float

    def loss(self, apply, batch, key):
        (logits, mean, log_variance), variables = apply(batch["image"], train=True, key=key)
        error = optax.sigmoid_binary_cross_entropy(logits, batch["image"]).sum(axis=(1, 2, 3))
        divergence = 0.5 * jnp.sum(jnp.exp(log_variance) + mean**2 - 1 - log_variance, axis=-1)
        metrics = {"divergence": Mean.of(divergence, batch["weight"])}
        return Loss(Mean.of(error + self.beta * divergence, batch["weight"]), metrics, variables)


def experiment(num_steps: int = 80, learning_rate: float = 3e-3, beta: float = 1.0) -> dl.Experiment:
    return dl.Experiment(
        data=dl.data.Images("digits", batch_size=64, num_steps=num_steps),
        model=Variational(),
        task=EvidenceLowerBound(beta),
        optimizer=optax.adam(learning_rate),
        eval_every=20,
    )
