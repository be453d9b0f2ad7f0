"""Denoising diffusion: the noise of an image at a random time, and samples by as many steps back.

Source: Ho et al. 2020, https://arxiv.org/abs/2006.11239; the deterministic sampler: Song et al. 2021,
        https://arxiv.org/abs/2010.02502; the cosine: Nichol and Dhariwal 2021, https://arxiv.org/abs/2102.09672
"""

import dataclasses

import jax
import jax.numpy as jnp
import optax

import deeplab as dl
from deeplab.core import blocks
from deeplab.metrics import Mean
from deeplab.tasks import Loss, Task
from tests.contracts.networks import Denoiser


@dataclasses.dataclass(frozen=True)
class Diffusion(Task):
    sample_steps: int = 20

    def inputs(self, batch):
        return batch["image"], batch["weight"]

    def loss(self, apply, batch, key):
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, batch["id"])
        time = jax.vmap(jax.random.uniform)(keys)
        noise = jax.vmap(lambda k, x: jax.random.normal(k, x.shape))(keys, batch["image"])
        signal, sigma = schedule(time)
        found, variables = apply(signal * (2 * batch["image"] - 1) + sigma * noise, time, train=True, key=key)
        return Loss(Mean.of(jnp.mean((found - noise) ** 2, axis=(1, 2, 3)), batch["weight"]), {}, variables)

    def sample(self, apply, noise):
        """Images of noise [B, H, W, 1], which the steps back make the same of each time."""

        def back(i, x):
            time = jnp.full(len(x), 1 - i / self.sample_steps)
            (signal, sigma), (earlier, less) = schedule(time), schedule(time - 1 / self.sample_steps)
            noise = apply(x, time)[0]
            image = jnp.clip((x - sigma * noise) / signal, -1, 1)
            return earlier * image + less * noise

        return (jax.lax.fori_loop(0, self.sample_steps, back, noise) + 1) / 2

    def predict(self, apply, batch, key):
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, batch["id"])
        noise = jax.vmap(lambda k, x: jax.random.normal(k, x.shape))(keys, batch["image"])
        return {"sample": self.sample(apply, noise)}

    def artifacts(self, trained):
        drawn = [blocks.card("", blocks.picture(image)) for image in trained.predictions["sample"][:24]]
        return {"samples": [blocks.section("Samples", blocks.cards(drawn, compact=True))]}


def schedule(time):
    """How much of the image and of noise there is at times [B], [B, 1, 1, 1] each."""
    angle = (0.02 + 0.96 * time[:, None, None, None]) * jnp.pi / 2
    return jnp.cos(angle), jnp.sin(angle)


def experiment(num_steps: int = 400, learning_rate: float = 3e-3) -> dl.Experiment:
    return dl.Experiment(
        data=dl.data.Images("digits", batch_size=64, num_steps=num_steps, normalize=None),
        model=Denoiser(),
        task=Diffusion(),
        optimizer=optax.adam(learning_rate),
        eval_every=100,
    )
