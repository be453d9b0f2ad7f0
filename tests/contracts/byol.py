"""BYOL: a network predicts, from one view of an image, what a moving average of itself makes of the other view.

Source: Grill et al. 2020, https://arxiv.org/abs/2006.07733
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

import deeplab as dl
from deeplab.data import augment
from deeplab.metrics import Mean
from deeplab.tasks import Loss, Task
from tests.contracts.networks import Trunk


@dataclasses.dataclass(frozen=True)
class BYOL(Task):
    projector: nn.Module
    predictor: nn.Module
    decay: float

    def init_params(self, apply, batch, key):
        features, _ = apply(batch["image"])
        z, params = self.projector.init_with_output(key, features)
        return {"projector": params["params"], "predictor": self.predictor.init(key, z)["params"]}

    def init_state(self, apply, batch, key):
        return {**apply.params, "task": apply.task_params}

    def after_step(self, teacher, params):
        return optax.incremental_update(params, teacher, 1 - self.decay)

    def loss(self, apply, batch, key):
        def project(view, params):
            features, variables = apply(batch[view], train=True, key=key, params=params)
            z, _ = apply.of(self.projector, params["task"]["projector"])(features, train=True)
            return z, variables

        def error(view, other):
            z, variables = project(view, {**apply.params, "task": apply.task_params})
            prediction, _ = apply.of(self.predictor, apply.task_params["predictor"])(z, train=True)
            target = jax.lax.stop_gradient(project(other, apply.task_state)[0])
            return 2 - 2 * optax.cosine_similarity(prediction, target, epsilon=1e-6), target, variables

        (a, z, variables), (b, _, _) = error("view_a", "view_b"), error("view_b", "view_a")
        spread = jnp.linalg.norm(jnp.std(z, axis=0)) / jnp.sqrt(jnp.mean(jnp.sum(z**2, axis=-1)))
        metrics = {"spread": Mean.of(jnp.tile(spread, len(a)), batch["weight"])}  # 0 after a collapse
        return Loss(Mean.of(a + b, batch["weight"]), metrics, variables)


def experiment(num_steps: int = 60, learning_rate: float = 3e-3, decay: float = 0.9) -> dl.Experiment:
    views = {"view_a": augment.warp(15.0, 0.1, 1.0), "view_b": augment.warp(15.0, 0.1, 1.0)}
    mlp = dl.models.MLP(16, features=(64,))
    return dl.Experiment(
        data=dl.data.Images("digits", batch_size=64, num_steps=num_steps, views=views),
        model=Trunk(64),
        task=BYOL(mlp, mlp, decay),
        optimizer=optax.adam(learning_rate),
        eval_every=20,
    )
