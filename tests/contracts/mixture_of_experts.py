"""A mixture of experts: the model sows how unevenly its experts are chosen, and the task adds that to the loss.

Source: Fedus et al. 2021, https://arxiv.org/abs/2101.03961
"""

import dataclasses

import jax
import jax.numpy as jnp
import optax

import deeplab as dl
from deeplab.metrics import Mean
from deeplab.tasks import Loss, Task
from tests.contracts.networks import MixtureOfExperts


@dataclasses.dataclass(frozen=True)
class Balanced(Task):
    balance: float

    def loss(self, apply, batch, key):
        logits, variables = apply(batch["image"], train=True, key=key, mutable=("losses",))
        balance = sum(jax.tree.leaves(variables["losses"]))
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"])
        correct = (jnp.argmax(logits, axis=-1) == batch["label"]).astype(jnp.float32)
        weight = batch["weight"]
        metrics = {"accuracy": Mean.of(correct, weight), "balance": Mean.of(balance[None], weight.sum()[None])}
        return Loss(Mean.of(losses + self.balance * balance, weight), metrics, variables)


def experiment(num_steps: int = 60, learning_rate: float = 3e-3, balance: float = 1e-2) -> dl.Experiment:
    return dl.Experiment(
        data=dl.data.Images("digits", batch_size=64, num_steps=num_steps),
        model=MixtureOfExperts(),
        task=Balanced(balance),
        optimizer=optax.adam(learning_rate),
        eval_every=20,
    )
