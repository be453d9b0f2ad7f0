"""SimCLR: the two views of an image are more alike than the views of any two images of a batch.

Source: Chen et al. 2020, https://arxiv.org/abs/2002.05709
"""

import dataclasses

import flax.linen as nn
import jax.numpy as jnp
import optax

import deeplab as dl
from deeplab.data import augment
from deeplab.metrics import Mean
from deeplab.tasks.base import Loss, Task
from tests.contracts.networks import Trunk


@dataclasses.dataclass(frozen=True)
class SimCLR(Task):
    projector: nn.Module
    temperature: float

    def init_params(self, apply, batch, key):
        features, _ = apply(batch["image"])
        return {"projector": self.projector.init(key, features)["params"]}

    def loss(self, apply, batch, key):
        project = apply.of(self.projector, apply.task_params["projector"])
        views = jnp.concatenate([batch["view_a"], batch["view_b"]])
        features, variables = apply(views, train=True, key=key)
        z = unit(project(features)[0])  # [2B, D]
        weight = jnp.tile(batch["weight"], 2)
        absent = jnp.eye(len(z)) + (weight == 0)[None].astype(jnp.float32)
        similarity = z @ z.T / self.temperature - 1e9 * absent
        partner = jnp.roll(jnp.arange(len(z)), len(z) // 2)
        losses = optax.softmax_cross_entropy_with_integer_labels(similarity, partner)
        return Loss(Mean.of(losses, weight), {}, variables)

    def metrics(self, apply, batch, key):
        z = unit(apply(batch["image"])[0])
        absent = jnp.eye(len(z)) + (batch["weight"] == 0)[None].astype(jnp.float32)
        nearest = jnp.argmax(z @ z.T - 1e9 * absent, axis=-1)
        same = (batch["label"][nearest] == batch["label"]).astype(jnp.float32)
        loss = self.loss(apply.evaluating(), batch, key).loss
        return {"loss": loss, "neighbor_accuracy": Mean.of(same, batch["weight"])}


def unit(x):
    return x / jnp.linalg.norm(x, axis=-1, keepdims=True).clip(1e-6)


def experiment(num_steps: int = 60, learning_rate: float = 3e-3, temperature: float = 0.2) -> dl.Experiment:
    views = {"view_a": augment.warp(15.0, 0.1, 1.0), "view_b": augment.warp(15.0, 0.1, 1.0)}
    return dl.Experiment(
        data=dl.data.Images("digits", batch_size=64, num_steps=num_steps, views=views),
        model=Trunk(64),
        task=SimCLR(dl.models.MLP(16, features=(64,)), temperature),
        optimizer=optax.adam(learning_rate),
        eval_every=20,
    )
