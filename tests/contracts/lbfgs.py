"""L-BFGS on the whole batch: ridge regression, to its least loss in a few steps.

Source: Nocedal and Wright 2006, https://doi.org/10.1007/978-0-387-40065-5, section 7.2
"""

import dataclasses

import jax.numpy as jnp
import optax

import deeplab as dl
from deeplab.metrics import Mean
from deeplab.tasks import Task
from tests.contracts.regression import Regression, diabetes


@dataclasses.dataclass(frozen=True)
class Ridge(Task):
    inner: Task
    penalty: float
    fields: tuple[str, ...] = ("measurements",)

    def loss(self, apply, batch, key):
        out = self.inner.loss(apply, batch, key)
        squares = jnp.sum(apply.params["head"]["kernel"] ** 2)
        return out._replace(loss=Mean(out.loss.total + self.penalty * squares * out.loss.count, out.loss.count))

    def metrics(self, apply, batch, key):
        return self.inner.metrics(apply, batch, key)


def experiment(num_steps: int = 20, penalty: float = 1e-2) -> dl.Experiment:
    return dl.Experiment(
        data=dl.data.Examples(diabetes(), batch_size=384, num_steps=num_steps),
        model=dl.models.MLP(1, features=()),
        task=Ridge(Regression(), penalty),
        optimizer=optax.lbfgs(),
        eval_every=5,
    )
