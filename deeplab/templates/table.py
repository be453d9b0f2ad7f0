"""table: a perceptron on a table of patients. Say here what the idea is.

Run:     python table.py                 (the same command again goes on, or says that it is done)
Sweep:   python table.py sweep --learning-rate 1e-3..1e-1:8 --seeds 4
Result:  none yet
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from sklearn.datasets import load_breast_cancer

import deeplab as dl


class Model(nn.Module):
    """A perceptron of numbers [B, N] and categories [B, C]: -> [B, outputs]."""

    outputs: int
    cardinalities: tuple[int, ...] = ()
    width: int = 32
    dropout: Any = 0.1

    @nn.compact
    def __call__(self, numbers: jax.Array, categories: jax.Array, train: bool = False) -> jax.Array:
        each = [nn.Embed(n, 4, name=f"category{i}")(categories[:, i]) for i, n in enumerate(self.cardinalities)]
        x = nn.relu(nn.Dense(self.width, name="hidden")(jnp.concatenate([numbers, *each], axis=-1)))
        x = nn.Dropout(self.dropout, deterministic=not train, name="dropout")(x)
        return nn.Dense(self.outputs, name="head")(x)


def patients() -> dict[str, Any]:
    """Columns by name: 30 numbers of each biopsy, and the diagnosis."""
    found: Any = load_breast_cancer()
    return dict(zip(found.feature_names, found.data.T, strict=True)) | {"diagnosis": found.target_names[found.target]}


def experiment(
    width: int = 32, epochs: int = 30, batch_size: int = 64, learning_rate: float = 1e-2, dropout: float = 0.1
) -> dl.Experiment:
    """Breast cancer by 30 measurements, which come with scikit-learn.

    Args:
      width: Number of hidden units.
      epochs: Number of passes over the training rows.
      batch_size: Number of rows per step.
      learning_rate: Peak learning rate of the cosine schedule.
      dropout: Dropout probability of the hidden units.
    """
    # A table of your own: "houses.csv", a Parquet file or a data frame in place of patients(). To predict a number:
    # outputs 1, and dl.tasks.Regression(scale=data.scale).
    data = dl.data.table(patients(), target="diagnosis", batch_size=batch_size, epochs=epochs)
    return dl.Experiment(
        data=data,
        model=Model(data.num_classes, tuple(data.cardinalities), width, dropout),
        task=dl.tasks.Classification(fields=("numbers", "categories")),
        optimizer=optax.adamw(dl.optim.warmup_cosine(learning_rate, data.num_steps)),
        eval_every=max(1, data.num_steps // 4),
    )


if __name__ == "__main__":
    dl.main(experiment)
