"""The regression of a table: the progression of diabetes in a year, from ten measurements.

Source: Efron et al. 2004, https://arxiv.org/abs/math/0406456
"""

import dataclasses
import functools

import numpy as np
import optax
from sklearn.datasets import load_diabetes

import deeplab as dl
from deeplab.metrics import Mean
from deeplab.tasks import Loss, Task


@dataclasses.dataclass(frozen=True)
class Regression(Task):
    fields: tuple[str, ...] = ("measurements",)

    def loss(self, apply, batch, key):
        prediction, variables = apply(*self.inputs(batch), train=True, key=key)
        return Loss(Mean.of((prediction[:, 0] - batch["target"]) ** 2, batch["weight"]), {}, variables)

    def predict(self, apply, batch, key):
        prediction = apply(*self.inputs(batch))[0][:, 0]
        return {"prediction": prediction, "target": batch["target"], "loss": (prediction - batch["target"]) ** 2}


@functools.cache
def diabetes():
    """Measurements and target, standardized: 384 patients to learn from, and 58 to test on."""
    x, y = load_diabetes(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    x, y = ((v - v.mean(axis=0)) / v.std(axis=0) for v in (x[order], y[order]))
    parts = {"train": slice(384), "test": slice(384, None)}
    return {split: {"measurements": x[rows], "target": y[rows]} for split, rows in parts.items()}


def experiment(num_steps: int = 60, learning_rate: float = 3e-3, dropout: float = 0.1) -> dl.Experiment:
    return dl.Experiment(
        data=dl.data.Examples(diabetes(), batch_size=64, num_steps=num_steps),
        model=dl.models.MLP(1, features=(32,), dropout=dropout),
        task=Regression(),
        optimizer=optax.adam(learning_rate),
        eval_every=20,
    )
