"""Ratings of films by factorisation and by an autoencoder: MovieLens 100K, GroupLens' five divisions.

Run:     python -m experiments.recsys_ratings --data-dir DIR              (DIR holds ml-100k.zip)
         python -m experiments.recsys_ratings --model neural --fold 2
Result:  none yet
Source:  Koren 2008, https://doi.org/10.1145/1401890.1401944; Sedhain et al. 2015,
         https://doi.org/10.1145/2740908.2742726
"""

from typing import Literal

import optax

import deeplab as dl
from deeplab.data.builders import movielens
from deeplab.models import autorec, factorisation


def experiment(
    model: Literal["factorisation", "neural"] = "factorisation",
    fold: int = 1,
    part: Literal["test", "validation"] = "test",
    width: int = 96,
    epochs: int = 200,
    batch_size: int = 64,
    learning_rate: float = 3e-3,
    weight_decay: float = 2.0,
    dropout: float = 0.3,
    most_hidden: float = 0.4,
    forget_user: float = 0.3,
    average: float = 0.995,
) -> dl.Experiment:
    """Ratings that 943 users gave to 1,682 films: 80,000 to learn from, 20,000 to tell."""
    prepare = dl.data.interactions.hide_ratings(most_hidden, forget_user)
    dataset = dl.data.movielens_ratings(fold, part)
    data = dl.data.Examples(dataset, batch_size=batch_size, epochs=epochs, prepare=prepare, eval_split=part)
    sizes = {"num_users": movielens.NUM_USERS, "num_items": movielens.NUM_FILMS, "width": width, "dropout": dropout}
    linear = model == "factorisation"
    rate = dl.optim.warmup_cosine(learning_rate, data.num_steps)
    adam = optax.adamw(rate, weight_decay=weight_decay, mask=dl.optim.matrices_only)
    return dl.Experiment(
        data=data,
        model=dl.models.Factorisation(**sizes) if linear else dl.models.AutoRec(**sizes),
        task=dl.tasks.RatingPrediction(),
        optimizer=dl.optim.averaged(adam, average),
        rules=factorisation.RULES if linear else autorec.RULES,
        eval_every=10 * data.steps_per_epoch,
        monitor="-rmse",
    )


if __name__ == "__main__":
    dl.main(experiment)
