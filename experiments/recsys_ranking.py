"""Next-film recommendation with three kinds of models: MovieLens 100K, the last film of each user held out.

Run:     python -m experiments.recsys_ranking --data-dir DIR    (or: --model two_tower --learning-rate 1e-3, neumf 3e-3)
Predict: python -m experiments.recsys_ranking predict mine.csv            (a column film, oldest first: ten films)
Result:  all films ranked, HR@10 and NDCG@10: sasrec 0.198, 0.107, 200 s of CPU time (mean of three seeds), neumf 0.133,
         0.067 (c7f5149), two_tower 0.134, 0.070 (two seeds, 73312f7); item-kNN 0.132, 0.069, popularity 0.084, 0.043
Source:  Kang and McAuley 2018, https://arxiv.org/abs/1808.09781; He et al. 2017, https://arxiv.org/abs/1708.05031;
         Yi et al. 2019, https://doi.org/10.1145/3298689.3346996
"""

from typing import Literal

import optax

import deeplab as dl
from deeplab.data.sets.recsys import movielens
from deeplab.report import cards

LENGTH = {"sasrec": 50, "two_tower": 50, "neumf": 736}  # length of the window of a user's films,
NUM_POSITIONS = {"sasrec": None, "two_tower": 16, "neumf": 32}  # and number of positions in it with a loss; None is all


def experiment(
    model: Literal["sasrec", "two_tower", "neumf"] = "sasrec",
    split: Literal["test", "validation"] = "test",
    width: int = 64,
    epochs: int = 200,
    batch_size: int = 64,
    learning_rate: float = 2e-3,
    weight_decay: float = 0.1,
    dropout: float = 0.3,
    temperature: float = 0.1,
    forget_user: float = 0.1,
) -> dl.Experiment:
    """Sequences of 943 users over 1,682 films; the last film is ranked among all films that the user has not seen.

    Args:
      model: Network: a transformer over sequences, two towers, or embeddings of user and film numbers.
      split: Split to evaluate on: the last film of each user ("test"), or the one before.
      width: Width of the embeddings.
      epochs: Number of passes over the users, some 14 steps each.
      batch_size: Number of users per step.
      learning_rate: Peak learning rate of the cosine schedule.
      weight_decay: Weight decay of embedding tables and kernels, multiplied by the learning rate.
      dropout: Dropout probability of embeddings, attention and hidden units.
      temperature: Temperature of the scores of the two-tower model.
      forget_user: Probability of replacing a user's number and features by those of an unknown user.
    """
    prepare = dl.data.features.interactions.next_items(LENGTH[model], NUM_POSITIONS[model], forget_user)
    data = dl.data.Examples("movielens_100k_sequences", batch_size, epochs, prepare=prepare, eval_split=split)
    if model == "sasrec":
        network = dl.models.SASRec(movielens.NUM_FILMS, width=width, context=LENGTH[model], dropout=dropout)
        task = dl.tasks.Ranking(dl.tasks.SampledSoftmax(256))
    elif model == "two_tower":
        network = dl.models.TwoTower(movielens.NUM_FILMS, width, (2 * width,), temperature, dropout)
        reads = ("history", "positions", "profile", "films")
        task = dl.tasks.Ranking(dl.tasks.InBatchSoftmax(), reads)
    else:
        network = dl.models.NeuMF(movielens.NUM_USERS, movielens.NUM_FILMS, width // 2, dropout=dropout)
        task = dl.tasks.Ranking(dl.tasks.BinaryCrossEntropy(128), ("user",))
    rate = dl.optim.warmup_cosine(learning_rate, data.num_steps)
    adam = optax.adamw(rate, weight_decay=weight_decay, mask=dl.optim.matrices_only)
    return dl.Experiment(
        data=data,
        model=network,
        task=task,
        optimizer=dl.optim.with_ema(adam, decay=0.995),
        eval_every=20 * data.steps_per_epoch,
        monitor=dl.Monitor("ndcg@10", "max"),
        show=lambda batch, told: cards.next_items(movielens.decode(batch["title"][0]), batch, told),
    )


if __name__ == "__main__":
    dl.main(experiment)
