"""The film that a user sees next, by three kinds of models: MovieLens 100K, the last film of each user left out.

Run:     python -m experiments.recsys_ranking --data-dir DIR              (DIR holds ml-100k.zip)
         python -m experiments.recsys_ranking --model two_tower
Result:  none yet
Source:  Kang and McAuley 2018, https://arxiv.org/abs/1808.09781 (SASRec); Yi et al. 2019,
         https://doi.org/10.1145/3298689.3346996 (two towers); He et al. 2017, https://arxiv.org/abs/1708.05031 (NeuMF)
"""

from typing import Literal

import optax

import deeplab as dl
from deeplab.data.builders import movielens
from deeplab.models import neumf, sasrec, two_tower

LENGTH = {"sasrec": 200, "two_tower": 50, "neumf": 736}  # films of a user that a step looks at
PLACES = {"sasrec": None, "two_tower": 16, "neumf": 32}  # of them, those that it learns to foresee


def experiment(
    model: Literal["sasrec", "two_tower", "neumf"] = "sasrec",
    split: Literal["test", "validation"] = "test",
    width: int = 64,
    epochs: int = 200,
    batch_size: int = 64,
    learning_rate: float = 1e-3,
    weight_decay: float = 0.1,
    dropout: float = 0.3,
    temperature: float = 0.1,
    forget_user: float = 0.1,
    average: float = 0.995,
) -> dl.Experiment:
    """What 943 users saw, film after film: the last is left out."""
    prepare = dl.data.interactions.next_items(LENGTH[model], PLACES[model], forget_user)
    data = dl.data.Examples(
        "movielens_100k_sequences", batch_size=batch_size, epochs=epochs, prepare=prepare, eval_split=split
    )
    users, films = movielens.NUM_USERS, movielens.NUM_FILMS
    network, reads, objective, rules = {
        "sasrec": (
            dl.models.SASRec(films, width=width, context=LENGTH[model], dropout=dropout),
            ("history", "places"),
            dl.tasks.SampledSoftmax(num_negatives=256),
            sasrec.RULES,
        ),
        "two_tower": (
            dl.models.TwoTower(films, width, (2 * width,), temperature, dropout),
            ("history", "places", "profile", "films"),
            dl.tasks.InBatchSoftmax(),
            two_tower.RULES,
        ),
        "neumf": (
            dl.models.NeuMF(users, films, width // 2, dropout=dropout),
            ("user",),
            dl.tasks.BinaryCrossEntropy(num_negatives=128),
            neumf.RULES,
        ),
    }[model]
    rate = dl.optim.warmup_cosine(learning_rate, data.num_steps)
    adam = optax.adamw(rate, weight_decay=weight_decay, mask=dl.optim.matrices_only)
    return dl.Experiment(
        data=data,
        model=network,
        task=dl.tasks.Ranking(objective, reads),
        optimizer=dl.optim.averaged(adam, average),
        rules=rules,
        eval_every=10 * data.steps_per_epoch,
        monitor="ndcg@10",
    )


if __name__ == "__main__":
    dl.main(experiment)
