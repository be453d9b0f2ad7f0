"""Adversarial training: the loss at the worst image within reach, which a few steps of ascent look for.

Source: Madry et al. 2018, https://arxiv.org/abs/1706.06083
"""

import dataclasses

import jax
import jax.numpy as jnp
import optax

import deeplab as dl
from deeplab.tasks import Task


@dataclasses.dataclass(frozen=True)
class Adversarial(Task):
    inner: Task
    radius: float
    attack_steps: int = 3

    def attacked(self, apply, batch, key):
        def loss(image):
            return self.inner.loss(apply.evaluating(), batch | {"image": image}, key).loss.total

        def ascend(_, image):
            slope = jax.grad(loss)(image)  # not its signs, of which rounding turns some
            image = image + self.radius / 2 * slope / (jnp.max(jnp.abs(slope), axis=(1, 2, 3), keepdims=True) + 1e-9)
            return jnp.clip(image, jnp.maximum(clean - self.radius, 0), jnp.minimum(clean + self.radius, 1))

        clean = batch["image"]
        return batch | {"image": jax.lax.stop_gradient(jax.lax.fori_loop(0, self.attack_steps, ascend, clean))}

    def loss(self, apply, batch, key):
        return self.inner.loss(apply, self.attacked(apply, batch, key), key)

    def metrics(self, apply, batch, key):
        attacked = self.inner.metrics(apply, self.attacked(apply, batch, key), key)
        return self.inner.metrics(apply, batch, key) | {f"attacked_{name}": x for name, x in attacked.items()}

    def predict(self, apply, batch, key):
        return self.inner.predict(apply, batch, key)


def experiment(num_steps: int = 60, learning_rate: float = 3e-3, radius: float = 0.1) -> dl.Experiment:
    return dl.Experiment(
        data=dl.data.Images("digits", batch_size=64, num_steps=num_steps),
        model=dl.models.MLP(10, features=(64,)),
        task=Adversarial(dl.tasks.Classification(), radius),
        optimizer=optax.adam(learning_rate),
        eval_every=20,
        monitor=dl.Monitor("attacked_accuracy", "max"),
    )
