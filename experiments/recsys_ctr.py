"""Clicks with DLRM: MovieLens 100K in the order of time, a rating of 4 or 5 is a click.

Run:     python -m experiments.recsys_ctr --data-dir DIR                  (DIR holds ml-100k.zip)
         python -m experiments.recsys_ctr --interaction low_rank          (or: cross, parallel)
         python -m experiments.benchmarks.recsys_baselines clicks DIR     (logistic regression, gradient boosting)
Result:  test part, AUC, log loss, calibration error, mean of seeds 0 to 2: 0.7446 (0.7449, 0.7447, 0.7440), 0.5892,
         0.018; low_rank 0.7434 (0.7441, 0.7438, 0.7424), 0.5899, 0.020; parallel 0.7440 (seed 0). Logistic regression
         0.7418, 0.5911, 0.016; gradient boosting 0.7426, 0.5913, 0.016. Some 20 s of CPU time each (commit f96cbf6).
         The recipe and the interaction were chosen on the validation part
Source:  Naumov et al. 2019, https://arxiv.org/abs/1906.00091; Wang et al. 2021, https://arxiv.org/abs/2008.13535
"""

from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax

import deeplab as dl
from deeplab.data.sets.recsys.movielens_clicks import MovieLensClicks
from deeplab.nn.interaction import Beside, Cross, Dot, LowRankCross, ReluLayers
from deeplab.robust import calibration

INTERACTIONS = {
    "low_rank": LowRankCross(3, rank=32),
    "cross": Cross(3),
    "dot": Dot(),
    "parallel": Beside((LowRankCross(3, rank=32), ReluLayers((64, 64)))),
}


def experiment(
    interaction: Literal["low_rank", "cross", "dot", "parallel"] = "dot",
    split: Literal["test", "validation"] = "test",
    width: int = 16,
    epochs: int = 4,
    batch_size: int = 256,
    learning_rate: float = 2e-3,
    weight_decay: float = 3.0,
    dropout: float = 0.2,
    forget: float = 0.9,
) -> dl.Experiment:
    """Learns from the first 79,999 ratings, and predicts the 10,000 that follow ("validation") or the last ("test").

    Args:
      interaction: Block between the fields and the top layers: DCN V2's cross layers, or DLRM's dot products.
      split: Part to evaluate on.
      width: Width of the fields' vectors.
      epochs: Number of passes over the ratings, some 313 steps each.
      batch_size: Number of ratings per step.
      learning_rate: Peak learning rate of the cosine schedule.
      weight_decay: Weight decay of embedding tables and kernels, multiplied by the learning rate.
      dropout: Dropout probability of the components of the fields' vectors.
      forget: Probability of leaving out a user's number in training, as that of users who come later is unknown.
    """
    dataset = MovieLensClicks()
    data = dl.data.Examples(dataset, batch_size, epochs, prepare=forgetful(forget), eval_split=split)
    size: dict[str, Any] = {"bottom": (64,), "interaction": INTERACTIONS[interaction], "top": (64, 32)}
    rate = dl.optim.warmup_cosine(learning_rate, data.num_steps)
    return dl.Experiment(
        data=data,
        model=dl.models.DLRM(dataset.cardinalities, width, dataset.slots, dropout=dropout, **size),
        task=dl.tasks.MultiLabel(("click",), ("numbers", "categories"), (calibration_error,)),
        optimizer=optax.adamw(rate, weight_decay=weight_decay, mask=dl.optim.matrices_only),
        eval_every=data.steps_per_epoch,
        monitor=dl.Monitor("loss"),
    )


def forgetful(rate: float) -> dl.data.Prepare:
    """Empties the slot of the user's number in training, with this probability."""

    def prepare(example: dl.data.Example, key: jax.Array | None) -> dl.data.Example:
        if key is None:
            return example
        ids = example["categories"]
        return example | {"categories": ids.at[0].set(jnp.where(jax.random.bernoulli(key, rate), -1, ids[0]))}

    return prepare


def calibration_error(probability: Any, label: Any, weight: Any) -> float:
    """Mean distance of the frequency of clicks from the predicted probability, over 15 bins of it."""
    kept = np.asarray(weight) > 0
    return calibration.expected_calibration_error(np.asarray(probability)[kept, 0], np.asarray(label)[kept, 0] > 0)


if __name__ == "__main__":
    dl.main(experiment)
