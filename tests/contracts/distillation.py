"""Distillation: a network learns what a frozen teacher, given as weights, thinks of images without labels.

Source: Hinton et al. 2015, https://arxiv.org/abs/1503.02531
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

import deeplab as dl
from deeplab.metrics import Mean
from deeplab.tasks import Loss, Task


@dataclasses.dataclass(frozen=True)
class Distillation(Task):
    teacher: nn.Module
    temperature: float

    def init_state(self, apply, batch, key):
        return {"teacher": self.teacher.init(key, batch["image"])["params"]}

    def loss(self, apply, batch, key):
        logits, variables = apply(batch["image"], train=True, key=key)
        target, _ = apply.of(self.teacher, apply.task_state["teacher"])(batch["image"])
        probabilities = jax.nn.softmax(target / self.temperature)
        losses = self.temperature**2 * optax.softmax_cross_entropy(logits / self.temperature, probabilities)
        correct = (jnp.argmax(logits, axis=-1) == batch["label"]).astype(jnp.float32)
        weight = batch["weight"]
        return Loss(Mean.of(losses, weight), {"accuracy": Mean.of(correct, weight)}, variables)


def least_squares(like):
    """The teacher, as if from a file: a linear model of the digits in closed form."""
    data = dl.data.Images("digits", num_steps=1)
    examples = data.fetch(data.open("train"), np.arange(data.num_train))
    x = examples["image"].reshape(data.num_train, -1) / 255
    x = np.concatenate([x, np.ones((len(x), 1))], axis=1)
    weights = np.linalg.solve(x.T @ x + 1e-1 * np.eye(x.shape[1]), x.T @ (5 * np.eye(10)[examples["label"]]))
    return {"head": {"kernel": np.float32(weights[:-1]), "bias": np.float32(weights[-1])}}


def experiment(num_steps: int = 60, learning_rate: float = 3e-3, temperature: float = 2.0) -> dl.Experiment:
    return dl.Experiment(
        data=dl.data.Images("digits", batch_size=64, num_steps=num_steps),
        model=dl.models.MLP(10, features=(32,)),
        task=Distillation(dl.models.MLP(10, features=()), temperature),
        optimizer=optax.adam(learning_rate),
        weights=dl.Weights("least squares", least_squares, path="task/teacher"),
        eval_every=20,
        monitor=dl.Monitor("accuracy", "max"),
    )
