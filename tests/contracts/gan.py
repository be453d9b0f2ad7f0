"""A generative adversarial network: two players, each with its part of the loss and an optimizer of its own.

Source: Goodfellow et al. 2014, https://arxiv.org/abs/1406.2661
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
class Adversaries(Task):
    discriminator: nn.Module
    num_latents: int

    def inputs(self, batch):
        return (jnp.zeros((len(batch["id"]), self.num_latents)),)

    def generate(self, apply, batch, key, train=False):
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, batch["id"])
        latents = jax.vmap(lambda k: jax.random.normal(k, (self.num_latents,)))(keys)
        return apply(latents, train=train, key=key)

    def init_params(self, apply, batch, key):
        return {"discriminator": self.discriminator.init(key, batch["image"])["params"]}

    def loss(self, apply, batch, key):
        def judge(params, image):
            return apply.of(self.discriminator, params)(image, train=True)[0][:, 0]

        params, stopped = apply.task_params["discriminator"], jax.lax.stop_gradient
        fake, variables = self.generate(apply, batch, key, train=True)
        generator = nn.softplus(-judge(stopped(params), fake))
        discriminator = nn.softplus(-judge(params, batch["image"])) + nn.softplus(judge(params, stopped(fake)))
        losses = {"generator": generator, "discriminator": discriminator}
        means = {name: Mean.of(x, batch["weight"]) for name, x in losses.items()}
        return Loss(Mean.of(generator + discriminator, batch["weight"]), means, variables)

    def metrics(self, apply, batch, key):
        fake, weight = self.predict(apply, batch, key)["sample"], batch["weight"]
        distance = jnp.abs(jnp.average(fake - batch["image"], axis=0, weights=weight)).mean()
        distance = {"mean_distance": Mean.of(distance[None], weight.sum()[None])}
        return super().metrics(apply, batch, key) | distance

    def predict(self, apply, batch, key):
        return {"sample": self.generate(apply, batch, key)[0]}


def experiment(num_steps: int = 80, learning_rate: float = 3e-3, generator_every: int = 2) -> dl.Experiment:
    adam = optax.adam(learning_rate, b1=0.5)
    return dl.Experiment(
        data=dl.data.Images("digits", batch_size=64, num_steps=num_steps, normalize=None),
        model=Painter(),
        task=Adversaries(dl.models.MLP(1, features=(64,)), 8),
        optimizer=dl.optim.groups({"^task/discriminator/": adam, ".*": dl.optim.every(generator_every, adam)}),
        eval_every=20,
        monitor=dl.Monitor("mean_distance"),
    )
